//! [`Workload`]: what is done in one iteration, with how many tokens, and the metrics it is run
//! for.

use serde::{Deserialize, Serialize};

use super::{Against, Arrival, Lengths, Slo, Tolerance};
use crate::metric::Metric;
use crate::unit::{Nanos, Tokens};

/// What is done in one iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Workload {
    /// Load the model, and generate one token to show that it works.
    Load,
    /// Prefill `batch` prompts at once, up to the first token of each.
    Prefill {
        /// Length of each prompt.
        prompt: Tokens,
        /// Requests submitted at once.
        batch: u32,
    },
    /// Decode with a KV cache that already holds `depth` tokens of each sequence.
    Decode {
        /// Tokens in the cache of each sequence when decoding begins.
        depth: Tokens,
        /// Tokens to generate for each sequence.
        output: Tokens,
        /// Sequences that decode together.
        batch: u32,
    },
    /// What a user sees: prompt in, output out.
    Generate {
        /// Length of each prompt.
        prompt: Tokens,
        /// Tokens to generate for each request.
        output: Tokens,
        /// Requests submitted at once.
        batch: u32,
    },
    /// What a longer context costs: the same decode twice, with a shallow and with a deep cache.
    Context {
        /// Tokens in the cache of the first decode.
        shallow: Tokens,
        /// Tokens in the cache of the second decode.
        depth: Tokens,
        /// Tokens to generate in each.
        output: Tokens,
    },
    /// A service: requests arrive one after another and run concurrently.
    Serve {
        /// When requests arrive.
        arrival: Arrival,
        /// The most requests that run at once.
        batch: u32,
        /// How many arrive.
        requests: u32,
        /// Lengths of their prompts.
        prompt: Lengths,
        /// Tokens to generate for each.
        output: Lengths,
        /// Length of the prefix that all prompts share, in per cent of each prompt.
        shared: u32,
        /// Which answers count as good.
        slo: Slo,
    },
    /// What an idle service costs: a period without requests, then single requests.
    Idle {
        /// How long the idle period is.
        duration: Nanos,
        /// How many single requests follow, each after a pause.
        requests: u32,
    },
    /// Embed texts, with an embedding model.
    Embed {
        /// Texts submitted at once.
        batch: u32,
        /// Texts in all.
        requests: u32,
        /// Their lengths.
        prompt: Lengths,
    },
    /// Recompute the numbers of a reference, which are in `golden.safetensors` in the model's
    /// folder.
    Parity {
        /// How large the error of a logit may be.
        tolerance: Tolerance,
    },
    /// Predict a text token by token: how much does it surprise the model (perplexity), and how far
    /// are the predictions from those of the same model in f32?
    Quality {
        /// Length of a window, the part of the text that the model sees at once. Each window begins
        /// half a window after the previous one.
        prompt: Tokens,
        /// How many windows.
        requests: u32,
        /// What the predictions are compared with, besides the text.
        against: Against,
    },
    /// An unending stream of requests, a quarter of them cancelled: does anything grow?
    Soak {
        /// How long it runs.
        duration: Nanos,
        /// Requests in flight at any time.
        batch: u32,
        /// Lengths of their prompts.
        prompt: Lengths,
        /// Tokens to generate for each.
        output: Lengths,
        /// Length of the prefix that all prompts share, in per cent of each prompt.
        shared: u32,
    },
    /// A benchmark of a part of the engine, measured by criterion.
    Criterion,
}

/// The size and number of the requests of one iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Length of the longest prompt.
    pub prompt: Tokens,
    /// The most tokens to generate for a request, at least 1.
    pub output: Tokens,
    /// Requests that run at once.
    pub batch: u32,
    /// Requests in all.
    pub requests: u64,
}

impl Workload {
    /// The names of all workloads in scenarios.
    pub const NAMES: [&'static str; 12] = [
        "load",
        "prefill",
        "decode",
        "generate",
        "context",
        "serve",
        "idle",
        "soak",
        "parity",
        "embed",
        "quality",
        "criterion",
    ];

    /// The name of this workload in scenarios.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Workload::Load => "load",
            Workload::Prefill { .. } => "prefill",
            Workload::Decode { .. } => "decode",
            Workload::Generate { .. } => "generate",
            Workload::Context { .. } => "context",
            Workload::Serve { .. } => "serve",
            Workload::Idle { .. } => "idle",
            Workload::Soak { .. } => "soak",
            Workload::Parity { .. } => "parity",
            Workload::Embed { .. } => "embed",
            Workload::Quality { .. } => "quality",
            Workload::Criterion => "criterion",
        }
    }

    /// The metrics that this is run for, besides those known once a round.
    #[must_use]
    pub const fn metrics(&self) -> &'static [Metric] {
        match self {
            Workload::Load => &[],
            Workload::Prefill { .. } => &[Metric::PrefillRate, Metric::TimeToFirstToken],
            Workload::Decode { .. } => {
                &[Metric::DecodeRate, Metric::TimePerOutputToken, Metric::InterToken]
            }
            Workload::Generate { .. } => &[
                Metric::DecodeRate,
                Metric::TimePerOutputToken,
                Metric::InterToken,
                Metric::PrefillRate,
                Metric::TimeToFirstToken,
                Metric::EndToEnd,
            ],
            Workload::Context { .. } => &[Metric::ContextSlope, Metric::InterToken],
            Workload::Serve { .. } => &[
                Metric::SystemRate,
                Metric::RequestRate,
                Metric::Goodput,
                Metric::TimeToFirstToken,
                Metric::TimePerOutputToken,
                Metric::InterToken,
                Metric::EndToEnd,
                Metric::QueueTime,
                Metric::PrefixHitRate,
                Metric::PrefillAmplification,
                Metric::Preemptions,
                Metric::PeakBlocks,
            ],
            Workload::Idle { .. } => &[Metric::CpuShare, Metric::WakeUp],
            Workload::Soak { .. } => &[
                Metric::SystemRate,
                Metric::RequestRate,
                Metric::LeakedBlocks,
                Metric::RssGrowth,
                Metric::ThreadGrowth,
                Metric::FileGrowth,
            ],
            Workload::Embed { .. } => &[Metric::RequestRate, Metric::EmbedRate, Metric::EndToEnd],
            Workload::Parity { .. } => &[
                Metric::LogitError,
                Metric::VectorError,
                Metric::LargestError,
                Metric::HiddenError,
                Metric::CosineDistance,
                Metric::Divergence,
                Metric::TopAgreement,
                Metric::SameTokens,
            ],
            Workload::Quality { against: Against::Nothing, .. } => &[Metric::Perplexity],
            Workload::Quality { against: Against::F32, .. } => &[
                Metric::Perplexity,
                Metric::Divergence,
                Metric::TopAgreement,
                Metric::LogitError,
                Metric::LargestError,
            ],
            Workload::Criterion => &[Metric::IterationTime, Metric::ElementRate, Metric::ByteRate],
        }
    }

    /// Whether the results are the same every time, however busy the machine is.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self, Workload::Parity { .. } | Workload::Quality { .. })
    }

    /// Whether the arrival times of requests decide which of them are batched together.
    #[must_use]
    pub const fn depends_on_time(&self) -> bool {
        matches!(
            self,
            Workload::Soak { .. }
                | Workload::Serve { arrival: Arrival::Poisson(_) | Arrival::Fixed(_), .. }
        )
    }

    /// Whether a process runs this once, whatever its scenario says about iterations: because what
    /// is measured happens once per process, takes all of it, or is the same every time, or because
    /// criterion decides.
    #[must_use]
    pub const fn runs_once(&self) -> bool {
        match self {
            Workload::Load
            | Workload::Idle { .. }
            | Workload::Soak { .. }
            | Workload::Parity { .. }
            | Workload::Quality { .. }
            | Workload::Criterion => true,
            Workload::Prefill { .. }
            | Workload::Decode { .. }
            | Workload::Generate { .. }
            | Workload::Context { .. }
            | Workload::Serve { .. }
            | Workload::Embed { .. } => false,
        }
    }
}

impl Shape {
    /// Tokens of one request: prompt and output.
    #[must_use]
    pub const fn length(&self) -> Tokens {
        Tokens(self.prompt.0.saturating_add(self.output.0))
    }
}

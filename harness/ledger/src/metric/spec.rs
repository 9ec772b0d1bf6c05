//! Everything about a metric except its definition: name, unit, direction and class, in one table.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Metric, Unit};

/// What readers and judges need to know about a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// How it is written in files and on the command line.
    pub name: &'static str,
    /// How it is written above a column or a plot.
    pub label: &'static str,
    /// The unit in which values are stored.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
    /// Which margin of the policy applies.
    pub class: Class,
    /// The smallest relative change that could be real on a quiet machine, in per cent. Smaller
    /// changes are shown as "about equal".
    pub noise_floor: f64,
    /// The smallest change that could matter, in the metric's unit, however large relative to the
    /// base: values near zero double easily.
    pub least: f64,
    /// Whether its tails are of interest.
    pub tails: Tails,
}

/// Which direction of a metric is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// More is better: rates.
    Higher,
    /// Less is better: times and bytes.
    Lower,
}

/// Metrics that share a margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Decode speed: how fast tokens come after the first.
    Decode,
    /// Prefill speed: how fast a prompt is processed.
    Prefill,
    /// Bytes that the engine accounts for exactly.
    Memory,
    /// Bytes as counted by the kernel.
    ResidentMemory,
    /// How long it takes until the engine can serve.
    Load,
    /// What users of a busy service experience.
    Serving,
    /// What the engine counts itself: equal for equal work.
    Account,
    /// What a service costs while idle.
    Idle,
    /// How close the numbers are to a reference.
    Fidelity,
    /// How fast a part of the engine is in isolation.
    Bench,
    /// The energy used.
    Energy,
}

impl Class {
    /// Whether it is about time, which never repeats exactly; bytes, counts and logits can.
    #[must_use]
    pub const fn is_timed(self) -> bool {
        match self {
            Class::Decode
            | Class::Prefill
            | Class::Load
            | Class::Serving
            | Class::Idle
            | Class::Bench
            | Class::Energy => true,
            Class::Memory | Class::ResidentMemory | Class::Account | Class::Fidelity => false,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Class::Decode => "decode",
            Class::Prefill => "prefill",
            Class::Memory => "memory",
            Class::ResidentMemory => "resident-memory",
            Class::Load => "load",
            Class::Serving => "serving",
            Class::Account => "account",
            Class::Idle => "idle",
            Class::Fidelity => "fidelity",
            Class::Bench => "bench",
            Class::Energy => "energy",
        })
    }
}

/// Whether the tails of a metric are of interest, besides its median.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tails {
    /// They are: users experience the slow ones.
    Matter,
    /// They are not: one number is enough.
    Silent,
}

impl Metric {
    /// Everything about this metric except its definition.
    #[must_use]
    pub const fn spec(self) -> Spec {
        use Class::{
            Account, Bench, Decode, Energy, Fidelity, Idle, Load, Memory, Prefill, ResidentMemory,
            Serving,
        };
        use Unit::{
            Bytes, BytesPerSecond, Count, ElementsPerSecond, Joules, Nanoseconds, Nats, Number,
            Operations, Ratio, RequestsPerSecond, Share, TokensPerSecond,
        };
        match self {
            Metric::DecodeRate => higher("decode-rate", "decode", TokensPerSecond, Decode, 1.0),
            Metric::TimePerOutputToken => {
                lower("time-per-output-token", "TPOT", Nanoseconds, Decode, 1.0)
            }
            Metric::InterToken => {
                lower("inter-token", "inter-token", Nanoseconds, Decode, 1.0).with_tails()
            }
            Metric::PrefillRate => higher("prefill-rate", "prefill", TokensPerSecond, Prefill, 1.0),
            Metric::EmbedRate => higher("embed-rate", "embed", TokensPerSecond, Prefill, 1.0),
            Metric::TimeToFirstToken => {
                lower("time-to-first-token", "TTFT", Nanoseconds, Prefill, 1.0).with_tails()
            }
            Metric::EndToEnd => {
                lower("end-to-end", "end to end", Nanoseconds, Decode, 1.0).with_tails()
            }
            Metric::SystemRate => higher("system-rate", "output", TokensPerSecond, Serving, 1.0),
            Metric::RequestRate => {
                higher("request-rate", "requests", RequestsPerSecond, Serving, 1.0)
            }
            Metric::Goodput => higher("goodput", "goodput", RequestsPerSecond, Serving, 1.0),
            Metric::QueueTime => {
                lower("queue-time", "queue", Nanoseconds, Serving, 5.0).with_tails().at_least(50e3)
            }
            Metric::PrefixHitRate => higher("prefix-hit-rate", "prefix hits", Share, Account, 0.0),
            Metric::PrefillAmplification => {
                lower("prefill-amplification", "prefill ×", Ratio, Account, 0.0)
            }
            Metric::Preemptions => lower("preemptions", "preemptions", Count, Account, 0.0),
            Metric::PeakBlocks => lower("peak-blocks", "peak blocks", Count, Account, 0.0),
            Metric::Transfers => lower("transfers", "transfers", Count, Account, 0.0),
            Metric::TransferBytes => lower("transfer-bytes", "moved", Bytes, Account, 0.0),
            Metric::DeviceWaits => lower("device-waits", "waits", Count, Account, 0.0),
            Metric::ReplayedSteps => higher("replayed-steps", "replayed", Share, Account, 0.0),
            Metric::TokenBytes => lower("token-bytes", "read a token", Bytes, Account, 0.0),
            Metric::TokenFlops => lower("token-flops", "work a token", Operations, Account, 0.0),
            Metric::ContextSlope => {
                lower("context-slope", "per 1k context", Nanoseconds, Decode, 5.0).at_least(1e3)
            }
            Metric::CpuShare => lower("cpu-share", "CPU", Share, Idle, 5.0).at_least(1e-3),
            Metric::WakeUp => {
                lower("wake-up", "wake-up", Nanoseconds, Idle, 5.0).with_tails().at_least(50e3)
            }
            Metric::LeakedBlocks => lower("leaked-blocks", "leaked blocks", Count, Account, 0.0),
            Metric::RssGrowth => lower("rss-growth", "RSS growth", Bytes, ResidentMemory, 1.0)
                .at_least(1024.0 * 1024.0),
            Metric::ThreadGrowth => lower("thread-growth", "more threads", Count, Account, 0.0),
            Metric::FileGrowth => lower("file-growth", "more files", Count, Account, 0.0),
            Metric::Perplexity => lower("perplexity", "perplexity", Number, Fidelity, 0.0),
            Metric::LogitError => lower("logit-error", "logit error", Share, Fidelity, 0.0),
            Metric::VectorError => lower("vector-error", "vector error", Share, Fidelity, 0.0),
            Metric::LargestError => lower("largest-error", "largest error", Number, Fidelity, 0.0),
            Metric::HiddenError => lower("hidden-error", "hidden error", Share, Fidelity, 0.0),
            Metric::CosineDistance => lower("cosine-distance", "1 − cosine", Number, Fidelity, 0.0),
            Metric::Divergence => lower("divergence", "KL divergence", Nats, Fidelity, 0.0),
            Metric::TopAgreement => higher("top-agreement", "same top-1", Share, Fidelity, 0.0),
            Metric::SameTokens => higher("same-tokens", "same tokens", Count, Fidelity, 0.0),
            Metric::IterationTime => lower("iteration-time", "iteration", Nanoseconds, Bench, 1.0),
            Metric::ElementRate => {
                higher("element-rate", "elements", ElementsPerSecond, Bench, 1.0)
            }
            Metric::ByteRate => higher("byte-rate", "bytes", BytesPerSecond, Bench, 1.0),
            Metric::LoadTime => lower("load-time", "load", Nanoseconds, Load, 5.0),
            Metric::LoadOpen => lower("load-open", "open", Nanoseconds, Load, 5.0).at_least(5e6),
            Metric::LoadRead => lower("load-read", "read", Nanoseconds, Load, 5.0).at_least(5e6),
            Metric::LoadConvert => {
                lower("load-convert", "convert", Nanoseconds, Load, 5.0).at_least(5e6)
            }
            Metric::LoadQuantise => {
                lower("load-quantise", "quantise", Nanoseconds, Load, 5.0).at_least(5e6)
            }
            Metric::PeakRss => lower("peak-rss", "peak RSS", Bytes, ResidentMemory, 1.0),
            Metric::WeightBytes => lower("weight-bytes", "weights", Bytes, Memory, 0.0),
            Metric::KvBytes => lower("kv-bytes", "KV pool", Bytes, Memory, 0.0),
            Metric::DeviceBytes => lower("device-bytes", "GPU memory", Bytes, Memory, 0.0),
            Metric::EnergyPerToken => {
                lower("energy-per-token", "energy a token", Joules, Energy, 2.0)
            }
        }
    }
}

/// The spec of a metric where higher is better; no tails, and any change can matter.
const fn higher(
    name: &'static str,
    label: &'static str,
    unit: Unit,
    class: Class,
    noise_floor: f64,
) -> Spec {
    let (better, least, tails) = (Better::Higher, 0.0, Tails::Silent);
    Spec { name, label, unit, better, class, noise_floor, least, tails }
}

/// Likewise where lower is better.
const fn lower(
    name: &'static str,
    label: &'static str,
    unit: Unit,
    class: Class,
    noise_floor: f64,
) -> Spec {
    Spec { better: Better::Lower, ..higher(name, label, unit, class, noise_floor) }
}

impl Spec {
    /// The same spec, with tails that matter.
    const fn with_tails(self) -> Spec {
        Spec { tails: Tails::Matter, ..self }
    }

    /// The same spec, where changes below `least`, in the metric's unit, cannot matter.
    const fn at_least(self, least: f64) -> Spec {
        Spec { least, ..self }
    }
}

//! What the engine reports about itself: durations of the stages of a step, and counters.
//!
//! A step reads the clock six times, writes a few integers, and enters `tracing` spans, which cost
//! one comparison each while nobody listens: one per verb at debug level, and one for each
//! [`Stage`] of a layer's work at trace level. Nothing is formatted or logged, and no subscriber is
//! installed. `benches/telemetry.rs` compares the total with a decode step. To see where the time
//! goes, install an [`Attribution`].

use std::iter::Sum;
use std::time::{Duration, Instant};

use candle_core::DType;

use crate::blocks::Reach;
use crate::error::Unsupported;
use crate::placement::DeviceName;
use crate::quant::{Format, QuantType};

mod attribution;
mod demand;
mod stage;
mod waits;

pub use attribution::{Account, Attribution, StageTimes, Work};
pub use demand::{Demand, Effort};
pub use stage::Stage;
pub(crate) use waits::{note_wait, to_host, waits_during};

/// What one step did. Blocks are counted over all pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Durations of its stages.
    pub stages: Stages,
    /// Tokens computed to catch up: prompts, and recomputation after preemption.
    pub prefilled: usize,
    /// Tokens computed to continue: one for each decoding sequence.
    pub decoded: usize,
    /// Sequences that hold blocks after the step.
    pub running: usize,
    /// Sequences that are waiting after the step.
    pub waiting: usize,
    /// Tokens that admitted sequences found in the cache instead of computing them.
    pub reused: usize,
    /// Blocks in use after the step.
    pub blocks_used: usize,
    /// Free blocks after the step.
    pub blocks_free: usize,
    /// Unused blocks that are kept for their content, after the step.
    pub blocks_cached: usize,
    /// Sequences that lost their blocks in this step.
    pub preemptions: usize,
    /// What moved between devices.
    pub transfers: Transfers,
    /// What its tokens asked of the machine.
    pub demand: Demand,
    /// How often the host waited for an accelerator; 0 on CPUs.
    pub waits: u64,
    /// Whether its launches had been recorded before and were replayed in one go.
    pub replayed: bool,
    /// Name of the attention backend on the first device; empty if nothing was computed.
    pub attention: &'static str,
}

/// What moved between the devices of a map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Tensors.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Durations of the stages of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Deciding who runs.
    pub schedule: Duration,
    /// Packing tokens and tables.
    pub batch: Duration,
    /// The model.
    pub forward: Duration,
    /// Choosing tokens.
    pub sample: Duration,
    /// Appending the tokens and ending sequences.
    pub commit: Duration,
}

/// What the engine has done since it was loaded, and its current state. Blocks are counted over all
/// pools; [`Engine::pools`](crate::Engine::pools) tells them apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps that computed something.
    pub steps: u64,
    /// Sequences accepted: every choice of a request counts.
    pub submitted: u64,
    /// Sequences ended, for whatever reason.
    pub finished: u64,
    /// Prompt tokens accepted, counted for each choice.
    pub prompt_tokens: u64,
    /// Tokens computed to catch up: as many as `prompt_tokens` with ample memory, plus
    /// recomputation after preemptions and when a sequence crosses the model's border, minus what
    /// the prefix cache saves.
    pub prefilled: u64,
    /// Tokens computed to continue.
    pub decoded: u64,
    /// Sequences that lost their blocks.
    pub preemptions: u64,
    /// What moved between devices.
    pub transfers: Transfers,
    /// How often the host waited for an accelerator.
    pub waits: u64,
    /// Steps whose launches had been recorded before and were replayed in one go.
    pub replayed: u64,
    /// Steps that only computed prompts.
    pub prefills: Effort,
    /// Steps that only continued sequences.
    pub decodes: Effort,
    /// What the prefix cache did.
    pub prefix: PrefixStats,
    /// Most blocks in use at once so far.
    pub peak_blocks: usize,
    /// Blocks in use.
    pub blocks_used: usize,
    /// Free blocks.
    pub blocks_free: usize,
    /// Unused blocks that are kept for their content.
    pub blocks_cached: usize,
    /// Sequences that hold blocks.
    pub running: usize,
    /// Sequences that are waiting.
    pub waiting: usize,
}

impl Stats {
    /// Adds the work of a step. The current state is left as it is.
    pub fn add(&mut self, report: &StepReport) {
        self.steps += u64::from(report.prefilled + report.decoded > 0);
        self.prefilled += report.prefilled as u64;
        self.decoded += report.decoded as u64;
        self.preemptions += report.preemptions as u64;
        self.transfers.count += report.transfers.count;
        self.transfers.bytes += report.transfers.bytes;
        self.waits += report.waits;
        self.replayed += u64::from(report.replayed);
        let (effort, tokens) = match (report.prefilled, report.decoded) {
            (prefilled, 0) => (&mut self.prefills, prefilled),
            (0, decoded) => (&mut self.decodes, decoded),
            _ => return,
        };
        effort.tokens += tokens as u64;
        effort.demand += report.demand;
    }
}

/// State of a pool of blocks. A block has room for the keys and values of all its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// How far back its layers look.
    pub reach: Reach,
    /// Number of layers that keep their keys in its blocks.
    pub layers: usize,
    /// Blocks in use.
    pub used: usize,
    /// Most blocks in use at once so far.
    pub peak: usize,
    /// Free blocks.
    pub free: usize,
    /// Unused blocks that are kept for their content.
    pub cached: usize,
}

/// What the prefix cache did. A sequence that returns after preemption looks again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrefixStats {
    /// Admitted sequences that looked up the beginning of their tokens.
    pub lookups: u64,
    /// How many of them found at least one block.
    pub hits: u64,
    /// Tokens that they did not have to compute.
    pub tokens: u64,
    /// Cached blocks that were evicted because blocks were needed.
    pub evictions: u64,
}

/// The work of embedding a batch of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmbedReport {
    /// Tokens computed.
    pub tokens: usize,
    /// Forward passes that the batch was split into.
    pub passes: usize,
    /// Packing tokens and tables.
    pub batch: Duration,
    /// The model.
    pub forward: Duration,
    /// Pooling, and the modules after it.
    pub pool: Duration,
    /// Name of the attention backend.
    pub attention: &'static str,
}

/// Times the stages of a step as laps.
#[derive(Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts the first lap.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Ends a lap and starts the next one.
    pub fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now))
    }
}

/// How a model was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Element type of activations, cache, and weights that are not quantised.
    pub dtype: DType,
    /// How the weights are stored.
    pub formats: Vec<Stored>,
    /// Why attention backends that were made for this device and are preferred do not compute.
    pub declined: Vec<Unsupported>,
    /// Where the time went.
    pub stages: LoadStages,
}

/// The weights that are stored in one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The format.
    pub format: Format,
    /// The format that was asked for, if these weights have another one because its blocks do not
    /// divide their rows.
    pub instead_of: Option<QuantType>,
    /// Number of tensors.
    pub tensors: usize,
    /// Their parameters.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where the time of loading a model went. The rest of it builds caches and tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadStages {
    /// Opening files and reading their metadata.
    pub open: Duration,
    /// Bringing weights into memory, or drawing random ones.
    pub read: Duration,
    /// Converting them to the requested dtype, at least by copying.
    pub convert: Duration,
    /// Turning them into blocks.
    pub quantise: Duration,
}

/// Bytes that are held permanently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Weights; a tied matrix counts once.
    pub weights: u64,
    /// Key-value cache; an embedder has none.
    pub kv: u64,
}

impl Sum for Footprint {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            weights: sum.weights + part.weights,
            kv: sum.kv + part.kv,
        })
    }
}

/// What one device holds permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Its logical name.
    pub device: DeviceName,
    /// Layers that live on it.
    pub layers: usize,
    /// Expected before loading.
    pub estimated: Footprint,
    /// Actually held.
    pub held: Footprint,
}

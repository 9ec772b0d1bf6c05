//! What the engine tells about itself: durations of the stages of a step, and counts.
//!
//! A step reads the clock six times, writes a few integers, and enters `tracing` spans at debug
//! level, which cost a comparison each as long as nobody listens. Nothing is formatted or logged,
//! and no subscriber is installed. `benches/telemetry.rs` shows the sum beside a decode step.

use std::time::{Duration, Instant};

use crate::blocks::Reach;

/// What one step did. Blocks are counted over all pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Durations of its stages.
    pub stages: Stages,
    /// Tokens computed to catch up: prompts, and recomputation after a preemption.
    pub prefilled: usize,
    /// Tokens computed to continue: one for each decoding sequence.
    pub decoded: usize,
    /// Sequences that hold blocks after the step.
    pub running: usize,
    /// Sequences that wait after the step.
    pub waiting: usize,
    /// Tokens that admitted sequences found in the cache and need not compute.
    pub reused: usize,
    /// Blocks in use after the step.
    pub blocks_used: usize,
    /// Free blocks after the step.
    pub blocks_free: usize,
    /// Blocks that nobody uses and that are kept for their content, after the step.
    pub blocks_cached: usize,
    /// Sequences that lost their blocks in this step.
    pub preemptions: usize,
    /// Name of the attention backend that computed; empty when nothing was computed.
    pub attention: &'static str,
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
    /// Booking the tokens and ending sequences.
    pub commit: Duration,
}

/// What the engine did since it was loaded, and how it stands. Blocks are counted over all pools;
/// [`Engine::pools`](crate::Engine::pools) tells them apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps that computed something.
    pub steps: u64,
    /// Sequences accepted: requests, each of their choices counted.
    pub submitted: u64,
    /// Sequences ended, for whatever reason.
    pub finished: u64,
    /// Prompt tokens accepted, those of each choice counted.
    pub prompt_tokens: u64,
    /// Tokens computed to catch up.
    pub prefilled: u64,
    /// Tokens computed to continue.
    pub decoded: u64,
    /// Sequences that lost their blocks.
    pub preemptions: u64,
    /// What the prefix cache did.
    pub prefix: PrefixStats,
    /// Most blocks ever in use at once.
    pub peak_blocks: usize,
    /// Blocks in use.
    pub blocks_used: usize,
    /// Free blocks.
    pub blocks_free: usize,
    /// Blocks that nobody uses and that are kept for their content.
    pub blocks_cached: usize,
    /// Sequences that hold blocks.
    pub running: usize,
    /// Sequences that wait.
    pub waiting: usize,
}

impl Stats {
    /// Tokens prefilled for each prompt token accepted: 1 with ample memory, more after preemptions
    /// and where a sequence crosses the model's border and is computed anew, less by what the
    /// prefix cache saves. `None` before the first prompt.
    pub fn prefill_amplification(&self) -> Option<f64> {
        (self.prompt_tokens > 0).then(|| self.prefilled as f64 / self.prompt_tokens as f64)
    }

    /// Adds what a step did. How things stand is left as it is.
    pub fn add(&mut self, report: &StepReport) {
        self.steps += u64::from(report.prefilled + report.decoded > 0);
        self.prefilled += report.prefilled as u64;
        self.decoded += report.decoded as u64;
        self.preemptions += report.preemptions as u64;
    }
}

/// How a pool of blocks stands. A block has room for the keys and values of all its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// How far back its layers look.
    pub reach: Reach,
    /// How many layers keep their keys in its blocks.
    pub layers: usize,
    /// Blocks in use.
    pub used: usize,
    /// Most blocks ever in use at once.
    pub peak: usize,
    /// Free blocks.
    pub free: usize,
    /// Blocks that nobody uses and that are kept for their content.
    pub cached: usize,
}

/// What the prefix cache did. A sequence that returns after a preemption looks again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrefixStats {
    /// Admitted sequences that looked for the beginning of their tokens.
    pub lookups: u64,
    /// How many of them found at least one block.
    pub hits: u64,
    /// Tokens that they did not have to compute.
    pub tokens: u64,
    /// Cached blocks that were given up because blocks were needed.
    pub evictions: u64,
}

/// What it took to embed a batch of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmbedReport {
    /// Tokens computed.
    pub tokens: usize,
    /// Forward passes that the batch was cut into.
    pub passes: usize,
    /// Packing tokens and tables.
    pub batch: Duration,
    /// The model.
    pub forward: Duration,
    /// Pooling, and the modules after it.
    pub pool: Duration,
    /// Name of the attention backend that computed.
    pub attention: &'static str,
}

/// Laps between the stages of a step.
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

/// Bytes that the engine holds for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Weights; a tied matrix counts once.
    pub weights: u64,
    /// Key-value cache; an embedder has none.
    pub kv: u64,
}

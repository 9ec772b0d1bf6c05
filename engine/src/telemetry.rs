//! What the engine tells about itself: durations of the stages of a step, and counts.
//!
//! A step reads the clock six times and writes a few integers; nothing is formatted or logged.

use std::time::Duration;

/// What one step did.
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
    /// Blocks in use after the step.
    pub blocks_used: usize,
    /// Free blocks after the step.
    pub blocks_free: usize,
    /// Sequences that lost their blocks in this step.
    pub preemptions: usize,
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

/// What the engine did since it was loaded, and how it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps that computed something.
    pub steps: u64,
    /// Requests accepted.
    pub submitted: u64,
    /// Requests ended, for whatever reason.
    pub finished: u64,
    /// Prompt tokens accepted. `prefilled / prompt_tokens` is the prefill amplification: 1 with
    /// ample memory, more after preemptions.
    pub prompt_tokens: u64,
    /// Tokens computed to catch up.
    pub prefilled: u64,
    /// Tokens computed to continue.
    pub decoded: u64,
    /// Sequences that lost their blocks.
    pub preemptions: u64,
    /// Most blocks ever in use at once.
    pub peak_blocks: usize,
    /// Blocks in use.
    pub blocks_used: usize,
    /// Free blocks.
    pub blocks_free: usize,
    /// Sequences that hold blocks.
    pub running: usize,
    /// Sequences that wait.
    pub waiting: usize,
}

/// Bytes that the engine holds for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Weights; a tied matrix counts once.
    pub weights: u64,
    /// Key-value cache.
    pub kv: u64,
}

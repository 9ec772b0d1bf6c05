//! [`Stage`]: what a step spends its time on.

use std::fmt;

use tracing::{Span, debug_span, trace_span};

/// A kind of work. Time counts for the innermost stage under way, except inside stages that count
/// everything within them as their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Deciding who runs.
    Schedule,
    /// Packing tokens and tables.
    Batch,
    /// Looking up the vectors of tokens.
    Embedding,
    /// Normalising rows.
    Norm,
    /// Multiplying by the matrices around attention and of dense feed-forward blocks.
    Linear,
    /// Rotating queries and keys, and the angles for it.
    Rope,
    /// Storing keys and values.
    Store,
    /// Attending.
    Attention,
    /// Elementwise work: activations, residual sums, factors.
    Elementwise,
    /// Routing tokens to experts, and all that these compute.
    Experts,
    /// Logits.
    Head,
    /// Moving numbers from one device to another.
    Transfer,
    /// Turning an embedding model's hidden states into vectors.
    Pool,
    /// Choosing tokens.
    Sample,
    /// Appending tokens and ending sequences.
    Commit,
    /// The rest of a step.
    Other,
    /// From text to tokens; beside steps, on the callers' threads.
    Tokenise,
    /// From tokens to text; beside steps, on the callers' threads.
    Detokenise,
}

impl Stage {
    /// Every stage: those of a step in the order in which a token meets them, the rest of it, and
    /// those beside steps.
    pub const ALL: [Self; 18] = [
        Self::Schedule,
        Self::Batch,
        Self::Embedding,
        Self::Norm,
        Self::Linear,
        Self::Rope,
        Self::Store,
        Self::Attention,
        Self::Elementwise,
        Self::Experts,
        Self::Head,
        Self::Transfer,
        Self::Pool,
        Self::Sample,
        Self::Commit,
        Self::Other,
        Self::Tokenise,
        Self::Detokenise,
    ];

    /// Its name, which its spans also have.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Batch => "batch",
            Self::Embedding => "embedding",
            Self::Norm => "norm",
            Self::Linear => "linear",
            Self::Rope => "rope",
            Self::Store => "store",
            Self::Attention => "attention",
            Self::Elementwise => "elementwise",
            Self::Experts => "experts",
            Self::Head => "head",
            Self::Transfer => "transfer",
            Self::Pool => "pool",
            Self::Sample => "sample",
            Self::Commit => "commit",
            Self::Other => "other",
            Self::Tokenise => "tokenise",
            Self::Detokenise => "detokenise",
        }
    }

    /// Whether it counts as its own the time of other stages inside it.
    pub(super) const fn swallows(self) -> bool {
        matches!(self, Self::Experts | Self::Head | Self::Pool | Self::Sample)
    }

    /// Whether it is work on texts, beside steps.
    pub(super) const fn is_of_texts(self) -> bool {
        matches!(self, Self::Tokenise | Self::Detokenise)
    }

    /// Does `work` as a part of this stage, in a span that costs one comparison while nobody
    /// listens.
    pub(crate) fn of<T>(self, work: impl FnOnce() -> T) -> T {
        self.span().in_scope(work)
    }

    /// Whether anybody listens to the stages of a step.
    pub(crate) fn are_watched() -> bool {
        !Self::Linear.span().is_disabled()
    }

    fn span(self) -> Span {
        match self {
            Self::Schedule => debug_span!("schedule"),
            Self::Batch => debug_span!("batch"),
            Self::Pool => debug_span!("pool"),
            Self::Sample => debug_span!("sample"),
            Self::Commit => debug_span!("commit"),
            Self::Embedding => trace_span!("embedding"),
            Self::Norm => trace_span!("norm"),
            Self::Linear => trace_span!("linear"),
            Self::Rope => trace_span!("rope"),
            Self::Store => trace_span!("store"),
            Self::Attention => trace_span!("attention"),
            Self::Elementwise => trace_span!("elementwise"),
            Self::Experts => trace_span!("experts"),
            Self::Head => trace_span!("head"),
            Self::Transfer => trace_span!("transfer"),
            Self::Other => trace_span!("other"),
            Self::Tokenise => trace_span!("tokenise"),
            Self::Detokenise => trace_span!("detokenise"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

//! [`Stage`]: what a step spends its time on.

use std::fmt;

use tracing::{Span, debug_span, trace_span};

/// A kind of work. Stages are told apart by the innermost that is under way, except inside those
/// that count what they consist of as their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Deciding who runs.
    Schedule,
    /// Packing tokens and tables.
    Batch,
    /// Looking up the vectors of tokens.
    Embedding,
    /// Bringing rows to unit size.
    Norm,
    /// Multiplying by the matrices around attention and of dense feed-forward blocks.
    Linear,
    /// Rotating queries and keys, and the angles for it.
    Rope,
    /// Storing keys and values.
    Store,
    /// Attending.
    Attention,
    /// Activations, residual sums, factors: number by number.
    Elementwise,
    /// Routing tokens to experts, and everything that those compute.
    Experts,
    /// Logits.
    Head,
    /// Moving numbers from one device to another.
    Transfer,
    /// What becomes of the hidden states of an embedding model.
    Pool,
    /// Choosing tokens.
    Sample,
    /// Booking tokens and ending sequences.
    Commit,
    /// What is left of a step.
    Other,
    /// From texts to tokens; beside steps, on the threads of those who ask.
    Tokenise,
    /// From tokens to texts; likewise.
    Detokenise,
}

impl Stage {
    /// Every stage: those of a step in the order in which a token comes by, the rest of it, and
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

    /// Its name, also that of its spans.
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

    /// Whether it counts as its own time what other stages do inside it.
    pub(super) const fn swallows(self) -> bool {
        matches!(self, Self::Experts | Self::Head | Self::Pool | Self::Sample)
    }

    /// Whether it is work on texts, beside steps.
    pub(super) const fn is_of_texts(self) -> bool {
        matches!(self, Self::Tokenise | Self::Detokenise)
    }

    /// Does `work` as a part of this stage: inside a span that costs a comparison as long as nobody
    /// listens.
    pub(crate) fn of<T>(self, work: impl FnOnce() -> T) -> T {
        self.span().in_scope(work)
    }

    /// Whether somebody listens to what steps consist of.
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

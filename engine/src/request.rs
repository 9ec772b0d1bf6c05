//! The public vocabulary: what a caller asks for, and what it is told.

use std::fmt;

use crate::sampler::{Logprobs, Sampling};

/// One prompt and how to continue it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Most tokens to generate; without it, up to the longest sequence.
    pub max_tokens: Option<usize>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Ids that end the sequence, beside the model's own end-of-sequence ids.
    pub stop: Vec<u32>,
    /// What the model's own end-of-sequence ids do.
    pub eos: Eos,
    /// What happens to a prompt that is too long.
    pub truncation: Truncation,
}

/// What the model's own end-of-sequence ids do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eos {
    /// They end the sequence.
    Stop,
    /// They are tokens like any other: measurements need outputs of a known length.
    Ignore,
}

/// What happens to a prompt that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// It is an error.
    Refuse,
    /// Its tail is kept: room is reserved for `max_tokens` (one token if unset), but at least
    /// one token of the prompt stays.
    KeepTail,
}

/// A request's number, in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Something that a step, or a cancellation, did to one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// One more token; never a stop token.
    Token {
        /// Whose.
        request: RequestId,
        /// Its id.
        token: u32,
        /// How likely the model held it, if the request asked for that.
        logprobs: Option<Logprobs>,
    },
    /// The last event of a request.
    Finished {
        /// Whose.
        request: RequestId,
        /// Why.
        finish: Finish,
        /// Tokens of the prompt, after truncation.
        prompt: usize,
        /// Tokens generated, a stop token included.
        generated: usize,
    },
}

/// Why a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// It produced a stop token.
    Stop,
    /// It reached `max_tokens` or the longest sequence.
    Length,
    /// The caller withdrew it.
    Cancelled,
    /// The model failed on it; the text says how.
    Error(String),
}

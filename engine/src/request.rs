//! The public vocabulary: requests and the events that answer them.

use std::fmt;

use crate::config::PrefixCache;
use crate::sampler::{Logprobs, Sampling};

/// One prompt and how to continue it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Most tokens to generate; if `None`, up to the longest sequence.
    pub max_tokens: Option<usize>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Ids that end the sequence, beside the model's own end-of-sequence ids.
    pub stop: Vec<u32>,
    /// What the model's own end-of-sequence ids do.
    pub eos: Eos,
    /// What happens to a prompt that is too long.
    pub truncation: Truncation,
    /// How many continuations to generate, at most 128. They share the prompt's blocks if the
    /// prefix cache is on, and draw independently: the first with the seed itself, the others with
    /// seeds derived from it. With greedy sampling all are the same.
    pub choices: usize,
    /// Whether the request reuses what earlier ones computed, and lets later ones reuse it.
    pub prefix_cache: PrefixCache,
}

impl Request {
    /// Asks for exactly `tokens` tokens after `prompt`, decoded greedily, with nothing shared: the
    /// same work every time, as measurements and checks need.
    pub const fn exactly(prompt: Vec<u32>, tokens: usize) -> Self {
        Self {
            prompt,
            max_tokens: Some(tokens),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            eos: Eos::Ignore,
            truncation: Truncation::Refuse,
            choices: 1,
            prefix_cache: PrefixCache::Off,
        }
    }
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
    /// Its tail is kept: room is reserved for `max_tokens` (one token if unset), but at least one
    /// token of the prompt stays.
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
    /// It was accepted and waits for its turn. Only a [`Runtime`](crate::Runtime) sends this; a
    /// caller of [`Engine::submit`](crate::Engine::submit) already knows.
    Queued {
        /// The request.
        request: RequestId,
    },
    /// All of its prompt is in the cache; its first token follows.
    PromptDone {
        /// The request.
        request: RequestId,
        /// Which of the request's choices.
        choice: usize,
        /// Tokens of the prompt that were already in the cache and not computed.
        cached: usize,
    },
    /// One more token; never a stop token.
    Token {
        /// The request.
        request: RequestId,
        /// Which of the request's choices.
        choice: usize,
        /// Its id.
        token: u32,
        /// How likely the model found it, if the request asked for that.
        logprobs: Option<Logprobs>,
    },
    /// The last event of one choice of a request.
    Finished {
        /// The request.
        request: RequestId,
        /// Which of the request's choices.
        choice: usize,
        /// Why.
        finish: Finish,
        /// Its token counts.
        usage: Usage,
    },
}

impl Event {
    /// The request that it is about.
    pub const fn request(&self) -> RequestId {
        match *self {
            Self::Queued { request }
            | Self::PromptDone { request, .. }
            | Self::Token { request, .. }
            | Self::Finished { request, .. } => request,
        }
    }
}

/// Tokens of one choice of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, after truncation.
    pub prompt: usize,
    /// How many of them were found in the cache.
    pub cached: usize,
    /// Tokens generated, including a stop token.
    pub generated: usize,
}

/// Why a choice of a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// It produced a stop token.
    Stop,
    /// It reached `max_tokens` or the longest sequence.
    Length,
    /// The caller cancelled it.
    Cancelled,
    /// The model failed on it; the text says how.
    Error(String),
}

//! [`Sequence`]: one request while it runs.
//!
//! `computed` of its `tokens` are in the cache; the work of a step is always the difference. A
//! fresh prompt, a chunk of one, a decode and recomputation after preemption are the same
//! subtraction.

use std::ops::Range;

use crate::blocks::{Held, Prefix};
use crate::config::PrefixCache;
use crate::request::{Finish, RequestId, Usage};
use crate::sampler::Sampler;

/// One request while it waits or runs.
#[derive(Debug)]
pub struct Sequence {
    /// Its request's number, in the order of arrival.
    pub id: RequestId,
    /// Which of the request's choices it is, from 0.
    pub choice: usize,
    /// Prompt and generated tokens; never empty.
    pub tokens: Vec<u32>,
    /// How many of `tokens` are prompt.
    pub prompt: usize,
    /// How many of `tokens` have keys and values in the cache.
    pub computed: usize,
    /// Its blocks, pool by pool; the scheduler knows how many there are.
    pub held: Vec<Held>,
    /// The names of its first full blocks; kept when it loses the blocks.
    pub names: Vec<Prefix>,
    /// Whether it shares full blocks with others.
    pub prefix_cache: PrefixCache,
    /// Tokens of the prompt that were in the cache when it first ran; later hits are its own work.
    pub cached: Option<usize>,
    /// Length at which it ends.
    pub limit: usize,
    /// Length beyond which all of its keys change, if there is one.
    pub border: Option<usize>,
    /// Ids that end it.
    pub stop: Vec<u32>,
    /// How its next token is chosen.
    pub sampler: Sampler,
}

impl Sequence {
    /// Tokens that are known but not in the cache: the work that is left before the next one can be
    /// drawn.
    pub const fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Tokens generated so far.
    pub const fn generated(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// Tokens of the prompt that it did not have to compute.
    pub const fn cached(&self) -> usize {
        match self.cached {
            Some(tokens) => tokens,
            None => 0,
        }
    }

    /// Its token counts.
    pub const fn usage(&self) -> Usage {
        Usage { prompt: self.prompt, cached: self.cached(), generated: self.generated() }
    }

    /// Most tokens that it will ever have in the cache: the last one drawn is never computed.
    pub const fn cached_at_most(&self) -> usize {
        self.limit - 1
    }

    /// Whether computing `range` is a decode: the one token that was drawn last.
    pub fn is_decode(&self, range: &Range<usize>) -> bool {
        range.start >= self.prompt && range.start + 1 == self.tokens.len()
    }

    /// Appends the next token; returns how the sequence ends, if this was its last. Crossing the
    /// border means recomputing everything.
    pub fn accept(&mut self, token: u32) -> Option<Finish> {
        self.tokens.push(token);
        if self.border.is_some_and(|border| self.tokens.len() == border + 1) {
            self.computed = 0;
        }
        if self.stop.contains(&token) {
            Some(Finish::Stop)
        } else if self.tokens.len() >= self.limit {
            Some(Finish::Length)
        } else {
            None
        }
    }
}

//! The requests of a service: when each of them comes, and how long it is. Their words are for
//! whoever asks.

use crate::case::{Arrival, Lengths};
use crate::draw::Draw;
use crate::unit::{Nanos, Tokens};

/// What the requests of a service have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// When they come.
    pub arrival: Arrival,
    /// Lengths of their prompts.
    pub prompt: Lengths,
    /// Tokens to generate for each.
    pub output: Lengths,
    /// Per cent of each prompt, from its first token on, that all have in common.
    pub shared: u32,
}

/// When a request comes, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// In an open loop, when it is due, from the start of the iteration on.
    pub due: Option<Nanos>,
    /// Tokens of its prompt.
    pub prompt: Tokens,
    /// How many of them, from the first one on, are those of all prompts.
    pub shared: Tokens,
    /// Tokens to generate.
    pub output: Tokens,
}

/// What numbers are drawn for, beside the words of an iteration, which take `0..2^64 − 2`.
const LENGTHS: u64 = u64::MAX;
const ARRIVALS: u64 = u64::MAX - 1;

impl Traffic {
    /// Its requests, in the order in which they come, without end: those of every iteration.
    pub fn requests(self, seed: u64) -> impl Iterator<Item = Wanted> {
        let mut lengths = Draw::new(seed, LENGTHS);
        let mut arrivals = Draw::new(seed, ARRIVALS);
        let mut clock = Nanos(0);
        (0_u64..).map(move |request| {
            let mut length = |of: Lengths| of.at(lengths.level(), lengths.normal());
            let (prompt, output) = (length(self.prompt), length(self.output));
            let due = match self.arrival {
                Arrival::Closed => None,
                Arrival::Fixed(rate) => Some(Nanos(rate.interval().0.saturating_mul(request))),
                Arrival::Poisson(rate) => {
                    let gap = rate.interval().0 as f64 * arrivals.exponential();
                    clock = Nanos(clock.0.saturating_add(gap as u64));
                    Some(clock)
                }
            };
            let shared = Tokens(prompt.0 * u64::from(self.shared.min(100)) / 100);
            Wanted { due, prompt, shared, output }
        })
    }
}

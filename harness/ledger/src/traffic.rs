//! The requests of a service: when each arrives, and how long it is. The caller chooses their
//! tokens.

use crate::case::{Arrival, Lengths};
use crate::draw::Draw;
use crate::unit::{Nanos, Tokens};

/// What the requests of a service have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// When they arrive.
    pub arrival: Arrival,
    /// The lengths of their prompts.
    pub prompt: Lengths,
    /// The numbers of tokens to generate.
    pub output: Lengths,
    /// The share of each prompt, in per cent from its first token on, that is common to all.
    pub shared: u32,
}

/// When a request arrives, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// In an open loop, when it is due, relative to the start of the iteration.
    pub due: Option<Nanos>,
    /// Tokens in its prompt.
    pub prompt: Tokens,
    /// How many of them, from the first one on, are common to all prompts.
    pub shared: Tokens,
    /// Tokens to generate.
    pub output: Tokens,
}

/// The random streams of lengths and arrival times; tokens are drawn from `0..2^64 − 2`.
const LENGTHS: u64 = u64::MAX;
const ARRIVALS: u64 = u64::MAX - 1;

impl Traffic {
    /// Its requests in order of arrival, without end, for all iterations.
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

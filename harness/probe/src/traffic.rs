//! Requests: the same for the same case, with other words in every iteration, so that no cache can
//! answer but the one that is measured.

use windtunnel_ledger::case::{Arrival, Lengths};
use windtunnel_ledger::{Nanos, Tokens};

use crate::draw::Draw;

/// One request to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming {
    /// In an open loop, when it is due, from the start of the iteration on.
    pub due: Option<Nanos>,
    /// Token ids of its prompt.
    pub prompt: Vec<u32>,
    /// Tokens to generate.
    pub output: usize,
}

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

/// The number of the request whose prompt is the beginning that all have in common.
const COMMON: u32 = u32::MAX;
/// What numbers are drawn for, beside the words of an iteration, which take `0..2^64 − 2`.
const LENGTHS: u64 = u64::MAX;
const ARRIVALS: u64 = u64::MAX - 1;

/// The prompt of one request: `length` token ids below `vocabulary`, drawn from the seed, the
/// iteration and the request alone.
#[must_use]
pub fn words(
    seed: u64,
    iteration: u32,
    request: u32,
    length: usize,
    vocabulary: usize,
) -> Vec<u32> {
    let mut draw = Draw::new(seed, u64::from(iteration) << 32 | u64::from(request));
    let vocabulary = vocabulary.max(1) as u64;
    (0..length).map(|_| (draw.next() % vocabulary) as u32).collect()
}

/// The requests of an iteration, in the order in which they come, without end. Lengths and moments
/// are those of every iteration; the words are its own.
pub fn coming(
    traffic: Traffic,
    seed: u64,
    iteration: u32,
    vocabulary: usize,
) -> impl Iterator<Item = Coming> {
    let mut lengths = Draw::new(seed, LENGTHS);
    let mut arrivals = Draw::new(seed, ARRIVALS);
    let mut clock = Nanos(0);
    (0_u32..).map(move |request| {
        let mut length = |of: Lengths| of.at(lengths.level(), lengths.normal());
        let (prompt, output) = (length(traffic.prompt), length(traffic.output));
        let due = match traffic.arrival {
            Arrival::Closed => None,
            Arrival::Fixed(rate) => {
                Some(Nanos(rate.interval().0.saturating_mul(u64::from(request))))
            }
            Arrival::Poisson(rate) => {
                let gap = rate.interval().0 as f64 * arrivals.exponential();
                clock = Nanos(clock.0.saturating_add(gap as u64));
                Some(clock)
            }
        };
        let shared = share(prompt, traffic.shared);
        let length = prompt.0 as usize;
        let mut prompt = words(seed, iteration, COMMON, shared, vocabulary);
        prompt.extend(words(seed, iteration, request, length - shared, vocabulary));
        Coming { due, prompt, output: output.0 as usize }
    })
}

/// `per_cent` of `length`, rounded down.
fn share(length: Tokens, per_cent: u32) -> usize {
    (length.0 * u64::from(per_cent.min(100)) / 100) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_differ_from_iteration_to_iteration_and_request_to_request() {
        let prompts = [
            words(1, 0, 0, 64, 1000),
            words(1, 1, 0, 64, 1000),
            words(1, 0, 1, 64, 1000),
            words(2, 0, 0, 64, 1000),
        ];
        for (i, a) in prompts.iter().enumerate() {
            assert!(a.iter().all(|token| *token < 1000));
            for b in &prompts[i + 1..] {
                let shared = a.windows(4).any(|part| b.windows(4).any(|other| part == other));
                assert!(!shared, "not even a piece is shared, wherever it stands");
            }
        }
        assert_eq!(prompts[0], words(1, 0, 0, 64, 1000));
    }

    #[test]
    fn a_vocabulary_of_one_word_is_no_panic() {
        assert_eq!(words(1, 0, 0, 2, 1), [0, 0]);
    }

    fn traffic(arrival: &str, prompt: &str, shared: u32) -> Traffic {
        Traffic {
            arrival: arrival.parse().unwrap(),
            prompt: prompt.parse().unwrap(),
            output: "uniform-4-8".parse().unwrap(),
            shared,
        }
    }

    fn first(n: usize, traffic: Traffic, iteration: u32) -> Vec<Coming> {
        coming(traffic, 1, iteration, 1000).take(n).collect()
    }

    #[test]
    fn every_iteration_meets_the_same_traffic_with_other_words() {
        let traffic = traffic("poisson-4", "lognormal-16-64", 0);
        let (a, b) = (first(50, traffic, 0), first(50, traffic, 1));
        for (a, b) in a.iter().zip(&b) {
            assert_eq!((a.due, a.prompt.len(), a.output), (b.due, b.prompt.len(), b.output));
            assert_ne!(a.prompt, b.prompt);
        }
        assert!(a.iter().any(|one| one.output != a[0].output));
        assert!(a.windows(2).all(|pair| pair[0].due <= pair[1].due));
    }

    #[test]
    fn open_loops_have_their_rate_and_closed_ones_no_moments() {
        let due =
            |arrival: &str| first(2000, traffic(arrival, "8", 0), 0).into_iter().map(|one| one.due);
        assert!(due("closed").all(|due| due.is_none()));
        let fixed: Vec<u64> = due("fixed-4").take(3).map(|due| due.unwrap().0).collect();
        assert_eq!(fixed, [0, 250_000_000, 500_000_000]);
        let last = due("poisson-4").next_back().unwrap().unwrap().seconds();
        assert!((450.0..550.0).contains(&last), "2,000 requests at 4 a second took {last} s");
    }

    #[test]
    fn prompts_share_as_much_of_their_beginning_as_they_should() {
        for (shared, expected) in [(0, 0), (50, 32), (100, 64)] {
            let two = first(2, traffic("closed", "64", shared), 0);
            let pairs = two[0].prompt.iter().zip(&two[1].prompt);
            assert_eq!(pairs.take_while(|(a, b)| a == b).count(), expected, "{shared} %");
        }
        let all = traffic("closed", "64", 100);
        assert_ne!(
            first(1, all, 0),
            first(1, all, 1),
            "an iteration finds nothing of the last one"
        );
    }
}

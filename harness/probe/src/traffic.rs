//! Requests: deterministic per case, with different tokens in every iteration, so that no cache but
//! the measured one can answer.

use windtunnel_ledger::case::{Arrival, Case, Lengths, Workload};
use windtunnel_ledger::draw::Draw;
use windtunnel_ledger::traffic::{Traffic, Wanted};
use windtunnel_ledger::{Nanos, Tokens};

/// One future request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming {
    /// In an open loop, when it is due, from the start of the iteration.
    pub due: Option<Nanos>,
    /// Token ids of its prompt.
    pub prompt: Vec<u32>,
    /// Tokens to generate.
    pub output: usize,
}

/// The request number from which the prefix shared by all prompts is drawn.
const COMMON: u32 = u32::MAX;

/// The prompt of one request: `length` token ids below `vocabulary`, drawn only from the seed, the
/// iteration and the request number.
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
    (0..length).map(|_| (draw.bits() % vocabulary) as u32).collect()
}

/// The prompts of an iteration of `case`, in order of submission. A soak ends by time, so its first
/// ones; workloads that read a text or a reference have none.
#[must_use]
pub fn prompts(case: &Case, iteration: u32, vocabulary: usize) -> Vec<Vec<u32>> {
    let shape = case.shape();
    let drawn = |lengths: &[Tokens]| -> Vec<Vec<u32>> {
        let one = |(request, length): (u32, &Tokens)| {
            words(case.seed, iteration, request, length.0 as usize, vocabulary)
        };
        (0..).zip(lengths).map(one).collect()
    };
    let come = |prompt, output, shared, requests: usize| -> Vec<Vec<u32>> {
        // The arrival times do not change the tokens.
        let traffic = Traffic { arrival: Arrival::Closed, prompt, output, shared };
        let coming = coming(traffic, case.seed, iteration, vocabulary);
        coming.take(requests).map(|coming| coming.prompt).collect()
    };
    match case.workload {
        Workload::Load
        | Workload::Prefill { .. }
        | Workload::Decode { .. }
        | Workload::Generate { .. } => drawn(&vec![shape.prompt; shape.batch as usize]),
        Workload::Context { shallow, depth, output: _ } => drawn(&[shallow, depth]),
        Workload::Idle { duration: _, requests } => drawn(&vec![shape.prompt; requests as usize]),
        Workload::Serve { requests, prompt, output, shared, .. } => {
            come(prompt, output, shared, requests as usize)
        }
        Workload::Embed { batch: _, requests, prompt } => {
            come(prompt, Lengths::Fixed(Tokens(1)), 0, requests as usize)
        }
        Workload::Soak { prompt, output, shared, .. } => come(prompt, output, shared, FIRST),
        Workload::Parity { .. } | Workload::Quality { .. } | Workload::Criterion => Vec::new(),
    }
}

/// How many prompts represent a soak.
const FIRST: usize = 32;

/// The requests of an iteration in order of arrival, without end. All iterations share lengths and
/// arrival times; the tokens differ.
pub fn coming(
    traffic: Traffic,
    seed: u64,
    iteration: u32,
    vocabulary: usize,
) -> impl Iterator<Item = Coming> {
    (0_u32..).zip(traffic.requests(seed)).map(move |(request, wanted)| {
        let Wanted { due, prompt, shared, output } = wanted;
        let words = |request, length: Tokens| {
            words(seed, iteration, request, length.0 as usize, vocabulary)
        };
        let own = Tokens(prompt.0 - shared.0);
        let prompt = [words(COMMON, shared), words(request, own)].concat();
        Coming { due, prompt, output: output.0 as usize }
    })
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

    #[test]
    fn the_prompts_of_a_case_are_those_that_come_whatever_the_moments() {
        let of = |workload: &str| -> Vec<Vec<u32>> {
            let case = format!(
                r#"{{"id":"a","workload":{workload},"model":{{"name":"m","source":{{"preset":"m"}}}},
                "dtype":"f32","kv":"contiguous","attention":"auto","step_tokens":512,"warmup":0,
                "iterations":1,"seed":1,"deadline":1}}"#
            );
            prompts(&serde_json::from_str(&case).unwrap(), 3, 1000)
        };
        let lengths = |prompts: &[Vec<u32>]| prompts.iter().map(Vec::len).collect::<Vec<_>>();
        let decode = of(r#"{"decode":{"depth":9,"output":4,"batch":2}}"#);
        assert_eq!(decode, [words(1, 3, 0, 9, 1000), words(1, 3, 1, 9, 1000)]);
        let context = of(r#"{"context":{"shallow":4,"depth":7,"output":4}}"#);
        assert_eq!(lengths(&context), [4, 7]);
        let serve = |arrival: &str| {
            of(&format!(
                r#"{{"serve":{{"arrival":"{arrival}","batch":2,"requests":5,"prompt":"uniform-8-16",
                "output":"uniform-4-8","shared":50,"slo":{{"time-to-first-token":1,
                "time-per-output-token":1,"end-to-end":1}}}}}}"#
            ))
        };
        let came = first(5, traffic("poisson-4", "uniform-8-16", 50), 3);
        let came: Vec<Vec<u32>> = came.into_iter().map(|coming| coming.prompt).collect();
        assert_eq!(serve("poisson-4"), came);
        assert_eq!(serve("closed"), came);
        assert_eq!(lengths(&of(r#"{"idle":{"duration":1,"requests":3}}"#)), [8, 8, 8]);
    }
}

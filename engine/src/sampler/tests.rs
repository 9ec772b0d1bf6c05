//! The chain against reference values, and its draws against the expected distribution.

use serde::Deserialize;

use super::candidates::{Left, filter};
use super::*;

#[derive(Deserialize)]
struct Golden {
    atol_logits: f64,
    atol_probs: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    steps: Vec<Step>,
    context: Vec<u32>,
    logits: Vec<f32>,
    processed: Vec<Option<f64>>,
    probs: Vec<f64>,
}

#[derive(Debug, Deserialize)]
struct Step {
    op: String,
    value: f64,
}

fn sampling(steps: &[Step]) -> Sampling {
    let mut sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };
    for Step { op, value } in steps {
        let number = *value as f32;
        match op.as_str() {
            "temperature" => sampling.temperature = number,
            "top_k" => sampling.top_k = Some(*value as usize),
            "top_p" => sampling.top_p = number,
            "min_p" => sampling.min_p = number,
            "repetition_penalty" => sampling.repetition_penalty = number,
            "presence_penalty" => sampling.presence_penalty = number,
            "frequency_penalty" => sampling.frequency_penalty = number,
            other => panic!("unknown step {other}"),
        }
    }
    sampling
}

/// The logits after penalties and bias, and each token's probability of being drawn.
fn distribution(sampling: &Sampling, logits: &[f32], context: &[u32]) -> (Vec<f32>, Vec<f64>) {
    let mut scratch = Scratch::default();
    let shaped = match Sampler::new(sampling.clone()).shape(logits, context, &mut scratch) {
        true => scratch.logits.clone(),
        false => logits.to_vec(),
    };
    let highest = cut::highest(&shaped).unwrap();
    let mut probabilities = vec![0.0; logits.len()];
    match filter(sampling, &shaped, highest, &mut scratch) {
        Left::All { total } => {
            for (probability, weight) in probabilities.iter_mut().zip(&scratch.weights) {
                *probability = f64::from(*weight) / total;
            }
        }
        Left::Kept { total } => {
            for kept in &scratch.kept {
                probabilities[kept.id as usize] = f64::from(kept.value) / total;
            }
        }
    }
    (shaped, probabilities)
}

#[test]
fn every_step_agrees_with_the_reference() {
    let json = include_str!("../../tests/golden/sampling/sampler.json");
    let golden: Golden = serde_json::from_str(json).unwrap();
    assert_eq!(golden.cases.len(), 28);
    for case in &golden.cases {
        let sampling = sampling(&case.steps);
        let (shaped, probabilities) = distribution(&sampling, &case.logits, &case.context);
        for id in 0..case.logits.len() {
            let (found, expected) = (probabilities[id], case.probs[id]);
            let what = format!("{:?}, token {id}", case.steps);
            assert!((found - expected).abs() <= golden.atol_probs, "{what}: {found} {expected}");
            match case.processed[id] {
                Some(expected) => {
                    let found = f64::from(shaped[id]) / f64::from(sampling.temperature);
                    let tolerance = golden.atol_logits * expected.abs().max(1.0);
                    assert!((found - expected).abs() <= tolerance, "{what}: {found} {expected}");
                }
                None => assert_eq!(found, 0.0, "{what} was to be removed"),
            }
        }
    }
}

/// Bell-shaped logits: a few likely tokens, a long tail.
fn logits(count: usize) -> Vec<f32> {
    let mut rng = Rng::new(99);
    let bell = |rng: &mut Rng| (0..12).map(|_| rng.uniform()).sum::<f64>() - 6.0;
    (0..count).map(|_| 2.0 * bell(&mut rng) as f32).collect()
}

/// The distribution that the chain should leave of a softmax, computed the slow way: sorted, in
/// f64.
fn expected(sampling: &Sampling, logits: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(sampling.top_k.unwrap_or(usize::MAX));
    let weight = |id: usize| f64::from(logits[id] / sampling.temperature).exp();
    let total: f64 = order.iter().map(|&id| weight(id)).sum();
    let highest = weight(order[0]);
    let mut before = 0.0;
    order.retain(|&id| {
        let stays = before < f64::from(sampling.top_p) * total;
        before += weight(id);
        stays && weight(id) >= f64::from(sampling.min_p) * highest
    });
    let total: f64 = order.iter().map(|&id| weight(id)).sum();
    let mut probabilities = vec![0.0; logits.len()];
    for id in order {
        probabilities[id] = weight(id) / total;
    }
    probabilities
}

/// Draws 10,000 tokens and tests their counts against the probabilities; tokens with fewer than 5
/// expected draws are pooled.
fn check(sampling: Sampling) {
    const DRAWS: u32 = 10_000;
    let logits = logits(3000);
    let expected = expected(&sampling, &logits);
    let mut counts = vec![0u32; logits.len()];
    let (mut sampler, mut scratch) = (Sampler::new(sampling.clone()), Scratch::default());
    for _ in 0..DRAWS {
        let drawn = sampler.sample(&logits, &[], &mut scratch).unwrap();
        counts[drawn.token as usize] += 1;
    }
    let mut cells = vec![(0.0, 0.0)];
    for (count, probability) in counts.into_iter().zip(expected) {
        assert!(probability > 0.0 || count == 0, "{sampling:?} drew what it had removed");
        let cell = (f64::from(count), probability * f64::from(DRAWS));
        if cell.1 >= 5.0 {
            cells.push(cell);
        } else {
            cells[0] = (cells[0].0 + cell.0, cells[0].1 + cell.1);
        }
    }
    cells.retain(|cell| cell.1 > 0.0);
    let chi2: f64 = cells.iter().map(|(n, expected)| (n - expected).powi(2) / expected).sum();
    let freedom = (cells.len() - 1) as f64;
    // The 99.9 % quantile, by the Wilson–Hilferty approximation.
    let part = 2.0 / (9.0 * freedom.max(1.0));
    let limit = freedom * (1.0 - part + 3.09 * part.sqrt()).powi(3);
    assert!(chi2 <= limit, "{sampling:?}: χ² of {chi2} with {freedom} degrees of freedom");
}

#[test]
fn draws_follow_the_softmax_on_every_path() {
    let plain = Sampling { temperature: 0.8, seed: 7, ..Sampling::GREEDY };
    check(plain.clone());
    check(Sampling { temperature: 1.7, ..plain.clone() });
    check(Sampling { top_k: Some(40), ..plain.clone() });
    check(Sampling { top_k: Some(1), ..plain.clone() });
    check(Sampling { top_p: 0.8, ..plain.clone() });
    check(Sampling { top_p: 0.999, temperature: 3.0, ..plain.clone() });
    check(Sampling { min_p: 0.05, ..plain.clone() });
    check(Sampling { top_k: Some(50), top_p: 0.9, ..plain.clone() });
    check(Sampling { top_k: Some(50), min_p: 0.1, ..plain.clone() });
    check(Sampling { top_p: 0.95, min_p: 0.02, ..plain.clone() });
    check(Sampling { top_k: Some(200), top_p: 0.95, min_p: 0.02, ..plain });
}

fn draw(logits: &[f32], sampling: Sampling) -> Result<u32, NoToken> {
    let drawn = Sampler::new(sampling).sample(logits, &[0, 0, 1], &mut Scratch::default());
    drawn.map(|drawn| drawn.token)
}

#[test]
fn greedy_ties_go_to_the_lowest_id() {
    assert_eq!(draw(&[1.0, 3.0, 3.0], Sampling::GREEDY), Ok(1));
    let mut many = vec![0.0; 1000];
    many[700] = 5.0;
    many[701] = 5.0;
    assert_eq!(draw(&many, Sampling::GREEDY), Ok(700));
}

#[test]
fn logits_that_are_not_finite_are_refused() {
    let mut long = vec![0.0; 1000];
    long[999] = f32::NAN;
    for logits in [&[f32::NAN, 1.0][..], &[1.0, f32::NAN], &[f32::NEG_INFINITY; 3], &[], &long] {
        for temperature in [0.0, 1.0] {
            let sampling = Sampling { temperature, ..Sampling::GREEDY };
            assert_eq!(draw(logits, sampling), Err(NoToken::NotFinite));
        }
    }
}

#[test]
fn a_token_of_minus_infinity_is_never_drawn() {
    let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
    for (seed, top_k) in (0..100).zip([None, Some(2)].into_iter().cycle()) {
        let sampling = Sampling { temperature: 2.0, seed, top_k, ..Sampling::GREEDY };
        assert_eq!(draw(&logits, sampling), Ok(1));
    }
}

#[test]
fn a_tiny_temperature_is_greedy_and_not_a_nan() {
    let sampling = Sampling { temperature: 1e-40, top_p: 0.9, ..Sampling::GREEDY };
    assert_eq!(draw(&[1.0, 1.5, -2.0], sampling), Ok(1));
}

#[test]
fn bias_and_penalties_reach_the_greedy_choice() {
    let logits = [3.0, 2.0, 1.0];
    let ban = Sampling { logit_bias: vec![(0, f32::NEG_INFINITY)], ..Sampling::GREEDY };
    assert_eq!(draw(&logits, ban), Ok(1));
    let presence = Sampling { presence_penalty: 2.5, ..Sampling::GREEDY };
    assert_eq!(draw(&logits, presence), Ok(2));
    let all = (0..3).map(|id| (id, f32::NEG_INFINITY)).collect();
    let none = Sampling { logit_bias: all, ..Sampling::GREEDY };
    assert_eq!(draw(&logits, none), Err(NoToken::NoneLeft));
}

#[test]
fn counts_follow_a_context_that_grows() {
    let sampling = Sampling { frequency_penalty: 1.0, ..Sampling::GREEDY };
    let (mut sampler, mut scratch) = (Sampler::new(sampling), Scratch::default());
    let mut context = vec![2];
    for expected in [0, 1, 2, 0] {
        let token = sampler.sample(&[3.5, 3.0, 3.6], &context, &mut scratch).unwrap().token;
        assert_eq!(token, expected, "after {context:?}");
        context.push(token);
    }
}

#[test]
fn logprobs_are_those_of_the_model_whatever_the_chain_did() {
    let logits = logits(500);
    let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
    let mut order: Vec<u32> = (0..500).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    for top in [0, 1, 5, 500, 9999] {
        let sampling = Sampling {
            temperature: 0.3,
            top_k: Some(4),
            frequency_penalty: 2.0,
            logprobs: Some(top),
            ..Sampling::GREEDY
        };
        for sampling in [Sampling { temperature: 0.0, ..sampling.clone() }, sampling] {
            let mut scratch = Scratch::default();
            let context = [order[0], order[0]];
            let drawn = Sampler::new(sampling).sample(&logits, &context, &mut scratch).unwrap();
            let Logprobs { chosen, top: found } = drawn.logprobs.unwrap();
            let truth = |id: u32| (f64::from(logits[id as usize]).exp() / total).ln();
            assert!((f64::from(chosen) - truth(drawn.token)).abs() < 1e-5);
            assert_eq!(found.len(), top.min(500));
            for ((id, logprob), expected) in found.into_iter().zip(&order) {
                assert_eq!(id, *expected);
                assert!((f64::from(logprob) - truth(id)).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_draws_again() {
    let draw = |seed| {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::GREEDY };
        let (mut sampler, mut scratch) = (Sampler::new(sampling), Scratch::default());
        let mut next = || sampler.sample(&[0.0; 50], &[], &mut scratch).unwrap().token;
        (0..32).map(|_| next()).collect::<Vec<_>>()
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
}

#[test]
fn only_the_plain_choice_of_the_likeliest_can_be_left_to_others() {
    let takes = |sampling: Sampling| Sampler::new(sampling).takes_the_likeliest();
    assert!(takes(Sampling::GREEDY));
    // Candidate filters do not change which token is the most likely.
    assert!(takes(Sampling {
        top_k: Some(3),
        top_p: 0.5,
        min_p: 0.1,
        seed: 9,
        ..Sampling::GREEDY
    }));
    for other in [
        Sampling { temperature: 0.1, ..Sampling::GREEDY },
        Sampling { frequency_penalty: 0.1, ..Sampling::GREEDY },
        Sampling { presence_penalty: 0.1, ..Sampling::GREEDY },
        Sampling { repetition_penalty: 1.1, ..Sampling::GREEDY },
        Sampling { logit_bias: vec![(1, 1.0)], ..Sampling::GREEDY },
        Sampling { logprobs: Some(0), ..Sampling::GREEDY },
        Sampling { dry: Dry { multiplier: 0.8, ..Dry::OFF }, ..Sampling::GREEDY },
    ] {
        assert!(!takes(other.clone()), "{other:?}");
    }
}

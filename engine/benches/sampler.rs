//! The cost of choosing a token, with Qwen's vocabulary and on one core.
//!
//! `cargo bench -p windtunnel-engine --bench sampler`. `everything` is penalties, bias,
//! temperature, top-k, top-p, min-p and twenty log probabilities, and must stay below 0.5 ms. The
//! last two cases are the hard ones: nearly equal logits, of which top-p keeps almost all, and
//! ascending logits, where every token is a candidate when top-k reaches it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use windtunnel_engine::sampler::{Rng, Sampler, Scratch};
use windtunnel_engine::{Dry, Sampling};

const VOCABULARY: usize = 151_936;
/// Tokens that the penalties look at.
const CONTEXT: usize = 2048;

/// Bell-shaped logits with this standard deviation.
fn bell(deviation: f64) -> Vec<f32> {
    let mut rng = Rng::new(5);
    let mut normal = || (0..12).map(|_| rng.uniform()).sum::<f64>() - 6.0;
    (0..VOCABULARY).map(|_| (deviation * normal()) as f32).collect()
}

fn sampler(c: &mut Criterion) {
    let mut rng = Rng::new(6);
    let context: Vec<u32> =
        (0..CONTEXT).map(|_| (rng.uniform() * VOCABULARY as f64) as u32).collect();
    let warm = Sampling { temperature: 0.8, ..Sampling::GREEDY };
    let everything = Sampling {
        top_k: Some(50),
        top_p: 0.95,
        min_p: 0.05,
        frequency_penalty: 0.2,
        presence_penalty: 0.3,
        repetition_penalty: 1.1,
        logit_bias: (0..300).map(|id| (id * 7, 0.5)).collect(),
        logprobs: Some(20),
        ..warm.clone()
    };
    let dry = Dry { multiplier: 0.8, ..Dry::OFF };
    let (usual, flat) = (bell(2.5), bell(0.1));
    let ascending: Vec<f32> = (0..VOCABULARY).map(|id| id as f32 / 1e4).collect();

    let mut group = c.benchmark_group("sampler");
    group.sample_size(20).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(800));
    for (name, logits, sampling) in [
        ("greedy", &usual, Sampling::GREEDY),
        ("greedy, logprobs", &usual, Sampling { logprobs: Some(20), ..Sampling::GREEDY }),
        ("temperature", &usual, warm.clone()),
        ("top-k", &usual, Sampling { top_k: Some(50), ..warm.clone() }),
        ("top-p", &usual, Sampling { top_p: 0.95, ..warm.clone() }),
        ("min-p", &usual, Sampling { min_p: 0.05, ..warm.clone() }),
        ("everything", &usual, everything.clone()),
        ("everything, without top-k", &usual, Sampling { top_k: None, ..everything.clone() }),
        ("everything, dry", &usual, Sampling { dry, ..everything }),
        ("top-p, flat", &flat, Sampling { top_p: 0.95, ..warm.clone() }),
        ("top-k, ascending", &ascending, Sampling { top_k: Some(50), ..warm }),
    ] {
        let (mut sampler, mut scratch) = (Sampler::new(sampling), Scratch::default());
        group.bench_function(name, |b| {
            b.iter(|| black_box(sampler.sample(logits, &context, &mut scratch)));
        });
    }
    group.finish();
}

criterion_group!(benches, sampler);
criterion_main!(benches);

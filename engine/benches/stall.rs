//! The effect of a long prompt on running answers: the worst gap between two of their tokens while
//! it is computed.
//!
//! `cargo bench -p windtunnel-engine --bench stall`. Each iteration is such a gap. `chunks` shares
//! the budget of a step between the decodes and a chunk of the prompt; `whole` has a budget that
//! takes the prompt in one step; `undisturbed` is the worst gap of as many steps without it.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, ModelSource, PrefixCache, QuantPlan, Request,
    Topology,
};

/// Sequences that decode.
const DECODES: usize = 4;
/// Tokens of the arriving prompt.
const PROMPT: usize = 1024;
/// Tokens of a chunk, and of the decodes beside it.
const CHUNK: usize = 64;
/// Longest sequence.
const LENGTH: usize = 2 * PROMPT;

fn load(step_tokens: usize) -> Engine {
    Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: "tiny-llama".into(), seed: 1 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().expect("a device map"),
        topology: Topology::NONE,
        kv: "paged-32".parse().expect("a layout"),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: (DECODES + 1) * LENGTH,
        max_step_tokens: step_tokens,
        max_sequences: DECODES + 1,
        max_sequence_length: Some(LENGTH),
    })
    .expect("presets load")
}

fn request(prompt: usize, max_tokens: usize) -> Request {
    Request::exactly((0..prompt as u32).map(|at| at * 13 % 997).collect(), max_tokens)
}

/// The worst gap between tokens of the decodes while `prompt` arrives, over as many steps as its
/// chunks take. A decode gets a token in every step, so a gap is a step.
fn worst_gap(engine: &mut Engine, prompt: Option<Request>) -> Duration {
    let decodes: Vec<_> = (0..DECODES)
        .map(|_| engine.submit(request(8, LENGTH - 8)).expect("the cache holds it"))
        .collect();
    engine.step();
    if let Some(prompt) = prompt {
        engine.submit(prompt).expect("the cache holds it");
    }
    let mut worst = Duration::ZERO;
    for _ in 0..PROMPT.div_ceil(CHUNK - DECODES) {
        let start = Instant::now();
        let report = engine.step().report;
        worst = worst.max(start.elapsed());
        assert_eq!(report.decoded, DECODES, "a decode stood still");
    }
    assert_eq!(engine.stats().running, DECODES, "the prompt is not through");
    decodes.into_iter().for_each(|id| drop(engine.cancel(id)));
    worst
}

fn stall(c: &mut Criterion) {
    let mut group = c.benchmark_group("stall");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    for (name, step_tokens, prompt) in [
        ("undisturbed", CHUNK, None),
        ("chunks", CHUNK, Some(request(PROMPT, 1))),
        ("whole", PROMPT + DECODES, Some(request(PROMPT, 1))),
    ] {
        let mut engine = load(step_tokens);
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                (0..rounds).map(|_| worst_gap(&mut engine, prompt.clone())).sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stall);
criterion_main!(benches);

//! The cost of the engine's telemetry, beside the cheapest step that it reports on.
//!
//! `cargo bench -p windtunnel-engine --bench telemetry`. `step` is a decode step of tiny-llama at
//! batch 1; `account` is the telemetry of one: six readings of the clock, spans that nobody listens
//! to (six of the step, and those of its four layers), a report, and adding it up. It must stay
//! below 0.5 % of the step.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tracing::{debug_span, trace_span};
use windtunnel_engine::telemetry::Stopwatch;
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Eos, KvLayout, ModelSource, PrefixCache,
    QuantPlan, Request, Sampling, Stages, Stats, StepReport, Topology, Truncation,
};

/// Spans of tiny-llama's layers: 19 per layer, 6 beside them.
const SPANS: usize = 4 * 19 + 6;
/// Longest sequence.
const LENGTH: usize = 192;

fn step(c: &mut Criterion) {
    let mut engine = Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: "tiny-llama".into(), seed: 1 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().expect("a device map"),
        topology: Topology::NONE,
        kv: KvLayout::Contiguous,
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: LENGTH,
        max_step_tokens: LENGTH,
        max_sequences: 1,
        max_sequence_length: Some(LENGTH),
    })
    .expect("presets load");
    c.bench_function("telemetry/step", |b| {
        b.iter_custom(|steps| {
            let mut time = Duration::ZERO;
            for _ in 0..steps {
                if engine.is_idle() {
                    let request = Request {
                        prompt: (0..LENGTH as u32 / 2).collect(),
                        max_tokens: None,
                        sampling: Sampling::GREEDY,
                        stop: Vec::new(),
                        eos: Eos::Ignore,
                        truncation: Truncation::Refuse,
                        choices: 1,
                        prefix_cache: PrefixCache::Off,
                    };
                    engine.submit(request).expect("the cache holds it");
                    engine.step();
                }
                let start = Instant::now();
                black_box(engine.step());
                time += start.elapsed();
            }
            time
        });
    });
}

fn account(c: &mut Criterion) {
    let mut stats = Stats::default();
    c.bench_function("telemetry/account", |b| {
        b.iter(|| {
            let span = debug_span!("step");
            let _entered = span.enter();
            let mut watch = Stopwatch::start();
            let mut lap = || {
                let tokens = black_box(1);
                debug_span!("stage", tokens).in_scope(|| black_box(()));
                watch.lap()
            };
            let stages = Stages {
                schedule: lap(),
                batch: lap(),
                forward: lap(),
                sample: lap(),
                commit: lap(),
            };
            for _ in 0..SPANS {
                trace_span!("part").in_scope(|| black_box(()));
            }
            let report = StepReport { stages, decoded: 1, running: 1, ..StepReport::default() };
            stats.add(black_box(&report));
        });
    });
    black_box(stats);
}

criterion_group!(benches, step, account);
criterion_main!(benches);

//! The bare loop over [`Engine::step`]: the reference for rates measured through the probe.
//!
//! `cargo bench -p windtunnel-engine --bench decode`. Each iteration is one decode step of a whole
//! batch at about `DEPTH`; the throughput is in tokens per second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, KvLayout, ModelSource, PrefixCache, QuantPlan,
    Request, RequestId, Topology,
};

/// Tokens in the cache when measuring starts.
const DEPTH: usize = 128;
/// Decode steps before the sequences are replaced by fresh ones.
const STEPS: usize = 64;

fn load(preset: &str, dtype: Dtype, quant: &str, batch: usize) -> Engine {
    let length = DEPTH + STEPS + 2;
    Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 1 },
        dtype,
        quant: QuantPlan::uniform(quant.parse().expect("a quantisation")),
        devices: "cpu:0".parse().expect("a device map"),
        topology: Topology::NONE,
        kv: KvLayout::Contiguous,
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: batch * length,
        max_step_tokens: batch * DEPTH,
        max_sequences: batch,
        max_sequence_length: Some(length),
    })
    .expect("presets load")
}

/// Fresh sequences at `DEPTH`, all of them decoding; returns the last one.
fn fill(engine: &mut Engine, batch: usize, round: u32) -> RequestId {
    let mut last = RequestId(0);
    for sequence in 0..batch as u32 {
        let salt = round * 31 + sequence * 7;
        let request =
            Request::exactly((0..DEPTH as u32).map(|i| (i * 13 + salt) % 997).collect(), STEPS + 1);
        last = engine.submit(request).expect("the cache holds the batch");
    }
    engine.step();
    last
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for (preset, dtype, quant, batch) in [
        ("tiny-llama", Dtype::F32, "none", 1),
        ("tiny-llama", Dtype::F32, "none", 8),
        ("qwen2.5-0.5b", Dtype::F32, "none", 1),
        ("qwen2.5-0.5b", Dtype::F32, "none", 8),
        ("qwen2.5-0.5b", Dtype::Bf16, "none", 1),
        ("qwen2.5-0.5b", Dtype::Bf16, "none", 8),
        ("qwen2.5-0.5b", Dtype::F32, "q8_0", 1),
        ("qwen2.5-0.5b", Dtype::F32, "q4k", 1),
        ("qwen2.5-0.5b", Dtype::F32, "q4k", 8),
        ("qwen2.5-0.5b", Dtype::Bf16, "q4k", 1),
    ] {
        let mut engine = load(preset, dtype, quant, batch);
        let mut round = 0;
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(
            BenchmarkId::new(preset, format!("{dtype}/{quant}/batch-{batch}")),
            |b| {
                b.iter_custom(|steps| {
                    let mut time = Duration::ZERO;
                    for _ in 0..steps {
                        if engine.is_idle() {
                            fill(&mut engine, batch, round);
                            round += 1;
                        }
                        let start = Instant::now();
                        black_box(engine.step());
                        time += start.elapsed();
                    }
                    time
                });
            },
        );
    }
    group.finish();
}

/// One step that computes a whole prompt.
fn prefill(c: &mut Criterion) {
    let mut group = c.benchmark_group("prefill");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for (dtype, quant) in
        [(Dtype::F32, "none"), (Dtype::Bf16, "none"), (Dtype::F32, "q8_0"), (Dtype::F32, "q4k")]
    {
        let preset = "qwen2.5-0.5b";
        let mut engine = load(preset, dtype, quant, 1);
        let mut round = 0;
        group.throughput(Throughput::Elements(DEPTH as u64));
        group.bench_function(BenchmarkId::new(preset, format!("{dtype}/{quant}/{DEPTH}")), |b| {
            b.iter(|| {
                let id = fill(&mut engine, 1, round);
                round += 1;
                black_box(engine.cancel(id));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, prefill);
criterion_main!(benches);

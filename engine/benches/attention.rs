//! The cost of attention on the CPU: each backend, on the shapes of real steps.
//!
//! `cargo bench -p windtunnel-engine --bench attention`. `decode` has one new token in each
//! sequence, `prefill` a whole prompt or the last chunk of a long one; `plain` heads have their own
//! keys, while with `gqa` several heads share them. The elements are scores: pairs of a query and a
//! key that it sees, over all heads. `naive` is there for comparison, on shapes that it finishes in
//! time.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windtunnel_engine::KvLayout;
use windtunnel_engine::attention::{Mask, backends_for};
use windtunnel_engine::kv::KvView;
use windtunnel_engine::weights::{Random, Source};

#[path = "support/tables.rs"]
mod tables;

use tables::{Step, heads};

/// Query heads, key heads and head dim: those of qwen2.5-0.5b, and as many without sharing.
const HEADS: [(&str, [usize; 3]); 2] = [("gqa", [14, 2, 64]), ("plain", [14, 14, 64])];

const DECODES: [Step; 4] = [
    Step { sequences: 1, queries: 1, keys: 128 },
    Step { sequences: 1, queries: 1, keys: 2048 },
    Step { sequences: 8, queries: 1, keys: 128 },
    Step { sequences: 8, queries: 1, keys: 1024 },
];
const PREFILLS: [Step; 3] = [
    Step { sequences: 1, queries: 128, keys: 128 },
    Step { sequences: 4, queries: 64, keys: 64 },
    Step { sequences: 1, queries: 128, keys: 1024 },
];
/// Above this many scores `naive`, which writes them all to memory, only takes time.
const NAIVE: u64 = 1 << 22;

fn random(name: &str, shape: &[usize]) -> Tensor {
    Random::new(1).tensor(name, shape, DType::F32, &Device::Cpu).expect("random numbers")
}

/// Pairs of a query and a key that it sees.
fn scores(Step { sequences, queries, keys }: Step, heads: usize) -> u64 {
    let seen: usize = (keys - queries..keys).map(|position| position + 1).sum();
    (sequences * heads * seen) as u64
}

fn attend(c: &mut Criterion, kind: &str, steps: &[Step]) {
    let mut group = c.benchmark_group(format!("attention/{kind}"));
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(800));
    for (sharing, shape) in HEADS {
        for &step in steps {
            let Step { sequences, queries, keys } = step;
            let heads = heads(shape);
            let q = random("q", &[sequences * queries, heads.heads, heads.dim]);
            group.throughput(Throughput::Elements(scores(step, heads.heads)));
            for layout in ["contiguous", "paged-16"] {
                let layout: KvLayout = layout.parse().expect("a layout");
                let block = match layout {
                    KvLayout::Contiguous => keys,
                    KvLayout::Paged { block } => block.get(),
                };
                let tables = step.tables(block);
                let pool = [step.blocks(block), block, heads.kv_heads, heads.dim];
                let (k, v) = (random("k", &pool), random("v", &pool));
                let view = KvView {
                    keys: &k,
                    values: &v,
                    heads: &heads,
                    tables: &tables,
                    on_device: None,
                };
                for backend in backends_for(&Device::Cpu) {
                    let runs = backend.supports(&heads, layout, &Device::Cpu, DType::F32).is_ok();
                    let slow = backend.name() == "naive" && scores(step, heads.heads) > NAIVE;
                    if !runs || slow {
                        continue;
                    }
                    let name = format!("{}/{layout}", backend.name());
                    let shape = format!("{sharing}/{sequences}x{queries}of{keys}");
                    group.bench_function(BenchmarkId::new(name, shape), |b| {
                        b.iter(|| black_box(backend.attend(&q, &view, Mask::Causal)));
                    });
                }
            }
        }
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    attend(c, "decode", &DECODES);
}

fn prefill(c: &mut Criterion) {
    attend(c, "prefill", &PREFILLS);
}

criterion_group!(benches, decode, prefill);
criterion_main!(benches);

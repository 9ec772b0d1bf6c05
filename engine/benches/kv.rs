//! The cost of storing a step's keys and values in the cache, and of gathering those of all
//! sequences, as backends without paging need them.
//!
//! `cargo bench -p windtunnel-engine --bench kv`. One layer in the shape of qwen2.5-0.5b; the bytes
//! are those of the keys and values moved.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windtunnel_engine::attention::Heads;
use windtunnel_engine::blocks::{Capacity, PoolSize, Reach};
use windtunnel_engine::kv::{KvShape, KvStore};
use windtunnel_engine::placement::Placement;
use windtunnel_engine::weights::{Random, Source};

#[path = "support/tables.rs"]
mod tables;

use tables::{Step, heads};

const SHAPE: [usize; 3] = [14, 2, 64];
/// A batch of decodes, a whole prompt, and a chunk of a long one.
const STEPS: [(&str, Step); 3] = [
    ("decode", Step { sequences: 8, queries: 1, keys: 1024 }),
    ("prompt", Step { sequences: 1, queries: 512, keys: 512 }),
    ("chunk", Step { sequences: 1, queries: 128, keys: 2048 }),
];
const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

/// A cache of one layer that holds `step` in blocks of `block` tokens.
fn store(heads: &Heads, step: Step, block: usize, dtype: DType) -> KvStore {
    let pools = vec![PoolSize { reach: Reach::Everything, blocks: step.blocks(block) }];
    let capacity = Capacity { block, step_tokens: step.sequences * step.queries, pools };
    let shape = KvShape { capacity, layers: vec![0] };
    KvStore::new(heads, &shape, dtype, &Placement::cpu()).expect("there is room for one layer")
}

fn kv(c: &mut Criterion) {
    let heads = heads(SHAPE);
    let mut group = c.benchmark_group("kv");
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(600));
    for (name, step) in STEPS {
        for (layout, block) in [("contiguous", step.keys), ("paged-16", 16)] {
            for dtype in DTYPES {
                let tokens = step.sequences * step.queries;
                let width = 2 * heads.kv_heads * heads.dim * dtype.size_in_bytes();
                let new = |name: &str| -> Tensor {
                    let shape = [tokens, heads.kv_heads, heads.dim];
                    Random::new(1).tensor(name, &shape, dtype, &Device::Cpu).expect("numbers")
                };
                let (k, v) = (new("k"), new("v"));
                let tables = step.tables(block);
                let store = store(&heads, step, block, dtype);
                let id = |what: &str| {
                    BenchmarkId::new(format!("{what}/{layout}/{}", dtype.as_str()), name)
                };
                group.throughput(Throughput::Bytes((tokens * width) as u64));
                group.bench_function(id("write"), |b| {
                    b.iter(|| store.write(0, &k, &v, &tables.runs, None).expect("it fits"));
                });
                group.throughput(Throughput::Bytes((step.sequences * step.keys * width) as u64));
                let view = store.view(0, &heads, &tables, None);
                group.bench_function(id("gather"), |b| b.iter(|| black_box(view.packed())));
            }
        }
    }
    group.finish();
}

criterion_group!(benches, kv);
criterion_main!(benches);

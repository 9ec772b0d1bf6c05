//! Our matrix products against candle's, on the shapes of a 0.5B model.
//!
//! `cargo bench -p windtunnel-engine --bench linear`. The figures decide how many rows
//! `layers/linear/cpu.rs` streams before it hands over to `gemm`.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windtunnel_engine::layers::linear::Linear;
use windtunnel_engine::weights::{Random, Source};

fn linear(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    for (rows, inputs, outputs) in [
        (1, 896, 4864),
        (1, 896, 151_936),
        (4, 896, 4864),
        (8, 896, 4864),
        (16, 896, 4864),
        (24, 896, 4864),
        (512, 896, 4864),
    ] {
        let shape = format!("{rows}x{inputs}x{outputs}");
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let random = |name, shape: &[usize]| {
                Random::new(1).tensor(name, shape, dtype, &Device::Cpu).expect("random numbers")
            };
            let (x, w) = (random("x", &[rows, inputs]), random("w", &[outputs, inputs]));
            group.throughput(Throughput::Bytes((outputs * inputs * dtype.size_in_bytes()) as u64));
            let ours = Linear::new(w.clone(), None);
            let id = BenchmarkId::new(format!("ours/{}", dtype.as_str()), &shape);
            group.bench_function(id, |b| b.iter(|| black_box(ours.forward(&x))));
            // candle widens a whole bf16 matrix at every product: minutes, and nothing to learn.
            if dtype == DType::F32 {
                let id = BenchmarkId::new("candle/f32", &shape);
                let candle = |x: &Tensor| x.matmul(&w.t()?);
                group.bench_function(id, |b| b.iter(|| black_box(candle(&x))));
            }
        }
    }
    group.finish();
}

criterion_group!(benches, linear);
criterion_main!(benches);

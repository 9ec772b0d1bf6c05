//! Our matrix products against candle's, on the shapes of a 0.5B model.
//!
//! `cargo bench -p windtunnel-engine --bench linear`. The figures decide up to how many rows
//! `layers/linear/cpu.rs` streams before it switches to `gemm`, and which block formats it reads
//! with its own kernels.

use std::hint::black_box;
use std::time::Duration;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windtunnel_engine::QuantType;
use windtunnel_engine::layers::linear::{Linear, Matrix};
use windtunnel_engine::quant::Quantised;
use windtunnel_engine::weights::{Random, Source};

const SHAPES: [[usize; 3]; 8] = [
    [1, 896, 4864],
    [1, 896, 151_936],
    [4, 896, 4864],
    [8, 896, 4864],
    [16, 896, 4864],
    [24, 896, 4864],
    [512, 896, 4864],
    // The only one whose rows are whole blocks of 256.
    [1, 4864, 896],
];

fn random(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    Random::new(1).tensor(name, shape, dtype, &Device::Cpu).expect("random numbers")
}

fn dense(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    for [rows, inputs, outputs] in SHAPES {
        let shape = format!("{rows}x{inputs}x{outputs}");
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let (x, w) =
                (random("x", &[rows, inputs], dtype), random("w", &[outputs, inputs], dtype));
            group.throughput(Throughput::Bytes((outputs * inputs * dtype.size_in_bytes()) as u64));
            let ours = Linear::new(Matrix::Dense(w.clone()), None);
            let id = BenchmarkId::new(format!("ours/{}", dtype.as_str()), &shape);
            group.bench_function(id, |b| b.iter(|| black_box(ours.forward(&x))));
            // candle converts a whole bf16 matrix for every product: minutes, and nothing to learn.
            if dtype == DType::F32 {
                let id = BenchmarkId::new("candle/f32", &shape);
                let candle = |x: &Tensor| x.matmul(&w.t()?);
                group.bench_function(id, |b| b.iter(|| black_box(candle(&x))));
            }
        }
    }
    group.finish();
}

fn blocks(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    for [rows, inputs, outputs] in SHAPES {
        let shape = format!("{rows}x{inputs}x{outputs}");
        let x = random("x", &[rows, inputs], DType::F32);
        let w = random("w", &[outputs, inputs], DType::F32);
        for kind in QuantType::ALL.into_iter().filter(|kind| inputs % kind.block() == 0) {
            group.throughput(Throughput::Bytes(kind.bytes(outputs, inputs)));
            let ours = Quantised::of(kind, &w, &Device::Cpu).expect("whole blocks");
            let ours = Linear::new(Matrix::Quantised(ours), None);
            let id = BenchmarkId::new(format!("ours/{kind}"), &shape);
            group.bench_function(id, |b| b.iter(|| black_box(ours.forward(&x))));
            // candle also rounds `x` to 8 bits, so it has less to do.
            let candle = QTensor::quantize(&w, kind.candle()).expect("whole blocks");
            let id = BenchmarkId::new(format!("candle/{kind}"), &shape);
            group.bench_function(id, |b| b.iter(|| black_box(x.apply_op1_no_bwd(&candle))));
        }
    }
    group.finish();
}

criterion_group!(benches, dense, blocks);
criterion_main!(benches);

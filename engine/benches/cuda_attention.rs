//! The cost of flash attention on a GPU, on the shapes of `tools/time_torch_attention.py`.
//!
//! `cargo bench -p windtunnel-engine --features flash-attn --bench cuda_attention`. Both print the
//! same rows; here the keys are in blocks of 32 tokens. A row is the median of many launches, by
//! the GPU's own clock, including the allocation of the output.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags;
use candle_core::{DType, Device, Result, Tensor};
use windtunnel_engine::DeviceName;
use windtunnel_engine::attention::{Attention, CudaFlash, Mask};
use windtunnel_engine::kv::{DeviceTables, KvView};

#[path = "support/tables.rs"]
mod tables;

use tables::Step;

/// Query heads, key heads and head dim of qwen3-0.6b, llama-3.2-1b and mistral-7b.
const HEADS: [[usize; 3]; 3] = [[16, 8, 128], [32, 8, 64], [32, 8, 128]];
/// Sequences, and queries and keys of each.
const STEPS: [[usize; 3]; 5] =
    [[1, 1, 1024], [64, 1, 1024], [1, 1, 131_072], [1, 2048, 2048], [1, 8192, 8192]];
const BLOCK: usize = 32;
const LAUNCHES: usize = 50;
const WARM_UP: usize = 5;

#[expect(clippy::print_stdout, reason = "this is what a bench is for")]
fn main() {
    let device = match DeviceName::Cuda(0).open() {
        Ok(device) => device,
        Err(error) => return println!("skipped: there is no GPU to time ({error})"),
    };
    println!("{:>14} {:>10} {:>8} {:>8} {:>10}", "heads", "sequences", "queries", "keys", "µs");
    for heads in HEADS {
        for step in STEPS {
            let shape = heads.map(|number| number.to_string()).join("/");
            let [sequences, queries, keys] = step;
            let time = match microseconds(heads, step, &device) {
                Ok(time) => format!("{time:.1}"),
                Err(error) => error.to_string(),
            };
            println!("{shape:>14} {sequences:>10} {queries:>8} {keys:>8} {time:>10}");
        }
    }
}

/// The median time of a launch.
fn microseconds(
    shape: [usize; 3],
    [sequences, queries, keys]: [usize; 3],
    device: &Device,
) -> Result<f64> {
    let [heads, kv_heads, dim] = shape;
    let step = Step { sequences, queries, keys };
    let tables = step.tables(BLOCK);
    let on_device = DeviceTables::upload(std::slice::from_ref(&tables), device)?;
    let numbers = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, device)?.to_dtype(DType::BF16);
    let pool = [step.blocks(BLOCK), BLOCK, kv_heads, dim];
    let (k, v) = (numbers(&pool)?, numbers(&pool)?);
    let q = numbers(&[sequences * queries, heads, dim])?;
    let heads = tables::heads(shape);
    let view = KvView {
        keys: &k,
        values: &v,
        heads: &heads,
        tables: &tables,
        on_device: on_device.first(),
    };
    let stream = device.as_cuda_device()?.cuda_stream();
    let now = || stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w();
    let mut times = Vec::with_capacity(LAUNCHES);
    for launch in 0..WARM_UP + LAUNCHES {
        let start = now()?;
        let out = CudaFlash.attend(&q, &view, Mask::Causal)?;
        let end = now()?;
        if launch >= WARM_UP {
            times.push(f64::from(start.elapsed_ms(&end).w()?) * 1e3);
        }
        drop(out);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[LAUNCHES / 2])
}

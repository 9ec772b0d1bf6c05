//! [`Roof`]: the highest rates at which this machine moves and multiplies numbers, as far as this
//! process and its threads can find out.
//!
//! A step's [`Demand`](crate::telemetry::Demand) divided by these rates is the time that nothing
//! can beat here: the roofline of Williams, Waterman and Patterson (2009). The arrays are larger
//! than caches, and the products use the fastest kernel available; each figure is the best of
//! several, since other activity can only slow them down.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::cuda::driver;
use crate::error::Result;
use crate::layers::linear::{Linear, Matrix};
use crate::weights::{Random, Source};

/// Bytes of an array: more than the caches of one socket, and little beside any memory.
const ARRAY: usize = 256 << 20;
/// Bytes that a thread processes at a time.
const PIECE: usize = 1 << 20;
/// Number of timed runs.
const TRIES: usize = 5;
/// Bytes of an array on an accelerator: far beyond its caches.
const DEVICE_ARRAY: usize = 1 << 30;
/// Rows of a square matrix on an accelerator.
const DEVICE_PRODUCT: usize = 8192;
/// Rows, inputs and outputs of a product.
const PRODUCT: [usize; 3] = [512, 2048, 2048];

/// Rates of a machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roof {
    /// Threads that took part.
    pub threads: usize,
    /// Bytes per second read from memory.
    pub read: f64,
    /// Bytes per second copied in memory, each counted twice: it is read and written.
    pub copy: f64,
    /// Operations per second of an f32 product.
    pub f32: f64,
    /// The same in bf16.
    pub bf16: f64,
    /// Multiprocessors of the GPU, if it is the roof of one.
    pub multiprocessors: Option<u32>,
}

impl Roof {
    /// Measures the CPU, or the accelerator `device`, in about a second.
    ///
    /// # Errors
    ///
    /// When a kernel fails, which would be a bug, or an accelerator lacks memory.
    pub fn measure(device: &Device) -> Result<Self> {
        if !device.is_cpu() {
            return accelerator(device, DEVICE_ARRAY, DEVICE_PRODUCT);
        }
        let threads = rayon::current_num_threads();
        let (read, copy) = memory();
        let (f32, bf16) = (products(DType::F32)?, products(DType::BF16)?);
        Ok(Self { threads, read, copy, f32, bf16, multiprocessors: None })
    }
}

/// The roof of `device`, from arrays of `array` bytes and square matrices of `side` rows. Its
/// memory is as fast in one direction as in both, so the rate of copying is also that of reading.
fn accelerator(device: &Device, array: usize, side: usize) -> Result<Roof> {
    // Work is queued on the device, and done once it has been synchronised.
    let rate = |amount: usize, work: &dyn Fn() -> candle_core::Result<Tensor>| -> Result<f64> {
        let mut failed = Ok(());
        let rate = best(amount, || {
            let done = work().and_then(|made| device.synchronize().map(|()| made));
            match done {
                Ok(made) => drop(black_box(made)),
                Err(error) => failed = Err(error),
            }
        });
        failed?;
        Ok(rate)
    };
    let numbers = Tensor::zeros(array / size_of::<f32>(), DType::F32, device)?;
    let copy = rate(2 * array, &|| numbers.force_contiguous())?;
    drop(numbers);
    let product = |dtype| -> Result<f64> {
        let x = Tensor::ones((side, side), dtype, device)?;
        rate(2 * side * side * side, &|| x.matmul(&x.t()?))
    };
    let (f32, bf16) = (product(DType::F32)?, product(DType::BF16)?);
    let multiprocessors = driver::multiprocessors(device);
    Ok(Roof { threads: 1, read: copy, copy, f32, bf16, multiprocessors })
}

/// Bytes per second read and copied.
fn memory() -> (f64, f64) {
    const WORDS: usize = PIECE / size_of::<u64>();
    let from: Vec<u64> = (0..ARRAY / size_of::<u64>()).into_par_iter().map(|n| n as u64).collect();
    let mut to = vec![0u64; from.len()];
    let read = best(ARRAY, || {
        // As many sums as a core can add at once: a single one would wait for itself.
        let sum = |piece: &[u64]| {
            let (lanes, _) = piece.as_chunks::<32>();
            let mut sums = [0u64; 32];
            for lane in lanes {
                for (sum, number) in sums.iter_mut().zip(lane) {
                    *sum ^= number;
                }
            }
            sums.iter().fold(0, |all, sum| all ^ sum)
        };
        black_box(black_box(&from).par_chunks(WORDS).map(sum).reduce(|| 0, |a, b| a ^ b));
    });
    let copy = best(2 * ARRAY, || {
        let pieces = to.par_chunks_mut(WORDS).zip(black_box(&from).par_chunks(WORDS));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    });
    (read, copy)
}

/// Operations per second of products in `dtype`.
fn products(dtype: DType) -> Result<f64> {
    let [rows, inputs, outputs] = PRODUCT;
    let random = Random::new(1);
    let x = random.tensor("x", &[rows, inputs], dtype, &Device::Cpu)?;
    let w = random.tensor("w", &[outputs, inputs], dtype, &Device::Cpu)?;
    let linear = Linear::new(Matrix::Dense(w.clone()), None);
    let mut failed = Ok(());
    let mut tried = |product: &dyn Fn() -> candle_core::Result<Tensor>| {
        best(2 * rows * inputs * outputs, || match product() {
            Ok(y) => drop(black_box(y)),
            Err(error) => failed = Err(error),
        })
    };
    let own = tried(&|| linear.forward(&x));
    let others = tried(&|| x.matmul(&w.t()?));
    failed?;
    Ok(own.max(others))
}

/// The most of `amount` that is done per second.
fn best(amount: usize, mut work: impl FnMut()) -> f64 {
    let seconds = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    // The first run faults in pages and starts threads.
    let shortest = (0..=TRIES).map(seconds).skip(1).fold(f64::INFINITY, f64::min);
    amount as f64 / shortest.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roof_of_an_accelerator_is_measured_by_what_every_device_can_do() {
        let roof = accelerator(&Device::Cpu, 1 << 16, 32).unwrap();
        for rate in [roof.read, roof.copy, roof.f32, roof.bf16] {
            assert!(rate.is_finite() && rate > 0.0, "{roof:?}");
        }
        assert_eq!((roof.read, roof.multiprocessors), (roof.copy, None));
    }

    #[test]
    fn the_first_try_does_not_count_and_the_best_of_the_others_does() {
        let mut tries = 0;
        let rate = best(1000, || tries += 1);
        assert_eq!(tries, TRIES + 1);
        assert!(rate.is_finite() && rate > 0.0, "{rate}");
    }
}

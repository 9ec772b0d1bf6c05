//! [`Random`]: seeded random weights, so that public shapes can be measured without a download.
//!
//! Each number depends on the seed, the tensor's name and its own index alone, not on threads or
//! the order of loading. Matrices have a standard deviation of 1/√(inputs), norms are close to 1
//! and biases close to 0, which keeps activations of deep stacks finite and logits distinct.

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::{LoadWatch, Source};
use crate::cpu::Element;
use crate::error::Result;
use crate::quant::{QuantType, Quantised};
use crate::sampler::mix;
use crate::telemetry::LoadStages;

/// Numbers per hash, 16 random bits each.
const PER_HASH: usize = 4;
/// Numbers per task.
const TASK: usize = 1 << 14;

/// Seeded random weights.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    watch: LoadWatch,
}

impl Random {
    /// The weights of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, watch: LoadWatch::default() }
    }

    /// The numbers of the tensor `name`.
    fn draw(&self, name: &str, shape: &[usize]) -> Draw {
        let stream = name.bytes().fold(mix(self.seed), |hash, byte| mix(hash ^ u64::from(byte)));
        let (mean, deviation) = match *shape {
            [_] if name.ends_with("weight") => (1.0, 0.1),
            [_] => (0.0, 0.1),
            _ => (0.0, (shape.last().copied().unwrap_or(1).max(1) as f32).powf(-0.5)),
        };
        Draw { stream, mean, deviation }
    }
}

impl Source for Random {
    fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let draw = self.draw(name, shape);
        let tensor = self.watch.read(|| match dtype {
            DType::BF16 => draw.tensor::<bf16>(shape),
            DType::F16 => draw.tensor::<f16>(shape),
            other => Ok(draw.tensor::<f32>(shape)?.to_dtype(other)?),
        })?;
        Ok(tensor.to_device(device)?)
    }

    fn has(&self, _: &str) -> bool {
        true
    }

    fn quantised(
        &self,
        name: &str,
        shape: [usize; 2],
        kind: QuantType,
        device: &Device,
    ) -> Result<Quantised> {
        let draw = self.draw(name, &shape);
        let numbers = |first: usize, to: &mut [f32]| self.watch.read(|| draw.fill(first, to));
        Ok(Quantised::by_pieces(kind, shape, numbers, &self.watch, device)?)
    }

    fn stages(&self) -> LoadStages {
        self.watch.stages()
    }
}

/// One tensor's numbers: uniform, which is cheap and as good as normal for this purpose.
struct Draw {
    stream: u64,
    mean: f32,
    deviation: f32,
}

impl Draw {
    fn tensor<T: Element + WithDType>(&self, shape: &[usize]) -> Result<Tensor> {
        let mut numbers = vec![T::zero(); shape.iter().product()];
        self.fill(0, &mut numbers);
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    }

    /// The numbers from `first` on, which must be a multiple of [`PER_HASH`], as many as `to`
    /// holds.
    fn fill<T: Element>(&self, first: usize, to: &mut [T]) {
        to.par_chunks_mut(TASK).enumerate().for_each(|(task, to)| {
            let mut wide = [0.0f32; TASK];
            let wide = &mut wide[..to.len()];
            let first = ((first + task * TASK) / PER_HASH) as u64;
            for (hash, numbers) in (first..).zip(wide.chunks_mut(PER_HASH)) {
                self.four(hash, numbers);
            }
            T::narrow(wide, to);
        });
    }

    fn four(&self, hash: u64, to: &mut [f32]) {
        // A uniform variable in ±√3 has variance 1.
        let step = self.deviation * 3f32.sqrt() / 32_768.0;
        let bits = mix(self.stream.wrapping_add(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        for (part, number) in to.iter_mut().enumerate() {
            let uniform = (bits >> (16 * part)) as u16 as f32 - 32_767.5;
            *number = self.mean + step * uniform;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
        let tensor = Random::new(seed).tensor(name, shape, DType::F32, &Device::Cpu).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn numbers_do_not_depend_on_the_threads() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| numbers(1, "a.weight", &[37, 1001]))
        };
        assert_eq!(on(1), on(5));
    }

    #[test]
    fn a_matrix_is_quantised_piece_by_piece_as_it_would_be_whole() {
        // More numbers than one piece.
        let (source, shape) = (Random::new(1), [4097, 1056]);
        let whole = source.tensor("a.weight", &shape, DType::F32, &Device::Cpu).unwrap();
        let expected = Quantised::of(QuantType::Q8_0, &whole, &Device::Cpu).unwrap();
        let found = source.quantised("a.weight", shape, QuantType::Q8_0, &Device::Cpu).unwrap();
        assert!(found.bytes().unwrap() == expected.bytes().unwrap());
    }

    #[test]
    fn seeds_and_names_make_a_difference() {
        let base = numbers(1, "a.weight", &[8, 8]);
        assert_ne!(base, numbers(2, "a.weight", &[8, 8]));
        assert_ne!(base, numbers(1, "b.weight", &[8, 8]));
    }

    #[test]
    fn matrices_have_the_deviation_of_their_inputs_and_norms_are_near_one() {
        let moments = |numbers: &[f32]| {
            let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
            let var = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
            (mean, (var / numbers.len() as f32).sqrt())
        };
        let (mean, deviation) = moments(&numbers(1, "a.weight", &[500, 256]));
        assert!(mean.abs() < 1e-3 && (deviation * 16.0 - 1.0).abs() < 0.01, "{mean} {deviation}");
        let (mean, deviation) = moments(&numbers(1, "norm.weight", &[4096]));
        assert!((mean - 1.0).abs() < 0.01 && (deviation - 0.1).abs() < 0.01);
    }
}

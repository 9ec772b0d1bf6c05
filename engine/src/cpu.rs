//! Shared by our CPU kernels: typed slices of tensors, widening to f32, and inner loops.
//!
//! The order of every sum is fixed by the code and never depends on the number of rows or threads
//! or on neighbouring data, so a result does not depend on what else is in the batch.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, Layout, Result, Shape, Storage, StorageRef, Tensor, WithDType, bail,
};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

mod bytes;
mod lanes;

pub(crate) use bytes::Bytes;
pub(crate) use lanes::{LANES, Lanes};

/// A float type of weights and activations.
pub(crate) trait Element: WithDType {
    /// `from` as f32: itself, or converted into `scratch`, which must be as long.
    fn widened<'a>(from: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];

    /// Sixteen elements as f32.
    fn lanes(from: &[Self; LANES]) -> Lanes;

    /// Rounds `from` into `to`, which must be as long.
    fn narrow(from: &[f32], to: &mut [Self]);

    /// Rounds each of `numbers` to this type's precision. `scratch` must be as long.
    #[inline]
    fn round_all(numbers: &mut [f32], scratch: &mut [Self]) {
        Self::narrow(numbers, scratch);
        Self::widened(scratch, numbers);
    }

    /// All of `from`, rounded in parallel.
    fn narrowed(from: Vec<f32>) -> Vec<Self> {
        /// Elements per task.
        const TASK: usize = 1 << 14;
        let mut to = vec![Self::zero(); from.len()];
        let tasks = to.par_chunks_mut(TASK).zip(from.par_chunks(TASK));
        tasks.for_each(|(to, from)| Self::narrow(from, to));
        to
    }
}

impl Element for f32 {
    #[inline]
    fn widened<'a>(from: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        from
    }

    #[inline(always)]
    fn lanes(from: &[Self; LANES]) -> Lanes {
        Lanes::load(from)
    }

    #[inline]
    fn narrow(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }

    #[inline]
    fn round_all(_: &mut [f32], _: &mut [Self]) {}

    fn narrowed(from: Vec<f32>) -> Vec<Self> {
        from
    }
}

impl Element for f16 {
    #[inline]
    fn widened<'a>(from: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        let scratch = &mut scratch[..from.len()];
        from.convert_to_f32_slice(scratch);
        scratch
    }

    #[inline(always)]
    fn lanes(from: &[Self; LANES]) -> Lanes {
        Lanes::of_f16(from)
    }

    #[inline]
    fn narrow(from: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(from);
    }
}

impl Element for bf16 {
    #[inline]
    fn widened<'a>(from: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
        let scratch = &mut scratch[..from.len()];
        for (to, from) in scratch.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
        scratch
    }

    #[inline(always)]
    fn lanes(from: &[Self; LANES]) -> Lanes {
        Lanes::of_bf16(from)
    }

    #[inline]
    fn narrow(from: &[f32], to: &mut [Self]) {
        for (to, from) in to.iter_mut().zip(from) {
            // Round to nearest even. A NaN gets a mantissa bit that survives truncation.
            let bits = from.to_bits();
            let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
            let kept = if from.is_nan() { bits | 0x40_0000 } else { rounded };
            *to = Self::from_bits((kept >> 16) as u16);
        }
    }
}

/// Calls `$f::<T>($args)` with the element type of `$dtype`.
macro_rules! by_dtype {
    ($dtype:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match $dtype {
            candle_core::DType::F32 => $f::<f32>($($arg),*),
            candle_core::DType::F16 => $f::<half::f16>($($arg),*),
            candle_core::DType::BF16 => $f::<half::bf16>($($arg),*),
            other => Err(candle_core::Error::Msg(format!(
                "the CPU kernels take f32, f16 and bf16, not {}", other.as_str()
            ))),
        }
    };
}
pub(crate) use by_dtype;

/// The elements of a contiguous CPU tensor, read-locked while this lives.
pub(crate) struct Numbers<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Numbers<'a> {
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        match layout.contiguous_offsets() {
            Some((start, end)) => Ok(Self { storage, range: start..end }),
            None => bail!("a CPU kernel needs a contiguous tensor, got {layout:?}"),
        }
    }

    pub(crate) fn slice<T: Element>(&self) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok(&storage.as_slice::<T>()?[self.range.clone()]),
            _ => bail!("a CPU kernel needs a tensor on the CPU"),
        }
    }
}

/// `f` applied to each element of a contiguous CPU tensor, computed in f32, in one parallel pass.
pub(crate) fn mapped(x: &Tensor, f: impl Fn(f32) -> f32 + Sync) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Map(f))
}

struct Map<F>(F);

impl<F: Fn(f32) -> f32 + Sync> CustomOp1 for Map<F> {
    fn name(&self) -> &'static str {
        "map"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a CPU kernel needs a contiguous tensor, got {layout:?}")
        };
        let y = by_dtype!(x.dtype(), map(x, start..end, &self.0))?;
        Ok((y, layout.shape().clone()))
    }
}

fn map<T: Element>(
    x: &CpuStorage,
    range: Range<usize>,
    f: &(impl Fn(f32) -> f32 + Sync),
) -> Result<CpuStorage> {
    /// Elements per task.
    const TASK: usize = 64 * LANES;
    let x = &x.as_slice::<T>()?[range];
    let mut out = vec![T::zero(); x.len()];
    out.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(out, x)| {
        let (mut wide, mut y) = ([0.0; TASK], [0.0; TASK]);
        let x = T::widened(x, &mut wide[..x.len()]);
        let y = &mut y[..x.len()];
        for (y, x) in y.iter_mut().zip(x) {
            *y = f(*x);
        }
        T::narrow(y, out);
    });
    Ok(T::to_cpu_storage_owned(out))
}

/// `a · b + c`, fused where the target has the instruction.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction `mul_add` is a function call, hundreds of times slower.
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// `sums[i] += rows[i] · x`, lane by lane, over the whole lanes of `x`.
#[inline(always)]
pub(crate) fn dot_rows<T: Element, const R: usize>(
    rows: [&[T]; R],
    x: &[f32],
    sums: &mut [Lanes; R],
) {
    let x = x.as_chunks::<LANES>().0;
    // Equal lengths, established here, remove the bounds checks from the loop.
    let rows = rows.map(|row| &row.as_chunks::<LANES>().0[..x.len()]);
    // A local copy stays in registers; through the reference it would be stored on every iteration.
    let mut local = *sums;
    for (at, x) in x.iter().enumerate() {
        let x = Lanes::load(x);
        for (sum, row) in local.iter_mut().zip(rows) {
            *sum = T::lanes(&row[at]).fma(x, *sum);
        }
    }
    *sums = local;
}

/// eˣ without branches or calls, with a relative error below 2·10⁻⁷. Clamped to e⁻⁸⁷ below −87 and
/// to e⁸⁸ above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2; adding and subtracting 1.5·2²³ rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let rounded = fma(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // ln 2 in two parts: the first has few bits, so that n times it is exact.
    let r = fma(n, -0.693_359_4, x);
    let r = fma(n, 2.121_944_4e-4, r);
    // Taylor series of eʳ; the first omitted term is below 10⁻⁸.
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma(p, r, coefficient);
    }
    // The low bits of `rounded` are n; shifted into the exponent they make 2ⁿ.
    p * f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_rounds_as_half_does() {
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE];
        let spread = (0..200_000u32).map(|i| f32::from_bits(i.wrapping_mul(21_473)));
        for x in special.into_iter().chain(spread) {
            let (mut b, mut h) = ([bf16::ZERO], [f16::ZERO]);
            bf16::narrow(&[x], &mut b);
            f16::narrow(&[x], &mut h);
            assert!(b[0] == bf16::from_f32(x) || x.is_nan() && b[0].is_nan(), "{x:e} is {}", b[0]);
            assert!(h[0] == f16::from_f32(x) || x.is_nan() && h[0].is_nan(), "{x:e} is {}", h[0]);
        }
    }

    #[test]
    fn rounding_is_narrowing_and_widening_again() {
        let numbers: [f32; 37] = std::array::from_fn(|i| (i as f32 - 11.0) / 7.0);
        let (mut b, mut h, mut f) = (numbers, numbers, numbers);
        bf16::round_all(&mut b, &mut [bf16::ZERO; 37]);
        f16::round_all(&mut h, &mut [f16::ZERO; 37]);
        f32::round_all(&mut f, &mut [0.0; 37]);
        assert_eq!(b, numbers.map(|x| bf16::from_f32(x).to_f32()));
        assert_eq!(h, numbers.map(|x| f16::from_f32(x).to_f32()));
        assert_eq!(f, numbers);
    }

    #[test]
    fn exp_is_as_good_as_an_f32_allows() {
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let truth = f64::from(x).exp();
            let error = (f64::from(exp(x)) / truth - 1.0).abs();
            assert!(error < 2e-7, "exp({x}) is off by {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn widening_keeps_every_bf16_and_f16() {
        let mut scratch = [0.0];
        for bits in 0..=u16::MAX {
            let (b, h) = (bf16::from_bits(bits), f16::from_bits(bits));
            let wide = bf16::widened(&[b], &mut scratch)[0];
            assert!(wide == b.to_f32() || wide.is_nan() && b.is_nan());
            let wide = f16::widened(&[h], &mut scratch)[0];
            assert!(wide == h.to_f32() || wide.is_nan() && h.is_nan());
        }
    }
}

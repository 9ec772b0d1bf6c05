//! Norms on the CPU.
//!
//! Rows are summed in f32, in an order that depends only on their length, so that a token gets the
//! same numbers alone and in a batch. Half-precision values are rounded where the references round:
//! an RMS norm rounds the normalised row to the dtype of the weight before multiplying, and every
//! norm rounds its result. The references of OLMo 2 and Gemma 3n round only the result.

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;

use crate::cpu::{Element, LANES, Lanes, Numbers, by_dtype};

/// Elements scaled and rounded at a time; fits L1.
const CHUNK: usize = 256;
/// Elements per task. Fewer are done too quickly to be worth waking another thread.
const TASK: usize = 1 << 15;
/// Independent lane sums, so that no sum waits for the one before.
const SUMS: usize = 4;

/// `x`: `[…, dim]`, contiguous; `weight` and `bias`: `[dim]`; same shape and dtype out.
pub(super) fn norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f32) -> Result<Tensor> {
    by_dtype!(x.dtype(), of_dtype(x, weight, bias, eps))
}

/// Weights whose dtype differs from that of `x` are read as f32.
fn of_dtype<T: Element>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<Tensor> {
    if weight.dtype() == T::DTYPE {
        return normed::<T, T>(x, weight, bias, eps);
    }
    let bias = bias.map(|bias| bias.to_dtype(DType::F32)).transpose()?;
    normed::<T, f32>(x, &weight.to_dtype(DType::F32)?, bias.as_ref(), eps)
}

fn normed<T: Element, W: Element>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<Tensor> {
    let dim = weight.elem_count();
    if x.dim(D::Minus1)? != dim || bias.is_some_and(|bias| bias.elem_count() != dim) {
        bail!("a norm of {dim} numbers got {:?}", x.shape());
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let (numbers, weight) = (Numbers::of(x)?, Numbers::of(weight)?);
    let bias = bias.map(Numbers::of).transpose()?;
    let rows = numbers.slice::<T>()?;
    let kernel = Kernel {
        weight: weight.slice::<W>()?,
        bias: bias.as_ref().map(|bias| bias.slice::<W>()).transpose()?,
        eps,
    };
    let mut out = vec![T::zero(); rows.len()];
    if rows.len() <= TASK {
        kernel.run(rows, &mut out);
    } else {
        let task = (TASK / dim).max(1) * dim;
        let tasks = rows.par_chunks(task).zip(out.par_chunks_mut(task));
        tasks.for_each(|(rows, out)| kernel.run(rows, out));
    }
    Tensor::from_vec(out, x.shape(), x.device())
}

/// A norm, ready to be applied to rows.
struct Kernel<'a, W> {
    weight: &'a [W],
    /// A norm with a bias also subtracts the mean.
    bias: Option<&'a [W]>,
    eps: f32,
}

/// Working memory of a task; allocated once, as clearing it takes as long as a short row.
struct Scratch<W> {
    numbers: [f32; CHUNK],
    wide: [f32; CHUNK],
    narrow: [W; CHUNK],
}

impl<W: Element> Kernel<'_, W> {
    /// Normalises `rows`, which are whole, into `out`, which must be as long.
    fn run<T: Element>(&self, rows: &[T], out: &mut [T]) {
        let dim = self.weight.len();
        let mut scratch =
            Scratch { numbers: [0.0; CHUNK], wide: [0.0; CHUNK], narrow: [W::zero(); CHUNK] };
        for (row, out) in rows.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            let mean = self.mean(row);
            let factor = self.factor(row, mean);
            self.scale(row, mean, factor, out, &mut scratch);
        }
    }

    /// What is subtracted from each element of `row`.
    fn mean<T: Element>(&self, row: &[T]) -> f32 {
        match self.bias {
            Some(_) => total(row, 0.0, |x, sum| x.plus(sum)) / row.len() as f32,
            None => 0.0,
        }
    }

    /// The factor that normalises `row − mean`. For a row far from 0, the mean of the squares minus
    /// the square of the mean would be mostly rounding error, so the row is read once more.
    fn factor<T: Element>(&self, row: &[T], mean: f32) -> f32 {
        let away = Lanes::splat(-mean);
        let squares = total(row, mean, |x, sum| {
            let x = x.plus(away);
            x.fma(x, sum)
        });
        1.0 / (squares / row.len() as f32 + self.eps).sqrt()
    }

    /// `(x − mean) · factor · w + b`.
    fn scale<T: Element>(
        &self,
        row: &[T],
        mean: f32,
        factor: f32,
        out: &mut [T],
        scratch: &mut Scratch<W>,
    ) {
        for (chunk, (x, out)) in row.chunks(CHUNK).zip(out.chunks_mut(CHUNK)).enumerate() {
            let (count, first) = (x.len(), chunk * CHUNK);
            let numbers = &mut scratch.numbers[..count];
            let wide = &mut scratch.wide[..count];
            for (number, x) in numbers.iter_mut().zip(T::widened(x, wide)) {
                *number = (x - mean) * factor;
            }
            if self.bias.is_none() {
                W::round_all(numbers, &mut scratch.narrow[..count]);
            }
            let weight = W::widened(&self.weight[first..first + count], wide);
            for (number, weight) in numbers.iter_mut().zip(weight) {
                *number *= weight;
            }
            if let Some(bias) = self.bias {
                let bias = W::widened(&bias[first..first + count], wide);
                for (number, bias) in numbers.iter_mut().zip(bias) {
                    *number += bias;
                }
            }
            T::narrow(numbers, out);
        }
    }
}

/// Sums `row` by `add`, which adds an element's contribution to the sum so far, sixteen lanes at a
/// time, in an order that depends only on the length. The remainder is padded with `nothing`, for
/// which `add` must add 0.
#[inline(always)]
fn total<T: Element>(row: &[T], nothing: f32, add: impl Fn(Lanes, Lanes) -> Lanes) -> f32 {
    let (lanes, odd) = row.as_chunks::<LANES>();
    let (tiles, rest) = lanes.as_chunks::<SUMS>();
    let mut sums = [Lanes::splat(0.0); SUMS];
    for tile in tiles {
        for (sum, x) in sums.iter_mut().zip(tile) {
            *sum = add(T::lanes(x), *sum);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum = add(T::lanes(x), *sum);
    }
    let [mut a, b, c, d] = sums;
    if !odd.is_empty() {
        let (mut end, mut scratch) = ([nothing; LANES], [0.0; LANES]);
        end[..odd.len()].copy_from_slice(T::widened(odd, &mut scratch[..odd.len()]));
        a = add(Lanes::load(&end), a);
    }
    a.plus(b).plus(c.plus(d)).sum()
}

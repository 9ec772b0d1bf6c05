//! Matrix products on the CPU.
//!
//! With few rows (decoding) the weights are read once and the memory is what limits: each weight
//! row is streamed from memory in its own dtype and meets all rows of `x` while it is in the
//! cache. The sums run in f32 and in an order that does not depend on the number of rows, so a
//! sequence gets the same numbers alone and in a batch. With many rows (prefill) the arithmetic
//! limits, and the `gemm` crate multiplies in f32; halves are widened a panel at a time, never
//! the whole matrix.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::cpu::{Element, LANES, Numbers, by_dtype, dot_tile, sum};

/// Most rows that are streamed. Measured: beyond it `gemm` is faster (see `benches/linear.rs`).
const STREAMED: usize = 16;
/// Numbers of a weight row that are widened and multiplied at a time; whole lanes, fits L1.
const CHUNK: usize = 1024;
/// Weight rows a task. Small enough to balance, large enough to hide the cost of a task.
const TASK: usize = 32;
/// Numbers of a weight panel that is widened for `gemm`: 4 MiB of f32, fits L2 and L3 together.
const PANEL: usize = 1 << 20;

/// `x`: `[m, k]`, `w`: `[n, k]`; `[m, n]` in their common dtype.
pub(super) fn matmul(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    by_dtype!(x.dtype(), product(x, w))
}

fn product<T: Element>(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let ((m, k), (n, k_of_w)) = (x.dims2()?, w.dims2()?);
    if k != k_of_w {
        bail!("a linear layer of {k_of_w} inputs got {k}");
    }
    if m * n * k == 0 {
        return Tensor::zeros((m, n), x.dtype(), x.device());
    }
    let x = x.contiguous()?;
    let (x_numbers, w_numbers) = (Numbers::of(&x)?, Numbers::of(w)?);
    let w = w_numbers.slice::<T>()?;
    let x_narrow = x_numbers.slice::<T>()?;
    let mut scratch = vec![0.0; if size_of::<T>() == 4 { 0 } else { m * k }];
    let x_wide = T::widened(x_narrow, &mut scratch);

    let mut y = vec![0.0f32; m * n];
    if m <= STREAMED {
        stream(x_wide, w, k, m, &mut y);
    } else {
        panels(x_wide, w, k, &mut y);
    }
    drop((x_numbers, w_numbers));
    let y = Tensor::from_vec(y, (m, n), x.device())?;
    y.to_dtype(x.dtype())
}

/// Reads each row of `w` once. `y`: `[m, n]`.
fn stream<T: Element>(x: &[f32], w: &[T], k: usize, m: usize, y: &mut [f32]) {
    if m == 1 {
        let tasks = y.par_chunks_mut(TASK).zip(w.par_chunks(TASK * k));
        return tasks.for_each(|(y, w)| stream_task(x, w, k, 1, y));
    }
    // Tasks write whole rows of the transposed product, so that each owns its memory.
    let n = w.len() / k;
    let mut transposed = vec![0.0f32; n * m];
    let tasks = transposed.par_chunks_mut(TASK * m).zip(w.par_chunks(TASK * k));
    tasks.for_each(|(y, w)| stream_task(x, w, k, m, y));
    y.par_chunks_mut(n).enumerate().for_each(|(row, y)| {
        let column = transposed[row..].iter().step_by(m);
        y.iter_mut().zip(column).for_each(|(y, value)| *y = *value);
    });
}

/// A few rows of `w` against all of `x`. `y`: `[rows of w, m]`.
fn stream_task<T: Element>(x: &[f32], w: &[T], k: usize, m: usize, y: &mut [f32]) {
    const PAIR: usize = 2;
    const QUAD: usize = 4;
    let mut rows = w.chunks_exact(k);
    let mut outputs = y.chunks_exact_mut(m);
    // A single input has registers to spare for more weight rows at once.
    if m == 1 {
        while rows.len() >= QUAD {
            let w: [&[T]; QUAD] = std::array::from_fn(|_| rows.next().unwrap_or_default());
            let sums = stream_rows::<T, QUAD>(x, w, k, m);
            for (row, y) in outputs.by_ref().take(QUAD).enumerate() {
                y.copy_from_slice(&sums[row][..m]);
            }
        }
    }
    while rows.len() >= PAIR {
        let w: [&[T]; PAIR] = std::array::from_fn(|_| rows.next().unwrap_or_default());
        let sums = stream_rows::<T, PAIR>(x, w, k, m);
        for (row, y) in outputs.by_ref().take(PAIR).enumerate() {
            y.copy_from_slice(&sums[row][..m]);
        }
    }
    for (row, y) in rows.zip(outputs) {
        let [sums] = stream_rows::<T, 1>(x, [row], k, m);
        y.copy_from_slice(&sums[..m]);
    }
}

/// `R` rows of `w` against all of `x`. Every sum has the same order, whatever `R` and `m`: lane
/// by lane over the whole lanes of the row, then over the lanes, then the odd end.
fn stream_rows<T: Element, const R: usize>(
    x: &[f32],
    w: [&[T]; R],
    k: usize,
    m: usize,
) -> [[f32; STREAMED]; R] {
    let mut lanes = [[[0.0f32; LANES]; R]; STREAMED];
    let mut ends = [[0.0f32; R]; STREAMED];
    let mut scratch = [[0.0f32; CHUNK]; R];
    let whole = k / LANES * LANES;
    for start in (0..k).step_by(CHUNK) {
        let range = start..(start + CHUNK).min(k);
        let mut scratch = scratch.iter_mut();
        let w = w.map(|row| {
            let scratch = scratch.next().map_or(&mut [][..], |scratch| &mut scratch[..range.len()]);
            T::widened(&row[range.clone()], scratch)
        });
        let x_row = |row: usize| &x[row * k..][range.clone()];
        let mut row = 0;
        while row + 1 < m {
            let mut sums = [lanes[row], lanes[row + 1]];
            dot_tile([x_row(row), x_row(row + 1)], w, &mut sums);
            [lanes[row], lanes[row + 1]] = sums;
            row += 2;
        }
        if row < m {
            let mut sums = [lanes[row]];
            dot_tile([x_row(row)], w, &mut sums);
            [lanes[row]] = sums;
        }
        if range.end == k && whole < k {
            for (row, ends) in ends.iter_mut().enumerate().take(m) {
                for (end, w) in ends.iter_mut().zip(w) {
                    let products = x_row(row)[whole - start..].iter().zip(&w[whole - start..]);
                    *end = products.map(|(x, w)| x * w).sum();
                }
            }
        }
    }
    std::array::from_fn(|r| std::array::from_fn(|row| sum(lanes[row][r]) + ends[row][r]))
}

/// Multiplies panel by panel with `gemm`. `y`: `[m, n]`.
fn panels<T: Element>(x: &[f32], w: &[T], k: usize, y: &mut [f32]) {
    let n = w.len() / k;
    let panel = if size_of::<T>() == 4 { n } else { (PANEL / k).clamp(1, n) };
    let mut scratch = vec![0.0f32; if size_of::<T>() == 4 { 0 } else { panel * k }];
    for first in (0..n).step_by(panel) {
        let rows = panel.min(n - first);
        let w = &w[first * k..(first + rows) * k];
        let w: &[f32] = if size_of::<T>() == 4 {
            T::widened(w, &mut scratch)
        } else {
            let scratch = &mut scratch[..rows * k];
            let rows = scratch.par_chunks_mut(k).zip(w.par_chunks(k));
            rows.for_each(|(to, from)| {
                T::widened(from, to);
            });
            scratch
        };
        multiply(x, w, k, &mut y[first..], n);
    }
}

/// `y[i][j] = x[i] · w[j]` for all rows of `x` and `w` (`k` numbers each); rows of `y` are
/// `stride` apart.
fn multiply(x: &[f32], w: &[f32], k: usize, y: &mut [f32], stride: usize) {
    let (m, n) = (x.len() / k, w.len() / k);
    assert!(
        m > 0 && n > 0 && n <= stride && y.len() >= (m - 1) * stride + n,
        "the product of {m} and {n} rows must fit its output"
    );
    let threads = gemm::Parallelism::Rayon(rayon::current_num_threads());
    let (k_, stride) = (k as isize, stride as isize);
    // SAFETY: `gemm` reads the m·k numbers of `x` and the n·k of `w` at row stride k, both within
    // their slices as m and n are their lengths divided by k, and writes n numbers at each of m
    // rows that are `stride` apart, the last of which ends within `y` as asserted. `y` is
    // borrowed mutably, so nothing overlaps.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            stride,
            false,
            x.as_ptr(),
            1,
            k_,
            w.as_ptr(),
            k_,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

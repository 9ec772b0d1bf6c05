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

use crate::cpu::{Element, LANES, Lanes, Numbers, by_dtype, dot_rows};

/// Most rows that are streamed. Measured: beyond it `gemm` is faster (see `benches/linear.rs`).
const STREAMED: usize = 16;
/// Numbers of a weight row that are widened and multiplied at a time; whole lanes, fits L1.
const CHUNK: usize = 1024;
/// Weight rows that meet a row of `x` at once, to load it once for all of them.
const TILE: usize = 4;
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
    Tensor::from_vec(T::narrowed(y), (m, n), x.device())
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
    let mut scratch = Scratch::new();
    let fours = w.len() / k / TILE * TILE;
    let (w, w_rest) = w.split_at(fours * k);
    let (y, y_rest) = y.split_at_mut(fours * m);
    for (w, y) in w.chunks_exact(TILE * k).zip(y.chunks_exact_mut(TILE * m)) {
        scratch.rows::<T, TILE>(x, w, k, y);
    }
    for (w, y) in w_rest.chunks_exact(k).zip(y_rest.chunks_exact_mut(m)) {
        scratch.rows::<T, 1>(x, w, k, y);
    }
}

/// What a task needs beside its inputs; made once, as clearing it takes as long as a short row.
struct Scratch {
    /// A chunk of each weight row as f32.
    wide: [[f32; CHUNK]; TILE],
    /// Sums by row of `x` and row of the tile.
    lanes: [[Lanes; TILE]; STREAMED],
}

impl Scratch {
    fn new() -> Self {
        Self { wide: [[0.0; CHUNK]; TILE], lanes: [[Lanes::splat(0.0); TILE]; STREAMED] }
    }

    /// The `R` rows of `w` against all of `x`. `y`: `[R, m]`. Every sum has the same order,
    /// whatever `R` and `m`: by lanes along the row, then over the lanes, then the odd end.
    fn rows<T: Element, const R: usize>(&mut self, x: &[f32], w: &[T], k: usize, y: &mut [f32]) {
        let m = y.len() / R;
        self.lanes[..m].as_flattened_mut().fill(Lanes::splat(0.0));
        y.fill(0.0);
        let whole = k / LANES * LANES;
        for start in (0..k).step_by(CHUNK) {
            let range = start..(start + CHUNK).min(k);
            let mut wide = self.wide.iter_mut();
            let w: [&[f32]; R] = std::array::from_fn(|row| {
                let wide = wide.next().map_or(&mut [][..], |wide| &mut wide[..range.len()]);
                T::widened(&w[row * k..][range.clone()], wide)
            });
            for (row, lanes) in self.lanes.iter_mut().enumerate().take(m) {
                let x = &x[row * k..][range.clone()];
                if let Some(lanes) = lanes.first_chunk_mut::<R>() {
                    dot_rows(w, x, lanes);
                }
                for at in whole.max(start)..range.end {
                    for (of_tile, w) in w.iter().enumerate() {
                        y[of_tile * m + row] += w[at - start] * x[at - start];
                    }
                }
            }
        }
        for (row, lanes) in self.lanes.iter().enumerate().take(m) {
            for (of_tile, lanes) in lanes.iter().enumerate().take(R) {
                y[of_tile * m + row] += lanes.sum();
            }
        }
    }
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

//! Matrix products on the CPU.
//!
//! With few rows (decode), memory bandwidth is the limit: each weight row is streamed once, as it
//! is stored, and multiplied with all rows of `x` while it is in the cache; for a single row of
//! `x`, it is widened in registers and never written to memory. Sums accumulate in f32 in an order
//! that does not depend on the number of rows, so a sequence gets the same numbers alone and in a
//! batch. With many rows (prefill), arithmetic is the limit, and the `gemm` crate multiplies in
//! f32; half-precision and quantised weights are widened a panel at a time, never the whole matrix.
//! Only weights are quantised: a product with them differs from one with the same numbers in f32
//! only in the order of its sum.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::cpu::{Element, LANES, Lanes, Numbers, by_dtype, dot_rows};
use crate::quant::{self, Dot, Quantised, Widen};

/// Most rows that are streamed. Measured: above this, `gemm` is faster (see `benches/linear.rs`).
const STREAMED: usize = 16;
/// Elements of a weight row that are widened and multiplied at a time; whole lanes, fits L1.
const CHUNK: usize = 1024;
/// Weight rows multiplied with a row of `x` at once, so that it is loaded only once for all of
/// them.
const TILE: usize = quant::ROWS;
/// Weight rows per task. Small enough to balance, large enough to hide the overhead of a task.
const TASK: usize = 32;
/// Elements of a weight panel that is widened for `gemm`: 4 MiB of f32, fits L2 and L3 together.
const PANEL: usize = 1 << 20;

/// `x`: `[m, k]`, `w`: `[n, k]`. Returns `[m, n]` in their common dtype.
pub(super) fn matmul(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    by_dtype!(x.dtype(), dense(x, w))
}

fn dense<T: Element>(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (n, k) = w.dims2()?;
    let numbers = Numbers::of(w)?;
    product::<T>(x, &Dense { numbers: numbers.slice::<T>()?, n, k })
}

/// `x`: `[m, k]`, `w`: `[n, k]`. Returns `[m, n]` in the dtype of `x`.
pub(super) fn matmul_quantised(x: &Tensor, w: &Quantised) -> Result<Tensor> {
    let rows = Blocks {
        bytes: w.bytes()?,
        n: w.rows(),
        k: w.inputs(),
        numbers_a_block: w.kind().block(),
        bytes_a_block: w.kind().bytes(1, w.kind().block()) as usize,
        widen: w.kind().widen(),
        dot: w.kind().dot(),
    };
    by_dtype!(x.dtype(), of_blocks(x, &rows))
}

/// [`product`] with its type parameters in the order that `by_dtype` needs.
fn of_blocks<T: Element>(x: &Tensor, w: &Blocks<'_>) -> Result<Tensor> {
    product::<T>(x, w)
}

/// The rows of a matrix, however they are stored.
trait Rows: Sync {
    /// Number of rows.
    fn n(&self) -> usize;

    /// Elements per row.
    fn k(&self) -> usize;

    /// All elements, if they are f32.
    fn wide(&self) -> Option<&[f32]>;

    /// `sums[i] += rows[first + i] · x`, lane by lane, over the whole lanes of `x`, which is as
    /// long as a row.
    fn dot(&self, first: usize, x: &[f32], sums: &mut [Lanes; TILE]);

    /// The elements `range` of `row` as f32: in place, or converted into `scratch`, which must be
    /// as long. For quantised rows, a range covers whole blocks.
    fn widened<'a>(&'a self, row: usize, range: Range<usize>, scratch: &'a mut [f32]) -> &'a [f32];
}

/// Unquantised rows.
struct Dense<'a, T> {
    numbers: &'a [T],
    n: usize,
    k: usize,
}

impl<T: Element> Rows for Dense<'_, T> {
    fn n(&self) -> usize {
        self.n
    }

    fn k(&self) -> usize {
        self.k
    }

    fn wide(&self) -> Option<&[f32]> {
        (size_of::<T>() == 4).then(|| T::widened(self.numbers, &mut []))
    }

    #[inline(always)]
    fn dot(&self, first: usize, x: &[f32], sums: &mut [Lanes; TILE]) {
        let row = |tile| &self.numbers[(first + tile) * self.k..][..self.k];
        dot_rows(std::array::from_fn(row), x, sums);
    }

    #[inline(always)]
    fn widened<'a>(&'a self, row: usize, range: Range<usize>, scratch: &'a mut [f32]) -> &'a [f32] {
        T::widened(&self.numbers[row * self.k..][range], scratch)
    }
}

/// Quantised rows.
struct Blocks<'a> {
    bytes: &'a [u8],
    n: usize,
    k: usize,
    numbers_a_block: usize,
    bytes_a_block: usize,
    widen: Widen,
    dot: Dot,
}

impl Blocks<'_> {
    /// The bytes of the elements `range` of `row`.
    fn bytes(&self, row: usize, range: Range<usize>) -> &[u8] {
        let first = row * self.k;
        let of_block = |number| (first + number) / self.numbers_a_block * self.bytes_a_block;
        &self.bytes[of_block(range.start)..of_block(range.end)]
    }
}

impl Rows for Blocks<'_> {
    fn n(&self) -> usize {
        self.n
    }

    fn k(&self) -> usize {
        self.k
    }

    fn wide(&self) -> Option<&[f32]> {
        None
    }

    fn dot(&self, first: usize, x: &[f32], sums: &mut [Lanes; TILE]) {
        let row = |tile| self.bytes(first + tile, 0..self.k);
        (self.dot)(std::array::from_fn(row), x, sums);
    }

    fn widened<'a>(&'a self, row: usize, range: Range<usize>, scratch: &'a mut [f32]) -> &'a [f32] {
        (self.widen)(self.bytes(row, range), scratch);
        scratch
    }
}

fn product<T: Element>(x: &Tensor, w: &impl Rows) -> Result<Tensor> {
    let ((m, k), n) = (x.dims2()?, w.n());
    if k != w.k() {
        bail!("a linear layer of {} inputs got {k}", w.k());
    }
    if m * n * k == 0 {
        return Tensor::zeros((m, n), x.dtype(), x.device());
    }
    let x = x.contiguous()?;
    let numbers = Numbers::of(&x)?;
    let narrow = numbers.slice::<T>()?;
    let mut scratch = vec![0.0; if size_of::<T>() == 4 { 0 } else { m * k }];
    let wide = T::widened(narrow, &mut scratch);

    let mut y = vec![0.0f32; m * n];
    if m <= STREAMED {
        stream(wide, w, m, &mut y);
    } else {
        panels(wide, w, &mut y);
    }
    drop(numbers);
    Tensor::from_vec(T::narrowed(y), (m, n), x.device())
}

/// Reads each row of `w` once. `y`: `[m, n]`.
fn stream(x: &[f32], w: &impl Rows, m: usize, y: &mut [f32]) {
    if m == 1 {
        let tasks = y.par_chunks_mut(TASK).enumerate();
        return tasks.for_each(|(task, y)| stream_task(x, w, task * TASK, 1, y));
    }
    // Tasks write whole rows of the transposed product, so that each owns its memory.
    let n = w.n();
    let mut transposed = vec![0.0f32; n * m];
    let tasks = transposed.par_chunks_mut(TASK * m).enumerate();
    tasks.for_each(|(task, y)| stream_task(x, w, task * TASK, m, y));
    y.par_chunks_mut(n).enumerate().for_each(|(row, y)| {
        let column = transposed[row..].iter().step_by(m);
        y.iter_mut().zip(column).for_each(|(y, value)| *y = *value);
    });
}

/// A few rows of `w`, from `first` on, times all of `x`. `y`: `[rows of w, m]`.
fn stream_task(x: &[f32], w: &impl Rows, first: usize, m: usize, y: &mut [f32]) {
    let fours = y.len() / m / TILE * TILE;
    let (y, y_rest) = y.split_at_mut(fours * m);
    if m == 1 {
        for (tile, y) in y.as_chunks_mut().0.iter_mut().enumerate() {
            alone(x, w, first + tile * TILE, y);
        }
    } else {
        let mut scratch = Scratch::new();
        for (tile, y) in y.chunks_exact_mut(TILE * m).enumerate() {
            scratch.rows::<TILE>(x, w, first + tile * TILE, y);
        }
    }
    if !y_rest.is_empty() {
        let mut scratch = Scratch::new();
        for (row, y) in y_rest.chunks_exact_mut(m).enumerate() {
            scratch.rows::<1>(x, w, first + fours + row, y);
        }
    }
}

/// The rows of `w` from `first` on times a single row of `x`, summed in the order of
/// [`Scratch::rows`].
fn alone(x: &[f32], w: &impl Rows, first: usize, y: &mut [f32; TILE]) {
    let (k, whole) = (w.k(), w.k() / LANES * LANES);
    let mut sums = [Lanes::splat(0.0); TILE];
    w.dot(first, x, &mut sums);
    let mut scratch = [0.0; LANES];
    for (row, (y, sum)) in y.iter_mut().zip(sums).enumerate() {
        *y = 0.0;
        if whole < k {
            let odd = w.widened(first + row, whole..k, &mut scratch[..k - whole]);
            odd.iter().zip(&x[whole..]).for_each(|(w, x)| *y += w * x);
        }
        *y += sum.sum();
    }
}

/// Working memory of a task; allocated once, as clearing it takes as long as a short row.
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

    /// The `R` rows of `w` from `first` on times all of `x`. `y`: `[R, m]`. Every sum has the same
    /// order, whatever `R` and `m`: lane by lane along the row, then across the lanes, then the
    /// remainder.
    fn rows<const R: usize>(&mut self, x: &[f32], w: &impl Rows, first: usize, y: &mut [f32]) {
        let (m, k) = (y.len() / R, w.k());
        self.lanes[..m].as_flattened_mut().fill(Lanes::splat(0.0));
        y.fill(0.0);
        let whole = k / LANES * LANES;
        for start in (0..k).step_by(CHUNK) {
            let range = start..(start + CHUNK).min(k);
            let mut wide = self.wide.iter_mut();
            let w: [&[f32]; R] = std::array::from_fn(|row| {
                let wide = wide.next().map_or(&mut [][..], |wide| &mut wide[..range.len()]);
                w.widened(first + row, range.clone(), wide)
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
fn panels(x: &[f32], w: &impl Rows, y: &mut [f32]) {
    let (n, k) = (w.n(), w.k());
    if let Some(w) = w.wide() {
        return multiply(x, w, k, y, n);
    }
    let panel = (PANEL / k).clamp(1, n);
    let mut scratch = vec![0.0f32; panel * k];
    for first in (0..n).step_by(panel) {
        let rows = panel.min(n - first);
        let scratch = &mut scratch[..rows * k];
        scratch.par_chunks_mut(k).enumerate().for_each(|(row, to)| {
            w.widened(first + row, 0..k, to);
        });
        multiply(x, scratch, k, &mut y[first..], n);
    }
}

/// `y[i][j] = x[i] · w[j]` for all rows of `x` and `w` (`k` elements each); rows of `y` are
/// `stride` apart.
fn multiply(x: &[f32], w: &[f32], k: usize, y: &mut [f32], stride: usize) {
    let (m, n) = (x.len() / k, w.len() / k);
    assert!(
        m > 0 && n > 0 && n <= stride && y.len() >= (m - 1) * stride + n,
        "the product of {m} and {n} rows must fit its output"
    );
    let threads = gemm::Parallelism::Rayon(rayon::current_num_threads());
    let (k_, stride) = (k as isize, stride as isize);
    // SAFETY: `gemm` reads the m·k elements of `x` and the n·k of `w` at row stride k, both within
    // their slices as m and n are their lengths divided by k, and writes n elements at each of m
    // rows that are `stride` apart, the last of which ends within `y` as asserted. `y` is borrowed
    // mutably, so nothing overlaps.
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

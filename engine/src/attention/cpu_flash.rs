//! Our CPU kernel: online softmax over tiles of keys, read in place from the paged pool.
//!
//! Work is divided into items of one sequence, one key head and a few query tokens with all the
//! query heads that share the key head, so that a tile of keys and values is loaded once for all of
//! them. Long contexts are split further into spans of keys, so that a single decode keeps every
//! core busy. Tiles and spans lie at fixed key positions and are merged in order: a row's result
//! depends on its own sequence alone, not on the batch, the chunking or the threads.
//!
//! Inputs are f32, f16 or bf16; sums accumulate in f32.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::{Attention, Heads, Mask};
use crate::config::KvLayout;
use crate::cpu::{Element, LANES, Lanes, Numbers, by_dtype, exp, fma};
use crate::error::Unsupported;
use crate::faults;
use crate::kv::{KvView, Table, Tables};

/// Keys loaded at once.
const TILE: usize = 32;
/// Keys that one thread processes before results are merged; whole tiles.
const SPAN: usize = 16 * TILE;
/// Query rows (tokens times heads) that share a tile.
const ROWS: usize = 32;
/// Groups of [`LANES`] dims whose weighted sums stay in registers.
const WIDE: usize = 4;

/// See the module documentation.
#[derive(Debug)]
pub struct CpuFlash;

impl Attention for CpuFlash {
    fn name(&self) -> &'static str {
        "cpu-flash"
    }

    fn is_for(&self, device: &Device) -> bool {
        device.is_cpu()
    }

    fn supports(
        &self,
        _: &Heads,
        _: KvLayout,
        device: &Device,
        dtype: DType,
    ) -> std::result::Result<(), Unsupported> {
        let declines = |which: String, remedy: &str| {
            Err(Unsupported { what: self.name().into(), which, remedy: remedy.into() })
        };
        if !self.is_for(device) {
            return declines(
                format!("on {:?}", device.location()),
                "choose attention `auto` or `naive`, or place the model on the CPU",
            );
        }
        match dtype {
            DType::F32 | DType::F16 | DType::BF16 => Ok(()),
            other => declines(other.as_str().into(), "choose dtype `f32`, `f16` or `bf16`"),
        }
    }

    fn attend(&self, q: &Tensor, kv: &KvView<'_>, mask: Mask) -> Result<Tensor> {
        faults::look_for_kernel(q.dtype())?;
        by_dtype!(q.dtype(), attend(q, kv, mask))
    }
}

/// The inputs shared by all items.
struct Inputs<'a, T> {
    queries: &'a [T],
    keys: &'a [T],
    values: &'a [T],
    heads: &'a Heads,
    tables: &'a Tables,
    mask: Mask,
}

/// The query tokens `tokens` of one sequence, for one key head.
struct Item<'a> {
    table: &'a Table,
    kv_head: usize,
    tokens: Range<usize>,
}

/// Running softmax of an item's rows over some keys; rows are ordered by token, then by head.
struct Partial {
    /// Largest score so far.
    max: Vec<f32>,
    /// Sum of `exp(score − max)`.
    total: Vec<f32>,
    /// Sum of `exp(score − max) · value`, `[rows, dim]`.
    sums: Vec<f32>,
}

fn attend<T: Element>(q: &Tensor, kv: &KvView<'_>, mask: Mask) -> Result<Tensor> {
    let heads = kv.heads;
    let (tokens, h, dim) = q.dims3()?;
    if (h, dim) != (heads.heads, heads.dim) {
        bail!("queries are {:?}, expected [tokens, {}, {}]", q.shape(), heads.heads, heads.dim);
    }
    let q = q.contiguous()?;
    let (queries, keys, values) =
        (Numbers::of(&q)?, Numbers::of(kv.keys)?, Numbers::of(kv.values)?);
    let (queries, keys, values) = (queries.slice()?, keys.slice()?, values.slice()?);
    let inputs = Inputs::<T> { queries, keys, values, heads, tables: kv.tables, mask };

    let items = items(kv.tables, heads);
    let results: Vec<Vec<f32>> = items.par_iter().map(|item| inputs.run(item)).collect();
    let results = faults::last_row(results, kv.tables, heads.kv_heads);

    let group = heads.group();
    let mut out = vec![T::zero(); tokens * h * dim];
    for (item, result) in items.iter().zip(&results) {
        for (token, rows) in item.tokens.clone().zip(result.chunks(group * dim)) {
            let at = ((item.table.row + token) * h + item.kv_head * group) * dim;
            T::narrow(rows, &mut out[at..at + group * dim]);
        }
    }
    Tensor::from_vec(out, (tokens, h, dim), q.device())
}

fn items<'a>(tables: &'a Tables, heads: &Heads) -> Vec<Item<'a>> {
    let step = (ROWS / heads.group()).max(1);
    let mut items = Vec::new();
    for table in &tables.sequences {
        for start in (0..table.queries).step_by(step) {
            let tokens = start..(start + step).min(table.queries);
            for kv_head in 0..heads.kv_heads {
                items.push(Item { table, kv_head, tokens: tokens.clone() });
            }
        }
    }
    items
}

impl<T: Element> Inputs<'_, T> {
    /// The item's outputs, `[tokens, group, dim]`.
    fn run(&self, item: &Item<'_>) -> Vec<f32> {
        let rows = item.tokens.len() * self.heads.group();
        let queries = self.scaled_queries(item);
        let visible: Vec<Range<usize>> = item
            .tokens
            .clone()
            .map(|token| self.mask.visible(item.table.first_position() + token, item.table.keys))
            .collect();
        let first = visible.iter().map(|range| range.start).min().unwrap_or(0);
        let last = visible.iter().map(|range| range.end).max().unwrap_or(0);

        let spans: Vec<Range<usize>> = (first / SPAN..last.div_ceil(SPAN))
            .map(|span| (span * SPAN).max(first)..((span + 1) * SPAN).min(last))
            .collect();
        let mut partials = spans
            .into_par_iter()
            .map(|span| self.span(item, &queries, &visible, span))
            .collect::<Vec<_>>()
            .into_iter();
        let mut whole = partials.next().unwrap_or_else(|| Partial::new(rows, self.heads.dim));
        partials.for_each(|part| whole.merge(&part));
        whole.finish()
    }

    /// Queries in f32, multiplied by the scale, `[rows, dim]`.
    fn scaled_queries(&self, item: &Item<'_>) -> Vec<f32> {
        let Heads { heads, dim, scale, .. } = *self.heads;
        let width = self.heads.group() * dim;
        let mut scaled = vec![0.0; item.tokens.len() * width];
        let mut scratch = vec![0.0; width];
        for (token, to) in item.tokens.clone().zip(scaled.chunks_mut(width)) {
            let at = (item.table.row + token) * heads * dim + item.kv_head * width;
            let from = T::widened(&self.queries[at..at + width], &mut scratch);
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale);
        }
        scaled
    }

    /// Softmax of the item's rows over the keys of `span`.
    fn span(
        &self,
        item: &Item<'_>,
        queries: &[f32],
        visible: &[Range<usize>],
        span: Range<usize>,
    ) -> Partial {
        let Heads { kv_heads, dim, softcap, .. } = *self.heads;
        let group = self.heads.group();
        let mut part = Partial::new(queries.len() / dim, dim);
        // Keys are transposed ([dim, TILE]), so that the scores of a tile need no sum across lanes.
        let mut keys = vec![[0.0f32; TILE]; dim];
        let mut values = vec![0.0f32; TILE * dim];
        let mut scratch = vec![0.0f32; dim];
        for tile in (span.start / TILE * TILE..span.end).step_by(TILE) {
            let present = tile.max(span.start)..(tile + TILE).min(span.end);
            for position in present.clone() {
                let slot = self.tables.slot(item.table, position);
                let at = (slot * kv_heads + item.kv_head) * dim;
                let key = T::widened(&self.keys[at..at + dim], &mut scratch);
                for (across, key) in keys.iter_mut().zip(key) {
                    across[position - tile] = *key;
                }
                let at_tile = (position - tile) * dim;
                let value = T::widened(&self.values[at..at + dim], &mut scratch);
                values[at_tile..at_tile + dim].copy_from_slice(value);
            }
            for (row, query) in queries.chunks(dim).enumerate() {
                let seen = &visible[row / group];
                let seen = seen.start.max(present.start)..seen.end.min(present.end);
                if seen.is_empty() {
                    continue;
                }
                let mut scores = scores(query, &keys);
                if let Some(cap) = softcap {
                    scores.iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
                }
                let seen = seen.start - tile..seen.end - tile;
                part.add(row, &mut scores, seen, &values, dim);
            }
        }
        part
    }
}

/// Scores of one query (`[dim]`) against a tile of keys (`[dim, TILE]`).
#[inline(always)]
fn scores(query: &[f32], keys: &[[f32; TILE]]) -> [f32; TILE] {
    let mut sums = [Lanes::splat(0.0); TILE / LANES];
    for (q, keys) in query.iter().zip(keys) {
        let q = Lanes::splat(*q);
        for (sum, keys) in sums.iter_mut().zip(keys.as_chunks().0) {
            *sum = Lanes::load(keys).fma(q, *sum);
        }
    }
    let mut scores = [0.0; TILE];
    for (sum, scores) in sums.into_iter().zip(scores.as_chunks_mut().0) {
        sum.store(scores);
    }
    scores
}

impl Partial {
    fn new(rows: usize, dim: usize) -> Self {
        Self {
            max: vec![f32::NEG_INFINITY; rows],
            total: vec![0.0; rows],
            sums: vec![0.0; rows * dim],
        }
    }

    /// Adds the `seen` keys of a tile to `row`. `values`: `[TILE, dim]`.
    #[inline(always)]
    fn add(
        &mut self,
        row: usize,
        scores: &mut [f32; TILE],
        seen: Range<usize>,
        values: &[f32],
        dim: usize,
    ) {
        let max = scores[seen.clone()].iter().fold(self.max[row], |max, &score| max.max(score));
        // The first tile has nothing to rescale, and `exp` would clamp −∞ − max instead of giving
        // 0.
        let rescale =
            if self.max[row] == f32::NEG_INFINITY { 0.0 } else { exp(self.max[row] - max) };
        scores.iter_mut().for_each(|score| *score = exp(*score - max));
        let weights = &scores[seen.clone()];
        self.max[row] = max;
        self.total[row] = fma(self.total[row], rescale, weights.iter().sum());
        let sums = &mut self.sums[row * dim..(row + 1) * dim];
        let mut at = 0;
        let (wide, rest) = sums.as_chunks_mut::<{ WIDE * LANES }>();
        for sums in wide {
            let values = &values[seen.start * dim + at..];
            weighted_sum::<WIDE>(sums, rescale, weights, values, dim);
            at += WIDE * LANES;
        }
        let (narrow, rest) = rest.as_chunks_mut::<LANES>();
        for sums in narrow {
            let values = &values[seen.start * dim + at..];
            weighted_sum::<1>(sums, rescale, weights, values, dim);
            at += LANES;
        }
        for sum in rest {
            let column = values[seen.start * dim + at..].iter().step_by(dim);
            let products = weights.iter().zip(column);
            *sum = products.fold(*sum * rescale, |sum, (weight, value)| fma(*weight, *value, sum));
            at += 1;
        }
    }

    /// Merges the softmax over other keys.
    fn merge(&mut self, other: &Self) {
        let dim = self.sums.len() / self.max.len();
        for row in 0..self.max.len() {
            let max = self.max[row].max(other.max[row]);
            // A row that saw no key of a span contributes nothing.
            let factor = |own: f32| if own == f32::NEG_INFINITY { 0.0 } else { exp(own - max) };
            let (a, b) = (factor(self.max[row]), factor(other.max[row]));
            self.max[row] = max;
            self.total[row] = self.total[row] * a + other.total[row] * b;
            let sums = row * dim..(row + 1) * dim;
            for (sum, other) in self.sums[sums.clone()].iter_mut().zip(&other.sums[sums]) {
                *sum = *sum * a + other * b;
            }
        }
    }

    /// The weighted means, `[rows, dim]`.
    fn finish(mut self) -> Vec<f32> {
        let dim = self.sums.len() / self.max.len();
        for (sums, total) in self.sums.chunks_mut(dim).zip(&self.total) {
            sums.iter_mut().for_each(|sum| *sum /= total);
        }
        self.sums
    }
}

/// `sums = sums · rescale + Σ weights[j] · values[j · dim…]` for `N` groups of [`LANES`] dims.
#[inline(always)]
fn weighted_sum<const N: usize>(
    sums: &mut [f32],
    rescale: f32,
    weights: &[f32],
    values: &[f32],
    dim: usize,
) {
    let sums = sums.as_chunks_mut::<LANES>().0;
    let mut local = [Lanes::splat(0.0); N];
    for (local, sums) in local.iter_mut().zip(&*sums) {
        *local = Lanes::load(sums).times(Lanes::splat(rescale));
    }
    for (weight, values) in weights.iter().zip(values.chunks(dim)) {
        let weight = Lanes::splat(*weight);
        for (local, values) in local.iter_mut().zip(values.as_chunks().0) {
            *local = Lanes::load(values).fma(weight, *local);
        }
    }
    for (local, sums) in local.iter().zip(sums) {
        local.store(sums);
    }
}

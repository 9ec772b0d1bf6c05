//! Temperature, top-k, top-p and min-p: which tokens may be drawn, with which weights; and the
//! draw.
//!
//! A weight is the exponential of the distance to the highest logit over the temperature: the most
//! likely token has weight 1, so min-p is a cutoff on weights. Candidates stay in the order of
//! their ids: if two runs differ only by rounding, the same random number then meets nearly the
//! same sums.

use super::cut::{self, Cut};
use super::{Sampling, Scratch};
use crate::cpu::exp;

/// Weights that are summed in f32 before their sum is added in f64.
const BLOCK: usize = 1024;
/// Independent sums within a block.
const LANES: usize = 16;
/// How often the range of top-p's cutoff is halved before candidates are gathered.
const HALVINGS: usize = 6;
/// Below this exponent a weight is 0.
const LOWEST: f32 = -87.0;

/// The token at `chance`, in [0, 1), among the weights that the filters keep of `logits`, whose
/// largest is `highest`. `None` if rounding left less than `chance`.
pub(super) fn draw(
    sampling: &Sampling,
    logits: &[f32],
    highest: f32,
    chance: f64,
    scratch: &mut Scratch,
) -> Option<u32> {
    match filter(sampling, logits, highest, scratch) {
        Left::All { total } => {
            let mut left = chance * total;
            for (block, first) in scratch.weights.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
                let sum = sum(block);
                if left < sum {
                    let weights = (first..).zip(block.iter().copied());
                    // Summed one by one, a block may fall short of its sum by rounding; then its
                    // last token with a weight is taken.
                    let last = weights.clone().filter(|(_, weight)| *weight > 0.0).last();
                    return pick(left, weights).or(last.map(|(id, _)| id));
                }
                left -= sum;
            }
            None
        }
        Left::Kept { total } => {
            pick(chance * total, scratch.kept.iter().map(|kept| (kept.id, kept.value)))
        }
    }
}

fn pick(mut left: f64, weights: impl Iterator<Item = (u32, f32)>) -> Option<u32> {
    for (id, weight) in weights {
        left -= f64::from(weight);
        if left < 0.0 {
            return Some(id);
        }
    }
    None
}

/// The tokens that may be drawn, and the sum of their weights.
pub(super) enum Left {
    /// Every token, with its weight in `scratch.weights`.
    All { total: f64 },
    /// Those in `scratch.kept`, with their weights, by id.
    Kept { total: f64 },
}

pub(super) fn filter(
    sampling: &Sampling,
    logits: &[f32],
    highest: f32,
    scratch: &mut Scratch,
) -> Left {
    let &Sampling { temperature, top_k, top_p, min_p, .. } = sampling;
    let Scratch { weights, kept, pool, .. } = scratch;
    let share = f64::from(top_p);
    // What top-p still needs from the tokens below `above`; those at or above it all stay.
    let (wanted, above) = match top_k.filter(|count| *count < logits.len()) {
        Some(count) => {
            cut::largest(logits, count, pool).gather(logits, kept);
            kept.iter_mut().for_each(|c| c.value = weight((c.value - highest) / temperature));
            let total: f64 = kept.iter().map(|c| f64::from(c.value)).sum();
            (share * total, f32::INFINITY)
        }
        None => {
            let total = weigh(logits, highest, temperature, weights);
            if top_p >= 1.0 && min_p <= 0.0 {
                return Left::All { total };
            }
            let border = border(weights, share, total);
            Cut::at(min_p.max(border.low)).gather(weights, kept);
            (share * total - border.above, border.high)
        }
    };
    if top_p < 1.0 {
        pool.clear();
        pool.extend(kept.iter().filter(|c| c.value < above));
        let cut = cut::nucleus(pool, wanted);
        kept.retain(|c| cut.admits(*c));
    }
    kept.retain(|c| c.value >= min_p);
    Left::Kept { total: kept.iter().map(|c| f64::from(c.value)).sum() }
}

/// The range that contains top-p's cutoff.
struct Border {
    /// Tokens of at least this weight reach the wanted share.
    low: f32,
    /// Tokens of at least this weight do not.
    high: f32,
    /// The sum of the weights that are at least `high`.
    above: f64,
}

/// A few sums over all weights, each of which halves the range of the cutoff: cheaper than
/// selecting among the many tokens of a long tail.
fn border(weights: &[f32], share: f64, total: f64) -> Border {
    // All tokens below this weight together have less than top-p leaves out.
    let negligible = total * (1.0 - share) / weights.len() as f64;
    // No weight is above 1.
    let mut border = Border { low: negligible as f32, high: 2.0, above: 0.0 };
    let halvings = if border.low > 0.0 { HALVINGS } else { 0 };
    for _ in 0..halvings {
        let middle = (border.low * border.high).sqrt();
        let above = weights.chunks(BLOCK).map(|block| sum_above(block, middle)).sum();
        if above >= share * total {
            border.low = middle;
        } else {
            border = Border { high: middle, above, ..border };
        }
    }
    border
}

/// Fills `weights` with those of `logits`; returns their sum.
pub(super) fn weigh(logits: &[f32], highest: f32, temperature: f32, weights: &mut Vec<f32>) -> f64 {
    weights.clear();
    weights.extend(logits.iter().map(|&logit| weight((logit - highest) / temperature)));
    weights.chunks(BLOCK).map(sum).sum()
}

#[inline(always)]
fn weight(exponent: f32) -> f32 {
    if exponent > LOWEST { exp(exponent) } else { 0.0 }
}

fn sum(block: &[f32]) -> f64 {
    sum_above(block, 0.0)
}

/// The sum of the weights in `block` that are at least `low`.
fn sum_above(block: &[f32], low: f32) -> f64 {
    let (chunks, rest) = block.as_chunks::<LANES>();
    let counts = |weight: f32| if weight >= low { weight } else { 0.0 };
    let mut sums = [0.0f32; LANES];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &weight)| *sum += counts(weight));
    }
    let rest = rest.iter().map(|&weight| counts(weight));
    sums.iter().copied().chain(rest).map(f64::from).sum()
}

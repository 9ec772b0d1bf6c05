//! [`Tail`]: the distribution of the samples of a latency over all rounds, with the uncertainty of
//! each percentile.
//!
//! Elsewhere a round is one number. Here the samples are pooled, because a user experiences
//! requests, not rounds. A percentile of a few samples is a guess that looks like a measurement.
//! Therefore each is given with two samples that enclose the true percentile with [`CONFIDENCE`],
//! whatever the distribution, and omitted if there are too few samples to bound it on both sides.

use special::Beta;

use crate::metric::Metric;
use crate::record::Samples;

/// The percentiles shown, by name and level.
pub const LEVELS: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];

/// The minimum probability that the true percentile lies between the bounds, if the samples are
/// independent.
pub const CONFIDENCE: f64 = 0.95;

/// The metrics whose percentiles are shown: what a user waits for.
const LATENCIES: [Metric; 6] = [
    Metric::TimeToFirstToken,
    Metric::InterToken,
    Metric::TimePerOutputToken,
    Metric::EndToEnd,
    Metric::QueueTime,
    Metric::WakeUp,
];

/// The distribution of the samples of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// The metric.
    pub metric: Metric,
    /// The number of samples.
    pub samples: usize,
    /// Each of [`LEVELS`].
    pub at: [Percentile; LEVELS.len()],
    /// The largest sample.
    pub most: f64,
}

/// An estimate of a percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Percentile {
    /// It is bounded on both sides.
    Bounded {
        /// The percentile of the samples, by nearest rank.
        value: f64,
        /// The lower bound of the true percentile.
        low: f64,
        /// The upper bound of the true percentile.
        high: f64,
    },
    /// There are too few samples.
    TooFew {
        /// The number of samples needed.
        needed: usize,
    },
}

/// The tails of every latency, over all samples of `rounds` that count.
#[must_use]
pub fn tails(rounds: &[&Samples]) -> Vec<Tail> {
    let of = |metric| Tail::of(metric, rounds.iter().flat_map(|round| round.of(metric)).collect());
    LATENCIES.into_iter().filter_map(of).collect()
}

impl Tail {
    /// The distribution of `samples` of `metric`; none if there are none.
    #[must_use]
    pub fn of(metric: Metric, mut samples: Vec<f64>) -> Option<Tail> {
        samples.sort_by(f64::total_cmp);
        let at = LEVELS.map(|(_, level)| percentile(&samples, level));
        Some(Tail { metric, samples: samples.len(), at, most: *samples.last()? })
    }
}

/// The percentile `level` of `sorted` samples, between two of them.
///
/// The number of samples below the true percentile is binomially distributed, whatever they
/// measure. The bounds are the innermost samples such that the true percentile lies beyond each
/// with at most half the probability that [`CONFIDENCE`] leaves.
pub(crate) fn percentile(sorted: &[f64], level: f64) -> Percentile {
    let half = (1.0 - CONFIDENCE) / 2.0;
    let n = sorted.len();
    let needed = needed(level);
    if n < needed {
        return Percentile::TooFew { needed };
    }
    // The true percentile lies above the k-th sample if at least k samples lie below it.
    let low = leading(n, |k| below(n, level, k) <= half);
    let high = leading(n, |k| 1.0 - below(n, level, k) > half) + 1;
    let rank = ((level * n as f64).ceil() as usize).clamp(1, n);
    let at = |rank: usize| sorted.get(rank.checked_sub(1)?).copied();
    match (at(rank), at(low), at(high)) {
        (Some(value), Some(low), Some(high)) => Percentile::Bounded { value, low, high },
        _ => Percentile::TooFew { needed },
    }
}

/// How many of 1 to `n` satisfy `holds`, which must be true for a prefix of them only.
fn leading(n: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut held, mut failed) = (0_usize, n + 1);
    while failed - held > 1 {
        let middle = held.midpoint(failed);
        match holds(middle) {
            true => held = middle,
            false => failed = middle,
        }
    }
    held
}

/// How many samples it takes until one lies beyond the percentile `level` on each side, with the
/// required confidence.
fn needed(level: f64) -> usize {
    let half = (1.0 - CONFIDENCE) / 2.0;
    (half.ln() / level.max(1.0 - level).ln()).ceil() as usize
}

/// The probability that fewer than `k` of `n` samples (`k` ≥ 1) lie below the true percentile
/// `level`: the binomial distribution function, as an incomplete beta function.
fn below(n: usize, level: f64, k: usize) -> f64 {
    let (a, b) = ((n - k + 1) as f64, k as f64);
    (1.0 - level).inc_beta(a, b, a.ln_beta(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(n: u32) -> Vec<f64> {
        (1..=n).map(f64::from).collect()
    }

    #[test]
    fn the_binomial_sum_is_the_sum() {
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
        let (n, p) = (12_u64, 0.9_f64);
        for k in 1..=n {
            let term = |i: u64| choose(n, i) * p.powi(i as i32) * (1.0 - p).powi((n - i) as i32);
            let sum: f64 = (0..k).map(term).sum();
            assert!((below(n as usize, p, k as usize) - sum).abs() < 1e-10, "{k}");
        }
    }

    /// The limits for the median as printed in textbooks on order statistics: the 2nd and 9th of 10
    /// samples, the 6th and 15th of 20, the 40th and 61st of 100.
    #[test]
    fn the_bounds_of_the_median_are_the_printed_ones() {
        for (n, low, high) in [(6, 1.0, 6.0), (10, 2.0, 9.0), (20, 6.0, 15.0), (100, 40.0, 61.0)] {
            let Percentile::Bounded { low: l, high: h, .. } = percentile(&sorted(n), 0.5) else {
                panic!("{n}")
            };
            assert_eq!((l, h), (low, high), "{n} samples");
        }
    }

    #[test]
    fn the_bounds_are_those_that_looking_at_every_sample_finds() {
        let half = (1.0 - CONFIDENCE) / 2.0;
        for (n, level) in (1..400).flat_map(|n| LEVELS.map(|(_, level)| (n, level))) {
            let low = (1..=n).rev().find(|k| below(n as usize, level, *k as usize) <= half);
            let high = (1..=n).find(|k| 1.0 - below(n as usize, level, *k as usize) <= half);
            let found = match percentile(&sorted(n), level) {
                Percentile::Bounded { low, high, .. } => Some((low, high)),
                Percentile::TooFew { .. } => None,
            };
            assert_eq!(found, low.map(f64::from).zip(high.map(f64::from)), "{n} samples, {level}");
        }
    }

    #[test]
    fn a_percentile_that_nothing_bounds_is_not_told() {
        for ((name, level), needed) in LEVELS.into_iter().zip([6, 36, 72, 368]) {
            let found = percentile(&sorted(needed - 1), level);
            assert_eq!(found, Percentile::TooFew { needed: needed as usize }, "{name}");
            let Percentile::Bounded { value, low, high } = percentile(&sorted(needed), level)
            else {
                panic!("{name} of {needed}")
            };
            assert!(low < value && value <= high, "{name}: {low} {value} {high}");
        }
    }

    /// The share of true percentiles within the bounds, over many draws from a skewed distribution.
    #[test]
    fn the_bounds_hold_as_often_as_they_promise() {
        const DRAWS: usize = 2000;
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for level in [0.5, 0.9, 0.95] {
            let truth = -(1.0_f64 - level).ln();
            let mut within = 0;
            for _ in 0..DRAWS {
                let mut samples: Vec<f64> = (0..150).map(|_| -(1.0 - uniform()).ln()).collect();
                samples.sort_by(f64::total_cmp);
                if let Percentile::Bounded { low, high, .. } = percentile(&samples, level) {
                    within += usize::from(low <= truth && truth <= high);
                }
            }
            let share = within as f64 / DRAWS as f64;
            assert!(share > 0.94, "{level}: {share}");
        }
    }

    #[test]
    fn the_samples_of_all_rounds_stand_together() {
        assert_eq!(Tail::of(Metric::EndToEnd, Vec::new()), None);
        let tail = Tail::of(Metric::EndToEnd, vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((tail.samples, tail.most), (3, 3.0));
        assert_eq!(tail.at[0], Percentile::TooFew { needed: 6 });
    }
}

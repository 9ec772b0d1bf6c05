//! When a round has enough iterations: a fixed number, or as many as it takes to know the median of
//! the main metric precisely, within a time budget.
//!
//! Each iteration gives one number, the median of its samples of the workload's first metric. The
//! 95 % confidence interval of the true median of such numbers lies between two of them, by the
//! binomial distribution, and needs at least six. It is checked after every iteration, and a round
//! ends when it happens to be narrow, so the final interval is slightly too narrow. That decides
//! only how long to measure, never a verdict: a judge sees one number per round.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::stats;
use crate::tail::{Percentile, percentile};
use crate::unit::{Nanos, three_digits};

/// When a round has enough iterations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enough {
    /// When there are as many as the case says.
    #[default]
    Counted,
    /// When there are that many, and the median is known precisely or the time is up.
    Precise(Precision),
}

impl Enough {
    /// For serde: the only behaviour before there was a choice.
    pub(crate) const fn is_counted(&self) -> bool {
        matches!(self, Enough::Counted)
    }
}

/// How precisely a round should know the median of its main metric, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Precision {
    /// Half the width of the interval, in millionths of the median.
    target_millionths: u32,
    /// The time budget, from the first iteration that counts. An iteration that has begun is
    /// completed.
    pub budget: Nanos,
}

/// How a round with a precision target ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stopped {
    /// Why.
    pub by: Cause,
    /// Half the width of the final interval, as a share of the median; none with too few iterations
    /// for an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_width: Option<f64>,
    /// Iterations that every round of the case has, warm-up included. The number of further
    /// iterations depends on how quiet the machine was.
    pub certain: u32,
}

/// Why a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The median is known to the requested precision.
    Precise,
    /// The time was up.
    Budget,
    /// There were [`Precision::MOST`] iterations.
    Most,
}

impl Precision {
    /// The most iterations that count: a record must stay readable.
    pub const MOST: usize = 1000;

    /// A half-width of the share `target`, to be reached within `budget`; none unless `target` is
    /// between one millionth and 1.
    #[must_use]
    pub fn new(target: f64, budget: Nanos) -> Option<Precision> {
        let millionths = (target * 1e6).round();
        let is_share = (1.0..=1e6).contains(&millionths);
        is_share.then_some(Precision { target_millionths: millionths as u32, budget })
    }

    /// The requested half-width of the interval, as a share of the median.
    #[must_use]
    pub fn target(self) -> f64 {
        f64::from(self.target_millionths) / 1e6
    }

    /// Why a round ends whose iterations gave `numbers` in the time `elapsed`; none if it
    /// continues.
    #[must_use]
    pub fn ends(self, numbers: &[f64], elapsed: Nanos) -> Option<Cause> {
        match half_width(numbers) {
            Some(width) if width <= self.target() => Some(Cause::Precise),
            _ if elapsed >= self.budget => Some(Cause::Budget),
            _ if numbers.len() >= Precision::MOST => Some(Cause::Most),
            _ => None,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = share(self.target());
        f.pad(&format!("±{target} or {}", self.budget))
    }
}

/// Half the width of the confidence interval of the median of `numbers`, as a share of their
/// median; none if there are too few numbers or their median is zero.
#[must_use]
pub fn half_width(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Percentile::Bounded { low, high, .. } = percentile(&sorted, 0.5) else { return None };
    let median = stats::median(&sorted)?.abs();
    let width = (high - low) / 2.0 / median;
    // Nothing is a share of zero, but equal numbers, even zeros, leave no doubt.
    if low == high { Some(0.0) } else { Some(width).filter(|width| width.is_finite()) }
}

/// A share in per cent, formatted for people.
pub(crate) fn share(share: f64) -> String {
    format!("{} %", three_digits(share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos(1_000_000_000);

    fn precision(target: f64) -> Precision {
        Precision::new(target, SECOND).unwrap()
    }

    #[test]
    fn fewer_than_six_numbers_have_no_interval() {
        assert_eq!(half_width(&[]), None);
        assert_eq!(half_width(&[1.0; 5]), None);
        assert_eq!(half_width(&[1.0; 6]), Some(0.0));
    }

    /// For ten numbers the interval spans the second to the ninth, as textbooks print it.
    #[test]
    fn the_width_is_that_between_two_of_the_numbers_in_any_order() {
        let numbers = [107.0, 91.0, 109.0, 95.0, 93.0, 101.0, 99.0, 103.0, 105.0, 97.0];
        assert_eq!(half_width(&numbers), Some((107.0 - 93.0) / 2.0 / 100.0));
        let negative = numbers.map(|number| -number);
        assert_eq!(half_width(&negative), half_width(&numbers), "a width has no sign");
    }

    #[test]
    fn what_lies_around_zero_has_no_share() {
        assert_eq!(half_width(&[-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]), None);
        assert_eq!(half_width(&[0.0; 8]), Some(0.0));
    }

    #[test]
    fn a_round_ends_when_it_knows_enough_or_has_no_time() {
        let quiet = [100.0, 101.0, 100.0, 99.0, 100.0, 100.0];
        let early = Nanos(1);
        assert_eq!(precision(0.01).ends(&quiet, early), Some(Cause::Precise));
        assert_eq!(precision(0.01).ends(&quiet, SECOND), Some(Cause::Precise), "it is both");
        assert_eq!(precision(0.001).ends(&quiet, early), None);
        assert_eq!(precision(0.001).ends(&quiet, SECOND), Some(Cause::Budget));
        assert_eq!(precision(0.01).ends(&quiet[..5], early), None, "too few to know");
        assert_eq!(precision(0.01).ends(&quiet[..1], SECOND), Some(Cause::Budget));
    }

    #[test]
    fn a_round_without_end_ends() {
        let wild: Vec<f64> = (0..Precision::MOST).map(|i| (i % 97) as f64).collect();
        assert_eq!(precision(0.01).ends(&wild, Nanos(1)), Some(Cause::Most));
        assert_eq!(precision(0.01).ends(&wild[1..], Nanos(1)), None);
    }

    #[test]
    fn a_target_is_a_share() {
        assert_eq!(precision(0.0025).target(), 0.0025);
        assert_eq!(precision(0.01).to_string(), "±1.00 % or 1.00 s");
        for senseless in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY, 1e-9] {
            assert_eq!(Precision::new(senseless, SECOND), None, "{senseless}");
        }
    }
}

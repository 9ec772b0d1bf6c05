//! Series with two modes: a process lands in one or the other and stays there.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::compare::Side;
use crate::judge::{Evidence, Question};
use crate::stats;

/// The two modes of a side's rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Modes {
    /// The mode with the smaller values.
    pub low: Mode,
    /// The mode with the larger values.
    pub high: Mode,
}

/// One of two modes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mode {
    /// The median of its rounds.
    pub value: f64,
    /// Its share of the rounds.
    pub share: f64,
}

/// The fewest rounds in which modes are looked for.
const FEWEST: usize = 5;
/// The fewest rounds of a mode: a single one is an outlier.
const FEWEST_OF_MODE: usize = 2;
/// The smallest share of a mode.
const SMALLEST_SHARE: f64 = 0.15;
/// The smallest gap between modes, in margins.
const SMALLEST_GAP: f64 = 2.0;
/// The gain above which two modes are believed: "very strong" evidence on the scale of Kass and
/// Raftery (1995). With unimodal rounds, about one side in a hundred exceeds it by chance.
const STRONG: f64 = 10.0;
/// The smallest standard deviation within modes: equal values do not mean certainty.
const SMALLEST_SD: f64 = 1e-6;

/// The sides of a question that have two modes.
pub(super) fn of(question: &Question) -> Vec<(Side, Modes)> {
    let (base, head) = match &question.evidence {
        Evidence::Interleaved { base, head, .. } => (Some(base), head),
        Evidence::Stored { sessions, head, .. } => (sessions.last(), head),
        Evidence::Missing(_) => return Vec::new(),
    };
    let named = |side, rounds: &[f64]| {
        let margin = question.margin.share_of(stats::median(rounds)?);
        Some((side, split(rounds, margin)?))
    };
    let base = base.and_then(|rounds| named(Side::Base, rounds));
    base.into_iter().chain(named(Side::Head, head)).collect()
}

/// The two modes of `rounds`, if there are two.
///
/// The sorted logarithms are cut where two Gaussians of equal variance gain most over one, by the
/// integrated completed likelihood (Biernacki, Celeux and Govaert 2000): the drop of the logarithm
/// of the variance, less the entropy of the shares, less the penalty for two more parameters.
pub(crate) fn split(rounds: &[f64], margin: f64) -> Option<Modes> {
    let n = rounds.len();
    let positive = rounds.iter().all(|round| round.is_finite() && *round > 0.0);
    if n < FEWEST || !positive {
        return None;
    }
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let logs: Vec<f64> = sorted.iter().map(|round| round.ln()).collect();

    let fewest = FEWEST_OF_MODE.max((SMALLEST_SHARE * n as f64).ceil() as usize);
    let sums = Sums::of(&logs);
    let cuts = (fewest..=n - fewest).map(|cut| (gain(&sums, cut), cut));
    let (gain, cut) = cuts.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let mode = |rounds: &[f64]| {
        Some(Mode { value: stats::median(rounds)?, share: rounds.len() as f64 / n as f64 })
    };
    let (low, high) = (mode(&sorted[..cut])?, mode(&sorted[cut..])?);
    let gap = (high.value / low.value).ln();
    (gain > STRONG && gap >= SMALLEST_GAP * margin.ln_1p()).then_some(Modes { low, high })
}

/// How much better two Gaussians describe sorted values split at `cut` than one does, as a
/// difference of twice the log likelihoods.
fn gain(sums: &Sums, cut: usize) -> f64 {
    let count = sums.0.len() - 1;
    let n = count as f64;
    let variance = |squares: f64| (squares / n).max(SMALLEST_SD.powi(2));
    let entropy = |part: usize| part as f64 * (n / part as f64).ln();
    let whole = variance(sums.squares(0..count));
    let within = variance(sums.squares(0..cut) + sums.squares(cut..count));
    n * (whole / within).ln() - 2.0 * (entropy(cut) + entropy(count - cut)) - 2.0 * n.ln()
}

/// Prefix sums of values and of their squares: long histories are cut at many places.
struct Sums(Vec<(f64, f64)>);

impl Sums {
    fn of(values: &[f64]) -> Sums {
        // Centring on the mean keeps the digits that squares of large numbers would lose.
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let mut sums = vec![(0.0, 0.0)];
        let (mut sum, mut squares) = (0.0, 0.0);
        for value in values {
            sum += value - mean;
            squares += (value - mean).powi(2);
            sums.push((sum, squares));
        }
        Sums(sums)
    }

    /// The sum of squared deviations from the mean of `range`.
    fn squares(&self, range: Range<usize>) -> f64 {
        let (from, to) = (self.0[range.start], self.0[range.end]);
        (to.1 - from.1 - (to.0 - from.0).powi(2) / range.len() as f64).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_are_named_with_their_shares() {
        let rounds = [20.0, 10.1, 20.3, 10.0, 19.9, 10.2, 20.1, 20.2, 19.8, 20.4];
        let modes = split(&rounds, 0.03).unwrap();
        assert_eq!(modes.low, Mode { value: 10.1, share: 0.3 });
        assert_eq!(modes.high, Mode { value: 20.1, share: 0.7 });
    }

    #[test]
    fn values_that_repeat_exactly_have_modes_too() {
        assert!(split(&[5.0, 5.0, 6.0, 6.0, 5.0], 0.03).is_some());
        assert_eq!(split(&[5.0; 9], 0.03), None);
    }

    #[test]
    fn modes_closer_than_two_margins_do_not_matter() {
        let rounds = [10.00, 10.41, 10.01, 10.42, 10.02, 10.43, 10.0, 10.4];
        assert!(split(&rounds, 0.015).is_some());
        assert_eq!(split(&rounds, 0.03), None);
    }

    #[test]
    fn an_outlier_is_no_mode() {
        assert_eq!(split(&[10.0, 10.1, 10.2, 10.1, 20.0], 0.03), None);
        let mut rounds = [10.0; 20];
        rounds[..2].fill(20.0);
        assert_eq!(split(&rounds, 0.03), None, "a tenth is below the smallest share");
    }

    #[test]
    fn an_even_spread_has_one_mode_however_wide() {
        let rounds: Vec<f64> = (0..30).map(|i| 1.1_f64.powi(i)).collect();
        assert_eq!(split(&rounds, 0.03), None);
    }

    #[test]
    fn nothing_is_said_of_few_rounds_or_of_values_without_logarithm() {
        assert_eq!(split(&[1.0, 1.0, 2.0, 2.0], 0.03), None);
        assert_eq!(split(&[0.0, 0.0, 2.0, 2.0, 2.0], 0.03), None);
        assert_eq!(split(&[], 0.03), None);
    }
}

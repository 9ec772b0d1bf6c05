//! Rounds as a range, for rules that compare values directly.

use crate::metric::Better;
use crate::stats;

/// The widest range of rounds that count as equal, as a share of their median.
pub(crate) const WIDEST: f64 = 0.005;

/// The rounds of one side, or of one session.
pub(crate) struct Range {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Range {
    /// The range of `rounds`; none if they vary too much, or one is negative or not finite.
    pub(crate) fn narrow(rounds: &[f64]) -> Option<Range> {
        let range = Range::of(rounds).filter(|range| range.least >= 0.0)?;
        (range.most - range.least <= WIDEST * range.median).then_some(range)
    }

    /// The range of `rounds`; none if there are none, or one is not finite.
    pub(super) fn of(rounds: &[f64]) -> Option<Range> {
        let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let median = stats::median(rounds)?;
        let numbers = rounds.iter().all(|round| round.is_finite());
        numbers.then_some(Range { least, median, most })
    }

    pub(super) fn best(&self, better: Better) -> f64 {
        match better {
            Better::Lower => self.least,
            Better::Higher => self.most,
        }
    }

    pub(super) fn worst(&self, better: Better) -> f64 {
        match better {
            Better::Lower => self.most,
            Better::Higher => self.least,
        }
    }
}

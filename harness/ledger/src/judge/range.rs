//! The rounds of one side as a range, for rules that compare values as they are.

use crate::metric::Better;
use crate::stats;

/// The rounds of one side.
pub(super) struct Range {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

impl Range {
    /// The range of `rounds`; none if there are none, or one is no finite number.
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

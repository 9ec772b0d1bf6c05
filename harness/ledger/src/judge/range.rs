//! The rounds of one side as a range, for rules that compare values as they are.

use crate::judge::{Finding, Question};
use crate::metric::Better;
use crate::stats;

/// The rounds of one side.
pub(super) struct Range {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
    rounds: usize,
}

impl Range {
    /// The range of `rounds`; none if there are none, or one is no finite number.
    pub(super) fn of(rounds: &[f64]) -> Option<Range> {
        let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let median = stats::median(rounds)?;
        let numbers = rounds.iter().all(|round| round.is_finite());
        numbers.then_some(Range { least, median, most, rounds: rounds.len() })
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

/// What two ranges say about a change. Below zero, values count as zero: no share of them is anything.
pub(super) fn finding(question: &Question, base: &Range, head: &Range) -> Finding {
    let better = question.better;
    let worsening = |from: f64, to: f64| {
        let (from, to) = (from.max(0.0), to.max(0.0));
        match better {
            _ if from == to => 0.0,
            Better::Lower => to / from - 1.0,
            Better::Higher => from / to - 1.0,
        }
    };
    let share = question.margin.share_of(base.median.max(0.0));
    Finding {
        effect: worsening(base.median, head.median),
        low: worsening(base.worst(better), head.best(better)),
        high: worsening(base.best(better), head.worst(better)),
        margin: share,
        mde: share.max(worsening(base.best(better), base.worst(better))),
        rounds: base.rounds.min(head.rounds),
    }
}

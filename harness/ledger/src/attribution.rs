//! Where the time of a case went: the result of an attribution round, and two of them side by side.
//!
//! An attribution round is a separate child process in which the engine records each moment at
//! which a stage begins or ends. That costs time, so such a round times nothing else and never
//! yields samples.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::counter::Counts;
use crate::unit::Nanos;

/// The stage that gets all time not claimed by another.
pub const OTHER: &str = "other";

/// Where the time of a round went, summed over the iterations that count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// The attention backend that ran.
    pub attention: String,
    /// Wall time of those iterations, inside and outside the engine.
    pub wall: Nanos,
    /// What the engine did, by the engine's name for it: `prefill`, `decode`, `embed`.
    pub work: BTreeMap<String, Work>,
    /// Counts from the last iteration, inside and outside the engine.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub counts: Counts,
}

/// One kind of work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// How often it was done; mostly these are steps.
    pub count: u64,
    /// Tokens computed.
    pub tokens: u64,
    /// The time of each stage that took any, by the engine's name for it. Stages do not overlap and
    /// add up to the total time of this work.
    pub stages: BTreeMap<String, Nanos>,
}

impl Work {
    /// The total time.
    #[must_use]
    pub fn total(&self) -> Nanos {
        Nanos(self.stages.values().map(|time| time.0).fold(0, u64::saturating_add))
    }

    /// The share of the total that named stages account for; none if no time was spent.
    #[must_use]
    pub fn claimed(&self) -> Option<f64> {
        let other = self.stages.get(OTHER).map_or(0, |time| time.0);
        let total = self.total().0;
        (total > 0).then(|| (total - other) as f64 / total as f64)
    }

    /// Average time of `stage` per step, in nanoseconds.
    #[must_use]
    pub fn each(&self, stage: &str) -> f64 {
        let time = self.stages.get(stage).map_or(0, |time| time.0);
        if self.count == 0 { 0.0 } else { time as f64 / self.count as f64 }
    }

    /// Adds more work of the same kind.
    pub fn add(&mut self, other: &Work) {
        self.count = self.count.saturating_add(other.count);
        self.tokens = self.tokens.saturating_add(other.tokens);
        for (stage, time) in &other.stages {
            let sum = &mut self.stages.entry(stage.clone()).or_default().0;
            *sum = sum.saturating_add(time.0);
        }
    }
}

/// One stage of two subjects, in nanoseconds per step.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The stage.
    pub stage: String,
    /// Time in the base.
    pub base: f64,
    /// Time in the head.
    pub head: f64,
}

impl Row {
    /// How much longer the head takes.
    #[must_use]
    pub fn change(&self) -> f64 {
        self.head - self.base
    }
}

/// The stages of two subjects for the same kind of work, longest first.
#[must_use]
pub fn side_by_side(base: &Work, head: &Work) -> Vec<Row> {
    let stages: BTreeSet<&String> = base.stages.keys().chain(head.stages.keys()).collect();
    let row = |stage: &String| Row {
        stage: stage.clone(),
        base: base.each(stage),
        head: head.each(stage),
    };
    let mut rows: Vec<Row> = stages.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.base.max(b.head).total_cmp(&a.base.max(a.head)));
    rows
}

/// The row responsible for the difference: of those that changed in the direction of the total, the
/// one that changed most. None if the total did not change.
#[must_use]
pub fn carrier(rows: &[Row]) -> Option<&Row> {
    let whole: f64 = rows.iter().map(Row::change).sum();
    let along = rows.iter().filter(|row| row.change() * whole > 0.0);
    along.max_by(|a, b| a.change().abs().total_cmp(&b.change().abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(count: u64, stages: &[(&str, u64)]) -> Work {
        let stages = stages.iter().map(|(stage, time)| ((*stage).to_owned(), Nanos(*time)));
        Work { count, tokens: count, stages: stages.collect() }
    }

    #[test]
    fn what_is_claimed_and_what_is_left_are_the_whole() {
        let decode = work(10, &[("linear", 900), ("attention", 80), (OTHER, 20)]);
        assert_eq!((decode.total(), decode.claimed()), (Nanos(1000), Some(0.98)));
        assert_eq!((decode.each("linear"), decode.each("norm")), (90.0, 0.0));
        assert_eq!(Work::default().claimed(), None);
        let mut sum = decode;
        sum.add(&work(5, &[("linear", 100), ("norm", 1)]));
        assert_eq!(sum.count, 15);
        assert_eq!((sum.stages["linear"], sum.stages["norm"]), (Nanos(1000), Nanos(1)));
    }

    #[test]
    fn the_stage_that_carries_the_difference_goes_the_way_of_the_whole() {
        let base = work(10, &[("linear", 1000), ("attention", 500), ("norm", 100)]);
        // Twice the steps: times are compared per step.
        let head = work(20, &[("linear", 1000), ("attention", 2600), ("rope", 40)]);
        let rows = side_by_side(&base, &head);
        let stages: Vec<&str> = rows.iter().map(|row| row.stage.as_str()).collect();
        assert_eq!(stages, ["attention", "linear", "norm", "rope"]);
        let found = carrier(&rows).unwrap();
        assert_eq!((found.stage.as_str(), found.change()), ("attention", 80.0));
        assert_eq!(carrier(&side_by_side(&head, &base)).unwrap().stage, "attention");
        assert_eq!(carrier(&side_by_side(&base, &base)), None);
    }
}

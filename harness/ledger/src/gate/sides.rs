//! What can be said about a case before any statistics: that it is broken, not comparable, or that
//! there is nothing to compare.

use crate::case::Case;
use crate::compare::{differences, outputs};
use crate::environment::Difference;
use crate::gate::{Policies, Setting, Terms};
use crate::record::{Failure, Outcome, Record};
use crate::verdict::Verdict;

/// The records of one case.
#[derive(Clone, Debug)]
pub struct Sides<'a> {
    /// The case.
    pub case: &'a Case,
    /// What it is compared with.
    pub base: Vec<&'a Record>,
    /// What is judged.
    pub head: Vec<&'a Record>,
    /// The base once more; empty if there is no control arm.
    pub control: Vec<&'a Record>,
}

impl Sides<'_> {
    /// Whether the record is of a session of a stored base that had no room for a case that other
    /// sessions measured.
    pub(super) fn passes_over(&self, record: &Record, terms: &Terms) -> bool {
        terms.setting == Setting::Stored
            && matches!(record.outcome, Outcome::Skipped(_))
            && self.base.iter().any(|base| is_measured(base))
    }

    /// The base's rounds but those that it declined: what was never started has no build that could
    /// differ.
    fn tried(&self) -> Vec<&Record> {
        let declined = |record: &&Record| matches!(record.outcome, Outcome::Skipped(_));
        self.base.iter().copied().filter(|record| !declined(record)).collect()
    }

    /// Why there is nothing to compare, through nobody's fault.
    pub(super) fn absent(&self) -> Option<String> {
        let ended = self.base.iter().chain(&self.head).any(|record| failure(record).is_some());
        let base = match self.base.iter().any(|record| is_measured(record)) {
            // One session had no room for it, but others have measured it.
            true => None,
            false => declined(&self.base),
        };
        match (base, declined(&self.head)) {
            _ if ended => None,
            (Some(reason), Some(_)) => Some(format!("neither side can run it: {reason}")),
            (Some(reason), None) => Some(format!("the base cannot run it: {reason}")),
            (None, Some(_)) => None,
            // A head without any record is not passed over: that is an obstacle.
            (None, None) if self.head.is_empty() => None,
            (None, None) if self.base.is_empty() => Some("the base was not measured".to_owned()),
            (None, None) => None,
        }
    }

    /// Why its numbers must not be compared: a verdict with all its reasons.
    pub(super) fn obstacle(&self, terms: &Terms) -> Option<(Verdict, Vec<String>)> {
        let bases = || self.base.iter().chain(&self.control);
        let base_failed = bases().find_map(|record| failure(record));
        if let Some((round, failure)) = self.head.iter().find_map(|record| failure(record)) {
            let mut reasons = vec![format!("head: round {round} failed: {failure}")];
            reasons
                .extend(base_failed.map(|(_, failure)| format!("the base fails too: {failure}")));
            return Some((Verdict::Broken, reasons));
        }
        let invalid = |reason: String| Some((Verdict::Invalid, vec![reason]));
        if let Some((round, failure)) = base_failed {
            return invalid(format!("base: round {round} failed: {failure}"));
        }
        if let Some(reason) = declined(&self.head) {
            return invalid(format!("the base runs it, and the head cannot: {reason}"));
        }
        if self.base.is_empty() && self.head.is_empty() {
            return invalid("nothing was recorded for base and head".to_owned());
        }
        if self.head.is_empty() {
            return invalid("the head was not measured".to_owned());
        }
        let (mut reasons, soft) = differences(&self.tried(), &self.head);
        // The gate is about one change: a second one, in features, is an obstacle.
        let features = soft.iter().filter(|difference| is_hard_here(difference));
        reasons.extend(features.map(Difference::to_string));
        let policies = terms.policies.as_ref().and_then(Policies::difference);
        reasons.extend(policies.map(|difference| difference.to_string()));
        if !reasons.is_empty() {
            return Some((Verdict::Invalid, reasons));
        }
        let bases: Vec<&Record> = bases().copied().collect();
        outputs(&bases, &self.head).map(|(verdict, reason)| (verdict, vec![reason]))
    }

    /// The end of the output of the process that failed first, one of the head before one of the
    /// base: that of the failure in the first reason.
    pub(super) fn tail(&self) -> Option<String> {
        let mut all = self.head.iter().chain(&self.base).chain(&self.control);
        let (_, failure) = all.find_map(|record| failure(record))?;
        failure.tail().map(str::to_owned)
    }

    /// Differences between the sides that do not forbid the comparison.
    pub(super) fn differences(&self) -> Vec<String> {
        // If the head was not built or never started, nothing is known about it, and nothing
        // differs.
        if self.head.iter().all(|record| record.environment.build.is_none()) {
            return Vec::new();
        }
        let (_, soft) = differences(&self.tried(), &self.head);
        let soft = soft.iter().filter(|difference| !is_hard_here(difference));
        soft.map(Difference::to_string).collect()
    }
}

/// A comparison may deliberately be of two feature sets; a gate never is.
fn is_hard_here(difference: &Difference) -> bool {
    difference.what == "engine features"
}

pub(super) fn is_measured(record: &Record) -> bool {
    matches!(record.outcome, Outcome::Measured(_))
}

fn failure(record: &Record) -> Option<(u32, &Failure)> {
    match &record.outcome {
        Outcome::Failed(failure) => Some((record.round, failure)),
        Outcome::Measured(_)
        | Outcome::Attributed(_)
        | Outcome::Void { .. }
        | Outcome::Skipped(_) => None,
    }
}

/// Why the engine cannot run it, in its own words.
fn declined<'a>(records: &[&'a Record]) -> Option<&'a str> {
    records.iter().find_map(|record| match &record.outcome {
        Outcome::Skipped(reason) => Some(reason.as_str()),
        Outcome::Measured(_)
        | Outcome::Attributed(_)
        | Outcome::Void { .. }
        | Outcome::Failed(_) => None,
    })
}

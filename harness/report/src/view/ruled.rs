//! The series that a gate judged, the worst first, each with the rounds behind its verdict.

use std::collections::BTreeMap;

use windtunnel_ledger::attribution::Attribution;
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::gate::{CaseReport, Report, Row};
use windtunnel_ledger::record::{Outcome, Record, Samples};
use windtunnel_ledger::verdict::Verdict;

use super::View;

/// The number of rows whose evidence is on the page: the worst ones. With all rows of a large run
/// the page would be too long for any reader, and the records beside it hold everything.
pub(crate) const DETAILED: usize = 200;

/// One judged series.
pub(crate) struct Ruled<'v> {
    /// The report on its case.
    pub(crate) case: &'v CaseReport,
    /// The judgement on the series.
    pub(crate) row: &'v Row,
    /// The rounds of its case in chronological order, each with the index of its subject.
    pub(crate) rounds: Vec<(usize, &'v Record)>,
}

impl Ruled<'_> {
    /// Whether it regressed without blocking a merge.
    pub(crate) fn only_warns(&self) -> bool {
        self.row.verdict == Verdict::Regressed && self.row.counted() == Verdict::Pass
    }
}

/// Every series of `report`, the worst first.
pub(super) fn ruled<'v>(view: &'v View<'_>, report: &'v Report) -> Vec<Ruled<'v>> {
    let mut rounds: BTreeMap<&CaseId, Vec<(usize, &Record)>> = BTreeMap::new();
    for record in view.records {
        if let Some(subject) = view.subjects.iter().position(|s| **s == record.subject) {
            rounds.entry(&record.case.id).or_default().push((subject, record));
        }
    }
    let ruled = |(case, row): (&'v CaseReport, &'v Row)| {
        let rounds = rounds.get(&case.case).cloned().unwrap_or_default();
        Ruled { case, row, rounds }
    };
    report.worst_first().into_iter().map(ruled).collect()
}

impl<'v> Ruled<'v> {
    /// The value of each round for the series, in chronological order; rounds that do not count are
    /// left out.
    pub(crate) fn values(&self) -> Vec<(usize, f64)> {
        let value = |(subject, record): &(usize, &Record)| match &record.outcome {
            Outcome::Measured(samples) => Some((*subject, self.row.series.of_round(samples)?)),
            _ => None,
        };
        self.rounds.iter().filter_map(value).collect()
    }

    /// The rounds that count, each with its samples.
    pub(crate) fn measured(&self) -> impl Iterator<Item = (usize, &'v Record, &'v Samples)> {
        self.rounds.iter().filter_map(|(subject, record)| match &record.outcome {
            Outcome::Measured(samples) => Some((*subject, *record, samples)),
            _ => None,
        })
    }

    /// Where the time of `subject` went; none if that was not recorded.
    pub(crate) fn attribution(&self, subject: usize) -> Option<&'v Attribution> {
        self.rounds.iter().find_map(|(of, record)| match &record.outcome {
            Outcome::Attributed(attribution) if *of == subject => Some(attribution),
            _ => None,
        })
    }

    /// The shell command that repeats a round of `subject`.
    pub(crate) fn command(&self, subject: usize) -> Option<&'v str> {
        self.rounds.iter().find(|(of, _)| *of == subject).map(|(_, r)| r.command.as_str())
    }
}

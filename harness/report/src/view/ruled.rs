//! The series that a gate judged, the worst first, each with the rounds that speak for it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use windtunnel_ledger::attribution::Attribution;
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::gate::{CaseReport, Report, Row};
use windtunnel_ledger::record::{Outcome, Record, Samples};
use windtunnel_ledger::verdict::Verdict;

use super::View;

/// Rows whose evidence is on the page: the worst. A page of all rows of a great run would be too long
/// for any reader, and the records beside it hold everything.
pub(crate) const DETAILED: usize = 200;

/// One series, judged.
pub(crate) struct Ruled<'v> {
    /// What became of its case.
    pub(crate) case: &'v CaseReport,
    /// What became of it.
    pub(crate) row: &'v Row,
    /// The rounds of its case in the order of time, each with the index of its subject.
    pub(crate) rounds: Vec<(usize, &'v Record)>,
}

impl Ruled<'_> {
    /// Whether it is worse, but stops nothing.
    pub(crate) fn only_warns(&self) -> bool {
        self.row.verdict == Verdict::Regressed && self.row.counted() == Verdict::Pass
    }
}

/// Every series of `report`, the worst first: by verdict, and within one by how many margins it is
/// worse; of what improved, the most improved first.
pub(super) fn ruled<'v>(view: &'v View<'_>, report: &'v Report) -> Vec<Ruled<'v>> {
    let mut rounds: BTreeMap<&CaseId, Vec<(usize, &Record)>> = BTreeMap::new();
    for record in view.records {
        if let Some(subject) = view.subjects.iter().position(|s| **s == record.subject) {
            rounds.entry(&record.case.id).or_default().push((subject, record));
        }
    }
    let rows = report.cases.iter().flat_map(|case| case.rows.iter().map(move |row| (case, row)));
    let mut rows: Vec<(&CaseReport, &Row)> = rows.collect();
    // The first of several equals is the first of the plan.
    rows.sort_by_key(|(_, row)| (row.verdict, Reverse(thousandths(weight(row)))));
    let ruled = |(case, row): (&'v CaseReport, &'v Row)| {
        let rounds = rounds.get(&case.case).cloned().unwrap_or_default();
        Ruled { case, row, rounds }
    };
    rows.into_iter().map(ruled).collect()
}

/// How much a series has to say within its verdict, in margins.
fn weight(row: &Row) -> f64 {
    match row.verdict {
        Verdict::Improved => -margins(row),
        _ => margins(row),
    }
}

/// By how many margins a series is worse; 0 where nothing was seen.
pub(crate) fn margins(row: &Row) -> f64 {
    row.finding.map_or(0.0, |finding| in_margins(finding.effect, finding.margin))
}

/// A change as a multiple of the margin, on the logarithms by which the gate decides: there half is as
/// far as double. What came from nothing is without end, however much would have mattered.
pub(crate) fn in_margins(change: f64, margin: f64) -> f64 {
    if change.is_infinite() {
        return change;
    }
    let log = if change <= -1.0 { f64::NEG_INFINITY } else { change.ln_1p() };
    let margins = log / margin.ln_1p();
    if margins.is_nan() { 0.0 } else { margins }
}

/// A number that has an order.
fn thousandths(margins: f64) -> i64 {
    (margins * 1000.0) as i64
}

impl<'v> Ruled<'v> {
    /// What each round gave for the series, in the order of time; rounds that do not count have no
    /// part in it.
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

    /// Where the time of `subject` went; none if that was not asked for.
    pub(crate) fn attribution(&self, subject: usize) -> Option<&'v Attribution> {
        self.rounds.iter().find_map(|(of, record)| match &record.outcome {
            Outcome::Attributed(attribution) if *of == subject => Some(attribution),
            _ => None,
        })
    }

    /// The line for a shell that repeats a round of `subject`.
    pub(crate) fn command(&self, subject: usize) -> Option<&'v str> {
        self.rounds.iter().find(|(of, _)| *of == subject).map(|(_, r)| r.command.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_counted_on_logarithms_and_what_came_from_nothing_is_without_end() {
        let near = |change: f64, margin: f64, expected: f64| {
            let found = in_margins(change, margin);
            assert!((found - expected).abs() < 1e-9, "{change} of {margin}: {found}");
        };
        near(0.03, 0.03, 1.0);
        near(1.0, 0.03, 2.0_f64.ln() / 1.03_f64.ln());
        near(-0.5, 0.03, -in_margins(1.0, 0.03));
        near(0.0, f64::INFINITY, 0.0);
        near(f64::NAN, 0.03, 0.0);
        let endless = f64::INFINITY;
        assert_eq!(in_margins(endless, endless), endless);
        assert_eq!(in_margins(endless, 0.02), endless);
        assert_eq!(in_margins(-1.0, 0.02), -endless);
    }
}

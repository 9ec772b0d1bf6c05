//! The results of the run: a row for each case and subject, a column for each series.
//!
//! A phone has no room for columns; there each case is a block of named values. That is why every
//! cell carries the name of its column.

use maud::{Markup, html};
use windtunnel_ledger::metric::Better;
use windtunnel_ledger::series::{Quantile, Series};

use super::{Section, better, mark, subject, value};
use crate::view::{CaseView, LONG, Scenario, SubjectResult, View};

/// The results of every scenario.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let body = html! {
        p.note {
            "Medians of the rounds; ± is their spread (scaled median absolute deviation). "
            "↑ more is better, ↓ less is better. "
            @if view.is_long() {
                "With more than " (LONG) " cases, plots, rounds from outside, percentiles and commands are left out: all of it is in the file of the run. "
            }
            @if view.subjects.len() > 1 {
                @for index in 0..view.subjects.len() { span.key { (subject(view, index)) } " " }
            }
        }
        @for scenario in view.scenarios.iter().filter(|scenario| begun(scenario)) {
            @let (same, columns) = columns(scenario);
            h3 { (scenario.name) }
            (shared(scenario, &same))
            div.wide tabindex="0" role="region" aria-label={ "Results of " (scenario.name) } {
                @if columns.is_empty() { (table(view, scenario, &[], Anchors::Here)) }
                @for (place, columns) in columns.chunks(most(view, scenario)).enumerate() {
                    (table(view, scenario, columns, if place == 0 { Anchors::Here } else { Anchors::Above }))
                }
            }
        }
    };
    let any = view.scenarios.iter().any(begun);
    any.then_some(Section { anchor: "results", heading: "Results", body })
}

/// Whether any of its cases was run; a case that was not has no row.
fn begun(scenario: &Scenario<'_>) -> bool {
    scenario.cases.iter().any(|case| !case.results.is_empty())
}

/// A series with the same value in every round of every case, and that value.
type Same = (Series, String);

/// The series of a scenario: those that need no column, and those that get one.
///
/// Percentiles of a service have a table of their own.
fn columns(scenario: &Scenario<'_>) -> (Vec<Same>, Vec<Series>) {
    let (mut same, mut columns) = (Vec::new(), Vec::new());
    let is_service = scenario.services().next().is_some();
    for series in scenario.series.iter().copied() {
        match everywhere(scenario, series) {
            _ if is_service && series.quantile != Quantile::Median => (),
            Some(value) => same.push((series, series.metric.show(value))),
            None => columns.push(series),
        }
    }
    (same, columns)
}

/// The value that every round of every case gave, if it is always the same and there are several
/// results.
fn everywhere(scenario: &Scenario<'_>, series: Series) -> Option<f64> {
    let results: Vec<_> = scenario.cases.iter().flat_map(|case| &case.results).collect();
    let rounds: Option<Vec<&[f64]>> =
        results.iter().map(|result| Some(result.location(series)?.rounds.as_slice())).collect();
    let first = *rounds.as_ref()?.first()?.first()?;
    let is_same = rounds?.concat().iter().all(|round| *round == first);
    (is_same && results.len() > 1).then_some(first)
}

/// What all cases of a scenario have in common, settings first.
fn shared(scenario: &Scenario<'_>, same: &[Same]) -> Markup {
    html! {
        p.shared {
            @for (name, value) in &scenario.shared {
                span.fact { span.muted { (name) } " " (value) } " "
            }
        }
        @if !same.is_empty() {
            p.shared {
                "The same in every round: "
                @for (series, value) in same {
                    span.fact { span.muted { (series.label()) } " " (value) } " "
                }
            }
        }
    }
}

/// Columns that fit on a desktop beside the one of rounds.
const COLUMNS: usize = 11;

/// The number of series side by side; more go into another table below.
fn most(view: &View<'_>, scenario: &Scenario<'_>) -> usize {
    let words = scenario.varying.len() + usize::from(view.subjects.len() > 1);
    COLUMNS.saturating_sub(words).clamp(4, 10)
}

/// Which table has the anchors of the cases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anchors {
    /// This table.
    Here,
    /// A table above it.
    Above,
}

fn table(view: &View<'_>, scenario: &Scenario<'_>, columns: &[Series], anchors: Anchors) -> Markup {
    let several = view.subjects.len() > 1;
    html! {
        table.results style=(labels(columns)) {
            thead {
                tr {
                    @for name in &scenario.varying { th scope="col" { (name) } }
                    @if several { th scope="col" { "subject" } }
                    th.number scope="col" { "rounds" }
                    @for series in columns {
                        th.number scope="col" title=(better(series.metric)) { (heading(*series)) }
                    }
                }
            }
            @for case in scenario.cases.iter().filter(|case| !case.results.is_empty()) {
                tbody id=[(anchors == Anchors::Here).then_some(&case.case.id)] {
                    @for (i, result) in case.results.iter().enumerate() {
                        tr {
                            @if i == 0 { (names(scenario, case)) }
                            @if several { td.subject data-label="subject" { (mark(result.subject)) " " (name(view, result)) } }
                            (cells(columns, case, result))
                        }
                    }
                }
            }
        }
    }
}

/// The names of the number columns, which a phone shows inside the cells. They are counted from the
/// last column, because the first cells of a case span the rows of all subjects.
fn labels(columns: &[Series]) -> String {
    let names = columns.iter().rev().map(|series| heading(*series));
    let names = names.chain(["rounds".to_owned()]).enumerate();
    names.map(|(place, name)| format!("--c{}:'{name}';", place + 1)).collect()
}

fn names(scenario: &Scenario<'_>, case: &CaseView<'_>) -> Markup {
    let rows = (case.results.len() > 1).then_some(case.results.len());
    html! {
        @for (i, (name, value)) in scenario.varying.iter().zip(&case.values).enumerate() {
            @if i == 0 {
                th scope="rowgroup" rowspan=[rows] title=(case.case.id) data-label=(name) { (value) }
            } @else {
                td rowspan=[rows] data-label=(name) { (value) }
            }
        }
    }
}

fn name<'a>(view: &View<'a>, result: &SubjectResult<'_>) -> &'a str {
    view.subjects.get(result.subject).map_or("", |subject| &subject.name)
}

fn cells(columns: &[Series], case: &CaseView<'_>, result: &SubjectResult<'_>) -> Markup {
    let summary = &result.summary;
    let rounds = summary.series.iter().map(|(_, location)| location.rounds.len()).max();
    let rounds = rounds.unwrap_or(0);
    let all = case.rounds.max(rounds + summary.unmeasured.len());
    html! {
        td {
            (rounds)
            @if all > rounds { " " span.spread { "of " (all) } }
        }
        @for series in columns {
            td {
                @match result.location(*series) {
                    Some(location) => (value(series.metric, location)),
                    None => span.muted { "–" },
                }
            }
        }
    }
}

/// The name of a column, with an arrow for the better direction.
fn heading(series: Series) -> String {
    let arrow = match series.metric.spec().better {
        Better::Higher => "↑",
        Better::Lower => "↓",
    };
    format!("{} {arrow}", series.label())
}

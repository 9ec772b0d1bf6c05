//! The table of the run: a row for each case and subject, a column for each metric.
//!
//! A phone has no room for columns: there each case is a block of named values. That is why every
//! cell carries the name of its column.

use maud::{Markup, html};
use windtunnel_ledger::metric::{Better, Metric};
use windtunnel_ledger::summary::Location;

use super::{Section, better, mark, subject, value};
use crate::view::{CaseView, Scenario, SubjectResult, View};

/// The results of every scenario.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let body = html! {
        p.note {
            "Medians of the rounds; ± is their spread (scaled median absolute deviation). "
            "↑ more is better, ↓ less is better. "
            @if view.subjects.len() > 1 {
                @for index in 0..view.subjects.len() { span.key { (subject(view, index)) } " " }
            }
        }
        @for scenario in view.scenarios.iter().filter(|scenario| begun(scenario)) {
            h3 { (scenario.name) }
            (shared(scenario))
            div.wide tabindex="0" role="region" aria-label={ "Results of " (scenario.name) } {
                (table(view, scenario))
            }
        }
    };
    let any = view.scenarios.iter().any(begun);
    any.then_some(Section { anchor: "results", heading: "Results", body })
}

/// Whether any of its cases was run; one that was not has no row.
fn begun(scenario: &Scenario<'_>) -> bool {
    scenario.cases.iter().any(|case| !case.results.is_empty())
}

/// What all cases of a scenario have in common.
fn shared(scenario: &Scenario<'_>) -> Markup {
    html! {
        p.shared {
            @for (name, value) in &scenario.shared {
                span.fact { span.muted { (name) } " " (value) } " "
            }
        }
    }
}

fn table(view: &View<'_>, scenario: &Scenario<'_>) -> Markup {
    let several = view.subjects.len() > 1;
    html! {
        table.results {
            thead {
                tr {
                    @for name in &scenario.varying { th scope="col" { (name) } }
                    @if several { th scope="col" { "subject" } }
                    th.number scope="col" { "rounds" }
                    @for metric in &scenario.metrics {
                        th.number scope="col" title=(better(*metric)) {
                            (metric.spec().label) " " (arrow(*metric))
                        }
                    }
                }
            }
            @for case in scenario.cases.iter().filter(|case| !case.results.is_empty()) {
                tbody id=(case.case.id) {
                    @for (i, result) in case.results.iter().enumerate() {
                        tr {
                            @if i == 0 { (names(scenario, case)) }
                            @if several { td.subject data-label="subject" { (mark(result.subject)) " " (name(view, result)) } }
                            (cells(scenario, case, result))
                        }
                    }
                }
            }
        }
    }
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

fn cells(scenario: &Scenario<'_>, case: &CaseView<'_>, result: &SubjectResult<'_>) -> Markup {
    let summary = &result.summary;
    let rounds = summary.metrics.iter().map(|(_, location)| location.rounds.len()).max();
    let rounds = rounds.unwrap_or(0);
    let all = case.rounds.max(rounds + summary.unmeasured.len());
    let of = |metric: Metric| -> Option<&Location> {
        summary.metrics.iter().find(|(known, _)| *known == metric).map(|(_, location)| location)
    };
    html! {
        td.number data-label="rounds" {
            (rounds)
            @if all > rounds { " " span.spread { "of " (all) } }
        }
        @for metric in &scenario.metrics {
            td.number data-label={ (metric.spec().label) " " (arrow(*metric)) } {
                @match of(*metric) {
                    Some(location) => (value(*metric, location)),
                    None => span.muted { "–" },
                }
            }
        }
    }
}

fn arrow(metric: Metric) -> &'static str {
    match metric.spec().better {
        Better::Higher => "↑",
        Better::Lower => "↓",
    }
}

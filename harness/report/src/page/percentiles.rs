//! Percentiles of latencies, with bounds.

use maud::{Markup, html};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::tail::{CONFIDENCE, LEVELS, Percentile, Tail};

use super::{Section, address, counted, subject};
use crate::view::{CaseView, Scenario, SubjectResult, View};

/// More tables than this are folded away.
const FOLD: usize = 12;

/// The percentiles of every case that has any.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let any = |scenario: &&Scenario<'_>| results(scenario).next().is_some();
    let scenarios: Vec<&Scenario<'_>> = view.scenarios.iter().filter(any).collect();
    let body = html! {
        p.note {
            "Over the samples of all rounds together. The samples in brackets enclose the true percentile with "
            (CONFIDENCE * 100.0) " %, if samples are independent. "
            "With too few samples to bound a percentile, “needs” says how many it takes."
        }
        @for scenario in &scenarios {
            @let all: Vec<_> = results(scenario).collect();
            h3 { (scenario.name) }
            @if all.len() > FOLD {
                details { summary { (counted(all.len(), "table")) } (tables(view, scenario, &all)) }
            } @else {
                (tables(view, scenario, &all))
            }
        }
    };
    let found = !scenarios.is_empty() && !view.is_long();
    found.then_some(Section { anchor: "percentiles", heading: "Percentiles", body })
}

fn tables(
    view: &View<'_>,
    scenario: &Scenario<'_>,
    all: &[(&CaseView<'_>, &SubjectResult<'_>)],
) -> Markup {
    html! {
        div.tails {
            @for (case, result) in all {
                table {
                    caption { (name(view, scenario, case, result)) }
                    (percentiles(&result.tails))
                }
            }
        }
    }
}

fn results<'v, 'a>(
    scenario: &'v Scenario<'a>,
) -> impl Iterator<Item = (&'v CaseView<'a>, &'v SubjectResult<'a>)> {
    let results =
        scenario.cases.iter().flat_map(|case| case.results.iter().map(move |r| (case, r)));
    results.filter(|(_, result)| !result.tails.is_empty())
}

fn name(
    view: &View<'_>,
    scenario: &Scenario<'_>,
    case: &CaseView<'_>,
    result: &SubjectResult<'_>,
) -> Markup {
    html! {
        a href=(address(&case.case.id)) {
            @for (name, value) in scenario.varying.iter().zip(&case.values) {
                span.fact { span.muted { (name) } " " (value) } " "
            }
        }
        @if view.subjects.len() > 1 { (subject(view, result.subject)) }
    }
}

fn percentiles(tails: &[Tail]) -> Markup {
    html! {
        thead {
            tr {
                th scope="col" { "metric" }
                th.number scope="col" { "samples" }
                @for (name, _) in LEVELS { th.number scope="col" { (name) } }
                th.number scope="col" { "max" }
            }
        }
        tbody { @for tail in tails { (row(tail)) } }
    }
}

fn row(tail: &Tail) -> Markup {
    html! {
        tr {
            th scope="row" { (tail.metric.spec().label) }
            td.number { (tail.samples) }
            @for percentile in tail.at { td.number { (cell(tail.metric, percentile)) } }
            td.number { (tail.metric.show(tail.most)) }
        }
    }
}

fn cell(metric: Metric, percentile: Percentile) -> Markup {
    match percentile {
        Percentile::Bounded { value, low, high } => html! {
            (metric.show(value))
            div.muted.bounds { "[" (metric.show(low)) ", " (metric.show(high)) "]" }
        },
        Percentile::TooFew { needed } => html! { span.muted { "needs " (needed) } },
    }
}

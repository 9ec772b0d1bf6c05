//! Services: latency over throughput, and the tails of what their users felt.

use maud::{Markup, PreEscaped, html};

use super::{Section, address, better, mark, subject};
use crate::plot::ServicePlot;
use crate::view::{CaseView, LEVELS, Scenario, SubjectResult, Tail, View};

/// Every scenario with a service that was measured.
pub(super) fn section(view: &View<'_>, plots: &[ServicePlot]) -> Option<Section> {
    let measured = |scenario: &&Scenario<'_>| scenario.services().next().is_some();
    let scenarios: Vec<&Scenario<'_>> = view.scenarios.iter().filter(measured).collect();
    let body = html! {
        p.note {
            "Every mark is the median of one case's rounds. The number beside it is its load: requests under way at once, or requests that arrive in a second. "
            "Percentiles are of the samples of all rounds together; one is shown where at least one sample may lie above it."
        }
        @for scenario in &scenarios {
            h3 { (scenario.name) }
            div.plots {
                @for plot in plots.iter().filter(|plot| plot.scenario == scenario.name) { (figure(view, plot)) }
            }
            div.tails {
                @for (case, result) in scenario.services() {
                    table {
                        caption { (name(view, scenario, case, result)) }
                        (percentiles(&result.tails))
                    }
                }
            }
        }
    };
    (!scenarios.is_empty()).then_some(Section { anchor: "service", heading: "Service", body })
}

fn figure(view: &View<'_>, plot: &ServicePlot) -> Markup {
    html! {
        figure {
            figcaption {
                strong { (plot.y.label()) } " over output " span.muted { (better(plot.y.metric)) }
                div.note {
                    @for (i, curve) in plot.curves.iter().enumerate() {
                        span.key {
                            (mark(i)) "\u{a0}" (curve.name)
                            @if view.subjects.len() > 1 {
                                @if let Some(subject) = view.subjects.get(curve.subject) {
                                    @if !curve.name.is_empty() { " · " }
                                    (subject.name)
                                }
                            }
                        } " "
                    }
                }
            }
            (PreEscaped(&plot.svg))
        }
    }
}

fn percentiles(tails: &[Tail]) -> Markup {
    html! {
        thead {
            tr {
                th scope="col" { "metric" }
                th.number scope="col" { "samples" }
                @for (name, _) in LEVELS { th.number scope="col" { (name) } }
            }
        }
        tbody { @for tail in tails { (row(tail)) } }
    }
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

fn row(tail: &Tail) -> Markup {
    html! {
        tr {
            th scope="row" { (tail.metric.spec().label) }
            td.number { (tail.samples) }
            @for value in tail.at {
                td.number {
                    @match value {
                        Some(value) => (tail.metric.show(value)),
                        None => span.muted { "–" },
                    }
                }
            }
        }
    }
}

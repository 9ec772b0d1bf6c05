//! Services: latency over throughput.

use maud::{Markup, PreEscaped, html};

use super::{Section, better, mark};
use crate::plot::ServicePlot;
use crate::view::{Scenario, View};

/// Every scenario in which a service was measured.
pub(super) fn section(view: &View<'_>, plots: &[ServicePlot]) -> Option<Section> {
    let measured = |scenario: &&Scenario<'_>| scenario.services().next().is_some();
    let scenarios: Vec<&Scenario<'_>> = view.scenarios.iter().filter(measured).collect();
    let body = html! {
        p.note {
            "Every mark is the median of one case's rounds. The number beside it is its load: requests under way at once, or requests that arrive in a second."
        }
        @for scenario in &scenarios {
            h3 { (scenario.name) }
            div.plots {
                @for plot in plots.iter().filter(|plot| plot.scenario == scenario.name) { (figure(view, plot)) }
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

//! How near each case came to what its machine can do at best.

use maud::{Markup, html};
use windtunnel_ledger::Bytes;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::roof::{Roof, Standing};

use super::{Section, address, mark};
use crate::view::{CaseView, Scenario, View};

/// Every scenario of which rates, demand and roof are known.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let known: Vec<_> =
        view.scenarios.iter().map(|scenario| (scenario, standings(scenario))).collect();
    let roof = known.iter().flat_map(|(_, standings)| standings).map(|(.., s)| s.roof).next()?;
    let body = html! {
        p.note {
            "A token must read weights and cache and do its operations. The least time that this takes on the machine, over the time that it took, is the share of the roof: what is left below 100 % can be won. "
            "The machine: " (in_words(&roof)) "."
        }
        @for (scenario, standings) in known.iter().filter(|(_, standings)| !standings.is_empty()) {
            h3 { (scenario.name) }
            div.wide tabindex="0" role="region" aria-label={ "Shares of the roof of " (scenario.name) } {
                table {
                    thead {
                        tr {
                            th scope="col" { "case" }
                            th.number scope="col" { (Metric::TokenBytes.spec().label) }
                            th.number scope="col" { (Metric::TokenFlops.spec().label) }
                            th scope="col" { "bound by" }
                            th scope="col" { "share of the roof" }
                        }
                    }
                    tbody {
                        @for (case, subject, standing) in standings {
                            (row(view, scenario, case, *subject, standing))
                        }
                    }
                }
            }
        }
    };
    Some(Section { anchor: "roof", heading: "Share of the roof", body })
}

/// The standings of a scenario, each with its case and the index of its subject.
fn standings<'a>(scenario: &'a Scenario<'_>) -> Vec<(&'a CaseView<'a>, usize, &'a Standing)> {
    let results =
        scenario.cases.iter().flat_map(|case| case.results.iter().map(move |r| (case, r)));
    let known = results.filter_map(|(case, result)| {
        result.standing.as_ref().map(|standing| (case, result.subject, standing))
    });
    known.collect()
}

fn row(
    view: &View<'_>,
    scenario: &Scenario<'_>,
    case: &CaseView<'_>,
    subject: usize,
    standing: &Standing,
) -> Markup {
    let share = standing.share * 100.0;
    html! {
        tr {
            th scope="row" {
                a href=(address(&case.case.id)) { (scenario.label(case)) }
                @if view.subjects.len() > 1 { " " (mark(subject)) }
            }
            td.number { (Metric::TokenBytes.show(standing.bytes)) }
            td.number { (Metric::TokenFlops.show(standing.flops)) }
            td { (standing.limit) }
            td.share {
                meter min="0" max="100" value=(format!("{:.1}", share.clamp(0.0, 100.0))) { (format!("{share:.0} %")) }
                " " (format!("{share:.0} %"))
            }
        }
    }
}

fn in_words(roof: &Roof) -> String {
    let Roof { threads, read, copy, f32, bf16, multiprocessors } = *roof;
    let who = match multiprocessors {
        Some(multiprocessors) => format!("on a GPU of {multiprocessors} multiprocessors"),
        None => format!("with {threads} threads"),
    };
    let rate = |rate: u64| Metric::TokenFlops.show(rate as f64);
    format!(
        "reads {}/s, copies {}/s, multiplies {}/s in f32 and {}/s in bf16 {who}",
        Bytes(read),
        Bytes(copy),
        rate(f32),
        rate(bf16)
    )
}

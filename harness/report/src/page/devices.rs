//! What each device holds when a case spreads its model over several.

use maud::{Markup, html};
use windtunnel_ledger::Bytes;
use windtunnel_ledger::holding::{Held, Holding};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::series::Series;

use super::{Section, address, mark};
use crate::view::{CaseView, Scenario, SubjectResult, View};

/// Every scenario in which a model was spread over several devices.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let scenarios: Vec<&Scenario<'_>> =
        view.scenarios.iter().filter(|scenario| spread(scenario).next().is_some()).collect();
    let body = html! {
        p.note {
            "Layers and the memory that they hold permanently, device by device, as counted by the engine; its estimate from before the load is shown where it differs. "
            "A case whose output differs from that of the same case on another map is listed under caveats. "
            "Several logical devices may share one real device: transfers between them are still copies."
        }
        @for scenario in &scenarios {
            h3 { (scenario.name) }
            div.wide tabindex="0" role="region" aria-label={ "Devices of " (scenario.name) } {
                table {
                    thead {
                        tr {
                            th scope="col" { "case" }
                            th scope="col" { "device" }
                            th.number scope="col" { "layers" }
                            th.number scope="col" { "weights" }
                            th.number scope="col" { "KV pool" }
                            th.number scope="col" { (Metric::Transfers.spec().label) }
                            th.number scope="col" { (Metric::TransferBytes.spec().label) }
                        }
                    }
                    @for (case, result) in spread(scenario) { (rows(view, scenario, case, result)) }
                }
            }
        }
    };
    (!scenarios.is_empty()).then_some(Section { anchor: "devices", heading: "Devices", body })
}

/// The results whose model was spread over several devices.
fn spread<'a>(
    scenario: &'a Scenario<'_>,
) -> impl Iterator<Item = (&'a CaseView<'a>, &'a SubjectResult<'a>)> {
    let results =
        scenario.cases.iter().flat_map(|case| case.results.iter().map(move |r| (case, r)));
    results.filter(|(_, result)| result.summary.holdings.len() > 1)
}

fn rows(
    view: &View<'_>,
    scenario: &Scenario<'_>,
    case: &CaseView<'_>,
    result: &SubjectResult<'_>,
) -> Markup {
    let holdings = &result.summary.holdings;
    let moved = [Metric::Transfers, Metric::TransferBytes].map(|metric| {
        let location = result.location(Series::median(metric));
        location.map_or("–".to_owned(), |location| metric.show(location.median))
    });
    html! {
        tbody {
            @for (i, Holding { device, layers, estimated, held }) in holdings.iter().enumerate() {
                tr {
                    @if i == 0 {
                        th scope="rowgroup" rowspan=(holdings.len()) {
                            a href=(address(&case.case.id)) { (scenario.label(case)) }
                            @if view.subjects.len() > 1 { " " (mark(result.subject)) }
                        }
                    }
                    td { (device) }
                    td.number { (layers) }
                    (bytes(estimated, held, |held| held.weights))
                    (bytes(estimated, held, |held| held.kv))
                    @if i == 0 {
                        @for moved in &moved { td.number rowspan=(holdings.len()) { (moved) } }
                    }
                }
            }
        }
    }
}

fn bytes(estimated: &Held, held: &Held, part: fn(&Held) -> Bytes) -> Markup {
    let (estimated, held) = (part(estimated), part(held));
    html! {
        td.number {
            (held)
            @if estimated != held { " " span.spread { "estimated " (estimated) } }
        }
    }
}

//! How near each case came to the best that its machine can do.

use maud::{Markup, PreEscaped, html};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::roof::PROCESSOR;

use super::{Section, address, legend, mark};
use crate::plot::RooflinePlot;
use crate::view::{Numbered, View};

/// A plot for each device, and a table for each scenario whose rates, demand and roof are known.
pub(super) fn section(view: &View<'_>, plots: &[RooflinePlot]) -> Option<Section> {
    if plots.is_empty() {
        return None;
    }
    let several = plots.len() > 1;
    let standings = view.standings();
    let same = |a: &Numbered<'_>, b: &Numbered<'_>| std::ptr::eq(a.scenario, b.scenario);
    let body = html! {
        p.note {
            "A token must read weights and cache and do its operations. The least time that this takes on the machine, over the time that it took, is the share of the roof: what is missing from 100 % can be gained. "
            @for (place, plot) in plots.iter().enumerate() {
                @if place > 0 { " " }
                @if several { (name(plot)) ": " } @else { "The machine: " }
                (plot.roof) "."
            }
        }
        div.plots {
            @for plot in plots {
                figure {
                    figcaption {
                        strong { "Operations a second" } " over operations a byte"
                        @if several { ", " (name(plot)) }
                        div.note {
                            "The sloped line is the limit of memory, the level ones are the limits of arithmetic. The numbers are those of the table. "
                            @if view.subjects.len() > 1 { (legend(view)) }
                        }
                    }
                    (PreEscaped(&plot.svg))
                }
            }
        }
        @for rows in standings.chunk_by(same) {
            @let name = rows.first().map_or("", |row| &row.scenario.name);
            h3 { (name) }
            div.wide tabindex="0" role="region" aria-label={ "Shares of the roof of " (name) } {
                table {
                    thead {
                        tr {
                            th.number scope="col" { "#" }
                            th scope="col" { "case" }
                            th.number scope="col" { (Metric::TokenBytes.spec().label) }
                            th.number scope="col" { (Metric::TokenFlops.spec().label) }
                            th scope="col" { "bound by" }
                            th scope="col" { "share of the roof" }
                        }
                    }
                    tbody {
                        @for row in rows { (self::row(view, row)) }
                    }
                }
            }
        }
    };
    Some(Section { anchor: "roof", heading: "Share of the roof", body })
}

/// The device of a plot, in words.
fn name(plot: &RooflinePlot) -> &str {
    match plot.place.as_str() {
        "" => "a device that is not known",
        PROCESSOR => "the processor",
        place => place,
    }
}

fn row(view: &View<'_>, row: &Numbered<'_>) -> Markup {
    let Numbered { number, scenario, case, subject, standing } = *row;
    let share = standing.share * 100.0;
    html! {
        tr {
            td.number { (number) }
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

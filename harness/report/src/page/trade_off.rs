//! Weight formats: memory, speed and quality side by side.

use maud::{Markup, PreEscaped, html};

use super::{Section, better, subject};
use crate::plot::TradeOffPlot;
use crate::view::{Column, TradeOff, Value, View};

/// A table for each model that was measured in several formats.
pub(super) fn section(view: &View<'_>, plots: &[TradeOffPlot]) -> Option<Section> {
    let body = html! {
        p.note {
            "Medians of the rounds, and in brackets how many times what the model gives without blocks. "
            "Where blocks do not fit a matrix it has another format: the results say which part."
        }
        @for (at, table) in view.trade_offs.iter().enumerate() {
            h3 {
                (table.model)
                @if view.subjects.len() > 1 { " · " (subject(view, table.subject)) }
            }
            div.wide tabindex="0" role="region" aria-label={ "Formats of " (table.model) } {
                (rows(table))
            }
            div.plots {
                @for plot in plots.iter().filter(|plot| plot.table == at) {
                    @let column = &table.columns[plot.column];
                    figure {
                        figcaption {
                            strong { (heading(column)) } " over weights "
                            span.muted { (better(column.series.metric)) }
                        }
                        (PreEscaped(&plot.svg))
                    }
                }
            }
        }
    };
    let any = !view.trade_offs.is_empty();
    any.then_some(Section { anchor: "formats", heading: "Formats of weights", body })
}

/// The series of a column, and its case.
fn heading(column: &Column) -> String {
    match column.case.as_str() {
        "" => column.series.label(),
        case => format!("{} ({case})", column.series.label()),
    }
}

fn rows(table: &TradeOff) -> Markup {
    html! {
        table.results {
            thead {
                tr {
                    th scope="col" { "quant" }
                    @for column in &table.columns {
                        th.number scope="col" title=(better(column.series.metric)) { (heading(column)) }
                    }
                }
            }
            tbody {
                @for (quant, cells) in &table.rows {
                    tr {
                        th scope="row" data-label="quant" { (quant) }
                        @for (column, cell) in table.columns.iter().zip(cells) {
                            td.number data-label=(heading(column)) {
                                @match cell {
                                    Some(Value { median, ratio }) => {
                                        span.value { (column.series.metric.show(*median)) }
                                        @if let Some(ratio) = ratio {
                                            " " span.spread { "(" (format!("{ratio:.2}")) "×)" }
                                        }
                                    }
                                    None => span.muted { "–" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

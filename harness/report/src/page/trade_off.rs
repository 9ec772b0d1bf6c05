//! Formats of weights: memory, speed and quality side by side.

use maud::{Markup, html};

use super::{Section, better, subject};
use crate::view::{TradeOff, Value, View};

/// A table for each model that was held in several formats.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let body = html! {
        p.note {
            "Medians of the rounds, and in brackets how many times what the model gives without blocks. "
            "Where blocks do not fit a matrix it has another format: the results say which part."
        }
        @for table in &view.trade_offs {
            h3 {
                (table.model)
                @if view.subjects.len() > 1 { " · " (subject(view, table.subject)) }
            }
            div.wide tabindex="0" role="region" aria-label={ "Formats of " (table.model) } {
                (rows(table))
            }
        }
    };
    let any = !view.trade_offs.is_empty();
    any.then_some(Section { anchor: "formats", heading: "Formats of weights", body })
}

fn rows(table: &TradeOff) -> Markup {
    let heading = |column: &crate::view::Column| match column.case.as_str() {
        "" => column.series.label(),
        case => format!("{} ({case})", column.series.label()),
    };
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

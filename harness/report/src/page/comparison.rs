//! Each further subject against the base: medians side by side, and their ratio.

use std::collections::BTreeSet;

use maud::{Markup, html};
use windtunnel_ledger::compare::{Change, Comparison, Pair, Row};

use super::{Section, address, percent, subject, value};
use crate::view::{CaseView, Scenario, Versus, View};

/// The comparisons, if there is more than one subject and no gate has judged them.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let body = html! { @for versus in &view.versus { (against_base(view, versus)) } };
    (!view.versus.is_empty() && view.gate.is_none()).then_some(Section {
        anchor: "comparison",
        heading: "Comparison",
        body,
    })
}

fn against_base(view: &View<'_>, versus: &Versus) -> Markup {
    let differences: BTreeSet<String> =
        versus.pairs.iter().flat_map(|pair| &pair.differences).map(ToString::to_string).collect();
    html! {
        p.note {
            span.key { "base " (subject(view, 0)) } " "
            span.key { "head " (subject(view, versus.head)) }
        }
        @if !differences.is_empty() {
            p.note { "Not the same on both sides: " (differences.into_iter().collect::<Vec<_>>().join("; ")) "." }
        }
        @for scenario in &view.scenarios {
            @let pairs = pairs(versus, scenario);
            @if !pairs.is_empty() {
                h3 { (scenario.name) }
                div.wide tabindex="0" role="region" aria-label={ "Comparison of " (scenario.name) } {
                    (table(scenario, &pairs))
                }
            }
        }
    }
}

fn pairs<'v, 'a>(
    versus: &'v Versus,
    scenario: &'v Scenario<'a>,
) -> Vec<(&'v CaseView<'a>, &'v Pair)> {
    let pair = |case: &'v CaseView<'a>| {
        let pair = versus.pairs.iter().find(|pair| pair.case == case.case.id)?;
        Some((case, pair))
    };
    scenario.cases.iter().filter_map(pair).collect()
}

fn table(scenario: &Scenario<'_>, pairs: &[(&CaseView<'_>, &Pair)]) -> Markup {
    html! {
        table.comparison {
            thead {
                tr {
                    th scope="col" { "metric" }
                    th.number scope="col" { "base" }
                    th.number scope="col" { "head" }
                    th.number.ratio scope="col" { "head / base" }
                    th scope="col" { "change" }
                }
            }
            @for (case, pair) in pairs {
                tbody {
                    tr.name {
                        th colspan="5" scope="rowgroup" {
                            a href=(address(&pair.case)) { (label(scenario, case)) }
                        }
                    }
                    (rows(&pair.comparison))
                }
            }
        }
    }
}

fn label(scenario: &Scenario<'_>, case: &CaseView<'_>) -> Markup {
    html! {
        @for (name, value) in scenario.varying.iter().zip(&case.values) {
            span.fact { span.muted { (name) } " " (value) } " "
        }
    }
}

fn rows(comparison: &Comparison) -> Markup {
    let said = |word: &str, class: Option<&str>, text: &str| {
        html! { tr { td colspan="5" { strong class=[class] { (word) } " " (text) } } }
    };
    match comparison {
        Comparison::Rows(rows) => html! { @for measured in rows { (row(measured)) } },
        Comparison::Broken(text) => said("broken:", Some("worse"), text),
        Comparison::Missing(text) => said("not compared:", None, text),
        Comparison::Invalid(reasons) => said("not comparable:", None, &reasons.join("; ")),
    }
}

fn row(row: &Row) -> Markup {
    let metric = row.series.metric;
    html! {
        tr {
            td { (row.series.label()) }
            td.number { (value(metric, &row.base)) }
            td.number { (value(metric, &row.head)) }
            td.number.ratio { @if let Some(ratio) = row.ratio() { (format!("{ratio:.3}")) } @else { "–" } }
            td {
                @match row.change() {
                    Change::Worse => span.worse { "▲ " (percent(row.worsening())) " worse" },
                    Change::Better => span.better { "▽ " (percent(row.worsening())) " better" },
                    Change::AboutEqual => span.muted { (Change::AboutEqual.to_string()) },
                }
            }
        }
    }
}

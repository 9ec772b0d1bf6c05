//! The page of an integration: the commits that were picked onto a fork, each with its checks and
//! measurements.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use windtunnel_ledger::integration::{End, Integration, Measured, Pick, effect_in_words, short};
use windtunnel_ledger::verdict::Verdict;

use crate::page::{POLICY, STYLE};

/// The page of an integration, as the text of an HTML file.
#[must_use]
pub fn integration(integration: &Integration) -> String {
    let Integration { at, repository, start, end, branch, picks } = integration;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { "Windtunnel · integration " (short(end)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.brand { "Windtunnel" }
                    h1 { (integration.headline()) }
                    p.note {
                        "Picked onto " code { (short(start)) } " of " code { (repository) } " at " (at) ", one at a time, each measured beside the one before. "
                        @match branch {
                            Some(branch) => { "What was kept is branch " code { (branch) } ", " code { (short(end)) } "." }
                            None => "Nothing was kept."
                        }
                    }
                }
                main {
                    section id="commits" {
                        h2 { "Commits" }
                        (table(picks))
                    }
                    @for pick in picks { (details(pick)) }
                }
            }
        }
    };
    page.into_string()
}

fn table(picks: &[Pick]) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr {
                    @for head in ["commit", "subject", "applies", "checks", "verdict", "effect", "end"] {
                        th scope="col" { (head) }
                    }
                } }
                tbody {
                    @for pick in picks {
                        @let words = pick.words();
                        tr {
                            th scope="row" {
                                @if has_details(pick) { a href={ "#" (pick.hash) } { code { (short(&pick.hash)) } } }
                                @else { code { (short(&pick.hash)) } }
                            }
                            td { (pick.subject) }
                            td { (words.applied) }
                            td { (words.checks) }
                            td class=[class(pick)] { (words.verdict) }
                            td { (words.effect) }
                            td class=[class(pick)] { (words.end) }
                        }
                    }
                }
            }
        }
    }
}

fn has_details(pick: &Pick) -> bool {
    pick.measured.is_some() || pick.tail().is_some()
}

/// The measurements of a commit, and the output of a failed step.
fn details(pick: &Pick) -> Markup {
    html! {
        @if has_details(pick) {
            section id=(pick.hash) {
                h2 { code { (short(&pick.hash)) } " " (pick.subject) }
                @if let Some(tail) = pick.tail() { pre { code { (tail) } } }
                @if let Some(measured) = &pick.measured { (measurements(measured)) }
            }
        }
    }
}

fn measurements(measured: &Measured) -> Markup {
    let mut rows: Vec<_> = measured.rows().filter(|(_, row)| row.finding.is_some()).collect();
    rows.sort_by_key(|(_, row)| row.verdict);
    html! {
        @for case in &measured.report.cases {
            @let remarks: Vec<&str> = case.remarks().collect();
            @if !remarks.is_empty() {
                p { code { (case.case) } ": " strong { (case.verdict) } ", " (remarks.join("; ")) }
            }
        }
        @if !rows.is_empty() {
            div.wide { table {
                thead { tr {
                    @for head in ["case", "series", "verdict"] { th scope="col" { (head) } }
                    @for head in ["before", "after"] { th.number scope="col" { (head) } }
                    th scope="col" { "effect" }
                } }
                tbody {
                    @for (case, row) in rows {
                        @let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| row.series.metric.show(value));
                        tr {
                            td.case { (case) }
                            td { (row.series.label()) }
                            td { (row.verdict) }
                            td.number { (show(row.base)) }
                            td.number { (show(row.head)) }
                            td { @if let Some(finding) = &row.finding { (effect_in_words(finding)) } }
                        }
                    }
                }
            } }
        }
        p { a href=(measured.page) { "Rounds, samples and conditions" } }
    }
}

/// The colour of a commit's outcome.
fn class(pick: &Pick) -> Option<&'static str> {
    let improved =
        pick.measured.as_ref().is_some_and(|found| found.report.verdict == Verdict::Improved);
    match &pick.end {
        End::Kept(_) if improved => Some("better"),
        End::Kept(_) | End::Empty | End::NotTried => None,
        _ => Some("worse"),
    }
}

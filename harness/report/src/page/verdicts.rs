//! What a gate came to: every series, the worst first, with its interval drawn against the margin.
//! What passed is folded.

use maud::{Markup, html};
use windtunnel_ledger::gate::{CaseReport, Report, Row, Unjudged};
use windtunnel_ledger::judge::Finding;
use windtunnel_ledger::policy::Weight;
use windtunnel_ledger::verdict::Verdict;

use super::{Section, address, counted};
use crate::view::View;

/// The verdicts, if the run was a gate.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let report = view.gate.as_ref()?;
    let body = html! {
        p.note {
            "Drawn is the margin as a band around no change, and the interval of the effect over it: right is worse. "
            (report.family) " series were judged as one family, by policy "
            code { (report.policy) } "."
        }
        @for case in report.cases.iter().filter(|case| !case.reasons.is_empty()) {
            p { (named(case)) ": " strong class=[class(case.verdict)] { (case.verdict) } ", " (case.reasons.join("; ")) }
        }
        (rows(report))
        @for control in &report.control {
            p.note {
                "Control, " (control.class) ": the base against itself came out "
                (format!("{:+.2} to {:+.2}", control.low, control.high))
                " margins worse in " (counted(control.pairs, "pair")) "."
            }
        }
        (unjudged(&report.unjudged))
    };
    Some(Section { anchor: "verdicts", heading: "Verdicts", body })
}

/// The verdict as the heading of the page.
pub(super) fn headline(report: &Report) -> Markup {
    let unseen = report.unjudged.iter().filter(|unjudged| unjudged.series.is_none()).count();
    html! {
        span class=[class(report.verdict)] { (capital(report.verdict)) }
        @if report.cases.is_empty() { ": nothing was compared" }
        @else if unseen > 0 {
            " in the " (counted(report.cases.len(), "case")) " seen; " (unseen) " not seen"
        }
    }
}

fn capital(verdict: Verdict) -> String {
    let word = verdict.to_string();
    word[..1].to_uppercase() + &word[1..]
}

fn class(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Broken | Verdict::Regressed | Verdict::Invalid => Some("worse"),
        Verdict::Improved => Some("better"),
        Verdict::Inconclusive | Verdict::Pass => None,
    }
}

fn named(case: &CaseReport) -> Markup {
    html! { a.case href=(address(&case.case)) { (case.case) } }
}

fn rows(report: &Report) -> Markup {
    let all = report.cases.iter().flat_map(|case| case.rows.iter().map(move |row| (case, row)));
    let mut all: Vec<(&CaseReport, &Row)> = all.collect();
    all.sort_by_key(|(_, row)| row.verdict);
    let (passed, found): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, row)| row.verdict == Verdict::Pass);
    html! {
        @if !found.is_empty() { (table(&found)) }
        @if !passed.is_empty() {
            details {
                summary { (passed.len()) " series passed" }
                (table(&passed))
            }
        }
    }
}

fn table(rows: &[(&CaseReport, &Row)]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Verdicts" {
            table.verdicts {
                thead {
                    tr {
                        th scope="col" { "series" }
                        th scope="col" { "verdict" }
                        th.number scope="col" { "base" }
                        th.number scope="col" { "head" }
                        th.number scope="col" { "worse by" }
                        th scope="col" { "interval" }
                        th.number scope="col" { "margin" }
                        th.number scope="col" { "MDE" }
                        th.number scope="col" { "rounds" }
                    }
                }
                tbody { @for (case, row) in rows { (series(case, row)) } }
            }
        }
    }
}

fn series(case: &CaseReport, row: &Row) -> Markup {
    let value = |value: Option<f64>| {
        value.map_or_else(|| "–".to_owned(), |value| row.series.metric.show(value))
    };
    let warns = row.weight == Weight::Warns && row.counted() != row.verdict;
    html! {
        tr {
            th scope="row" { (row.series.label()) br; (named(case)) }
            td {
                span class=[class(row.verdict)] { (row.verdict) }
                @if warns { span.muted { " (warns)" } }
                @if let Some(lack) = row.lacks { br; span.muted { "lacks " (lack) } }
                @if let Some(reason) = &row.reason { br; span.muted { (reason) } }
                @for _ in &row.modes { br; span.muted { "two modes" } }
            }
            td.number { (value(row.base)) }
            td.number { (value(row.head)) }
            @match &row.finding {
                Some(finding) => {
                    td.number { (signed(finding.effect)) }
                    td { (drawn(finding)) }
                    td.number { (share(finding.margin)) }
                    td.number { (share(finding.mde)) }
                    td.number { (finding.rounds) }
                }
                None => { td colspan="5" { "–" } }
            }
        }
    }
}

/// Half the width of a drawing, and of a margin in it.
const HALF: f64 = 90.0;
const MARGIN: f64 = 30.0;

/// The interval over the margin. What reaches out of the drawing is cut at its edge.
fn drawn(finding: &Finding) -> Markup {
    let x = |share: f64| {
        let margins = share / finding.margin;
        let margins = if margins.is_nan() { 0.0 } else { margins };
        HALF + (margins * MARGIN).clamp(-HALF, HALF)
    };
    let at = |share: f64| format!("{:.1}", x(share));
    let words = format!("from {} to {}", signed(finding.low), signed(finding.high));
    html! {
        svg.interval xmlns="http://www.w3.org/2000/svg" viewBox="0 0 180 16" width="180" height="16" role="img" aria-label=(words) {
            rect.band x=(format!("{:.1}", HALF - MARGIN)) y="0" width=(format!("{:.1}", 2.0 * MARGIN)) height="16" {}
            line.none x1=(HALF) x2=(HALF) y1="0" y2="16" {}
            line.reach x1=(at(finding.low)) x2=(at(finding.high)) y1="8" y2="8" {}
            circle.effect cx=(at(finding.effect)) cy="8" r="3.5" {}
        }
        br;
        span.muted { (words) }
    }
}

fn signed(share: f64) -> String {
    match share.is_finite() {
        true => format!("{:+.1} %", share * 100.0),
        false => "∞".to_owned(),
    }
}

fn share(share: f64) -> String {
    match share.is_finite() {
        true => format!("{:.1} %", share * 100.0),
        false => "∞".to_owned(),
    }
}

fn unjudged(unjudged: &[Unjudged]) -> Markup {
    html! {
        @if !unjudged.is_empty() {
            details {
                summary { (unjudged.len()) " not judged" }
                ul.places {
                    @for Unjudged { case, series, reason } in unjudged {
                        li {
                            span.case { (case) }
                            @if let Some(series) = series { ", " (series.label()) }
                            ": " (reason)
                        }
                    }
                }
            }
        }
    }
}

//! The result of a gate: every series, the worst first, with its interval drawn against the margin.
//! Passed series are folded away, and every row opens to its evidence.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use windtunnel_ledger::compare::Side;
use windtunnel_ledger::gate::{Arm, CaseReport, Control, Report, Row, Unjudged, in_margins};
use windtunnel_ledger::judge::Finding;
use windtunnel_ledger::policy::Weight;
use windtunnel_ledger::unit;
use windtunnel_ledger::verdict::Verdict;

use super::{Section, address, counted, evidence, named};
use crate::view::{DETAILED, Ruled, View};

/// The verdicts, if the run was a gate.
pub(super) fn section(view: &View<'_>, plots: &[String]) -> Option<Section> {
    let report = view.gate.as_ref()?;
    let body = html! {
        p.note {
            "The band is the margin around no change, the line over it the interval of the effect, the dot the effect: right is worse, and an arrowhead says that it goes on. "
            @if !view.is_stored() { "Where rounds vary, how much worse comes from their pairs, side by side in time, and need not be what the medians of base and head would give. " }
            "MDE is the smallest change that would have been seen nine times in ten. A row opens to its rounds, conditions and samples. "
            (report.judged) " series were judged " (report.company()) ", by policy "
            code { (report.policy) } "."
        }
        @if view.is_stored() { (stored(view)) }
        @for case in &report.cases {
            @let remarks: Vec<&str> = case.remarks().collect();
            @if !remarks.is_empty() {
                p { (link(view, case)) ": " strong class=[class(case.verdict)] { (case.verdict) } ", " (remarks.join("; ")) }
            }
        }
        @if !report.control.is_empty() { (control(&report.control)) }
        (rows(view, plots))
        (unjudged(&report.unjudged))
    };
    Some(Section { anchor: "verdicts", heading: "Verdicts", body })
}

/// How quiet the machine was. It comes before the rows because their verdicts rest on it.
fn control(control: &[Control]) -> Markup {
    html! {
        p.note {
            "Control, the base against itself, the nearer to 0 the quieter the machine: "
            @for (place, Control { class, pairs, low, high }) in control.iter().enumerate() {
                @if place > 0 { "; " }
                (class) " " (format!("{low:+.2} to {high:+.2}")) " margins worse (" (counted(*pairs, "pair")) ")"
            }
            "."
        }
    }
}

/// Where a stored base comes from, and how many sessions are behind it.
fn stored(view: &View<'_>) -> Markup {
    let origin = view.run.gate.as_ref().and_then(|terms| terms.baseline.as_ref());
    let base = view.subjects.get(Arm::Base as usize);
    let records = view.records.iter().filter(|record| Some(&&record.subject) == base);
    let sessions: BTreeSet<_> = records.map(|record| &record.run).collect();
    html! {
        p.note {
            "The base is stored: "
            @if let Some(origin) = origin { (origin) ", " }
            (counted(sessions.len(), "session"))
            ". Days differ: a verdict with " strong { "stored" } " beside it is less sensitive than one from alternating rounds."
        }
    }
}

/// The verdict as the page's heading: what became worse, by how much, and how sure that is.
pub(super) fn headline(view: &View<'_>, report: &Report) -> Markup {
    let unseen = report.unjudged.iter().filter(|unjudged| unjudged.series.is_none()).count();
    let ruled = view.ruled();
    let of = |verdict: Verdict| {
        ruled
            .iter()
            .filter(move |ruled| ruled.row.counted() == verdict && ruled.row.reason.is_none())
    };
    let broken = report.cases.iter().find(|case| case.verdict == Verdict::Broken);
    let warned: Vec<&Ruled<'_>> = ruled.iter().filter(|ruled| ruled.only_warns()).collect();
    let mut unsure = report.warned();
    unsure.retain(|(verdict, _)| *verdict != Verdict::Regressed);
    html! {
        span class=[class(report.verdict)] { (sign(report.verdict)) " " (capital(report.verdict)) }
        @match (report.verdict, broken, of(report.verdict).next()) {
            _ if report.cases.is_empty() => { ": nothing was compared" }
            (Verdict::Broken, Some(case), _) => {
                ": " (link(view, case)) ", " (case.reasons.join("; "))
                (others(report.cases.iter().filter(|case| case.verdict == Verdict::Broken).count(), "case"))
                @if let Some(worst) = of(Verdict::Regressed).next() {
                    "; " span.worse { (sign(Verdict::Regressed)) " " (Verdict::Regressed) } ": "
                    (effect(worst)) (others(of(Verdict::Regressed).count(), "series"))
                }
            }
            (Verdict::Regressed | Verdict::Improved, _, Some(worst)) => {
                ": " (effect(worst)) (others(of(report.verdict).count(), "series"))
            }
            (Verdict::Inconclusive, _, Some(_)) => {
                ": " (of(Verdict::Inconclusive).count()) " of " (report.judged) " series could not be decided"
            }
            (Verdict::Inconclusive, ..) => {
                @if let Some((case, reason)) = report.cases.iter().find_map(|case| Some((case, unfinished(case)?))) {
                    ": " (link(view, case)) ", " (reason)
                    (others(report.cases.iter().filter(|case| unfinished(case).is_some()).count(), "case"))
                }
            }
            (Verdict::Pass, ..) if warned.is_empty() && unsure.is_empty() => {
                ": none of " (report.judged) " series is worse by its margin"
            }
            (Verdict::Pass, ..) => { ": no series that blocks is worse by its margin" }
            (Verdict::Invalid, ..) => {
                @let invalid = |case: &&CaseReport| case.verdict == Verdict::Invalid;
                @if let Some(case) = report.cases.iter().find(|case| invalid(case) && !case.reasons.is_empty()) {
                    ": " (link(view, case)) ", " (case.reasons.join("; "))
                    (others(report.cases.iter().filter(invalid).count(), "case"))
                } @else {
                    @let invalid: Vec<&Ruled<'_>> =
                        ruled.iter().filter(|ruled| ruled.row.counted() == Verdict::Invalid).collect();
                    @if let Some((Ruled { case, row, .. }, reason)) =
                        invalid.iter().find_map(|ruled| Some((ruled, ruled.row.reason.as_ref()?)))
                    {
                        ": " (row.series.label()) " in "
                        a.case href=(address(&case.case)) { (named(case.case.as_str())) }
                        ", " (reason) (others(invalid.len(), "series"))
                    }
                }
            }
            _ => {}
        }
        @if let (Verdict::Inconclusive, Weight::Warns) = (report.verdict, report.weight) {
            ", which the policy lets pass"
        }
        @if let (Verdict::Pass | Verdict::Improved | Verdict::Inconclusive, Some(worst)) = (report.verdict, warned.first()) {
            "; what only warns: " (effect(worst)) (others(warned.len(), "series"))
        }
        @if let Verdict::Pass | Verdict::Improved | Verdict::Inconclusive = report.verdict {
            @for (_, words) in &unsure { "; " (words) }
        }
        @if unseen > 0 && !report.cases.is_empty() {
            "; " (counted(report.cases.len(), "case")) " seen, " (unseen) " not seen"
        }
    }
}

/// Why a case whose measuring ended before a decision is inconclusive.
fn unfinished(case: &CaseReport) -> Option<&str> {
    case.unfinished.as_deref().filter(|_| case.verdict == Verdict::Inconclusive)
}

/// One series and its effect, as part of a sentence. The interval has the direction of the word.
fn effect(ruled: &Ruled<'_>) -> Markup {
    let Ruled { case, row, .. } = ruled;
    let Some(Finding { effect, low, high, .. }) = row.finding else { return html! {} };
    let (word, low, high) = match effect < 0.0 {
        true => ("better", -high, -low),
        false => ("worse", low, high),
    };
    html! {
        (row.series.label()) " is " (whole(&share(effect.abs()))) " " (word)
        " (" (whole(&signed(low))) " to " (whole(&signed(high))) ") in "
        a.case href=(address(&case.case)) { (named(case.case.as_str())) }
    }
}

/// Keeps a number on one line with its unit.
fn whole(number: &str) -> String {
    number.replace(' ', "\u{a0}")
}

/// The others like the first one, out of `count`.
fn others(count: usize, noun: &str) -> Markup {
    let one =
        if noun == "series" { "1 other series".to_owned() } else { format!("1 other {noun}") };
    let many = |n: usize| match noun {
        "series" => format!("{n} other series"),
        _ => format!("{n} other {noun}s"),
    };
    html! {
        @match count {
            0 | 1 => {}
            2 => { ", and " (one) }
            n => { ", and " (many(n - 1)) }
        }
    }
}

/// The sign before a verdict, so that colour is never the only sign.
pub(super) fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Broken => "✕",
        Verdict::Regressed => "▲",
        Verdict::Invalid => "∅",
        Verdict::Inconclusive => "?",
        Verdict::Improved => "▽",
        Verdict::Pass => "=",
    }
}

fn capital(verdict: Verdict) -> String {
    let word = verdict.to_string();
    word[..1].to_uppercase() + &word[1..]
}

pub(super) fn class(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Broken | Verdict::Regressed | Verdict::Invalid => Some("worse"),
        Verdict::Improved => Some("better"),
        Verdict::Inconclusive | Verdict::Pass => None,
    }
}

/// The name of a case, as a link to its results if there are any.
fn link(view: &View<'_>, case: &CaseReport) -> Markup {
    let name = named(case.case.as_str());
    match view.records.iter().any(|record| record.case.id == case.case) {
        true => html! { a.case href=(address(&case.case)) { (name) } },
        false => html! { span.case { (name) } },
    }
}

/// First what a reader should look at, then what passed.
fn rows(view: &View<'_>, plots: &[String]) -> Markup {
    let ruled = view.ruled();
    let drawn = plots.iter().map(Some).chain(std::iter::repeat(None));
    let (passed, found): (Vec<_>, Vec<_>) =
        ruled.iter().zip(drawn).partition(|(ruled, _)| ruled.row.verdict == Verdict::Pass);
    html! {
        @if !found.is_empty() { (list(view, &found)) }
        @if !passed.is_empty() {
            details.passed open[found.is_empty()] {
                summary { (passed.len()) " series passed" }
                (list(view, &passed))
            }
        }
        @if ruled.len() > DETAILED {
            p.note {
                "This page has the evidence for the " (DETAILED) " worst rows; that of the other "
                (ruled.len() - DETAILED) " is in the file of the run, and "
                code { "windtunnel explain-verdict" } " shows it."
            }
        }
    }
}

/// The names of the columns. There can be ten thousand rows, so the page's style says once, by
/// place, which cells hold numbers and what a cell is called where there is no room for columns.
const COLUMNS: [&str; 9] =
    ["series", "verdict", "base", "head", "worse by", "interval", "margin", "MDE", "rounds"];

fn list(view: &View<'_>, rows: &[(&Ruled<'_>, Option<&String>)]) -> Markup {
    html! {
        div.verdicts.judged {
            div.row.heads aria-hidden="true" {
                @for name in COLUMNS { span data-key=(name) { (name) } }
            }
            @for (ruled, plot) in rows { (series(view, ruled, *plot)) }
        }
    }
}

/// One row: a line of numbers that opens to its evidence, if that is on the page.
fn series(view: &View<'_>, ruled: &Ruled<'_>, plot: Option<&String>) -> Markup {
    let body = html! {
        (reasons(ruled.row))
        @if let Some(plot) = plot { (evidence::evidence(view, ruled, plot)) }
    };
    // The script sorts by it, and cannot read an infinity.
    let worse = format!("{:.4}", ruled.row.margins().clamp(-1e9, 1e9));
    html! {
        @if plot.is_some() {
            details.ruled data-worse=(worse) {
                summary.row { (cells(ruled, drawn)) }
                (body)
            }
        } @else {
            div.ruled data-worse=(worse) { div.row { (cells(ruled, in_words)) } (body) }
        }
    }
}

fn cells(Ruled { case, row, .. }: &Ruled<'_>, interval: fn(&Finding) -> Markup) -> Markup {
    let value = |value: Option<f64>| {
        value.map_or_else(|| "–".to_owned(), |value| row.series.metric.show(value))
    };
    let finding =
        |show: fn(&Finding) -> String| row.finding.as_ref().map_or_else(|| "–".to_owned(), show);
    let beside = row.beside();
    html! {
        span.name { strong { (row.series.label()) } span.case { (named(case.case.as_str())) } }
        span.word {
            span class=[class(row.verdict)] { (sign(row.verdict)) " " (row.verdict) }
            @if !beside.is_empty() { span.muted { " (" (beside.join(", ")) ")" } }
        }
        span { (value(row.base)) }
        span { (value(row.head)) }
        span { (finding(|finding| signed(finding.effect))) }
        span.drawing { @if let Some(finding) = &row.finding { (interval(finding)) } @else { "–" } }
        span { (finding(|finding| share(finding.margin))) }
        span { (finding(|finding| share(finding.mde))) }
        span { (finding(|finding| finding.rounds.to_string())) }
    }
}

/// Why the verdict is what it is, if that needs words.
fn reasons(row: &Row) -> Markup {
    html! {
        @if let Some(lack) = row.lacks { p.note { "To be decided it lacks " (lack) "." } }
        @if let Some(reason) = &row.reason { p.note { (reason) "." } }
        @for (side, modes) in &row.modes {
            p.note {
                @match side { Side::Base => "The base", Side::Head => "The head" }
                " has two modes, " (row.series.metric.show(modes.low.value)) " in "
                (format!("{:.0} %", modes.low.share * 100.0)) " of its rounds and "
                (row.series.metric.show(modes.high.value)) " in the others."
            }
        }
    }
}

/// Half the width of a drawing, and the width of a margin in it.
const HALF: f64 = 90.0;
const MARGIN: f64 = 30.0;

/// The interval without the drawing.
fn in_words(finding: &Finding) -> Markup {
    html! { span.muted { (signed(finding.low)) " to " (signed(finding.high)) } }
}

/// The interval over the margin. An end beyond the drawing gets an arrowhead; the words below say
/// the same to those who cannot see it.
fn drawn(finding: &Finding) -> Markup {
    let from_none = |share: f64| in_margins(share, finding.margin) * MARGIN;
    let at = |share: f64| format!("{:.1}", HALF + from_none(share).clamp(-HALF, HALF));
    let ends = [finding.low, finding.high].map(from_none);
    html! {
        svg.interval xmlns="http://www.w3.org/2000/svg" viewBox="0 0 180 16" aria-hidden="true" {
            rect.band x=(format!("{:.1}", HALF - MARGIN)) y="0" width=(format!("{:.1}", 2.0 * MARGIN)) height="16" {}
            line.none x1=(HALF) x2=(HALF) y1="0" y2="16" {}
            line.reach x1=(at(finding.low)) x2=(at(finding.high)) y1="8" y2="8" {}
            @if ends.iter().any(|end| *end < -HALF) { path.reach d="M-3 4l-4 4 4 4" {} }
            @if ends.iter().any(|end| *end > HALF) { path.reach d="M183 4l4 4-4 4" {} }
            circle.effect cx=(at(finding.effect)) cy="8" r="3.5" {}
        }
        (in_words(finding))
    }
}

fn signed(share: f64) -> String {
    spaced(&unit::signed(share))
}

pub(super) fn share(share: f64) -> String {
    spaced(&unit::share(share))
}

/// On a page there is room for a space before the per cent sign.
fn spaced(number: &str) -> String {
    number.replace('%', " %")
}

/// What was not judged, by reason: none of it passed.
fn unjudged(unjudged: &[Unjudged]) -> Markup {
    let mut reasons: BTreeMap<&str, Vec<&Unjudged>> = BTreeMap::new();
    for one in unjudged {
        reasons.entry(&one.reason).or_default().push(one);
    }
    html! {
        @if !unjudged.is_empty() {
            details {
                summary { (unjudged.len()) " not judged" }
                @for (reason, places) in reasons {
                    p { (reason) span.muted { ", " (counted(places.len(), "time")) } }
                    ul.places {
                        @for Unjudged { case, series, .. } in places.iter().take(PLACES) {
                            li { span.case { (named(case.as_str())) } @if let Some(series) = series { ", " (series.label()) } }
                        }
                        @if places.len() > PLACES { li { (places.len() - PLACES) " more" } }
                    }
                }
            }
        }
    }
}

/// The most places named for one reason.
const PLACES: usize = 50;

//! The index of all pages: what got worse on top, then every page, the newest first.

use maud::{Markup, html};
use windtunnel_ledger::verdict::Verdict;

use super::verdicts::{class, sign};
use super::{Section, counted, document, sentence};
use crate::index::{Card, Entry, Kind};

/// The most pages listed on top because they found something worse, the newest.
const APART: usize = 10;

/// The whole page.
pub(crate) fn page(entries: &[Entry]) -> Markup {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    let at = |entry: &Entry| entry.card.as_ref().map(|card| card.at.clone());
    entries.sort_by(|a, b| at(b).cmp(&at(a)).then_with(|| b.path.cmp(&a.path)));
    let worse: Vec<&Entry> =
        entries.iter().copied().filter(|entry| rank(entry) == Rank::Worse).take(APART).collect();
    let sections: Vec<Section> = [
        (!worse.is_empty()).then(|| Section {
            anchor: "worse",
            heading: "What got worse",
            body: list(&worse),
        }),
        (!entries.is_empty()).then(|| Section {
            anchor: "reports",
            heading: "All reports",
            body: list(&entries),
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    document("Windtunnel · reports", None, &headline(&entries), &sections)
}

/// How a page is counted.
#[derive(PartialEq, Eq)]
enum Rank {
    Worse,
    Better,
    Other,
}

fn rank(entry: &Entry) -> Rank {
    let card = entry.card.as_ref();
    match card.and_then(|card| card.verdict) {
        Some(Verdict::Broken | Verdict::Regressed) => Rank::Worse,
        // What only warns stops nothing, but is still worse.
        _ if card.is_some_and(|card| card.warned > 0) => Rank::Worse,
        Some(Verdict::Improved) => Rank::Better,
        Some(Verdict::Invalid | Verdict::Inconclusive | Verdict::Pass) | None => Rank::Other,
    }
}

fn headline(entries: &[&Entry]) -> Markup {
    let of = |wanted: &Rank| entries.iter().filter(|entry| rank(entry) == *wanted).count();
    let (worse, better) = (of(&Rank::Worse), of(&Rank::Better));
    let newest = entries.first().and_then(|entry| entry.card.as_ref());
    html! {
        h1 {
            @if entries.is_empty() { "There is no report yet." }
            @else if worse > 0 {
                span.worse { "▲ " (worse) " of " (counted(entries.len(), "report")) }
                " found something worse"
                @if better > 0 { ", " span.better { "▽\u{a0}" (better) " something better" } }
                "."
            } @else {
                (counted(entries.len(), "report")) ", and none found anything worse"
                @if better > 0 { "; " span.better { "▽\u{a0}" (better) " found something better" } }
                "."
            }
        }
        p.lead {
            @match newest {
                Some(card) => { "The newest is of " (when(card)) "." }
                None if entries.is_empty() => { "Measure something with " code { "windtunnel run smoke" } "." }
                None => {}
            }
        }
    }
}

/// A time as a person reads it: day and minute.
fn when(card: &Card) -> String {
    match (card.at.get(..10), card.at.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute}"),
        _ => card.at.clone(),
    }
}

const COLUMNS: [(&str, &str); 6] = [
    ("report", "name"),
    ("verdict", "word"),
    ("subject", "subject"),
    ("machine", "machine"),
    ("cases", "number"),
    ("date", "date"),
];

fn list(entries: &[&Entry]) -> Markup {
    html! {
        div.verdicts.reports {
            div.row.heads aria-hidden="true" {
                @for (name, kind) in COLUMNS { span.{ (kind) } data-key=(name) { (name) } }
            }
            @for entry in entries { div.ruled { div.row { (cells(entry)) } } }
        }
    }
}

fn cells(entry: &Entry) -> Markup {
    let Entry { path, card } = entry;
    let folder = path.rsplit_once('/').map_or(path.as_str(), |(folder, _)| folder);
    let Some(card) = card else {
        return html! {
            span.name { a href=(address(path)) { strong { (folder) } } span.case { "no summary: written by an older version" } }
            span.word { "–" }
            span.subject data-label="subject" { "–" }
            span.machine data-label="machine" { "–" }
            span.number data-label="cases" { "–" }
            span.date data-label="date" { "–" }
        };
    };
    html! {
        span.name { a href=(address(path)) { strong { (sentence(&card.headline)) } } span.case { (folder) } }
        span.word {
            @match (card.verdict, card.kind) {
                (Some(Verdict::Regressed), Kind::History) => span.worse { "▲ worse" },
                (Some(Verdict::Improved), Kind::History) => span.better { "▽ better" },
                (Some(verdict), _) => span class=[class(verdict)] { (sign(verdict)) " " (verdict) },
                (None, Kind::History) => span.muted { "steady" },
                (None, _) => span.muted { "measured" },
            }
            @if card.warned > 0 {
                ", " span.worse { "▲\u{a0}" (card.warned) @if card.warned == 1 { " warns" } @else { " warn" } }
            }
        }
        span.subject data-label="subject" { (card.subject) }
        span.machine data-label="machine" { (card.machine) }
        span.number data-label="cases" { (card.cases) }
        span.date data-label="date" { (when(card)) }
    }
}

/// A path as a relative address; no folder name can make it lead elsewhere.
fn address(path: &str) -> String {
    let mut address = "./".to_owned();
    for byte in path.bytes() {
        match byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            true => address.push(char::from(byte)),
            false => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

//! The evidence for a verdict: its rounds in order of time, where the time went, the conditions,
//! and what a reader needs to repeat it or to do their own arithmetic.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use windtunnel_ledger::attribution::{Attribution, Work, carrier, side_by_side};
use windtunnel_ledger::gate::Arm;
use windtunnel_ledger::record::{Conditions, RunId};
use windtunnel_ledger::stats;
use windtunnel_ledger::unit::Nanos;

use super::{address, counted, history, percent, rounds, subject};
use crate::view::{Ruled, View};

/// The most bytes of raw samples per row on the page.
const RAW: usize = 24 * 1024;

const SIDES: [Arm; 2] = [Arm::Base, Arm::Head];

/// The evidence for one row.
pub(super) fn evidence(view: &View<'_>, ruled: &Ruled<'_>, plot: &str) -> Markup {
    html! {
        div.evidence {
            @if !plot.is_empty() {
                figure {
                    figcaption.note {
                        @let mut seen = ruled.values().iter().map(|(subject, _)| *subject).collect::<Vec<_>>();
                        @let () = { seen.sort_unstable(); seen.dedup(); };
                        @for index in seen { span.key { (subject(view, index)) } " " }
                    }
                    (PreEscaped(plot))
                }
            }
            div {
                (history::beside(view, &ruled.case.case, ruled.row.series))
                (differences(ruled))
                (conditions(ruled))
                (stages(ruled))
            }
            div.actions { (actions(view, ruled)) }
        }
    }
}

/// What differed between the sides: the first other cause that a reader should consider.
fn differences(ruled: &Ruled<'_>) -> Markup {
    let differences = &ruled.case.differences;
    html! {
        @if !differences.is_empty() {
            p { strong { "Not the same on both sides: " } (differences.join("; ")) "." }
        }
    }
}

/// The name of a condition, its number in a round, and how to show it.
type Condition = (&'static str, fn(&Conditions) -> Option<f64>, fn(f64) -> String);

const CONDITIONS: [Condition; 7] = [
    ("load before", |c| c.load_before, |load| format!("{load:.2}")),
    ("idle before", |c| c.idle_before, percent),
    ("time stolen", |c| c.stolen, percent),
    (
        "held back by CPU limits",
        |c| c.held_back.map(|time| time.0 as f64),
        |nanos| Nanos(nanos as u64).to_string(),
    ),
    ("CPU clock", |c| c.cpu_clock.map(|clock| clock.mean), |mhz| format!("{mhz:.0} MHz")),
    (
        "SM clock",
        |c| c.gpus.first()?.sm_clock.map(|clock| clock.mean),
        |mhz| format!("{mhz:.0} MHz"),
    ),
    ("time of a round", |c| Some(c.wall.0 as f64), |nanos| Nanos(nanos as u64).to_string()),
];

/// The medians of the conditions under which the rounds of each side were measured.
fn conditions(ruled: &Ruled<'_>) -> Markup {
    let of = |arm: Arm, number: fn(&Conditions) -> Option<f64>| {
        let mine = ruled.measured().filter(move |(subject, ..)| *subject == arm as usize);
        stats::median(&mine.filter_map(|(_, r, _)| number(&r.conditions)).collect::<Vec<_>>())
    };
    let rows =
        CONDITIONS.map(|(name, number, show)| (name, SIDES.map(|arm| of(arm, number)), show));
    let told = rows.iter().filter(|(_, sides, _)| sides.iter().any(Option::is_some));
    let told: Vec<_> = told.collect();
    html! {
        @if !told.is_empty() {
            table.sides {
                thead { tr { th scope="col" { "median conditions" } th.number scope="col" { "base" } th.number scope="col" { "head" } } }
                tbody {
                    @for (name, sides, show) in told {
                        tr {
                            th scope="row" { (name) }
                            @for side in sides { td.number { (side.map_or_else(|| "–".to_owned(), show)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The stages of both sides, if both have an attribution.
fn stages(ruled: &Ruled<'_>) -> Markup {
    let [base, head] = SIDES.map(|arm| ruled.attribution(arm as usize));
    let Some((base, head)) = base.zip(head) else { return html! {} };
    html! { @for name in base.work.keys() { (work(name, base, head)) } }
}

fn work(name: &str, base: &Attribution, head: &Attribution) -> Markup {
    let nothing = Work::default();
    let [base, head] = [base, head].map(|side| side.work.get(name).unwrap_or(&nothing));
    let rows = side_by_side(base, head);
    let carrier = carrier(&rows).map(|row| row.stage.clone());
    let time = |nanos: f64| Nanos(nanos.abs() as u64).to_string();
    html! {
        table.sides {
            thead {
                tr {
                    th scope="col" { (name) ", each step" }
                    th.number scope="col" { "base" }
                    th.number scope="col" { "head" }
                    th.number scope="col" { "head − base" }
                }
            }
            tbody {
                @for row in &rows {
                    tr {
                        th scope="row" {
                            @if carrier.as_ref() == Some(&row.stage) { strong { (row.stage) } " carries it" } @else { (row.stage) }
                        }
                        td.number { (time(row.base)) }
                        td.number { (time(row.head)) }
                        td.number { @if row.change() < 0.0 { "−" } @else { "+" } (time(row.change())) }
                    }
                }
            }
        }
    }
}

/// How to repeat it, where to read on, and its samples.
fn actions(view: &View<'_>, ruled: &Ruled<'_>) -> Markup {
    let case = &ruled.case.case;
    let watched: Vec<usize> = SIDES
        .map(|arm| arm as usize)
        .into_iter()
        .filter(|subject| rounds::anchor(view, case, *subject).is_some())
        .collect();
    html! {
        p {
            a href=(address(case)) { "all results of the case" }
            @for subject in watched {
                @if let Some(anchor) = rounds::anchor(view, case, subject) {
                    " · " a href={ "#" (anchor) } {
                        "memory, processors and clocks of the "
                        @if subject == Arm::Base as usize { "base" } @else { "head" }
                    }
                }
            }
            " · " (raw(ruled))
        }
        @for arm in SIDES { (repeat(view, ruled, arm as usize)) }
        @let row = ruled.row.series;
        p.command { "The arithmetic behind the verdict" }
        pre { code { "windtunnel explain-verdict '" (case.as_str().replace('\'', "")) " " (row) "' --run " (view.run.id.0) } }
    }
}

/// The shell line that repeats a round of the subject `of`; if its rounds come from other runs, how
/// many rounds of how many sessions.
fn repeat(view: &View<'_>, ruled: &Ruled<'_>, of: usize) -> Markup {
    let runs = ruled.measured().filter(|(subject, ..)| *subject == of);
    let runs: Vec<&RunId> = runs.map(|(_, record, _)| &record.run).collect();
    let other = |run: &&RunId| view.is_stored() && **run != view.run.id;
    let sessions: BTreeSet<&RunId> = runs.iter().copied().filter(other).collect();
    let command = ruled.command(of).filter(|command| !command.is_empty());
    html! {
        @match command {
            _ if !sessions.is_empty() => {
                p.command {
                    (subject(view, of)) " is stored: "
                    (counted(runs.len(), "round")) " of " (counted(sessions.len(), "session"))
                }
            }
            Some(command) => {
                p.command { "One round of " (subject(view, of)) }
                pre { code { (command) } }
            }
            None => {}
        }
    }
}

/// The samples as a download, or why they are not on the page.
fn raw(ruled: &Ruled<'_>) -> Markup {
    let mut text = String::from("subject,round,at,sample\n");
    for (_, record, samples) in ruled.measured() {
        for sample in samples.of(ruled.row.series.metric) {
            let name = record.subject.name.replace('"', "\"\"");
            let _ = writeln!(text, "\"{name}\",{},{},{sample}", record.round, record.at);
        }
        if text.len() > RAW {
            return html! { span.muted { "too many samples for this page: they are in the file of the run" } };
        }
    }
    let name = format!("{}.csv", ruled.row.series);
    html! { a href={ "data:text/csv;charset=utf-8," (escaped(&text)) } download=(name) { "raw samples" } }
}

/// Percent-encodes text for a data URL.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b",.-:_".contains(&byte) {
            true => escaped.push(char::from(byte)),
            false => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

//! The headline and lead: what was run, on which machine, and the result.

use maud::{Markup, html};
use windtunnel_ledger::environment::Machine;
use windtunnel_ledger::unit::Bytes;
use windtunnel_ledger::verdict::Verdict;

use super::{counted, history, subject, verdicts};
use crate::index::{Card, Kind, words};
use crate::view::{Census, Tally, Versus, View};

/// The page's title. The verdict comes first, to distinguish it from others in a row of tabs.
pub(super) fn title(view: &View<'_>) -> String {
    let name = format!("Windtunnel · {}", view.run.id.0);
    match &view.gate {
        Some(report) => {
            format!("{} {} · {name}", verdicts::sign(report.verdict), report.verdict)
        }
        None => name,
    }
}

/// The heading of the page and the sentences under it.
pub(super) fn headline(view: &View<'_>) -> Markup {
    html! {
        h1 {
            @match (&view.gate, view.versus.first()) {
                (Some(report), _) => (verdicts::headline(view, report)),
                (None, Some(first)) => (compared(view, first)),
                (None, None) => (measured(&view.census())),
            }
        }
        p.lead {
            @match view.environments.first() {
                None => "Nothing was run yet. ",
                Some(_) => {
                    "Measured "
                    @if view.versus.is_empty() { (subject(view, 0)) " " }
                    "on " (machine(view)) ". "
                }
            }
            @if !view.versus.is_empty() { (measured(&view.census())) }
        }
        @if let Some(history) = view.history {
            p.lead { a href="#history" { "History" } ": " (history::summary(history)) }
        }
        @match (&view.gate, view.versus.first()) {
            // A gate has judged: counting rows beyond a noise floor would call chance a change.
            (Some(_), Some(first)) => {
                p.lead { (subject(view, first.head)) " against " (subject(view, 0)) "." }
            }
            _ => {
                @for further in view.versus.iter().skip(1) {
                    p.lead { (compared(view, further)) }
                }
            }
        }
        @if !view.versus.is_empty() && view.gate.is_none() {
            p.note {
                "A row counts as worse or better if its medians differ by more than the noise floor of its metric. "
                "This page shows what was measured; it does not judge whether it is real."
            }
        }
        @if view.torn {
            p.note { "The last line of the run's file was cut short; that round is not in this page." }
        }
    }
}

/// The page's card; its headline comes from the `h1` in `headline`.
pub(super) fn card(view: &View<'_>, headline: &Markup) -> Card {
    let heading = headline.0.split_once("<h1>").and_then(|(_, rest)| rest.split_once("</h1>"));
    let failed = view.census().failed > 0;
    let subjects: Vec<String> = view.subjects.iter().map(ToString::to_string).collect();
    Card {
        kind: if view.gate.is_some() { Kind::Gate } else { Kind::Run },
        headline: heading.map(|(heading, _)| words(heading)).unwrap_or_default(),
        verdict: match &view.gate {
            Some(report) => Some(report.verdict),
            None => failed.then_some(Verdict::Broken),
        },
        warned: view.ruled().iter().filter(|ruled| ruled.only_warns()).count(),
        at: view.run.at.clone(),
        subject: subjects.join(", "),
        machine: machine(view),
        cases: view.cases().count(),
    }
}

fn compared(view: &View<'_>, versus: &Versus) -> Markup {
    let Tally { worse, better, about_equal, broken, uncompared } = versus.tally();
    html! {
        (subject(view, versus.head)) " against " (subject(view, 0)) ": "
        @if worse > 0 { span.worse { (counted(worse, "row")) " worse" } } @else { "no row worse" } ", "
        @if better > 0 { span.better { (better) " better" } } @else { "none better" } ", "
        (about_equal) " about equal"
        @if broken > 0 { ", " span.worse { (counted(broken, "case")) " broken" } }
        @if uncompared > 0 { ", " (counted(uncompared, "case")) " not compared" }
        "."
    }
}

fn measured(census: &Census) -> Markup {
    let Census { measured, failed, void, skipped, missing } = *census;
    html! {
        (counted(measured, "case")) " measured, "
        @if failed > 0 { a.worse href="#failures" { (failed) " failed" } } @else { "none failed" }
        @if void > 0 { ", " a href="#voids" { (void) " void" } }
        @if skipped > 0 { ", " a href="#skips" { (skipped) " skipped" } }
        @if missing > 0 { ", " a href="#skips" { (missing) " not run yet" } }
        "."
    }
}

fn machine(view: &View<'_>) -> String {
    let mut machines = view.environments.iter().map(|(_, environment)| &environment.machine);
    match machines.next() {
        Some(first) if machines.all(|other| other.key() == first.key()) => in_words(first),
        _ => "several machines".to_owned(),
    }
}

/// The machine, as its owner would describe it.
fn in_words(machine: &Machine) -> String {
    let Machine { cpu, cores, threads, memory, os, arch, gpus, .. } = machine;
    let cpu = if cpu.is_empty() { "an unknown processor" } else { cpu };
    let mut words = cpu.to_owned();
    if *threads > 0 {
        words += &format!(
            ", {} of {}",
            counted(*threads as usize, "thread"),
            counted(*cores as usize, "core")
        );
    }
    if *memory > Bytes(0) {
        words += &format!(", {memory}");
    }
    for gpu in gpus {
        words += &format!(", {}", gpu.name);
    }
    for part in [os, arch].into_iter().filter(|part| !part.is_empty()) {
        words += &format!(", {part}");
    }
    words
}

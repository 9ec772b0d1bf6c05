//! One round of each case as seen from outside: its course over time, its memory, its conditions.

use maud::{Markup, PreEscaped, html};
use windtunnel_ledger::attribution::Attribution;
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::conditions::Spread;
use windtunnel_ledger::memory;
use windtunnel_ledger::record::{Conditions, Outcome, Record};

use super::{Section, address, named, percent, subject};
use crate::plot::TracePlot;
use crate::view::{SubjectResult, View};

/// Every case with a watched round; nothing if there are more than a reader would look at.
pub(super) fn section(view: &View<'_>, plots: &[TracePlot]) -> Option<Section> {
    if view.is_long() {
        return None;
    }
    let body = html! {
        p.note {
            "The first round of each case that counts, watched from another process. "
            "Each curve begins at zero; lines mark the beginnings of phases, prefill is tinted, and a thick baseline marks where a GPU's clocks were held down."
        }
        @for case in view.cases() {
            @for result in &case.results {
                @if let Some(record) = result.watched {
                    details {
                        summary {
                            a.case href=(address(&case.case.id)) { (named(case.case.id.as_str())) }
                            @if view.subjects.len() > 1 { " " (subject(view, result.subject)) }
                        }
                        div.round id=[anchor(view, &case.case.id, result.subject)] {
                            @for plot in plots.iter().filter(|plot| plot.case == case.case.id && plot.subject == result.subject) {
                                figure { (PreEscaped(&plot.svg)) }
                            }
                            div { (memory_of(record, result.attribution)) (conditions(record)) }
                        }
                    }
                }
            }
        }
    };
    let mut results = view.cases().flat_map(|case| &case.results);
    let any = results.any(|result| result.watched.is_some());
    any.then_some(Section { anchor: "rounds", heading: "Rounds from outside", body })
}

/// The anchor of the watched round of a case and subject, if there is one.
pub(super) fn anchor(view: &View<'_>, case: &CaseId, subject: usize) -> Option<String> {
    if view.is_long() {
        return None;
    }
    let mut cases = view.cases().enumerate();
    let (place, case) = cases.find(|(_, known)| known.case.id == *case)?;
    let watched = |r: &&SubjectResult<'_>| r.subject == subject && r.watched.is_some();
    case.results.iter().find(watched).map(|_| format!("round-{place}-{subject}"))
}

fn memory_of(record: &Record, attribution: Option<&Attribution>) -> Markup {
    let lines = match &record.outcome {
        Outcome::Measured(samples) => memory::lines(samples, record.trace.as_ref(), attribution),
        _ => Vec::new(),
    };
    html! {
        table.facts {
            caption { "Memory" }
            tbody {
                @for line in &lines {
                    @for (name, amount) in &line.parts {
                        tr { th scope="row" { (line.name) ", " (name) } td { (amount.to_string()) } }
                    }
                }
            }
        }
    }
}

fn conditions(record: &Record) -> Markup {
    let Conditions { load_before, wall, idle_before, stolen, swapped, major_faults, .. } =
        &record.conditions;
    let Conditions { held_back, cpu_clock, temperature, gpus, .. } = &record.conditions;
    let share = |share: &Option<f64>| told(share.map(percent));
    let mut facts = vec![
        ("load before".to_owned(), told(load_before.map(|load| format!("{load:.2}")))),
        ("idle before".to_owned(), share(idle_before)),
        ("time stolen".to_owned(), share(stolen)),
        ("pages swapped".to_owned(), told(*swapped)),
        ("major faults".to_owned(), told(*major_faults)),
        ("CPU clock".to_owned(), told(cpu_clock.map(clock))),
        ("temperature".to_owned(), told(temperature.map(|celsius| format!("{celsius} °C")))),
    ];
    facts.extend(held_back.map(|time| ("held back by CPU limits".to_owned(), time.to_string())));
    for (index, gpu) in gpus.iter().enumerate() {
        let throttled: Vec<&str> = gpu.throttled.iter().map(|throttle| throttle.name()).collect();
        let throttled = if throttled.is_empty() { "never".into() } else { throttled.join(", ") };
        // The environment says which GPU is which, in the same order.
        let of = |name: &str| match gpus.len() {
            1 => format!("GPU {name}"),
            _ => format!("GPU {index} {name}"),
        };
        facts.extend([
            (of("SM clock"), told(gpu.sm_clock.map(clock))),
            (of("memory clock"), told(gpu.memory_clock.map(clock))),
            (of("temperature"), told(gpu.temperature.map(|celsius| format!("{celsius} °C")))),
            (of("throttled"), throttled),
            (of("other processes"), told(gpu.foreign)),
        ]);
        facts.extend(gpu.lost.iter().map(|reason| (of("lost"), reason.clone())));
    }
    if let Some(trace) = &record.trace {
        let cost = trace.cost_share(*wall).map(|share| format!("{:.2} % of a core", share * 100.0));
        facts.push(("watching cost".to_owned(), told(cost)));
    }
    html! {
        table.facts {
            caption { "Conditions" }
            tbody {
                @for (name, value) in &facts { tr { th scope="row" { (name) } td { (value) } } }
            }
        }
    }
}

fn clock(spread: Spread) -> String {
    let Spread { min, median, mean, max } = spread;
    format!("{min} to {max} MHz, median {median}, mean {mean:.0}")
}

fn told(fact: Option<impl ToString>) -> String {
    fact.map_or_else(|| "not told by this machine".to_owned(), |fact| fact.to_string())
}

//! How to repeat a case, where it ran, and the raw facts of the run.

use maud::{Markup, html};
use windtunnel_ledger::environment::{Build, Environment, Gpu, Machine};
use windtunnel_ledger::record::Subject;

use super::{Section, address, counted, named, subject};
use crate::view::{CaseView, Scenario, SubjectResult, View};

/// The shell line of every case and subject.
pub(super) fn repeat(view: &View<'_>) -> Option<Section> {
    let started = |case: &CaseView<'_>| case.results.iter().any(was_started);
    let body = html! {
        p.note {
            "One round of a case, as it was started here."
            @if view.is_stored() { " The stored base was not." }
        }
        @for scenario in view.scenarios.iter().filter(|scenario| scenario.cases.iter().any(started)) {
            details {
                summary { (scenario.name) " " span.muted { (counted(scenario.cases.len(), "case")) } }
                (commands(view, scenario))
            }
        }
    };
    let any = view.cases().any(started) && !view.is_long();
    any.then_some(Section { anchor: "repeat", heading: "Repeat a case", body })
}

/// Whether there is a shell line that repeats a round: stored records have none.
fn was_started(result: &SubjectResult<'_>) -> bool {
    !result.command.is_empty()
}

fn commands(view: &View<'_>, scenario: &Scenario<'_>) -> Markup {
    html! {
        @for case in &scenario.cases {
            @for result in case.results.iter().filter(|result| was_started(result)) {
                p.command {
                    a.case href=(address(&case.case.id)) { (named(case.case.id.as_str())) }
                    @if view.subjects.len() > 1 { " " (subject(view, result.subject)) }
                }
                pre { code { (result.command) } }
            }
        }
    }
}

/// A column for each environment in which a subject ran, a row for each fact; a value shared by all
/// is written once.
pub(super) fn environment(view: &View<'_>) -> Option<Section> {
    let columns: Vec<Vec<(&str, String)>> =
        view.environments.iter().map(|(_, environment)| known(environment)).collect();
    let body = html! {
        div.wide tabindex="0" role="region" aria-label="Environment" {
            table.facts {
                @if columns.len() > 1 {
                    thead {
                        tr {
                            td {}
                            @for (index, _) in &view.environments { th scope="col" { (subject(view, *index)) } }
                        }
                    }
                }
                tbody {
                    @for (i, (name, _)) in columns.iter().take(1).flatten().enumerate() {
                        tr {
                            th scope="row" { (name) }
                            @if columns.iter().all(|column| column[i] == columns[0][i]) {
                                td colspan=(columns.len()) { (columns[0][i].1) }
                            } @else {
                                @for column in &columns { td { (column[i].1) } }
                            }
                        }
                    }
                }
            }
        }
    };
    (!columns.is_empty()).then_some(Section { anchor: "environment", heading: "Environment", body })
}

/// The facts about an environment; the same names in the same order for every environment.
fn known(environment: &Environment) -> Vec<(&'static str, String)> {
    let Environment { machine, build } = environment;
    let none = Build::default();
    let build = build.as_ref().unwrap_or(&none);
    let Build { engine, candle, rustc, profile, target, target_features, .. } = build;
    let Build { features, target_cpu, kernels, .. } = build;
    let kernels: Vec<String> = kernels.iter().map(|(name, v)| format!("{name} {v}")).collect();
    let text = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    let caches: Vec<String> = machine.caches.iter().map(ToString::to_string).collect();
    let nodes = if machine.numa_nodes == 0 { "–".into() } else { machine.numa_nodes.to_string() };
    vec![
        ("machine", machine.key()),
        ("processor", text(&machine.cpu)),
        ("cores", machine.cores.to_string()),
        ("threads", machine.threads.to_string()),
        ("memory", machine.memory.to_string()),
        ("extensions", text(&machine.features.join(" "))),
        ("caches", text(&caches.join(", "))),
        ("memory nodes", nodes),
        ("SMT", told(machine.smt)),
        ("governor", told(Some(&machine.governor).filter(|word| !word.is_empty()))),
        ("turbo", told(machine.turbo)),
        ("CPU quota", told(machine.cpu_quota)),
        ("hypervisor", text(&machine.hypervisor)),
        ("container", text(&machine.container)),
        ("boot", text(&machine.boot)),
        ("GPUs", gpus(machine)),
        ("system", text(&format!("{} {} {}", machine.os, machine.kernel, machine.arch))),
        ("engine", text(engine)),
        ("candle", text(candle)),
        ("compiler", text(rustc)),
        ("profile", text(profile)),
        ("target", text(target)),
        ("built for", text(format!("{target_cpu} {}", target_features.join(" ")).trim())),
        ("kernel crates", text(&kernels.join(", "))),
        ("features", text(&features.join(" "))),
    ]
}

/// A fact that a machine may hide.
fn told(fact: Option<impl ToString>) -> String {
    fact.map_or_else(|| "not told by this machine".to_owned(), |fact| fact.to_string())
}

/// Everything known about its GPUs, each in one sentence.
fn gpus(machine: &Machine) -> String {
    let gpu = |gpu: &Gpu| {
        let limit = gpu.power_limit.map(|mw| format!("{} W", mw / 1000));
        let facts = [
            gpu.kind(),
            gpu.uuid.clone(),
            format!("driver {}", gpu.driver),
            format!("CUDA {}", gpu.cuda),
            format!("firmware {}", gpu.vbios),
            format!("SM clock {}", gpu.sm_clock),
            format!("memory clock {}", gpu.memory_clock),
            format!("power limit {}", told(limit)),
            format!("persistence {}", told(gpu.persistence)),
            format!("MIG {}", told(gpu.mig)),
            format!("ECC {}", told(gpu.ecc)),
            format!("PCIe lanes {}", told(gpu.pcie_width)),
        ];
        facts.join(", ")
    };
    match (machine.gpus.as_slice(), machine.gpus_hidden.as_str()) {
        ([], "") => "none".to_owned(),
        ([], reason) => format!("not available: {reason}"),
        (gpus, _) => gpus.iter().map(gpu).collect::<Vec<_>>().join("; "),
    }
}

/// The files in which a subject differs from its commit.
fn changes(subject: &Subject) -> String {
    let listed = subject.changed.join(", ");
    match subject.changed_besides {
        0 => listed,
        n => format!("{listed} and {n} more"),
    }
}

/// The facts of the run.
pub(super) fn run(view: &View<'_>) -> Option<Section> {
    let body = html! {
        div.wide {
            table.facts {
                tbody {
                    tr { th scope="row" { "run" } td { (view.run.id.0) } }
                    tr { th scope="row" { "started" } td { time { (view.run.at) } } }
                    tr { th scope="row" { "command" } td { code { (view.run.command) } } }
                    @for index in 0..view.subjects.len() {
                        tr {
                            th scope="row" { "subject" }
                            td {
                                (subject(view, index))
                                @if let Some(commit) = view.subjects[index].commit.as_deref() {
                                    span.muted { ", commit " code { (commit) } }
                                }
                                @if let Some(upstream) = &view.subjects[index].upstream {
                                    span.muted { ", upstream " code { (upstream.as_str()) } }
                                }
                                @if !view.subjects[index].changed.is_empty() {
                                    span.muted { ", changed " (changes(view.subjects[index])) }
                                }
                                @if !view.subjects[index].binary.is_empty() {
                                    span.muted { ", probe " code { (view.subjects[index].binary) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    Some(Section { anchor: "run", heading: "Run", body })
}

//! What a control group, a container or a hypervisor takes away or hides.

use windtunnel_ledger::environment::CpuQuota;

use super::{Finding, Patient, Severity};
use crate::conditions::Cpu;
use crate::machine;

/// From this share on, stolen time moves results by more than a margin.
const STOLEN: f64 = 0.01;

pub(super) fn processors(patient: &Patient) -> Vec<Finding> {
    match patient.machine.cpu_quota {
        None => vec![Finding::unknown("processor limit", "`/proc/self/cgroup` cannot be read")],
        Some(CpuQuota::Unlimited) => vec![Finding::fine("no processor limit")],
        Some(quota @ CpuQuota::Millis(_)) => vec![Finding::of(
            Severity::Bad,
            format!("limited to {quota} of {}", patient.machine.threads),
            "a probe that has used its time waits for the rest of 100 ms: gaps in the middle of tokens",
            "start the container without `--cpus`, and give it whole processors: --cpuset-cpus=0-3",
        )],
    }
}

pub(super) fn memory(patient: &Patient) -> Vec<Finding> {
    let limit = machine::memory_limit(&patient.root);
    match limit.filter(|limit| *limit <= patient.machine.memory) {
        None if patient.machine.memory.0 == 0 => {
            vec![Finding::unknown("memory limit", "`/proc/meminfo` cannot be read")]
        }
        None => vec![Finding::fine("no memory limit")],
        Some(limit) => vec![Finding::of(
            Severity::Minor,
            format!("limited to {limit} of memory"),
            "a case that needs more is killed; cached weights count too",
            "start the container with more: --memory",
        )],
    }
}

pub(super) fn hypervisor(patient: &Patient) -> Vec<Finding> {
    match patient.machine.hypervisor.as_str() {
        "" => vec![Finding::unknown("hypervisor", "nothing shows whether this is a guest")],
        "none" => vec![Finding::fine("bare metal")],
        kind => vec![Finding::of(
            Severity::Minor,
            format!("a guest of a hypervisor ({kind})"),
            "clocks and neighbours are hidden: 1 to 10 % from hour to hour, unexplained",
            "use bare metal, or a guest whose processors are its own",
        )],
    }
}

pub(super) fn steal(patient: &Patient) -> Vec<Finding> {
    // Bare metal has no hypervisor to steal time.
    if patient.machine.hypervisor == "none" {
        return Vec::new();
    }
    let Some(now) = patient.activity.stolen else {
        return vec![Finding::unknown("stolen time", "`/proc/stat` does not say")];
    };
    let stat = patient.root.text("proc/stat").unwrap_or_default();
    let ever = Cpu::of(&stat).and_then(Cpu::stolen_share).unwrap_or(0.0);
    if now.max(ever) < STOLEN {
        return vec![Finding::fine("hardly any time stolen")];
    }
    let found = format!(
        "{:.1} % of the time stolen just now, {:.1} % since the start",
        now * 100.0,
        ever * 100.0
    );
    vec![Finding::of(
        if now < STOLEN { Severity::Minor } else { Severity::Bad },
        found,
        "the host gives that much of every processor to others, milliseconds at a time",
        "use a guest whose processors are not shared (dedicated, not burstable)",
    )]
}

pub(super) fn container(patient: &Patient) -> Vec<Finding> {
    vec![match patient.machine.container.as_str() {
        "" => Finding::unknown("container", "nothing shows whether this is one"),
        "none" => Finding::fine("no container"),
        // What a container takes away is reported by its limits.
        kind => Finding::fine(format!("in a container ({kind})")),
    }]
}

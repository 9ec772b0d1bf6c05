//! Main memory: whether there is enough, on which node it lies, and by what pages it is reached.

use windtunnel_ledger::Bytes;

use super::{Finding, Patient, Severity};
use crate::machine::field;

/// Less than this holds no model worth measuring.
const LITTLE: Bytes = Bytes(2 << 30);
/// A kernel swaps out this little even without need.
const CRUMBS: Bytes = Bytes(64 << 20);

/// One value of `/proc/meminfo`.
fn meminfo(patient: &Patient, name: &str) -> Option<Bytes> {
    let text = patient.root.text("proc/meminfo")?;
    let kib = field(&text, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(Bytes(kib.saturating_mul(1024)))
}

pub(super) fn free(patient: &Patient) -> Vec<Finding> {
    let Some(free) = meminfo(patient, "MemAvailable") else {
        return vec![Finding::unknown("free memory", "`/proc/meminfo` does not say")];
    };
    let all = patient.machine.memory;
    // What a control group has already used of its limit, caches included, is not visible here.
    let found = match free > all {
        true => format!("at most {all} free"),
        false => format!("{free} of {all} free"),
    };
    let free = free.min(all);
    if free >= LITTLE {
        return vec![Finding::fine(found)];
    }
    vec![Finding::of(
        Severity::Bad,
        found,
        "larger cases are killed by the kernel, and the others make it swap",
        "close other programs; `windtunnel list gate` shows what cases need",
    )]
}

pub(super) fn swap(patient: &Patient) -> Vec<Finding> {
    let total = meminfo(patient, "SwapTotal");
    let Some((total, free)) = total.zip(meminfo(patient, "SwapFree")) else {
        return vec![Finding::unknown("swap", "`/proc/meminfo` does not say")];
    };
    let used = Bytes(total.0.saturating_sub(free.0));
    if used < CRUMBS {
        return vec![Finding::fine(if total.0 == 0 { "no swap" } else { "swap unused" })];
    }
    let fits = meminfo(patient, "MemAvailable").is_some_and(|available| available > used);
    vec![Finding::of(
        if fits { Severity::Minor } else { Severity::Bad },
        format!("{used} are swapped out"),
        "bringing a page back takes 0.1 to 10 ms; rounds that swap are void",
        match fits {
            true => patient.on_host("sudo swapoff -a && sudo swapon -a"),
            false => "close other programs first: what is swapped out does not fit".to_owned(),
        },
    )]
}

pub(super) fn huge_pages(patient: &Patient) -> Vec<Finding> {
    let text = patient.root.text("sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let Some((chosen, _)) = chosen else {
        return vec![Finding::unknown("huge pages", "the kernel does not say")];
    };
    if chosen == "always" {
        return vec![Finding::fine("huge pages `always`")];
    }
    vec![Finding::of(
        Severity::Minor,
        format!("huge pages `{chosen}`"),
        "weights are read through pages of 4 KiB: a few per cent of decode speed",
        patient.on_host("echo always | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"),
    )]
}

pub(super) fn numa(patient: &Patient) -> Vec<Finding> {
    match patient.machine.numa_nodes {
        0 => vec![Finding::unknown("memory nodes", "the kernel does not say")],
        1 => vec![Finding::fine("one memory node")],
        nodes => vec![Finding::of(
            Severity::Minor,
            format!("{nodes} memory nodes"),
            "memory of another node is 1.5 to 2 times as slow, and where it lies is random",
            "numactl --cpunodebind=0 --membind=0 windtunnel run …",
        )],
    }
}

//! How processors are configured: whether their clocks are steady, and what reading the time costs.

use windtunnel_ledger::Switch;

use super::{Finding, Patient, Severity};

const CPUS: &str = "sys/devices/system/cpu";

pub(super) fn governor(patient: &Patient) -> Vec<Finding> {
    let governor = &patient.machine.governor;
    if governor.is_empty() {
        return vec![Finding::unknown("governor", patient.why_no_clocks())];
    }
    if governor == "performance" {
        return vec![Finding::fine("governor `performance`")];
    }
    let severity = match governor.contains("powersave") {
        true => Severity::Bad,
        false => Severity::Minor,
    };
    let driver = patient.root.text(&format!("{CPUS}/cpu0/cpufreq/scaling_driver"));
    let driver = driver.map_or_else(String::new, |driver| format!(" (driver `{driver}`)"));
    let mend = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
    vec![Finding::of(
        severity,
        format!("governor `{governor}`{driver}"),
        "clocks follow the load with a delay: up to tens of per cent, and unsteady",
        patient.on_host(mend),
    )]
}

pub(super) fn turbo(patient: &Patient) -> Vec<Finding> {
    let found = match patient.machine.turbo {
        None => return vec![Finding::unknown("turbo", patient.why_no_clocks())],
        Some(Switch::Off) => return vec![Finding::fine("turbo off")],
        Some(Switch::On) => "turbo on",
    };
    let mend = match patient.root.has(&format!("{CPUS}/intel_pstate/no_turbo")) {
        true => "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo",
        false => "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost",
    };
    vec![Finding::of(
        Severity::Minor,
        found,
        "clocks depend on heat and on how many cores work: 5 to 30 % between cold and warm",
        patient.on_host(mend),
    )]
}

pub(super) fn smt(patient: &Patient) -> Vec<Finding> {
    let found = match patient.machine.smt {
        None => return vec![Finding::unknown("SMT", patient.why_no_clocks())],
        Some(Switch::Off) => return vec![Finding::fine("one thread per core")],
        Some(Switch::On) => "SMT on, two threads share a core",
    };
    let mend = "echo off | sudo tee /sys/devices/system/cpu/smt/control";
    vec![Finding::of(
        Severity::Minor,
        found,
        "work on the other half of a core takes up to half of its speed",
        patient.on_host(mend),
    )]
}

/// Batteries, and the firmware's power profile.
pub(super) fn power(patient: &Patient) -> Vec<Finding> {
    let root = &patient.root;
    let supply =
        |name: &String, file: &str| root.text(&format!("sys/class/power_supply/{name}/{file}"));
    let supplies = root.names("sys/class/power_supply");
    let is = |name: &String, kind: &str| supply(name, "type").as_deref() == Some(kind);
    let mut findings = Vec::new();
    let discharging = |name: &&String| {
        is(name, "Battery") && supply(name, "status").as_deref() == Some("Discharging")
    };
    if let Some(battery) = supplies.iter().find(discharging) {
        findings.push(Finding::of(
            Severity::Bad,
            format!("runs on battery (`{battery}`)"),
            "the firmware caps power: up to half of the speed, less as it drains",
            "plug it in",
        ));
    }
    let profile = root.text("sys/firmware/acpi/platform_profile");
    match profile.as_deref() {
        Some(profile @ ("low-power" | "quiet" | "cool" | "balanced")) => {
            let severity = match profile {
                "balanced" => Severity::Minor,
                _ => Severity::Bad,
            };
            findings.push(Finding::of(
                severity,
                format!("power profile `{profile}`"),
                "the firmware trades speed for heat and noise: up to tens of per cent",
                patient.on_host("echo performance | sudo tee /sys/firmware/acpi/platform_profile"),
            ));
        }
        Some(profile) => findings.push(Finding::fine(format!("power profile `{profile}`"))),
        None => (),
    }
    if findings.is_empty() {
        // A desktop has neither a battery nor a profile, and needs neither.
        findings.push(match root.has("sys/class") {
            true => Finding::fine("no battery or power profile to mind"),
            false => Finding::unknown("power supply", "`/sys` cannot be read"),
        });
    }
    findings
}

pub(super) fn roof(patient: &Patient) -> Vec<Finding> {
    vec![match &patient.roof {
        Ok(roof) => Finding::fine(format!("{roof}: the roof that results are compared with")),
        Err(reason) => Finding::unknown("what the machine can do at best", *reason),
    }]
}

pub(super) fn clock_source(patient: &Patient) -> Vec<Finding> {
    const SLOW: [&str; 5] = ["hpet", "acpi_pm", "xen", "jiffies", "refined-jiffies"];
    let folder = "sys/devices/system/clocksource/clocksource0";
    let Some(source) = patient.root.text(&format!("{folder}/current_clocksource")) else {
        return vec![Finding::unknown("clock source", "the kernel does not say")];
    };
    if !SLOW.contains(&source.as_str()) {
        return vec![Finding::fine(format!("clock source `{source}`"))];
    }
    let others = patient.root.text(&format!("{folder}/available_clocksource")).unwrap_or_default();
    let mend = match others.split(' ').any(|other| other == "tsc") {
        true => format!("echo tsc | sudo tee /{folder}/current_clocksource"),
        false => "boot with `tsc=reliable`, if the processor's counter can be trusted".to_owned(),
    };
    vec![Finding::of(
        Severity::Bad,
        format!("clock source `{source}`"),
        "each reading of the time enters the kernel: a microsecond or more instead of 25 ns",
        patient.on_host(&mend),
    )]
}

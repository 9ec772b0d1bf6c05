//! GPUs: who else computes on them, what holds their clocks down, and whether a probe would start.

use windtunnel_ledger::Switch;
use windtunnel_ledger::environment::Gpu;
use windtunnel_ledger::trace::{Gauge, Look, Throttle};

use super::{Finding, Patient, Severity};
use crate::watch::Gpus;

pub(super) fn gpus(patient: &Patient) -> Vec<Finding> {
    let machine = &patient.machine;
    if !machine.gpus_hidden.is_empty() {
        return vec![Finding::of(
            Severity::Bad,
            format!("GPUs cannot be queried ({})", machine.gpus_hidden),
            "clocks, memory and other users cannot be seen: GPU results are comparable with none",
            "install the library of the driver that runs: libnvidia-ml.so.1 (in a container: --gpus all)",
        )];
    }
    if machine.gpus.is_empty() {
        return vec![match patient.root.has("proc") {
            true => Finding::fine("no NVIDIA driver, so no GPU to watch"),
            false => Finding::unknown("GPUs", "`/proc` cannot be read"),
        }];
    }
    let named = |gpu: &Gpu| format!("{}, driver {}", gpu.kind(), or_unknown(&gpu.driver));
    machine.gpus.iter().map(|gpu| Finding::fine(named(gpu))).collect()
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "not known" } else { text }
}

/// Applies `examine` to each GPU, with its index.
fn each(
    patient: &Patient,
    examine: impl Fn(&dyn Gpus, usize, &Gpu) -> Option<Finding>,
) -> Vec<Finding> {
    let Some(gpus) = &patient.gpus else { return Vec::new() };
    let devices = patient.machine.gpus.iter().enumerate();
    devices.filter_map(|(i, gpu)| examine(gpus.as_ref(), i, gpu)).collect()
}

pub(super) fn users(patient: &Patient) -> Vec<Finding> {
    each(patient, |gpus, i, _| {
        let users = match gpus.users(i) {
            Err(reason) => {
                return Some(Finding::unknown(format!("other users of GPU {i}"), reason));
            }
            Ok(users) if users.is_empty() => return Some(Finding::fine(format!("GPU {i} unused"))),
            Ok(users) => users,
        };
        let named = users.iter().map(|user| {
            // In a container the process id is the host's and names no process here.
            let name = patient.root.text(&format!("proc/{}/comm", user.process));
            let memory = user.memory.map(|kib| Gauge::ProcessUsed.show(kib));
            let facts: Vec<String> = name.into_iter().chain(memory).collect();
            match facts.is_empty() {
                true => user.process.to_string(),
                false => format!("{} ({})", user.process, facts.join(", ")),
            }
        });
        let named: Vec<String> = named.collect();
        let numbers: Vec<String> = users.iter().map(|user| user.process.to_string()).collect();
        Some(Finding::of(
            Severity::Bad,
            format!("other processes use GPU {i}, {}", named.join(", ")),
            "kernels take turns, for any share of the time; such rounds are void",
            patient.on_host(&format!("end them: kill {}", numbers.join(" "))),
        ))
    })
}

/// The value of one gauge.
fn shown(look: Look, gauge: Gauge) -> Result<i64, String> {
    let found = look.into_iter().find(|(name, _)| *name == gauge);
    found.map_or_else(|| Err("the driver does not say".to_owned()), |(_, value)| value)
}

pub(super) fn throttle(patient: &Patient) -> Vec<Finding> {
    each(patient, |gpus, i, _| {
        let look = gpus.look(i);
        let bits = match look.clone().and_then(|look| shown(look, Gauge::Throttle)) {
            Err(reason) => {
                return Some(Finding::unknown(format!("throttling of GPU {i}"), reason));
            }
            Ok(bits) => bits,
        };
        let severity = |throttle: &Throttle| match throttle {
            Throttle::Idle => Severity::Fine,
            Throttle::ApplicationClocks | Throttle::SyncBoost | Throttle::Display => {
                Severity::Minor
            }
            // At the power cap the clock is one of many: the limit is measured, not the code.
            Throttle::PowerCap => Severity::Minor,
            Throttle::HardwareSlowdown
            | Throttle::Thermal
            | Throttle::HardwareThermal
            | Throttle::PowerBrake => Severity::Bad,
        };
        let reasons: Vec<Throttle> =
            Throttle::of(bits).filter(|reason| severity(reason) != Severity::Fine).collect();
        let Some(worst) = reasons.iter().map(severity).min() else {
            return Some(Finding::fine(format!("GPU {i} not throttled")));
        };
        let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
        let temperature = look.and_then(|look| shown(look, Gauge::Temperature));
        let temperature = temperature.map_or_else(|_| String::new(), |t| format!(" at {t} °C"));
        Some(Finding::of(
            worst,
            format!("GPU {i} is throttled{temperature} by {}", names.join(", ")),
            "its clock is a third or more below what it could be, and changes with heat",
            match worst {
                Severity::Bad => format!(
                    "check cooling and power supply: nvidia-smi -q -i {i} -d PERFORMANCE,TEMPERATURE,POWER"
                ),
                _ => format!("see what limits it: nvidia-smi -q -i {i} -d PERFORMANCE,POWER,CLOCK"),
            },
        ))
    })
}

pub(super) fn clocks(patient: &Patient) -> Vec<Finding> {
    each(patient, |_, i, gpu| {
        let limits = gpu.sm_clock;
        let what = format!("clock of GPU {i}");
        let Some(max) = limits.max else {
            return Some(Finding::unknown(what, "the driver does not say the maximum"));
        };
        // NVML reports application clocks, but not whether clocks are locked.
        let lock = format!("sudo nvidia-smi -i {i} --lock-gpu-clocks={max}");
        match limits.application.zip(limits.default) {
            Some((now, usual)) if now < usual => Some(Finding::of(
                Severity::Minor,
                format!("applications on GPU {i} run at {now} of {usual} MHz"),
                format!(
                    "{:.0} % of its usual speed; steady, if intended",
                    100.0 * f64::from(now) / f64::from(usual)
                ),
                patient.on_host(&format!("sudo nvidia-smi -i {i} --reset-applications-clocks")),
            )),
            _ => {
                let reason = "NVML does not say whether it is locked";
                let mut finding = Finding::unknown(format!("{what}, up to {max} MHz"), reason);
                finding.costs = "an unlocked clock follows heat and power: 1 to 10 %".to_owned();
                finding.mend = patient.on_host(&lock);
                Some(finding)
            }
        }
    })
}

pub(super) fn persistence(patient: &Patient) -> Vec<Finding> {
    each(patient, |_, i, gpu| {
        Some(match gpu.persistence {
            None => Finding::unknown(format!("persistence of GPU {i}"), "the driver does not say"),
            Some(Switch::On) => Finding::fine(format!("driver of GPU {i} stays loaded")),
            Some(Switch::Off) => Finding::of(
                Severity::Minor,
                format!("driver of GPU {i} is unloaded between rounds"),
                "0.5 to 3 s for every start of a probe, and settings are lost each time",
                patient.on_host(&format!("sudo nvidia-smi -i {i} -pm 1")),
            ),
        })
    })
}

pub(super) fn ecc(patient: &Patient) -> Vec<Finding> {
    each(patient, |_, i, gpu| {
        Some(match gpu.ecc {
            None => Finding::unknown(format!("ECC of GPU {i}"), "the driver does not say"),
            Some(Switch::On) => Finding::fine(format!("ECC of GPU {i} on")),
            Some(Switch::Off) => Finding::of(
                Severity::Minor,
                format!("ECC of GPU {i} off"),
                "up to 6 % more bandwidth than others have, and flipped bits go unnoticed",
                patient.on_host(&format!("sudo nvidia-smi -i {i} -e 1, then reboot")),
            ),
        })
    })
}

pub(super) fn instances(patient: &Patient) -> Vec<Finding> {
    each(patient, |_, i, gpu| {
        (gpu.mig == Some(Switch::On)).then(|| {
            Finding::of(
                Severity::Minor,
                format!("GPU {i} is divided by MIG"),
                "clocks and power are shared with other instances, and some gauges are absent",
                "use an undivided GPU, or keep the other instances empty",
            )
        })
    })
}

/// Libraries that a probe with the feature `cuda` is linked to.
const LIBRARIES: [&str; 6] =
    ["libcuda.so", "libcudart.so", "libcublas.so", "libcublasLt.so", "libcurand.so", "libnvrtc.so"];

pub(super) fn libraries(patient: &Patient) -> Vec<Finding> {
    if patient.machine.gpus.is_empty() && patient.machine.gpus_hidden.is_empty() {
        return Vec::new();
    }
    // The loader's cache holds library names as NUL-terminated strings.
    let cache = std::fs::read(patient.root.path("etc/ld.so.cache")).unwrap_or_default();
    let own = patient
        .library_path
        .iter()
        .flat_map(|folder| patient.root.names(folder.to_string_lossy().trim_start_matches('/')));
    let own: Vec<String> = own.collect();
    let is_there = |library: &str| {
        cache.windows(library.len()).any(|window| window == library.as_bytes())
            || own.iter().any(|name| name.starts_with(library))
    };
    let missing: Vec<&str> = LIBRARIES.into_iter().filter(|library| !is_there(library)).collect();
    if missing.is_empty() {
        return vec![Finding::fine("CUDA libraries found")];
    }
    vec![Finding::of(
        Severity::Bad,
        format!("{} not found", missing.join(", ")),
        "a probe that is built with `--features cuda` does not start",
        "install CUDA, or point to it: export LD_LIBRARY_PATH=/usr/local/cuda/lib64",
    )]
}

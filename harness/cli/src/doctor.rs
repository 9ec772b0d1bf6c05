//! `windtunnel doctor`: whether this machine is fit for measuring, what each shortcoming costs, and
//! how to fix it.
//!
//! Checks are a slice of pure functions of a [`Patient`]: everything that was read from the machine
//! beforehand. None of them judges a measurement; a gate does that, by its own noise.

mod activity;
mod calibrated;
mod confinement;
mod document;
mod gpu;
mod memory;
mod noise;
mod patient;
mod processor;
mod storage;
#[cfg(test)]
mod tests;
mod tools;

use std::time::Duration;

use anyhow::Result;
use windtunnel_ledger::roof::{PROCESSOR, Roof};

use crate::args::DoctorArgs;
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{exit, roof, show};

pub(crate) use patient::Patient;

/// How long the fixed workload is repeated.
const NOISE: Duration = Duration::from_secs(10);

/// Examines this machine and shows what was found.
pub(crate) fn doctor(workspace: &Workspace, args: &DoctorArgs, progress: Progress) -> Result<u8> {
    let mut patient = Patient::here(workspace);
    if let Ok(Some(_)) = patient.other_run {
        // Ten busy seconds would disturb its rounds, and its rounds would disturb the noise
        // measurement.
        patient.roof = Err(noise::OTHER_RUN);
    } else if !args.quick {
        if progress != Progress::Quiet {
            show::note(
                "repeating a small fixed workload for 10 s to see the noise (`--quick` leaves it out)",
            );
        }
        patient.noise = Some(noise::measure(NOISE));
        patient.roof = roof(workspace, &patient);
    }
    let diagnosis = examine(&patient);
    show::result(&match args.json {
        true => document::json(&patient, &diagnosis)?,
        false => show::diagnosis(&patient, &diagnosis, show::Ink::of_stdout()),
    })?;
    Ok(if diagnosis.can_measure() { exit::PASS } else { exit::INVALID })
}

/// What the newest probe can do at best on this machine, as every run determines for its own probe.
fn roof(workspace: &Workspace, patient: &Patient) -> Result<Roof, &'static str> {
    let Some(probe) = patient.tools.probes.first() else {
        return Err("no probe was built yet: `windtunnel run smoke` builds one");
    };
    roof::of(workspace, probe, &patient.machine.boot, PROCESSOR)
        .ok_or("the newest probe does not say")
}

/// How bad a finding is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// Nothing can be measured.
    Stops,
    /// Results are unsteady, or wrong by more than what matters.
    Bad,
    /// Results are less steady than they could be, or one thing cannot be done.
    Minor,
    /// It could not be determined, which is never taken for fine.
    Unknown,
    /// There is nothing wrong.
    Fine,
}

impl Severity {
    /// All of them, worst first.
    pub(crate) const ALL: [Severity; 5] =
        [Severity::Stops, Severity::Bad, Severity::Minor, Severity::Unknown, Severity::Fine];

    /// A sign that is understood without colour.
    pub(crate) const fn sign(self) -> char {
        match self {
            Severity::Stops => '✗',
            Severity::Bad => '‼',
            Severity::Minor => '!',
            Severity::Unknown => '?',
            Severity::Fine => '✓',
        }
    }

    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Severity::Stops => "stops",
            Severity::Bad => "bad",
            Severity::Minor => "minor",
            Severity::Unknown => "not known",
            Severity::Fine => "fine",
        }
    }
}

/// The topic of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Group {
    /// How processors are configured.
    Processor,
    /// What else runs.
    Activity,
    /// Main memory.
    Memory,
    /// What a container, a control group or a hypervisor takes away.
    Confinement,
    /// GPUs and their libraries.
    Gpu,
    /// Where files are kept.
    Storage,
    /// Programs needed to build subjects, and what the kernel permits.
    Tools,
    /// How unsteady the machine is, as far as it was measured.
    Noise,
}

impl Group {
    /// All of them, in the order in which equally bad findings are shown.
    pub(crate) const ALL: [Group; 8] = [
        Group::Noise,
        Group::Activity,
        Group::Processor,
        Group::Memory,
        Group::Gpu,
        Group::Confinement,
        Group::Storage,
        Group::Tools,
    ];

    /// Its heading.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Group::Processor => "processor",
            Group::Activity => "activity",
            Group::Memory => "memory",
            Group::Confinement => "confinement",
            Group::Gpu => "GPU",
            Group::Storage => "storage",
            Group::Tools => "tools",
            Group::Noise => "noise",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What is the case, or what is not known.
    pub(crate) found: String,
    /// Why it is not known; empty if it is.
    pub(crate) reason: String,
    /// What it costs measurements, with a figure where one is known; empty if nothing.
    pub(crate) costs: String,
    /// How to fix it: a command, or words where no command helps; empty if there is nothing to fix.
    pub(crate) mend: String,
}

impl Finding {
    /// Nothing is wrong.
    fn fine(found: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Fine,
            found: found.into(),
            reason: String::new(),
            costs: String::new(),
            mend: String::new(),
        }
    }

    /// `what` could not be determined.
    fn unknown(what: impl Into<String>, reason: impl Into<String>) -> Finding {
        Finding { severity: Severity::Unknown, reason: reason.into(), ..Finding::fine(what) }
    }

    /// A shortcoming.
    fn of(
        severity: Severity,
        found: impl Into<String>,
        costs: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding { severity, costs: costs.into(), mend: mend.into(), ..Finding::fine(found) }
    }
}

/// One check.
pub(crate) struct Check {
    /// Its name, which programs read too: never changed.
    pub(crate) name: &'static str,
    /// Its topic.
    pub(crate) group: Group,
    /// Its findings; none if the question does not arise.
    examine: fn(&Patient) -> Vec<Finding>,
}

/// Every check.
pub(crate) const CHECKS: &[Check] = &[
    Check { name: "noise", group: Group::Noise, examine: noise::noise },
    Check { name: "calibration", group: Group::Noise, examine: calibrated::calibration },
    Check { name: "other-run", group: Group::Activity, examine: activity::other_run },
    Check { name: "load", group: Group::Activity, examine: activity::load },
    Check { name: "idle", group: Group::Activity, examine: activity::idle },
    Check { name: "busy-processes", group: Group::Activity, examine: activity::busy },
    Check { name: "governor", group: Group::Processor, examine: processor::governor },
    Check { name: "turbo", group: Group::Processor, examine: processor::turbo },
    Check { name: "smt", group: Group::Processor, examine: processor::smt },
    Check { name: "roof", group: Group::Processor, examine: processor::roof },
    Check { name: "power", group: Group::Processor, examine: processor::power },
    Check { name: "clock-source", group: Group::Processor, examine: processor::clock_source },
    Check { name: "free-memory", group: Group::Memory, examine: memory::free },
    Check { name: "swap", group: Group::Memory, examine: memory::swap },
    Check { name: "huge-pages", group: Group::Memory, examine: memory::huge_pages },
    Check { name: "numa", group: Group::Memory, examine: memory::numa },
    Check { name: "gpus", group: Group::Gpu, examine: gpu::gpus },
    Check { name: "gpu-users", group: Group::Gpu, examine: gpu::users },
    Check { name: "gpu-throttle", group: Group::Gpu, examine: gpu::throttle },
    Check { name: "gpu-clocks", group: Group::Gpu, examine: gpu::clocks },
    Check { name: "gpu-persistence", group: Group::Gpu, examine: gpu::persistence },
    Check { name: "gpu-ecc", group: Group::Gpu, examine: gpu::ecc },
    Check { name: "gpu-instances", group: Group::Gpu, examine: gpu::instances },
    Check { name: "cuda-libraries", group: Group::Gpu, examine: gpu::libraries },
    Check { name: "cpu-limit", group: Group::Confinement, examine: confinement::processors },
    Check { name: "memory-limit", group: Group::Confinement, examine: confinement::memory },
    Check { name: "hypervisor", group: Group::Confinement, examine: confinement::hypervisor },
    Check { name: "steal", group: Group::Confinement, examine: confinement::steal },
    Check { name: "container", group: Group::Confinement, examine: confinement::container },
    Check { name: "reports", group: Group::Storage, examine: storage::reports },
    Check { name: "builds", group: Group::Storage, examine: storage::builds },
    Check { name: "hub-cache", group: Group::Storage, examine: storage::hub },
    Check { name: "probe", group: Group::Tools, examine: tools::probe },
    Check { name: "git", group: Group::Tools, examine: tools::git },
    Check { name: "counters", group: Group::Tools, examine: tools::counters },
];

/// The findings about a patient, worst first.
pub(crate) struct Diagnosis(pub(crate) Vec<(&'static Check, Finding)>);

/// Runs every check.
pub(crate) fn examine(patient: &Patient) -> Diagnosis {
    let found = |check: &'static Check| {
        (check.examine)(patient).into_iter().map(move |finding| (check, finding))
    };
    let mut all: Vec<_> = CHECKS.iter().flat_map(found).collect();
    all.sort_by_key(|(_, finding)| finding.severity);
    Diagnosis(all)
}

impl Diagnosis {
    /// The number of findings of this severity.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|(_, finding)| finding.severity == severity).count()
    }

    /// Whether anything can be measured at all.
    pub(crate) fn can_measure(&self) -> bool {
        self.count(Severity::Stops) == 0
    }
}

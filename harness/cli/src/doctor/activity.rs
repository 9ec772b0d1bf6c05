//! What else runs on the machine and takes processors, caches and memory bandwidth away.

use std::collections::BTreeMap;

use super::{Finding, Patient, Severity};
use crate::conditions::{Cpu, share};
use crate::machine::{self, Root};

/// What ran between two glances.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Activity {
    /// The share of all processors' time in which they were idle.
    pub(crate) idle: Option<f64>,
    /// The share of all processors' time that a hypervisor gave to others.
    pub(crate) stolen: Option<f64>,
    /// Busy processes, busiest first; none if this cannot be read.
    pub(crate) busiest: Option<Vec<Busy>>,
}

/// A busy process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Busy {
    /// Its process id.
    pub(crate) process: u32,
    /// Its name.
    pub(crate) name: String,
    /// How many processors it kept busy.
    pub(crate) processors: f64,
}

/// The counters of processors and processes at one moment.
pub(crate) struct Glance {
    cpu: Option<Cpu>,
    /// Name and ticks of each process.
    processes: BTreeMap<u32, (String, u64)>,
    /// The number of processors.
    processors: usize,
}

/// Below this share of a processor, a process is quiet.
const QUIET: f64 = 0.05;
/// From this share of a processor on, other processes cost more than a margin.
const LOUD: f64 = 0.5;
/// From this idle share on, a machine is quiet.
const IDLE: f64 = 0.9;
/// How many processes are named.
const NAMED: usize = 3;

impl Glance {
    /// Reads the counters now.
    pub(crate) fn at(root: &Root) -> Glance {
        let stat = root.text("proc/stat").unwrap_or_default();
        let process = |path: String| {
            let number: u32 = path.rsplit('/').next()?.parse().ok()?;
            let (name, ticks) = ticks(&root.text(&format!("{path}/stat"))?)?;
            Some((number, (name, ticks)))
        };
        let is_processor = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        Glance {
            cpu: Cpu::of(&stat),
            processes: root.numbered("proc", "").into_iter().filter_map(process).collect(),
            processors: stat.lines().filter(is_processor).count(),
        }
    }
}

/// Name and processor time of a process, in ticks, from its `stat`.
fn ticks(stat: &str) -> Option<(String, u64)> {
    let (front, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    // The kernel counts fields from 1, and the state is field 3.
    let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    Some((front.split_once('(')?.1.to_owned(), field(14)? + field(15)?))
}

impl Activity {
    /// What happened between two glances, without this process.
    pub(crate) fn between(before: Glance, after: Glance) -> Activity {
        let passed = before.cpu.zip(after.cpu).map(|(before, after)| after.ticks_since(before));
        // Ticks per processor.
        let passed = passed.filter(|ticks| *ticks > 0 && after.processors > 0);
        let each = passed.map(|ticks| ticks as f64 / after.processors as f64);
        let busy = |(process, (name, ticks)): (u32, (String, u64)), each: f64| {
            let (_, earlier) = before.processes.get(&process)?;
            let processors = ticks.saturating_sub(*earlier) as f64 / each;
            let counts = processors >= QUIET && process != std::process::id();
            counts.then_some(Busy { process, name, processors })
        };
        let busiest = each.filter(|_| !after.processes.is_empty()).map(|each| {
            let all = after.processes.into_iter();
            let mut busiest: Vec<Busy> = all.filter_map(|process| busy(process, each)).collect();
            busiest.sort_by(|a, b| b.processors.total_cmp(&a.processors));
            busiest
        });
        Activity {
            idle: share(before.cpu, after.cpu, |cpu| cpu.idle),
            stolen: share(before.cpu, after.cpu, |cpu| cpu.stolen),
            busiest,
        }
    }
}

pub(super) fn other_run(patient: &Patient) -> Vec<Finding> {
    vec![match &patient.other_run {
        Err(reason) => Finding::unknown("whether another run is measuring", reason.as_str()),
        Ok(None) => Finding::fine("no other run is measuring"),
        Ok(Some(run)) => Finding::of(
            Severity::Bad,
            format!("another run is measuring, {run}"),
            "two at once disturb each other, so every command that measures refuses with exit code 75",
            "wait until it ends, or let the next run wait: windtunnel run --wait",
        ),
    }]
}

pub(super) fn load(patient: &Patient) -> Vec<Finding> {
    let Some(load) = machine::load_average(&patient.root) else {
        return vec![Finding::unknown("load average", "`/proc/loadavg` cannot be read")];
    };
    let threads = patient.machine.threads;
    let found = format!("load average {load:.2} on {threads} processors");
    let share = load / f64::from(threads.max(1));
    let severity = match share {
        _ if share < 0.1 => return vec![Finding::fine(found)],
        // It was busy but no longer is, for instance after a build.
        _ if share < LOUD || patient.activity.idle.is_some_and(|idle| idle >= IDLE) => {
            Severity::Minor
        }
        _ => Severity::Bad,
    };
    let costs = "what ran in the last minute may run again in the middle of a round";
    vec![Finding::of(severity, found, costs, "wait until the load is below 0.1 per processor")]
}

pub(super) fn idle(patient: &Patient) -> Vec<Finding> {
    let Some(idle) = patient.activity.idle else {
        return vec![Finding::unknown("idle share", "`/proc/stat` does not say")];
    };
    let found = format!("processors idle {:.0} % of the time", idle * 100.0);
    let severity = match idle {
        _ if idle >= IDLE => return vec![Finding::fine(found)],
        _ if idle >= 0.5 => Severity::Minor,
        _ => Severity::Bad,
    };
    let costs = match severity {
        Severity::Bad => "`ci/gate.toml` voids rounds that begin below 50 %",
        _ => "other programs take a share of every round, and never the same one",
    };
    vec![Finding::of(severity, found, costs, "close other programs, or use a dedicated machine")]
}

pub(super) fn busy(patient: &Patient) -> Vec<Finding> {
    let Some(busiest) = &patient.activity.busiest else {
        return vec![Finding::unknown("other processes", "`/proc` does not show their times")];
    };
    if busiest.is_empty() {
        return vec![Finding::fine("no other process busy")];
    }
    let sum: f64 = busiest.iter().map(|busy| busy.processors).sum();
    let named = busiest.iter().take(NAMED).map(|busy| {
        format!("`{}` ({}, {:.0} %)", busy.name, busy.process, busy.processors * 100.0)
    });
    let mut named: Vec<String> = named.collect();
    if busiest.len() > NAMED {
        named.push(format!("{} more", busiest.len() - NAMED));
    }
    let severity = if sum >= LOUD { Severity::Bad } else { Severity::Minor };
    let numbers: Vec<String> =
        busiest.iter().take(NAMED).map(|busy| busy.process.to_string()).collect();
    vec![Finding::of(
        severity,
        format!("other processes are busy, {}", named.join(", ")),
        format!(
            "{:.0} % of a processor, and its share of caches and memory bandwidth",
            sum * 100.0
        ),
        format!("end them, or stop them for now: kill -STOP {}", numbers.join(" ")),
    )]
}

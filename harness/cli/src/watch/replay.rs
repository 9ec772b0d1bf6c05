//! [`Replay`]: GPUs that replay a recording, and tests of what comes of each recording.
//!
//! A recording is a file of JSON lines. The first describes the devices; each of the others is one
//! look at one device, in the words of [`Gauge`]. The last look repeats for ever. The recordings
//! here were written by hand from NVML's documentation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use windtunnel_ledger::conditions::{Conditions, Rules};
use windtunnel_ledger::environment::Gpu;
use windtunnel_ledger::policy::Policy;
use windtunnel_ledger::trace::{Gauge, Look, Throttle, Trace};
use windtunnel_ledger::{Nanos, Switch};

use super::Watch;
use super::gpus::{Gpus, User};
use crate::machine::tests::lay_out;

/// The first line of a recording.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Devices {
    devices: Vec<Gpu>,
}

/// Any other line.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Line {
    device: usize,
    values: BTreeMap<Gauge, i64>,
    absent: BTreeMap<Gauge, String>,
    users: Vec<(u32, Option<i64>)>,
    lost: Option<String>,
}

/// GPUs that replay a recording.
pub(crate) struct Replay {
    devices: Vec<Gpu>,
    lines: Vec<Vec<Line>>,
    /// The next look at each device.
    next: Mutex<Vec<usize>>,
}

impl Replay {
    pub(crate) fn of(recording: &str) -> Replay {
        let (first, rest) = recording.split_once('\n').unwrap();
        let Devices { devices } = serde_json::from_str(first).unwrap();
        let mut lines = vec![Vec::new(); devices.len()];
        for line in rest.lines() {
            let line: Line = serde_json::from_str(line).unwrap();
            lines[line.device].push(line);
        }
        Replay { next: Mutex::new(vec![0; devices.len()]), devices, lines }
    }

    fn line(&self, device: usize, step: usize) -> &Line {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = &self.lines[device];
        let line = &lines[next[device].min(lines.len() - 1)];
        next[device] += step;
        line
    }
}

impl Gpus for Replay {
    fn devices(&self) -> Vec<Gpu> {
        self.devices.clone()
    }

    fn look(&self, device: usize) -> Result<Look, String> {
        let line = self.line(device, 1);
        if let Some(reason) = &line.lost {
            return Err(reason.clone());
        }
        let values = line.values.iter().map(|(gauge, value)| (*gauge, Ok(*value)));
        let absent = line.absent.iter().map(|(gauge, reason)| (*gauge, Err(reason.clone())));
        Ok(values.chain(absent).collect())
    }

    fn users(&self, device: usize) -> Result<Vec<User>, String> {
        let users = self.line(device, 0).users.iter();
        Ok(users.map(|(process, memory)| User { process: *process, memory: *memory }).collect())
    }
}

const PROBE: u32 = 42;

/// What a watcher sees in two seconds with the GPUs of `recording`.
fn seen(recording: &str) -> Trace {
    seen_beside("", recording)
}

/// The same, with `others` in `/proc`.
fn seen_beside(others: &str, recording: &str) -> Trace {
    let (_dir, root) = lay_out(&format!("==> proc/loadavg\n0 0 0 1/1 1\n{others}"));
    let gpus = Arc::new(Replay::of(recording));
    let mut watch = Watch::new(root, PROBE, Some(gpus));
    let begun = watch.origin.0;
    for i in 0..50 {
        watch.look(Nanos(begun + i * 40_000_000));
    }
    watch.finish(Nanos(0))
}

/// Checks which rules of the repository's policy a round with the GPUs of `recording` breaks.
#[track_caller]
fn check(recording: &str, breaches: &[&str]) -> Trace {
    let policy: Policy = toml::from_str(include_str!("../../../../ci/gate.toml")).unwrap();
    let rules: Rules = policy.conditions;
    let trace = seen(recording);
    let conditions = Conditions::default().with(&trace);
    let broken: Vec<String> =
        rules.broken_by(&conditions).iter().map(ToString::to_string).collect();
    assert_eq!(broken, breaches);
    trace
}

#[test]
fn a_clean_round_counts_and_has_every_gauge() {
    let trace = check(include_str!("recordings/clean.jsonl"), &[]);
    let track = trace.gpus().next().unwrap();
    assert_eq!(track.absent, BTreeMap::new());
    assert_eq!(track.points(Gauge::Power).count(), 50, "one look in forty milliseconds");
    assert_eq!(track.highest(Gauge::DeviceUsed), Some(2_621_440));
    assert_eq!(track.highest(Gauge::DeviceReserved), Some(524_288), "apart from what is used");
    assert_eq!(track.highest(Gauge::ProcessUsed), Some(2_097_152));
    assert_eq!(track.highest(Gauge::Foreign), Some(0));
}

#[test]
fn heat_makes_a_round_void_and_says_how_low_the_clock_went() {
    let recording = include_str!("recordings/thermal.jsonl");
    let trace = check(recording, &["a GPU lowered its clocks: thermal slowdown"]);
    let conditions = Conditions::default().with(&trace);
    let clock = conditions.gpus[0].sm_clock.unwrap();
    assert_eq!((clock.min, clock.max), (1_215, 1_980));
    assert_eq!(conditions.gpus[0].temperature, Some(91));
}

#[test]
fn a_power_cap_is_told_and_lets_the_round_count() {
    let trace = check(include_str!("recordings/power-cap.jsonl"), &[]);
    let conditions = Conditions::default().with(&trace);
    assert_eq!(conditions.gpus[0].throttled, [Throttle::PowerCap].into());
}

#[test]
fn what_a_gpu_does_not_support_is_absent_with_the_reason_and_never_zero() {
    let trace = check(include_str!("recordings/not-supported.jsonl"), &[]);
    let track = trace.gpus().next().unwrap();
    assert_eq!(track.why_absent(Gauge::Power), Some("this operation is not supported"));
    assert!(!track.gauges.contains_key(&Gauge::Power));
    assert_eq!(track.points(Gauge::SmClock).count(), 50, "the others go on");
}

#[test]
fn another_process_on_the_gpu_makes_a_round_void() {
    let recording = include_str!("recordings/foreign.jsonl");
    let trace = check(recording, &["another process computed on the GPU"]);
    let track = trace.gpus().next().unwrap();
    assert_eq!(track.highest(Gauge::ProcessUsed), Some(2_097_152), "that of the probe alone");
}

#[test]
fn in_a_container_the_probe_is_the_first_process_that_comes() {
    let trace = check(include_str!("recordings/container.jsonl"), &[]);
    let track = trace.gpus().next().unwrap();
    assert_eq!(track.highest(Gauge::ProcessUsed), Some(2_097_152));
}

#[test]
fn a_process_that_is_seen_here_and_that_the_probe_did_not_start_is_not_taken_for_it() {
    let recording = include_str!("recordings/neighbour.jsonl");
    let beside = |others: &str| {
        let trace = seen_beside(others, recording);
        let highest = |gpu: usize, gauge| trace.gpus().nth(gpu).unwrap().highest(gauge);
        [0, 1].map(|gpu| [Gauge::ProcessUsed, Gauge::Foreign].map(|gauge| highest(gpu, gauge)))
    };
    let first = [Some(2_097_152), Some(0)];
    let (foreign, own) = ([Some(0), Some(1)], [Some(8_388_608), Some(0)]);
    assert_eq!(beside("==> proc/777/stat\n777 (another) R 1 777 777 0\n"), [first, foreign]);
    // A server that the probe started is in its group.
    assert_eq!(beside("==> proc/777/stat\n777 (a server) S 42 42 42 0\n"), [first, own]);
    // A process whose number nobody here has may be the host's number for the probe.
    assert_eq!(beside(""), [first, own]);
}

#[test]
fn all_that_the_probe_has_started_counts_as_the_probe() {
    let recording = r#"{"devices":[{"uuid":"GPU-1"}]}
{"users":[]}
{"users":[[777,1024],[778,2048]]}"#;
    let beside = |others: &str| {
        let trace = seen_beside(others, recording);
        let track = trace.gpus().next().unwrap();
        [Gauge::ProcessUsed, Gauge::Foreign].map(|gauge| track.highest(gauge))
    };
    let server = "==> proc/777/stat\n777 (a server) S 42 42 42 0\n";
    let worker = "==> proc/778/stat\n778 (its worker) S 777 42 42 0\n";
    let another = "==> proc/778/stat\n778 (another) S 1 778 778 0\n";
    assert_eq!(beside(&format!("{server}{worker}")), [Some(3072), Some(0)]);
    assert_eq!(beside(&format!("{server}{another}")), [Some(1024), Some(1)]);
}

#[test]
fn a_driver_that_is_lost_ends_the_track_and_makes_the_round_void() {
    let reason = "a GPU was lost sight of: NVML lost the GPU: the GPU has fallen off the bus";
    let trace = check(include_str!("recordings/lost.jsonl"), &[reason]);
    let track = trace.gpus().next().unwrap();
    assert_eq!(track.points(Gauge::SmClock).count(), 2, "what was seen before is kept");
    assert_eq!(track.ended.as_ref().unwrap().at, Nanos(80_000_000));
}

#[test]
fn a_gpu_that_is_divided_says_so_and_tells_what_it_can() {
    let recording = include_str!("recordings/mig.jsonl");
    let trace = check(recording, &[]);
    assert_eq!(Replay::of(recording).devices[0].mig, Some(Switch::On));
    let track = trace.gpus().next().unwrap();
    assert!(track.why_absent(Gauge::Utilisation).is_some());
    assert_eq!(track.highest(Gauge::DeviceUsed), Some(2_621_440));
}

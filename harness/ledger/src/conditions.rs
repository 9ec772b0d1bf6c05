//! The state of the machine around a round, and when it makes the round void.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::roof::Roof;
use crate::trace::{Gauge, Throttle, Trace, Track, Watched};
use crate::unit::Nanos;

/// The state of the machine around a round. Values that could not be read are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// One-minute load average before the child process started.
    pub load_before: Option<f64>,
    /// From the start of the child process to its end.
    pub wall: Nanos,
    /// Share of all processors' time that was idle, just before the child process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_before: Option<f64>,
    /// Share of all processors' time during the round that a hypervisor gave to other guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen: Option<f64>,
    /// Time for which the processor limits of control groups kept threads waiting during the round,
    /// summed over processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<Nanos>,
    /// Pages that the machine swapped in or out during the round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped: Option<u64>,
    /// Major page faults of the probe: those that needed a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
    /// Processor clock in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_clock: Option<Spread>,
    /// Highest temperature of the machine in degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<i64>,
    /// The state of each GPU that was watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuConditions>,
    /// What the machine can do at best, as far as the probe has measured it in this boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roof: Option<Roof>,
}

/// The state of a GPU during a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuConditions {
    /// UUID of the GPU.
    pub uuid: String,
    /// Clock of its multiprocessors (SM) in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_clock: Option<Spread>,
    /// Clock of its memory in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock: Option<Spread>,
    /// Highest temperature in degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<i64>,
    /// Reasons why its clocks were throttled at any moment.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub throttled: BTreeSet<Throttle>,
    /// The most other processes that computed on it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<i64>,
    /// Why it could no longer be observed before the round ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// The distribution of the points of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The lowest.
    pub min: i64,
    /// The median.
    pub median: i64,
    /// Their mean.
    pub mean: f64,
    /// The highest.
    pub max: i64,
}

impl Spread {
    /// The distribution of the points of `gauge`; none if there are none.
    #[must_use]
    pub fn of(track: &Track, gauge: Gauge) -> Option<Spread> {
        let mut values: Vec<i64> = track.points(gauge).map(|(_, value)| value).collect();
        values.sort_unstable();
        let (min, max) = (*values.first()?, *values.last()?);
        let sum: f64 = values.iter().map(|value| *value as f64).sum();
        let mean = sum / values.len() as f64;
        Some(Spread { min, median: values[values.len() / 2], mean, max })
    }
}

impl Conditions {
    /// Adds what a trace shows.
    #[must_use]
    pub fn with(mut self, trace: &Trace) -> Conditions {
        if let Some(process) = trace.process() {
            let faults = process.highest(Gauge::MajorFaults);
            self.major_faults = faults.and_then(|faults| u64::try_from(faults).ok());
            self.cpu_clock = Spread::of(process, Gauge::CpuClock);
            self.temperature = process.highest(Gauge::Temperature);
        }
        self.gpus = trace.gpus().map(GpuConditions::of).collect();
        self
    }
}

impl GpuConditions {
    fn of(track: &Track) -> GpuConditions {
        let bits = track.points(Gauge::Throttle).fold(0, |all, (_, bits)| all | bits);
        GpuConditions {
            uuid: match &track.of {
                Watched::Gpu(uuid) => uuid.clone(),
                Watched::Process => String::new(),
            },
            sm_clock: Spread::of(track, Gauge::SmClock),
            memory_clock: Spread::of(track, Gauge::MemoryClock),
            temperature: track.highest(Gauge::Temperature),
            throttled: Throttle::of(bits).collect(),
            foreign: track.highest(Gauge::Foreign),
            lost: track.ended.as_ref().map(|ended| ended.reason.clone()),
        }
    }
}

/// Conditions under which a round counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    /// How often a void round is repeated before it is given up.
    pub repeats: u32,
    /// The least idle share of processor time before the round.
    pub idle_before: f64,
    /// The largest share of processor time that a hypervisor may give to others.
    pub stolen: f64,
    /// The most pages that may be swapped.
    pub swapped: u64,
    /// Throttling reasons that make a round void.
    pub throttled: BTreeSet<Throttle>,
    /// The most other processes that may compute on a GPU.
    pub foreign: i64,
}

/// A rule that the conditions of a round broke.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breach {
    /// The processors were busy before it began.
    Busy {
        /// Idle share of their time.
        idle: f64,
        /// The least that the rule requires.
        least: f64,
    },
    /// A hypervisor gave too much processor time to others.
    Stolen {
        /// Share of the processors' time.
        share: f64,
        /// The most that the rule allows.
        most: f64,
    },
    /// The machine swapped.
    Swapped {
        /// Pages.
        pages: u64,
    },
    /// A GPU lowered its clocks.
    Throttled {
        /// Why.
        by: Throttle,
    },
    /// Other processes computed on a GPU.
    Foreign {
        /// How many.
        processes: i64,
    },
    /// A GPU could no longer be observed.
    Lost {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        match self {
            Breach::Busy { idle, least } => write!(
                f,
                "only {} of the processors' time was idle before it (at least {}): close other programs",
                percent(*idle),
                percent(*least)
            ),
            Breach::Stolen { share, most } => write!(
                f,
                "the hypervisor gave {} of the processors' time to others (at most {})",
                percent(*share),
                percent(*most)
            ),
            Breach::Swapped { pages } => {
                write!(f, "{pages} pages were swapped: free memory, or switch swap off")
            }
            Breach::Throttled { by } => write!(f, "a GPU lowered its clocks: {by}"),
            Breach::Foreign { processes: 1 } => f.write_str("another process computed on the GPU"),
            Breach::Foreign { processes } => {
                write!(f, "{processes} other processes computed on the GPU")
            }
            Breach::Lost { reason } => write!(f, "a GPU was lost sight of: {reason}"),
        }
    }
}

impl Rules {
    /// The rules that `conditions` break. Values that could not be read break none.
    #[must_use]
    pub fn broken_by(&self, conditions: &Conditions) -> Vec<Breach> {
        let mut breaches = Vec::new();
        if let Some(idle) = conditions.idle_before.filter(|idle| *idle < self.idle_before) {
            breaches.push(Breach::Busy { idle, least: self.idle_before });
        }
        if let Some(share) = conditions.stolen.filter(|share| *share > self.stolen) {
            breaches.push(Breach::Stolen { share, most: self.stolen });
        }
        if let Some(pages) = conditions.swapped.filter(|pages| *pages > self.swapped) {
            breaches.push(Breach::Swapped { pages });
        }
        for gpu in &conditions.gpus {
            let forbidden = gpu.throttled.intersection(&self.throttled);
            breaches.extend(forbidden.map(|by| Breach::Throttled { by: *by }));
            let foreign = gpu.foreign.filter(|foreign| *foreign > self.foreign);
            breaches.extend(foreign.map(|processes| Breach::Foreign { processes }));
            let lost = gpu.lost.clone();
            breaches.extend(lost.map(|reason| Breach::Lost { reason }));
        }
        breaches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Recorder;

    fn rules() -> Rules {
        Rules {
            repeats: 3,
            idle_before: 0.5,
            stolen: 0.05,
            swapped: 0,
            throttled: [Throttle::Thermal, Throttle::PowerBrake].into(),
            foreign: 0,
        }
    }

    fn check(conditions: Conditions, expected: &[&str]) {
        let told: Vec<String> =
            rules().broken_by(&conditions).iter().map(Breach::to_string).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_could_not_be_read_breaks_no_rule() {
        check(Conditions::default(), &[]);
    }

    #[test]
    fn every_broken_rule_is_told() {
        let conditions = Conditions {
            idle_before: Some(0.25),
            stolen: Some(0.125),
            swapped: Some(12),
            ..Conditions::default()
        };
        check(
            conditions,
            &[
                "only 25.0 % of the processors' time was idle before it (at least 50.0 %): close other programs",
                "the hypervisor gave 12.5 % of the processors' time to others (at most 5.0 %)",
                "12 pages were swapped: free memory, or switch swap off",
            ],
        );
    }

    #[test]
    fn a_gpu_breaks_rules_by_what_its_trace_shows() {
        let mut recorder = Recorder::new(Watched::Gpu("GPU-0".into()), Nanos(40_000_000));
        for (i, clock) in [1980, 1980, 1200, 1500].into_iter().enumerate() {
            let throttle = if clock == 1200 { 0x24 } else { 0 };
            let look = vec![
                (Gauge::SmClock, Ok(clock)),
                (Gauge::Throttle, Ok(throttle)),
                (Gauge::Foreign, Ok(i as i64 % 2)),
            ];
            recorder.look(Nanos(i as u64 * 40_000_000), look);
        }
        recorder.end(Nanos(200_000_000), "NVML lost the GPU".into());
        let trace = Trace { tracks: vec![recorder.finish()], ..Trace::default() };
        let conditions = Conditions::default().with(&trace);
        let clock = conditions.gpus[0].sm_clock;
        assert_eq!(clock, Some(Spread { min: 1200, median: 1980, mean: 1665.0, max: 1980 }));
        check(
            conditions,
            &[
                "a GPU lowered its clocks: thermal slowdown",
                "another process computed on the GPU",
                "a GPU was lost sight of: NVML lost the GPU",
            ],
        );
    }

    #[test]
    fn conditions_from_before_these_fields_are_read() {
        let old = r#"{"load_before":0.5,"wall":7}"#;
        let conditions: Conditions = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&conditions).unwrap(), old);
    }
}

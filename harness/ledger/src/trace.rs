//! What an outside watcher observed of a round over time, and what the round was doing meanwhile.
//!
//! A trace is stored inside its record, so that both reach the disk together and one file holds
//! everything. It must therefore be small: a [`Track`] has at most [`MOST_POINTS`] points, however
//! long the round. When it is full, every two neighbouring points are merged, and from then on a
//! point covers twice as many looks. The gauge determines how two values merge: the larger of two
//! sizes, the smaller of two clocks, the later of two counts, the union of two sets of reasons. So
//! no peak or dip is lost; only its time becomes less precise.

mod gauge;
mod recorder;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::unit::Nanos;

pub use gauge::{Gauge, Merge, Throttle};
pub use recorder::{Look, Recorder};

/// The most points of a track.
pub const MOST_POINTS: usize = 256;
/// Expensive readings, such as the processes of a GPU, are taken once per this many looks and
/// repeated in between.
pub const SELDOM: u64 = 8;

/// What a watcher observed of a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// When watching began, on the system's monotonic clock. All other times are relative to this.
    pub origin: Nanos,
    /// CPU time used by the watching itself.
    pub cost: Nanos,
    /// What the round was doing: each phase lasts until the next one begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// The tracks of the process and of each GPU.
    pub tracks: Vec<Track>,
}

/// The start of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// In a message of a probe, on the system's monotonic clock; in a trace, relative to its
    /// origin.
    pub at: Nanos,
    /// The phase that began.
    pub phase: Phase,
}

/// What a round is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Loading the model.
    Load,
    /// Running an iteration that does not count; its number from 0.
    WarmUp(u32),
    /// Running an iteration that counts; its index among all iterations.
    Iteration(u32),
    /// Within an iteration, until every request has its first token.
    Prefill,
    /// Within an iteration, from then on.
    Decode,
    /// Everything has been measured.
    Done,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Load => f.pad("load"),
            Phase::WarmUp(i) => write!(f, "warm-up {i}"),
            Phase::Iteration(i) => write!(f, "iteration {i}"),
            Phase::Prefill => f.pad("prefill"),
            Phase::Decode => f.pad("decode"),
            Phase::Done => f.pad("done"),
        }
    }
}

/// What was observed of one process or GPU over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// What was watched.
    pub of: Watched,
    /// The time between looks.
    pub interval: Nanos,
    /// How many looks a point covers.
    pub looks: u32,
    /// The time of each point's last look, in milliseconds from the origin.
    pub at: Column,
    /// The readings of each gauge, in its own unit; shorter if the gauge failed before the others.
    pub gauges: BTreeMap<Gauge, Column>,
    /// Gauges without readings, or without further ones, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub absent: BTreeMap<Gauge, String>,
    /// Why watching stopped before the round ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// The probe.
    Process,
    /// The GPU with this UUID.
    Gpu(String),
}

/// Why a track ends early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When, relative to the origin.
    pub at: Nanos,
    /// Why.
    pub reason: String,
}

/// Numbers over time. Serialised as the first number and the differences between neighbours, which
/// are short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<i64>", into = "Vec<i64>")]
pub struct Column(pub Vec<i64>);

impl From<Vec<i64>> for Column {
    fn from(differences: Vec<i64>) -> Column {
        let sum = |sum: &mut i64, difference: i64| {
            *sum = sum.wrapping_add(difference);
            Some(*sum)
        };
        Column(differences.into_iter().scan(0, sum).collect())
    }
}

impl From<Column> for Vec<i64> {
    fn from(Column(values): Column) -> Vec<i64> {
        let before = std::iter::once(0).chain(values.iter().copied());
        values.iter().zip(before).map(|(value, before)| value.wrapping_sub(before)).collect()
    }
}

impl Trace {
    /// The track of the probe.
    #[must_use]
    pub fn process(&self) -> Option<&Track> {
        self.tracks.iter().find(|track| track.of == Watched::Process)
    }

    /// The tracks of GPUs.
    pub fn gpus(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(|track| matches!(track.of, Watched::Gpu(_)))
    }

    /// The CPU time of the watcher as a share of one core, over a round that took `wall`.
    #[must_use]
    pub fn cost_share(&self, wall: Nanos) -> Option<f64> {
        (wall.0 > 0).then(|| self.cost.seconds() / wall.seconds())
    }
}

impl Track {
    /// The highest value observed of `gauge`. The true peak between two looks may be higher.
    #[must_use]
    pub fn highest(&self, gauge: Gauge) -> Option<i64> {
        self.gauges.get(&gauge)?.0.iter().copied().max()
    }

    /// The time of each point in milliseconds from the origin, with the reading of `gauge`.
    pub fn points(&self, gauge: Gauge) -> impl Iterator<Item = (i64, i64)> {
        let values = self.gauges.get(&gauge).into_iter().flat_map(|column| &column.0);
        self.at.0.iter().copied().zip(values.copied())
    }

    /// Why `gauge` has no readings, or no further ones.
    #[must_use]
    pub fn why_absent(&self, gauge: Gauge) -> Option<&str> {
        let ended = self.ended.as_ref().map(|ended| &ended.reason);
        self.absent.get(&gauge).or(ended).map(String::as_str)
    }

    /// Drops the readings of the watched process, for this reason, and keeps those of the machine.
    pub fn forget_process(&mut self, reason: &str) {
        for (gauge, _) in self.gauges.extract_if(.., |gauge, _| !gauge.is_of_machine()) {
            self.absent.insert(gauge, reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_written_as_differences() {
        let column = Column(vec![1000, 1000, 1004, 990]);
        let json = serde_json::to_string(&column).unwrap();
        assert_eq!(json, "[1000,0,4,-14]");
        assert_eq!(serde_json::from_str::<Column>(&json).unwrap(), column);
        assert_eq!(Column::from(Vec::new()), Column::default());
        // Nonsense in gives nonsense out, but no panic.
        assert_eq!(Column::from(vec![i64::MAX, 1]).0, [i64::MAX, i64::MIN]);
    }

    #[test]
    fn what_a_process_did_can_be_forgotten_and_what_its_machine_did_stays() {
        let column = |value| Column(vec![value]);
        let mut track = Track {
            of: Watched::Process,
            interval: Nanos(1),
            looks: 1,
            at: column(0),
            gauges: [(Gauge::Rss, column(1)), (Gauge::CpuClock, column(2))].into_iter().collect(),
            absent: BTreeMap::new(),
            ended: None,
        };
        track.forget_process("another one was meant");
        assert_eq!(track.gauges.keys().collect::<Vec<_>>(), [&Gauge::CpuClock]);
        assert_eq!(track.absent[&Gauge::Rss], "another one was meant");

        let gauges = [Gauge::ProcessUsed, Gauge::Foreign, Gauge::Power, Gauge::Throttle];
        let gauges = gauges.map(|gauge| (gauge, column(1))).into_iter().collect();
        let mut gpu = Track { of: Watched::Gpu("GPU-0".into()), gauges, ..track };
        gpu.forget_process("another one was meant");
        assert_eq!(gpu.gauges.keys().collect::<Vec<_>>(), [&Gauge::Power, &Gauge::Throttle]);
    }

    #[test]
    fn phases_are_shown_by_their_names() {
        let phases = [Phase::WarmUp(0), Phase::Iteration(3), Phase::Decode];
        assert_eq!(phases.map(|phase| phase.to_string()), ["warm-up 0", "iteration 3", "decode"]);
    }
}

//! What a watcher outside of a round saw of it over time, and what the round was doing meanwhile.
//!
//! A trace is kept inside its record, so that it is on disk when the record is, and one file tells
//! all. That is why it is small: a [`Track`] has [`MOST_POINTS`] points at most, whatever the round
//! took. When it is full, every two neighbours become one point, and from then on a point stands for
//! twice as many looks. A gauge says what two looks become: the larger of two sizes, the smaller of
//! two clocks, the later of two counts, all of two sets of reasons. So no peak and no dip is lost by
//! that, only its moment becomes less precise.

mod gauge;
mod recorder;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::unit::Nanos;

pub use gauge::{Gauge, Merge, Throttle};
pub use recorder::{Look, Recorder};

/// Most points of a track.
pub const MOST_POINTS: usize = 256;
/// Looks for one at what is dear to read, as the processes of a GPU are: at the others it is what it was.
pub const SELDOM: u64 = 8;

/// What a watcher saw of a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// When it began to watch, on the system's monotonic clock. All other moments count from here.
    pub origin: Nanos,
    /// Time on processors that the watching itself took.
    pub cost: Nanos,
    /// What the round was doing, each phase from its moment to that of the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// What was seen of the process and of each GPU.
    pub tracks: Vec<Track>,
}

/// The moment at which a phase began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When: in a message of a probe on the system's monotonic clock, in a trace from its origin.
    pub at: Nanos,
    /// What began.
    pub phase: Phase,
}

/// What a round is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Loads the model.
    Load,
    /// Runs an iteration that does not count, from 0.
    WarmUp(u32),
    /// Runs one that counts; its place among all iterations.
    Iteration(u32),
    /// Within an iteration: until every request has its first token.
    Prefill,
    /// Within an iteration: from then on.
    Decode,
    /// Has measured everything.
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

/// What was seen of one thing over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Of what.
    pub of: Watched,
    /// From one look to the next.
    pub interval: Nanos,
    /// How many looks a point stands for.
    pub looks: u32,
    /// The moment of each point's last look, in milliseconds from the origin.
    pub at: Column,
    /// What each gauge showed, in its own unit. One that ended before the others is shorter.
    pub gauges: BTreeMap<Gauge, Column>,
    /// Gauges that showed nothing, or nothing more, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub absent: BTreeMap<Gauge, String>,
    /// Why nothing more was seen before the round ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// The probe.
    Process,
    /// The GPU of this UUID.
    Gpu(String),
}

/// Why a track ends early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When, from the origin.
    pub at: Nanos,
    /// Why.
    pub reason: String,
}

/// Numbers over time. Written as the first one and the differences from each to the next, which are
/// short.
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

    /// The watcher's own share of one core, of a round that took `wall`.
    #[must_use]
    pub fn cost_share(&self, wall: Nanos) -> Option<f64> {
        (wall.0 > 0).then(|| self.cost.seconds() / wall.seconds())
    }
}

impl Track {
    /// The highest value that was seen of `gauge`. What lies between two looks may be higher.
    #[must_use]
    pub fn highest(&self, gauge: Gauge) -> Option<i64> {
        self.gauges.get(&gauge)?.0.iter().copied().max()
    }

    /// Each point's moment in milliseconds from the origin, with what `gauge` showed.
    pub fn points(&self, gauge: Gauge) -> impl Iterator<Item = (i64, i64)> {
        let values = self.gauges.get(&gauge).into_iter().flat_map(|column| &column.0);
        self.at.0.iter().copied().zip(values.copied())
    }

    /// Why `gauge` shows nothing, or nothing more.
    #[must_use]
    pub fn why_absent(&self, gauge: Gauge) -> Option<&str> {
        let ended = self.ended.as_ref().map(|ended| &ended.reason);
        self.absent.get(&gauge).or(ended).map(String::as_str)
    }

    /// Forgets what the watched process itself did, for this reason, and keeps what the machine did.
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
        // Whoever wrote nonsense gets nonsense, and no panic.
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

//! The memory of a round in four kinds that are never mixed: what is used on the device, how much
//! of that by the probe, what the engine accounts for itself, and what the host holds.
//!
//! Each number says how it is known: counted exactly, or the highest value seen by sampling, which
//! the true peak may exceed. A number that cannot be known is replaced by the reason. A round
//! without a GPU has no lines about one.

use std::fmt;

use crate::attribution::Attribution;
use crate::counter::{Count, Counter};
use crate::metric::Metric;
use crate::record::Samples;
use crate::trace::{Gauge, SELDOM, Trace, Track};
use crate::unit::{Bytes, Nanos};

/// One kind of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whose memory it is.
    pub name: &'static str,
    /// How much, in parts that must not be added up.
    pub parts: Vec<(&'static str, Amount)>,
}

/// An amount of memory, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Counted.
    Exact(Bytes),
    /// The highest of the sampled values.
    AtLeast {
        /// The highest value seen.
        bytes: Bytes,
        /// The sampling interval.
        interval: Nanos,
    },
    /// Not known, for this reason.
    Unavailable(String),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Exact(bytes) => write!(f, "{bytes}"),
            Amount::AtLeast { bytes, interval } => {
                write!(f, "≥ {bytes} (sampled every {interval})")
            }
            Amount::Unavailable(reason) => write!(f, "not available: {reason}"),
        }
    }
}

/// The memory of a measured round. Allocations within steps are not counted while steps are timed:
/// they are known only if the case was also run for attribution.
#[must_use]
pub fn lines(
    samples: &Samples,
    trace: Option<&Trace>,
    attribution: Option<&Attribution>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for track in trace.into_iter().flat_map(Trace::gpus) {
        lines.push(Line {
            name: "device",
            parts: vec![
                ("in use by all processes", seen(track, Gauge::DeviceUsed)),
                ("reserved by the driver", seen(track, Gauge::DeviceReserved)),
            ],
        });
        let seldom = Nanos(track.interval.0.saturating_mul(SELDOM));
        let own = vec![("in use", seen_every(seldom, track, Gauge::ProcessUsed))];
        lines.push(Line { name: "process on the device", parts: own });
    }
    let told = |metric: Metric, lacking: &str| match samples.once.get(&metric) {
        Some(value) => Amount::Exact(Bytes(*value as u64)),
        None => Amount::Unavailable(lacking.to_owned()),
    };
    lines.push(Line {
        name: "engine's account",
        parts: vec![
            ("weights", told(Metric::WeightBytes, "the probe did not report it")),
            ("KV pool", told(Metric::KvBytes, "the probe did not report it")),
            ("other allocations, in an iteration", allocated(attribution)),
        ],
    });
    // If there is a GPU, its driver counts weights, pool and the rest together.
    if let Some(most) = samples.once.get(&Metric::DeviceBytes) {
        let parts = vec![("peak on GPUs", Amount::Exact(Bytes(*most as u64)))];
        lines.push(Line { name: "engine's account", parts });
    }
    let sampled = match trace.and_then(Trace::process) {
        Some(track) => seen(track, Gauge::Rss),
        None => Amount::Unavailable("the round was not watched".to_owned()),
    };
    lines.push(Line {
        name: "host",
        parts: vec![
            ("highest RSS", told(Metric::PeakRss, "this system does not count it")),
            ("sampled RSS", sampled),
        ],
    });
    lines
}

/// The most that was allocated at once beside weights and pool.
fn allocated(attribution: Option<&Attribution>) -> Amount {
    let Some(attribution) = attribution else {
        return Amount::Unavailable("`--attribute` counts it".to_owned());
    };
    match attribution.counts.get(&Counter::Highest) {
        Some(Count::Known(bytes)) => Amount::Exact(Bytes(*bytes)),
        Some(Count::Absent(reason)) => Amount::Unavailable(reason.clone()),
        None => Amount::Unavailable("the probe did not report it".to_owned()),
    }
}

fn seen(track: &Track, gauge: Gauge) -> Amount {
    seen_every(track.interval, track, gauge)
}

fn seen_every(interval: Nanos, track: &Track, gauge: Gauge) -> Amount {
    let highest = track.highest(gauge).and_then(|kib| u64::try_from(kib).ok());
    match highest {
        Some(kib) => Amount::AtLeast { bytes: Bytes(kib * 1024), interval },
        None => {
            let reason = track.why_absent(gauge).unwrap_or("it was not sampled");
            Amount::Unavailable(reason.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;
    use crate::record::tests::record;
    use crate::trace::{Recorder, Watched};

    fn text(trace: Option<&Trace>, attribution: Option<&Attribution>) -> String {
        let Outcome::Measured(mut samples) = record(".", "a", 1, &[1.0]).outcome else {
            unreachable!()
        };
        samples.once.extend([(Metric::WeightBytes, 4096.0), (Metric::PeakRss, 8192.0)]);
        let lines = lines(&samples, trace, attribution).into_iter().flat_map(|line| {
            let part = move |(name, amount)| format!("{}, {name}: {amount}\n", line.name);
            line.parts.into_iter().map(part).collect::<Vec<_>>()
        });
        lines.collect()
    }

    #[test]
    fn a_round_on_the_processor_has_no_lines_of_a_device() {
        let mut recorder = Recorder::new(Watched::Process, Nanos(20_000_000));
        recorder.look(Nanos(0), vec![(Gauge::Rss, Ok(5))]);
        recorder.look(Nanos(20_000_000), vec![(Gauge::Rss, Ok(7))]);
        let trace = Trace { tracks: vec![recorder.finish()], ..Trace::default() };
        assert_eq!(
            text(Some(&trace), None),
            "engine's account, weights: 4.00 KiB\n\
             engine's account, KV pool: not available: the probe did not report it\n\
             engine's account, other allocations, in an iteration: not available: `--attribute` counts it\n\
             host, highest RSS: 8.00 KiB\n\
             host, sampled RSS: ≥ 7.00 KiB (sampled every 20.0 ms)\n"
        );
        assert!(
            text(None, None)
                .ends_with("host, sampled RSS: not available: the round was not watched\n")
        );
    }

    #[test]
    fn what_an_iteration_allocates_is_known_from_its_attribution() {
        let with = |count: Option<Count>| {
            let counts = count.into_iter().map(|count| (Counter::Highest, count)).collect();
            let attribution = Attribution { counts, ..Attribution::default() };
            let text = text(None, Some(&attribution));
            text.lines().find(|line| line.contains("other allocations")).unwrap().to_owned()
        };
        let line = "engine's account, other allocations, in an iteration: ";
        assert_eq!(with(Some(Count::Known(4096))), format!("{line}4.00 KiB"));
        let absent = with(Some(Count::Absent("no allocator of ours".into())));
        assert_eq!(absent, format!("{line}not available: no allocator of ours"));
        assert_eq!(with(None), format!("{line}not available: the probe did not report it"));
    }

    #[test]
    fn the_processes_of_a_device_are_seen_less_often_than_the_device() {
        let mut recorder = Recorder::new(Watched::Gpu("GPU-0".into()), Nanos(40_000_000));
        let look = vec![(Gauge::DeviceUsed, Ok(2048)), (Gauge::ProcessUsed, Ok(1024))];
        recorder.look(Nanos(0), look);
        let trace = Trace { tracks: vec![recorder.finish()], ..Trace::default() };
        let text = text(Some(&trace), None);
        assert!(
            text.starts_with(
                "device, in use by all processes: ≥ 2.00 MiB (sampled every 40.0 ms)\n"
            )
        );
        assert!(
            text.contains("process on the device, in use: ≥ 1.00 MiB (sampled every 320 ms)\n")
        );
    }

    #[test]
    fn a_device_that_does_not_tell_is_not_zero() {
        let mut recorder = Recorder::new(Watched::Gpu("GPU-0".into()), Nanos(40_000_000));
        let look = vec![
            (Gauge::DeviceUsed, Ok(2048)),
            (Gauge::ProcessUsed, Err("no permission".to_owned())),
        ];
        recorder.look(Nanos(0), look);
        let trace = Trace { tracks: vec![recorder.finish()], ..Trace::default() };
        let text = text(Some(&trace), None);
        assert!(text.starts_with(
            "device, in use by all processes: ≥ 2.00 MiB (sampled every 40.0 ms)\n\
             device, reserved by the driver: not available: it was not sampled\n\
             process on the device, in use: not available: no permission\n"
        ));
    }
}

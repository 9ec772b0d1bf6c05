//! The memory of a round in four lines that are never mixed: what is used on the device, what of it
//! by the probe, what the engine accounts for itself, and what the host holds.
//!
//! A number says how it came about: counted exactly, or the highest that was seen by looking again
//! and again, which the truth may exceed. What nobody can tell has the reason in its place. A round
//! without a GPU has no lines of one.

use std::fmt;

use crate::metric::Metric;
use crate::record::Samples;
use crate::trace::{Gauge, Trace, Track};
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
    /// The highest of what was seen from time to time.
    AtLeast {
        /// How much was seen.
        bytes: Bytes,
        /// From one look to the next.
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
                write!(f, "≥ {bytes} (seen every {interval})")
            }
            Amount::Unavailable(reason) => write!(f, "not available: {reason}"),
        }
    }
}

/// The memory of a round that was measured.
#[must_use]
pub fn lines(samples: &Samples, trace: Option<&Trace>) -> Vec<Line> {
    let mut lines = Vec::new();
    for track in trace.into_iter().flat_map(Trace::gpus) {
        lines.push(Line {
            name: "device",
            parts: vec![
                ("in use by all", seen(track, Gauge::DeviceUsed)),
                ("kept by the driver", seen(track, Gauge::DeviceReserved)),
            ],
        });
        let own = vec![("in use", seen(track, Gauge::ProcessUsed))];
        lines.push(Line { name: "process on the device", parts: own });
    }
    let told = |metric: Metric, lacking: &str| match samples.once.get(&metric) {
        Some(value) => Amount::Exact(Bytes(*value as u64)),
        None => Amount::Unavailable(lacking.to_owned()),
    };
    lines.push(Line {
        name: "engine's account",
        parts: vec![
            ("weights", told(Metric::WeightBytes, "the probe did not tell")),
            ("KV pool", told(Metric::KvBytes, "the probe did not tell")),
            (
                "activations",
                Amount::Unavailable("the engine does not count what a step allocates".to_owned()),
            ),
        ],
    });
    let sampled = match trace.and_then(Trace::process) {
        Some(track) => seen(track, Gauge::Rss),
        None => Amount::Unavailable("nobody watched".to_owned()),
    };
    lines.push(Line {
        name: "host",
        parts: vec![
            ("highest RSS", told(Metric::PeakRss, "this system does not count it")),
            ("RSS as seen", sampled),
        ],
    });
    lines
}

fn seen(track: &Track, gauge: Gauge) -> Amount {
    let highest = track.highest(gauge).and_then(|kib| u64::try_from(kib).ok());
    match highest {
        Some(kib) => Amount::AtLeast { bytes: Bytes(kib * 1024), interval: track.interval },
        None => {
            let reason = track.why_absent(gauge).unwrap_or("it was not seen");
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

    fn text(trace: Option<&Trace>) -> String {
        let Outcome::Measured(mut samples) = record(".", "a", 1, &[1.0]).outcome else {
            unreachable!()
        };
        samples.once.extend([(Metric::WeightBytes, 4096.0), (Metric::PeakRss, 8192.0)]);
        let lines = lines(&samples, trace).into_iter().flat_map(|line| {
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
            text(Some(&trace)),
            "engine's account, weights: 4.00 KiB\n\
             engine's account, KV pool: not available: the probe did not tell\n\
             engine's account, activations: not available: the engine does not count what a step allocates\n\
             host, highest RSS: 8.00 KiB\n\
             host, RSS as seen: ≥ 7.00 KiB (seen every 20.0 ms)\n"
        );
        assert!(text(None).ends_with("host, RSS as seen: not available: nobody watched\n"));
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
        let text = text(Some(&trace));
        assert!(text.starts_with(
            "device, in use by all: ≥ 2.00 MiB (seen every 40.0 ms)\n\
             device, kept by the driver: not available: it was not seen\n\
             process on the device, in use: not available: no permission\n"
        ));
    }
}

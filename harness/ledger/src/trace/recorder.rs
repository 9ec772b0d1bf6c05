//! [`Recorder`]: builds a track from looks as they happen, in bounded memory.

use std::collections::BTreeMap;

use super::{Column, Ended, Gauge, MOST_POINTS, Track, Watched};
use crate::unit::Nanos;

/// The result of one look: the value of each gauge, or why it has none.
pub type Look = Vec<(Gauge, Result<i64, String>)>;

/// A track under construction.
#[derive(Clone, Debug)]
pub struct Recorder {
    track: Track,
    /// Looks that the last point covers so far; it is full at `track.looks`.
    begun: u32,
}

impl Recorder {
    /// An empty track of `of`, for a look every `interval`.
    #[must_use]
    pub fn new(of: Watched, interval: Nanos) -> Recorder {
        let track = Track {
            of,
            interval,
            looks: 1,
            at: Column::default(),
            gauges: BTreeMap::new(),
            absent: BTreeMap::new(),
            ended: None,
        };
        Recorder { track, begun: 0 }
    }

    /// Adds a look at `at` from the origin. A gauge that fails once is abandoned, so that its
    /// values stay aligned with their times.
    pub fn look(&mut self, at: Nanos, look: Look) {
        let track = &mut self.track;
        let joins = self.begun > 0 && self.begun < track.looks;
        let at = (at.0 / 1_000_000) as i64;
        match track.at.0.last_mut().filter(|_| joins) {
            Some(last) => *last = at,
            None => track.at.0.push(at),
        }
        self.begun = if joins { self.begun + 1 } else { 1 };
        let points = track.at.0.len();
        for (gauge, value) in look {
            if track.absent.contains_key(&gauge) {
                continue;
            }
            let value = match value {
                Ok(value) => value,
                Err(reason) => {
                    track.absent.insert(gauge, reason);
                    continue;
                }
            };
            let column = &mut track.gauges.entry(gauge).or_default().0;
            match column.len() {
                n if n == points => column[n - 1] = gauge.merge().both(column[n - 1], value),
                n if n + 1 == points => column.push(value),
                _ => {
                    track.absent.insert(gauge, "it was not read at every look".to_owned());
                }
            }
        }
        if points >= MOST_POINTS && self.begun == track.looks {
            self.halve();
        }
    }

    /// Records that nothing can be observed from `at` on. The first reason is kept.
    pub fn end(&mut self, at: Nanos, reason: String) {
        self.track.ended.get_or_insert(Ended { at, reason });
    }

    /// Whether watching has stopped early.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.track.ended.is_some()
    }

    /// The track as recorded so far.
    #[must_use]
    pub fn finish(self) -> Track {
        self.track
    }

    /// Merges every two neighbouring points.
    fn halve(&mut self) {
        let track = &mut self.track;
        track.at.0 = track.at.0.chunks(2).filter_map(|pair| pair.last().copied()).collect();
        for (gauge, column) in &mut track.gauges {
            let pairs = column.0.chunks(2);
            let both = pairs.filter_map(|pair| match pair {
                [earlier, later] => Some(gauge.merge().both(*earlier, *later)),
                [only] => Some(*only),
                _ => None,
            });
            column.0 = both.collect();
        }
        track.looks *= 2;
        self.begun = track.looks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn watched(looks: u64, value: impl Fn(u64) -> i64) -> Track {
        let mut recorder = Recorder::new(Watched::Process, Nanos(20 * MS));
        for i in 0..looks {
            let look = vec![(Gauge::Rss, Ok(value(i))), (Gauge::CpuTime, Ok(i as i64))];
            recorder.look(Nanos(i * 20 * MS), look);
        }
        recorder.finish()
    }

    #[test]
    fn a_short_round_keeps_every_look() {
        let track = watched(100, |i| i as i64);
        assert_eq!((track.looks, track.at.0.len()), (1, 100));
        assert_eq!(track.points(Gauge::Rss).nth(7), Some((140, 7)));
    }

    #[test]
    fn a_long_round_keeps_its_peak_its_end_and_a_bounded_number_of_points() {
        for looks in [256, 257, 3_000, 100_001] {
            let peak = looks / 3;
            let track = watched(looks, |i| if i == peak { 900 } else { 100 });
            assert!(track.at.0.len() <= MOST_POINTS, "{looks}: {}", track.at.0.len());
            assert!(track.at.0.len() >= MOST_POINTS / 2 || looks < 256, "{looks}");
            assert_eq!(track.highest(Gauge::Rss), Some(900));
            let last = looks as i64 - 1;
            assert_eq!(track.points(Gauge::CpuTime).last(), Some((last * 20, last)));
            let point = track.points(Gauge::Rss).position(|(_, value)| value == 900).unwrap();
            assert_eq!(point as u64, peak / u64::from(track.looks));
        }
    }

    #[test]
    fn a_minute_of_everything_fits_into_a_record() {
        let mut recorder = Recorder::new(Watched::Gpu("GPU-0".into()), Nanos(20 * MS));
        let gauges = [
            (Gauge::DeviceUsed, 80_000_000),
            (Gauge::DeviceReserved, 500_000),
            (Gauge::ProcessUsed, 79_000_000),
            (Gauge::SmClock, 1980),
            (Gauge::MemoryClock, 2619),
            (Gauge::Utilisation, 100),
            (Gauge::Power, 650_000),
            (Gauge::Temperature, 70),
            (Gauge::Throttle, 4),
            (Gauge::Foreign, 0),
        ];
        for i in 0..3000_i64 {
            let look = gauges.map(|(gauge, most)| (gauge, Ok(most - most * (i * 37 % 11) / 100)));
            recorder.look(Nanos(i as u64 * 20 * MS), look.into());
        }
        let gpu = serde_json::to_string(&recorder.finish()).unwrap().len();
        let process = serde_json::to_string(&watched(3000, |i| i as i64 * 1234)).unwrap().len();
        assert!(gpu + 3 * process < 20_000, "{gpu} and {process} bytes");
    }

    #[test]
    fn a_gauge_that_fails_is_given_up_with_its_reason_and_the_others_go_on() {
        let mut recorder = Recorder::new(Watched::Process, Nanos(20 * MS));
        for i in 0..4 {
            let rss = if i < 2 { Ok(i) } else { Err("not supported".to_owned()) };
            let look = vec![(Gauge::Rss, rss), (Gauge::Threads, Ok(3))];
            recorder.look(Nanos(i as u64 * MS), look);
        }
        recorder.look(Nanos(9 * MS), vec![(Gauge::Rss, Ok(7)), (Gauge::Threads, Ok(3))]);
        recorder.end(Nanos(10 * MS), "gone".into());
        recorder.end(Nanos(11 * MS), "gone again".into());
        let track = recorder.finish();
        assert_eq!(track.gauges[&Gauge::Rss].0, [0, 1]);
        assert_eq!(track.gauges[&Gauge::Threads].0, [3; 5]);
        assert_eq!(track.why_absent(Gauge::Rss), Some("not supported"));
        assert_eq!(track.ended, Some(Ended { at: Nanos(10 * MS), reason: "gone".into() }));
    }
}

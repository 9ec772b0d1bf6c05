//! GPU energy per token, from the counter that a watcher reads and from what the round was doing at
//! the time.
//!
//! The counter is the driver's (NVML: millijoules since it was loaded), which advances every 20 to
//! 100 ms. Between two readings it is interpolated linearly; periods shorter than [`LEAST`], or
//! with fewer than ten points of a track, give no value.

use crate::case::{Case, Workload};
use crate::metric::Metric;
use crate::record::{Iteration, IterationKind, Samples};
use crate::timeline::Values;
use crate::trace::{Gauge, Mark, Phase, Trace, Track};
use crate::unit::Nanos;

/// The shortest period for which energy is reported: ten steps of a slow counter.
pub const LEAST: Nanos = Nanos(1_000_000_000);
/// The fewest points of a track in that period. In a long round a point stands for many readings.
const POINTS: u64 = 10;

/// Adds to each timed iteration the GPU energy per token, where it is known.
pub fn add(trace: &Trace, case: &Case, samples: &mut Samples) {
    for (index, iteration) in (0..).zip(&mut samples.iterations) {
        if let Some(joules) = of_token(trace, case, index, iteration) {
            iteration.values.insert(Metric::EnergyPerToken, vec![joules]);
        }
    }
}

/// Joules per token of an iteration.
fn of_token(trace: &Trace, case: &Case, index: u32, iteration: &Iteration) -> Option<f64> {
    if iteration.kind == IterationKind::WarmUp {
        return None;
    }
    let count = |metric| iteration.values.get(&metric).map_or(0, Vec::len);
    let answered = |values: &Values| {
        let len = |metric| values.get(&metric).map_or(0, Vec::len);
        len(Metric::TimeToFirstToken) + len(Metric::InterToken)
    };
    let whole = Begin::Iteration(index);
    let (tokens, (from, to)) = match case.workload {
        Workload::Decode { .. } => {
            let tokens = count(Metric::InterToken) as f64;
            let rate = *iteration.values.get(&Metric::DecodeRate)?.first()?;
            // Only while all sequences decode: those that began first finish before the others,
            // whose last tokens do not count.
            let (from, _) = span(&trace.marks, Begin::Decode(index))?;
            let length = Nanos::from_seconds(tokens / rate);
            (tokens, (from, Nanos(from.0.saturating_add(length.0))))
        }
        Workload::Prefill { prompt, batch } => {
            (prompt.0 as f64 * f64::from(batch), span(&trace.marks, whole)?)
        }
        Workload::Generate { .. } | Workload::Serve { .. } => {
            (answered(&iteration.values) as f64, span(&trace.marks, whole)?)
        }
        _ => return None,
    };
    let gpus: Vec<&Track> = trace.gpus().filter(|gpu| is_used(gpu)).collect();
    let point = |gpu: &Track| gpu.interval.0.saturating_mul(u64::from(gpu.looks));
    let coarsest = gpus.iter().map(|gpu| point(gpu)).max()?;
    let least = LEAST.0.max(coarsest.saturating_mul(POINTS));
    (tokens > 0.0 && to.since(from).0 >= least).then_some(())?;
    let gpus = gpus.into_iter();
    let energies: Option<Vec<f64>> = gpus.map(|gpu| Some(at(gpu, to)? - at(gpu, from)?)).collect();
    let millijoules: f64 = energies?.iter().sum();
    Some(millijoules / 1e3 / tokens)
}

/// The start of the period in question.
#[derive(Clone, Copy)]
enum Begin {
    /// The start of the iteration.
    Iteration(u32),
    /// The start of decoding within it.
    Decode(u32),
}

/// From that start to the end of the iteration.
fn span(marks: &[Mark], begin: Begin) -> Option<(Nanos, Nanos)> {
    let (Begin::Iteration(index) | Begin::Decode(index)) = begin;
    let place = marks.iter().position(|mark| mark.phase == Phase::Iteration(index))?;
    let after = &marks[place + 1..];
    let end =
        after.iter().position(|mark| !matches!(mark.phase, Phase::Prefill | Phase::Decode))?;
    let from = match begin {
        Begin::Iteration(_) => marks[place],
        Begin::Decode(_) => *after[..end].iter().find(|mark| mark.phase == Phase::Decode)?,
    };
    Some((from.at, after[end].at))
}

/// Whether the round used a GPU; assumed if the driver does not report its memory.
fn is_used(gpu: &Track) -> bool {
    gpu.highest(Gauge::ProcessUsed).is_none_or(|most| most > 0)
}

/// The counter at a moment, in millijoules; none outside the range of readings.
fn at(gpu: &Track, moment: Nanos) -> Option<f64> {
    let moment = moment.0 as f64 / 1e6;
    let points = || gpu.points(Gauge::Energy).map(|(at, value)| (at as f64, value as f64));
    let before = points().take_while(|(at, _)| *at <= moment).last()?;
    let after = points().find(|(at, _)| *at >= moment)?;
    let length = after.0 - before.0;
    let share = if length > 0.0 { (moment - before.0) / length } else { 0.0 };
    Some(before.1 + share * (after.1 - before.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::tests::case;
    use crate::record::tests::record;
    use crate::record::{Digest, Outcome};
    use crate::trace::{Look, Recorder, Watched};
    use crate::unit::Tokens;

    const MS: u64 = 1_000_000;

    /// Five seconds of a GPU that draws 200 W, and 500 W from 3 s on.
    fn gpu(used: i64) -> Track {
        let mut recorder = Recorder::new(Watched::Gpu("a".into()), Nanos(40 * MS));
        for at in (0..=5_000).step_by(40) {
            let energy = 7_000_000 + 200 * at + 300 * (at - 3_000).max(0);
            let look: Look = vec![(Gauge::Energy, Ok(energy)), (Gauge::ProcessUsed, Ok(used))];
            recorder.look(Nanos(at as u64 * MS), look);
        }
        recorder.finish()
    }

    fn trace(tracks: Vec<Track>) -> Trace {
        let marks = [
            (0, Phase::Load),
            (500, Phase::WarmUp(0)),
            (1_010, Phase::Iteration(1)),
            (1_010, Phase::Prefill),
            (3_010, Phase::Decode),
            (4_610, Phase::Iteration(2)),
            (4_700, Phase::Done),
        ];
        let marks = marks.map(|(at, phase)| Mark { at: Nanos(at * MS), phase });
        Trace { origin: Nanos(0), cost: Nanos(0), marks: marks.to_vec(), tracks }
    }

    fn iteration(kind: IterationKind) -> Iteration {
        let values =
            // 98 tokens in 1.4 s: the iteration goes on for another 0.2 s.
            [
                (Metric::TimeToFirstToken, vec![1.0; 2]),
                (Metric::InterToken, vec![1.0; 98]),
                (Metric::DecodeRate, vec![70.0]),
            ];
        Iteration { kind, digest: Digest::of_outputs([]), values: values.into_iter().collect() }
    }

    /// Energy per token of iteration 1 of `workload`.
    fn of(workload: Workload, trace: &Trace) -> Option<f64> {
        let case = Case { workload, ..case("a") };
        of_token(trace, &case, 1, &iteration(IterationKind::Timed))
    }

    const DECODE: Workload = Workload::Decode { depth: Tokens(9), output: Tokens(50), batch: 2 };

    #[test]
    fn energy_is_that_of_the_tokens_that_a_workload_is_about() {
        let trace = trace(vec![gpu(1)]);
        let near = |found: Option<f64>, expected: f64| {
            assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?} {expected}");
        };
        // From 3.01 s to 4.41 s, 500 W.
        near(of(DECODE, &trace), 700.0 / 98.0);
        // From 1.01 s to 4.61 s.
        let all = 1.99 * 200.0 + 1.61 * 500.0;
        let prompt = Tokens(9);
        let output = Tokens(50);
        near(of(Workload::Generate { prompt, output, batch: 2 }, &trace), all / 100.0);
        near(of(Workload::Prefill { prompt, batch: 2 }, &trace), all / 18.0);
        assert_eq!(of(Workload::Load, &trace), None);
    }

    #[test]
    fn only_gpus_that_the_round_used_count_and_those_that_tell_nothing_leave_it_open() {
        let one = of(DECODE, &trace(vec![gpu(1)])).unwrap();
        assert_eq!(of(DECODE, &trace(vec![gpu(1), gpu(0)])), Some(one));
        assert_eq!(of(DECODE, &trace(vec![gpu(1), gpu(1)])), Some(2.0 * one));
        let mut silent = gpu(1);
        silent.gauges.remove(&Gauge::Energy);
        assert_eq!(of(DECODE, &trace(vec![gpu(1), silent])), None);
        assert_eq!(of(DECODE, &trace(Vec::new())), None);
    }

    #[test]
    fn where_a_point_stands_for_many_readings_a_second_is_too_short() {
        let mut coarse = gpu(1);
        coarse.looks = 3;
        assert!(of(DECODE, &trace(vec![coarse.clone()])).is_some(), "120 ms a point, 1.4 s");
        coarse.looks = 4;
        assert_eq!(of(DECODE, &trace(vec![coarse])), None);
    }

    #[test]
    fn of_what_does_not_count_or_is_too_short_nothing_is_said() {
        let trace = trace(vec![gpu(1)]);
        let case = Case { workload: DECODE, ..case("a") };
        let of = |index, kind| of_token(&trace, &case, index, &iteration(kind));
        assert!(of(1, IterationKind::Timed).is_some());
        assert_eq!(of(1, IterationKind::WarmUp), None);
        assert_eq!(of(2, IterationKind::Timed), None, "90 ms");
        assert_eq!(of(3, IterationKind::Timed), None, "it was not told");
        let Outcome::Measured(mut samples) = record(".", "a", 1, &[]).outcome else { panic!() };
        samples.iterations = vec![iteration(IterationKind::Timed); 2];
        add(&trace, &case, &mut samples);
        assert_eq!(samples.of(Metric::EnergyPerToken).len(), 1);
    }
}

//! How unsteady the machine is over ten seconds, measured with a fixed workload.
//!
//! One thread alternates between two pieces: arithmetic that fits into registers, and a walk
//! through more memory than the caches hold. It is only a glance: it sees neither the engine nor
//! how days differ, and is no substitute for `windtunnel calibrate`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;
use windtunnel_ledger::{Nanos, stats};

use super::{Finding, Patient, Severity};

/// How unsteady each piece was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Noise {
    /// Arithmetic.
    pub(crate) compute: Spread,
    /// The walk through memory.
    pub(crate) memory: Spread,
}

/// The times of one piece's repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The number of repeats.
    pub(crate) repeats: usize,
    /// Their median.
    pub(crate) median: Nanos,
    /// Their standard deviation, as a share of the mean.
    pub(crate) variation: f64,
    /// By how much the slowest exceeded the median, as a share of the median.
    pub(crate) worst: f64,
    /// The smallest change that ten pairs of half-second rounds would detect nine times in ten.
    pub(crate) detectable: f64,
}

/// The target duration of one repeat.
const REPEAT: Duration = Duration::from_millis(20);
/// Repeats that are taken together like a round: half a second of one piece.
const ROUND: usize = 25;
/// Pairs of rounds, as at a gate's first looks.
const PAIRS: f64 = 10.0;
/// Normal quantiles: a two-sided false-alarm rate of 5 %, and a power of 90 %.
const REACH: f64 = 1.96 + 1.28;
/// Bytes of the walk: more than the caches of most processors.
const WALK: usize = 64 << 20;
/// Eight-byte words per cache line.
const LINE: usize = 8;

/// Alternates between both pieces for about `time`.
pub(crate) fn measure(time: Duration) -> Noise {
    let memory: Vec<u64> = (0..WALK as u64 / 8).collect();
    let steps = sized(compute);
    let walks = sized(|walks| walk(&memory, walks));
    let (mut computed, mut walked) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < time || computed.is_empty() {
        computed.push(timed(|| compute(steps)));
        walked.push(timed(|| walk(&memory, walks)));
    }
    Noise { compute: Spread::of(&computed), memory: Spread::of(&walked) }
}

fn timed(piece: impl FnOnce() -> u64) -> Nanos {
    let begun = Instant::now();
    black_box(piece());
    Nanos(begun.elapsed().as_nanos() as u64)
}

/// The size of a piece that takes about one repeat, fixed from then on.
fn sized(piece: impl Fn(u64) -> u64) -> u64 {
    const LEAST: Duration = Duration::from_millis(2);
    let mut size = 1024;
    loop {
        let took = timed(|| piece(size)).0;
        if took >= LEAST.as_nanos() as u64 {
            let wanted = u128::from(size) * REPEAT.as_nanos() / u128::from(took);
            return u64::try_from(wanted).unwrap_or(size).max(1);
        }
        size *= 2;
    }
}

/// A chain of integer operations and one of float operations, side by side; the compiler can remove
/// neither.
fn compute(steps: u64) -> u64 {
    let (mut state, mut sum) = (black_box(1_u64), black_box(1.0_f64));
    for _ in 0..steps {
        // Knuth's multiplier for a linear congruential generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        sum = sum * 0.999_999 + 1e-6;
    }
    state ^ sum.to_bits()
}

/// Reads one word from each of `lines` cache lines, from the beginning of `memory`, over and over.
fn walk(memory: &[u64], lines: u64) -> u64 {
    let mut sum = 0_u64;
    let mut left = lines as usize;
    while left > 0 {
        let chunk = memory.chunks(LINE).take(left);
        left -= chunk.len();
        sum = chunk.fold(sum, |sum, line| sum.wrapping_add(line[0]));
    }
    sum
}

impl Spread {
    /// Requires at least one repeat.
    fn of(times: &[Nanos]) -> Spread {
        let times: Vec<f64> = times.iter().map(|time| time.0 as f64).collect();
        let median = stats::median(&times).unwrap_or(0.0);
        let slowest = times.iter().copied().fold(0.0, f64::max);
        let rounds: Vec<f64> = times.chunks(ROUND).filter_map(stats::median).collect();
        // Too few rounds say less than their repeats.
        let between = match rounds.len() {
            0..4 => variation(&times),
            _ => variation(&rounds),
        };
        Spread {
            repeats: times.len(),
            median: Nanos(median as u64),
            variation: variation(&times),
            worst: if median > 0.0 { slowest / median - 1.0 } else { 0.0 },
            detectable: REACH * (2.0 / PAIRS).sqrt() * between,
        }
    }
}

/// Coefficient of variation: standard deviation over mean.
fn variation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if n < 2.0 || mean == 0.0 {
        return 0.0;
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (n - 1.0)).sqrt() / mean
}

/// Why a lengthy measurement was not made.
pub(super) const QUICK: &str = "not measured because of `--quick`";

/// The same, because of another run.
pub(super) const OTHER_RUN: &str = "not measured because another run is measuring";

/// The margin of decode in `ci/gate.toml`, and the widest margin there.
const MARGINS: [f64; 2] = [0.03, 0.10];

pub(super) fn noise(patient: &Patient) -> Vec<Finding> {
    let Some(Noise { compute, memory }) = &patient.noise else {
        let reason = if let Ok(Some(_)) = patient.other_run { OTHER_RUN } else { QUICK };
        return vec![Finding::unknown("noise", reason)];
    };
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let of = |spread: &Spread, piece: &str| {
        format!("{} in {piece} (worst +{})", share(spread.variation), share(spread.worst))
    };
    let varied = format!(
        "a fixed workload varies by {} and {}",
        of(compute, "arithmetic"),
        of(memory, "memory")
    );
    let detectable = compute.detectable.max(memory.detectable);
    let severity = match detectable {
        seen if seen <= MARGINS[0] => {
            let seen = share(seen);
            return vec![Finding::fine(format!(
                "{varied}, so ten pairs of rounds show changes from {seen} up (only a glance: `windtunnel calibrate` measures it)"
            ))];
        }
        seen if seen <= MARGINS[1] => Severity::Minor,
        _ => Severity::Bad,
    };
    vec![Finding::of(
        severity,
        varied,
        format!(
            "ten pairs of rounds hide changes below {}; the margin for decode is 3 %",
            share(detectable)
        ),
        "fix whatever else is listed here, then: windtunnel calibrate (this glance is no substitute)",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_machine_sees_everything_and_a_slow_repeat_is_its_worst() {
        let mut times = vec![Nanos(100); 250];
        let steady = Spread::of(&times);
        assert_eq!((steady.repeats, steady.median), (250, Nanos(100)));
        assert_eq!((steady.variation, steady.worst, steady.detectable), (0.0, 0.0, 0.0));
        times[7] = Nanos(150);
        let once = Spread::of(&times);
        assert!((once.worst - 0.5).abs() < 1e-12 && once.variation > 0.0);
        assert_eq!(once.detectable, 0.0, "one slow repeat is no slow round");
    }

    #[test]
    fn what_can_be_seen_follows_from_how_rounds_differ() {
        let rounds = [100, 102, 98, 101, 99, 100];
        let times: Vec<Nanos> =
            rounds.into_iter().flat_map(|time| vec![Nanos(time); ROUND]).collect();
        let spread = Spread::of(&times);
        // Their standard deviation is the square root of 2.
        let expected = REACH * (2.0 / PAIRS).sqrt() * 2.0_f64.sqrt() / 100.0;
        assert!((spread.detectable - expected).abs() < 1e-12, "{spread:?}");
        assert_eq!(Spread::of(&[Nanos(5)]).detectable, 0.0);
    }

    #[test]
    fn the_workload_does_work() {
        let noise = measure(Duration::ZERO);
        assert_eq!((noise.compute.repeats, noise.memory.repeats), (1, 1));
        assert!(noise.compute.median > Nanos(0) && noise.memory.median > Nanos(0));
        assert_ne!(compute(10), compute(11));
        let memory: Vec<u64> = (0..64).collect();
        assert_eq!(walk(&memory, 8), (0..8).map(|line| line * 8).sum::<u64>());
        assert_eq!(walk(&memory, 10), (0..8).map(|line| line * 8).sum::<u64>() + 8);
    }
}

//! The figures that the judge must meet, by simulation with fixed seeds: how often it raises a
//! false alarm, misses a change, detects one, and remains undecided, and how many rounds it takes.
//!
//! A run has sixty series, ten of each kind of noise, with a margin of 3 % and a budget of thirty
//! pairs, or of all pairs that may be looked at. `ci/judge.md` shows the same figures to its
//! readers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod noise;
mod tally;

use windtunnel_ledger::judge::interleaved::LAST;
use windtunnel_ledger::judge::{ALPHA, BETA, Evidence, Nature, Question, judge};
use windtunnel_ledger::margin::Margin;
use windtunnel_ledger::metric::Better;
use windtunnel_ledger::proportion::upper_bound;

use noise::{Noise, Random};
use tally::{Counts, Tally};

/// Series of a run, pairs of its plan, and number of runs.
const SERIES: usize = 60;
const BUDGET: usize = 30;
const RUNS: usize = 250;
/// The smallest change that matters.
const MARGIN: f64 = 0.03;

/// The rounds of a base and of a head that is the base times a factor, under some noise.
type Ask = fn(Noise, f64, &mut Random) -> Evidence;

/// Alternating rounds: base, head, head, base, …
fn interleaved(noise: Noise, factor: f64, random: &mut Random) -> Evidence {
    pairs(BUDGET, noise, factor, random)
}

/// The same, for as many pairs as are ever looked at.
fn patient(noise: Noise, factor: f64, random: &mut Random) -> Evidence {
    pairs(LAST, noise, factor, random)
}

fn pairs(budget: usize, noise: Noise, factor: f64, random: &mut Random) -> Evidence {
    let mut day = noise.day(random);
    let (mut base, mut head) = (Vec::new(), Vec::new());
    for pair in 0..budget {
        let (first, second) = (day.round(random), day.round(random));
        let (of_base, of_head) = if pair % 2 == 0 { (first, second) } else { (second, first) };
        base.push(of_base);
        head.push(of_head * factor);
    }
    Evidence::Interleaved { base, head, budget }
}

/// A base measured on three other days. Days differ by 1 %, and calibration knows it.
fn stored(noise: Noise, factor: f64, random: &mut Random) -> Evidence {
    let session_sd = 0.01;
    let mut session = |factor: f64| -> Vec<f64> {
        let luck = (session_sd * random.normal()).exp() * factor;
        let mut day = noise.day(random);
        (0..10).map(|_| day.round(random) * luck).collect()
    };
    let sessions = vec![session(1.0), session(1.0), session(1.0)];
    Evidence::Stored { sessions, session_sd: Some(session_sd), head: session(factor) }
}

/// The tally of runs in which the first series of each kind of noise is `factor` times slower, and
/// the others are unchanged.
fn simulate(ask: Ask, factor: f64, margin: f64) -> Tally {
    let mut random = Random(7);
    let mut tally = Tally::default();
    let margin = Margin::new(margin, 0.0).unwrap();
    let noises: Vec<Noise> = Noise::ALL.into_iter().cycle().take(SERIES).collect();
    let changed = |place: usize| factor != 1.0 && place < Noise::ALL.len();
    for _ in 0..RUNS {
        let question = |(place, noise): (usize, &Noise)| Question {
            better: Better::Lower,
            nature: Nature::Timed,
            margin,
            bias: 0.0,
            evidence: ask(*noise, if changed(place) { factor } else { 1.0 }, &mut random),
        };
        let questions: Vec<Question> = noises.iter().enumerate().map(question).collect();
        let judgements = judge(&questions, SERIES);
        let places = judgements.iter().zip(&noises).enumerate();
        tally.run(places.map(|(place, (judgement, noise))| (changed(place), *noise, judgement)));
    }
    tally
}

/// With so small a margin, nothing but the level of significance holds alarms back.
const NEXT_TO_NOTHING: f64 = 0.001;

#[test]
fn unchanged_series_hardly_ever_raise_an_alarm_and_are_decided_early() {
    let tally = simulate(interleaved, 1.0, MARGIN);
    assert!(upper_bound(tally.regressed_runs, tally.runs, 0.95) < ALPHA, "{tally}");
    assert!(upper_bound(tally.improved_runs, tally.runs, 0.95) < ALPHA, "{tally}");
    let Counts { series, regressed, improved, .. } = tally.unchanged;
    assert!(upper_bound(regressed, series, 0.95) < 0.001, "{tally}");
    assert!(upper_bound(improved, series, 0.95) < 0.001, "{tally}");
    assert!(tally.unchanged.share(tally.unchanged.inconclusive) < 0.01, "{tally}");
    assert!(tally.unchanged.rounds() < 10.0, "{tally}");
}

#[test]
fn the_level_of_a_run_holds_where_noise_is_all_there_is() {
    for ask in [interleaved as Ask, patient, stored] {
        let tally = simulate(ask, 1.0, NEXT_TO_NOTHING);
        assert!(tally.regressed_runs as f64 <= ALPHA * tally.runs as f64, "{tally}");
        assert!(tally.improved_runs as f64 <= ALPHA * tally.runs as f64, "{tally}");
    }
}

#[test]
fn a_change_of_the_margin_rarely_passes() {
    let tally = simulate(interleaved, 1.0 + MARGIN, MARGIN);
    let counts = || tally.changed.values();
    let passed: u64 = counts().map(|counts| counts.pass).sum();
    let series: u64 = counts().map(|counts| counts.series).sum();
    assert!(passed as f64 <= BETA * series as f64, "{tally}");
}

#[test]
fn twice_the_margin_is_seen() {
    let tally = simulate(interleaved, 1.0 + 2.0 * MARGIN, MARGIN);
    for counts in tally.changed.values() {
        assert!(counts.share(counts.regressed) >= 0.97, "{tally}");
        assert_eq!(counts.pass, 0, "{tally}");
        assert!(counts.rounds() < 15.0, "{tally}");
    }
}

#[test]
fn a_stored_base_sees_less_and_passes_nothing_that_is_twice_the_margin() {
    let tally = simulate(stored, 1.0 + 2.0 * MARGIN, MARGIN);
    assert!(upper_bound(tally.regressed_runs, tally.runs, 0.95) < ALPHA, "{tally}");
    for counts in tally.changed.values() {
        assert!(counts.share(counts.regressed) > 0.3, "{tally}");
        assert!(counts.share(counts.pass) < 0.01, "{tally}");
    }
}

//! The examples that newcomers see are what this program renders from their records.

use std::path::{Path, PathBuf};

use windtunnel_ledger::case::{Case, Workload};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Digest, Outcome, Record, RunId};
use windtunnel_ledger::store::{self, Contents};
use windtunnel_ledger::unit::Tokens;
use windtunnel_ledger::verdict::Verdict;
use windtunnel_report::index::{Card, Kind};

use crate::contents::{case, record, subject};
use crate::gates::gated;
use crate::made;

const AGAIN: &str = "render it again: cargo run --release -- report reports/example/run.jsonl --history never \
    && ci/picture.sh reports/example/report.html reports/example/report.png";

/// A file of the examples.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/example").join(name)
}

#[test]
fn the_example_is_as_this_program_renders_it() {
    let contents = store::read(&kept("run.jsonl")).expect("a run");
    let made = made("example", || windtunnel_report::render(&contents).expect("a page"));
    let kept = std::fs::read_to_string(kept("report.html")).expect("a page");
    assert!(made == kept, "the example is not of this version; {AGAIN}");
    assert_eq!(Card::of(&kept).map(|card| card.kind), Some(Kind::Run));
}

const REGRESSION_AGAIN: &str = concat!(
    "take what this test has made: cp ",
    env!("CARGO_TARGET_TMPDIR"),
    "/regression.html reports/example/ \
    && ci/picture.sh reports/example/regression.html reports/example/regression.png 1200 1040"
);

#[test]
fn the_example_of_a_regression_is_as_this_program_renders_it() {
    let contents = regression();
    let made = made("regression", || windtunnel_report::render(&contents).expect("a page"));
    assert!(made.len() < 180_000, "an example is small: {} bytes", made.len());
    let card = Card::of(&made).expect("a page tells of itself");
    assert_eq!((card.kind, card.verdict), (Kind::Gate, Some(Verdict::Broken)));
    for words in [
        "✕ Broken: gate/decode/qwen2.5-0.5b/batch=1,kv=contiguous, the output tokens differ",
        "; ▲ regressed: decode is 6.3 % worse (+5.7 % to +6.6 %) in gate/decode/qwen2.5-0.5b/batch=1,kv=paged-32",
    ] {
        assert!(card.headline.contains(words), "{}", card.headline);
    }
    assert!(card.machine.contains("every number on this page is made up"), "{}", card.machine);
    for word in ["✕ broken", "▲ regressed", "? inconclusive", "▽ improved", " series passed<"]
    {
        assert!(made.contains(word), "{word}");
    }
    let kept = std::fs::read_to_string(kept("regression.html")).unwrap_or_default();
    assert!(made == kept, "the example is not of this version; {REGRESSION_AGAIN}");
}

/// The factors by which the rounds of a case take longer than nominal: those of the base, then of
/// the head.
type Costs = [[f64; 6]; 2];

/// A head that is slower than its base.
const SLOWER: Costs =
    [[1.000, 1.008, 0.995, 1.004, 0.992, 1.006], [1.061, 1.075, 1.052, 1.071, 1.058, 1.066]];
/// A head that is faster than its base.
const FASTER: Costs =
    [[1.003, 0.996, 1.001, 0.998, 1.005, 0.994], [0.885, 0.893, 0.878, 0.890, 0.881, 0.887]];
/// Rounds that are too noisy for a conclusion.
const NOISY: Costs =
    [[1.000, 1.030, 0.980, 1.020, 0.975, 1.010], [1.020, 0.995, 1.030, 0.990, 1.035, 0.985]];

/// A gate with every kind of finding, from invented numbers, which says that they are invented.
fn regression() -> Contents {
    let decode = |batch| Workload::Decode { depth: Tokens(128), output: Tokens(32), batch };
    let prefill = Workload::Prefill { prompt: Tokens(512), batch: 1 };
    let of = |name: &str, workload, batch: &str, kv| {
        case(name, workload, kv, &[("batch", batch), ("kv", kv)])
    };
    let cases = [
        of("gate/decode", decode(1), "1", "paged-32"),
        of("gate/decode", decode(8), "8", "paged-32"),
        of("gate/decode", decode(1), "1", "contiguous"),
        of("gate/prefill", prefill, "1", "paged-32"),
    ];
    let mut contents = gated(&cases, 6, 0.0);
    contents.run.id = RunId("made-up-numbers".into());
    contents.run.command = "windtunnel gate --base main".into();
    contents.run.subjects = vec![subject("rev:main", 'b'), subject(".", 'a')];
    if let Some(terms) = &mut contents.run.gate {
        terms.policy.budget.pairs = 6;
    }
    contents.records.clear();
    for (case, costs) in cases.iter().zip([&SLOWER, &NOISY, &FASTER, &FASTER]) {
        // A broken case shows in its first round, however fast it is.
        let is_broken = case.id.as_str().ends_with("contiguous");
        let rounds = if is_broken { 1 } else { 6 };
        for round in 1..=rounds {
            // The order of base and head alternates from pair to pair.
            let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
            for side in order {
                let cost = costs[side][round as usize - 1];
                let mut made_up = record(&contents.run.subjects[side], case, round, 1.0);
                invent(&mut made_up, case, cost);
                if let (Outcome::Measured(samples), true) =
                    (&mut made_up.outcome, is_broken && side == 1)
                {
                    samples.iterations[0].digest = Digest::of_outputs([[1, 2, 4].as_slice()]);
                }
                contents.records.push(made_up);
            }
        }
    }
    contents
}

/// Invents the samples of a round that took `cost` times as long as nominal, with two series.
fn invent(record: &mut Record, case: &Case, cost: f64) {
    let (metric, rate) = match case.workload {
        Workload::Prefill { .. } => (Metric::PrefillRate, 820.0),
        Workload::Decode { batch: 8, .. } => (Metric::DecodeRate, 176.0),
        _ => (Metric::DecodeRate, 41.0),
    };
    record.run = RunId("made-up-numbers".into());
    record.environment.machine.cpu =
        "no real machine (every number on this page is made up)".into();
    if let Outcome::Measured(samples) = &mut record.outcome {
        samples.once = [(Metric::PeakRss, 1_620_000_000.0 + f64::from(record.round << 16))].into();
        samples.iterations[0].values =
            [(metric, vec![(rate / cost * 100.0).round() / 100.0])].into();
    }
}

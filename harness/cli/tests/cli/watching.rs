//! What a watcher sees of a round, and void rounds.

use std::fs;

use windtunnel_ledger::conditions::Breach;
use windtunnel_ledger::record::Outcome;
use windtunnel_ledger::trace::{Gauge, Phase};

use crate::sandbox::{FAKE_PROBE, Sandbox};

const POLICY: &str = include_str!("../../../../ci/gate.toml");

#[test]
#[cfg(target_os = "linux")]
fn a_record_holds_what_was_seen_of_its_round() {
    let sandbox = Sandbox::new(&["phases"]);
    assert_eq!(sandbox.measure().code, 0);
    let record = sandbox.contents().records.remove(0);
    let trace = record.trace.as_ref().unwrap();
    let phases: Vec<Phase> = trace.marks.iter().map(|mark| mark.phase).collect();
    assert_eq!(phases, [Phase::Load, Phase::Iteration(0), Phase::Done]);
    assert!(trace.marks[2].at.since(trace.marks[1].at).0 >= 150_000_000);
    let track = trace.process().unwrap();
    assert!(track.highest(Gauge::Rss) >= Some(64 << 10), "64 MiB were held for 150 ms: {track:?}");
    assert!(track.points(Gauge::Rss).count() >= 2 && track.ended.is_none());
    assert_eq!(trace.gpus().count(), 0, "this probe can use none");
    assert!(record.conditions.idle_before.is_some() && record.conditions.major_faults.is_some());
    let line = serde_json::to_string(&record).unwrap().len();
    assert!(line < 20_000, "{line} bytes");
}

#[test]
fn a_probe_that_tells_no_phases_is_watched_all_the_same() {
    let sandbox = Sandbox::new(&["slow"]);
    assert_eq!(sandbox.measure().code, 0);
    let record = sandbox.contents().records.remove(0);
    assert!(record.trace.unwrap().marks.is_empty());
}

#[test]
fn a_round_under_forbidden_conditions_is_kept_repeated_and_not_counted() {
    let sandbox = Sandbox::new(&["fine"]);
    // No machine can be idle enough.
    let rule = "idle-before = 0.5";
    assert!(POLICY.contains(rule));
    fs::write(sandbox.path("policy.toml"), POLICY.replace(rule, "idle-before = 2.0")).unwrap();
    let args = ["-q", "run", "test/fake", "--probe", FAKE_PROBE, "--policy", "policy.toml"];
    let said = sandbox.run(&[&args[..], &["--out", "run.jsonl"]].concat());
    assert_eq!(said.code, 4, "nothing was measured: {}{}", said.out, said.err);
    let records = sandbox.contents().records;
    let rounds: Vec<u32> = records.iter().map(|record| record.round).collect();
    assert_eq!(rounds, [1, 1, 1, 1, 2, 2, 2, 2], "each is repeated three times");
    for record in &records {
        let Outcome::Void { breaches, samples } = &record.outcome else { panic!("{record:?}") };
        // A busy host may have broken other rules as well.
        assert!(matches!(breaches[..], [Breach::Busy { .. }, ..]), "{breaches:?}");
        assert!(!samples.iterations.is_empty(), "what it measured is kept");
    }
    assert!(said.out.contains("round 2 does not count: only "), "{}", said.out);

    let said = sandbox.run(&["-q", "run", "--resume", "run.jsonl", "--policy", "policy.toml"]);
    assert_eq!((said.code, sandbox.contents().records.len()), (4, 8), "it had its chances");

    // As if killed before the last repeat. The run itself knows what it was measured under.
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().take(8).collect();
    fs::write(sandbox.path("run.jsonl"), lines.join("\n") + "\n").unwrap();
    let said = sandbox.run(&["-q", "run", "--resume", "run.jsonl"]);
    assert_eq!((said.code, sandbox.contents().records.len()), (4, 8), "{}", said.err);
}

#[test]
fn a_policy_that_cannot_be_read_is_named() {
    let sandbox = Sandbox::new(&["fine"]);
    let args = ["run", "test/fake", "--probe", FAKE_PROBE, "--policy"];
    let said = sandbox.run(&[&args[..], &["none.toml"]].concat());
    assert_eq!(said.code, 2);
    assert!(said.err.starts_with("error: cannot read policy `none.toml`: "), "{}", said.err);
    fs::write(sandbox.path("bad.toml"), POLICY.replace("repeats", "repeat")).unwrap();
    let said = sandbox.run(&[&args[..], &["bad.toml"]].concat());
    assert_eq!(said.code, 2);
    let told = "error: `bad.toml`, line 15: unknown key `repeat`, did you mean `repeats`?";
    assert!(said.err.starts_with(told), "{}", said.err);
    let loose = POLICY.replace("stolen      = 0.05", "stolen = 5.0");
    fs::write(sandbox.path("loose.toml"), loose).unwrap();
    let said = sandbox.run(&[&args[..], &["loose.toml"]].concat());
    assert_eq!(said.code, 2);
    let told =
        "error: `loose.toml`: `stolen = 5` is not a share: write one from 0 to 1, `0.05` for 5 %\n";
    assert_eq!(said.err, told);
}

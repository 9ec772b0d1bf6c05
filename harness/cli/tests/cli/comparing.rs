//! Subjects and runs side by side.

use std::fs;

use windtunnel_ledger::record::Outcome;
use windtunnel_ledger::store::Contents;

use crate::sandbox::{FAKE_PROBE, Sandbox, redacted};

#[test]
fn two_subjects_alternate_and_are_compared() {
    let sandbox = Sandbox::new(&["fine"]);
    let other = sandbox.path("other-probe");
    fs::copy(FAKE_PROBE, &other).unwrap();
    // Another file but the same program, as a new build of the same revision would be.
    let mut bytes = fs::read(&other).unwrap();
    bytes.push(0);
    fs::write(&other, bytes).unwrap();
    let base = format!("probe:{FAKE_PROBE}");
    let args = [
        "-q",
        "run",
        "test/fake",
        "-s",
        &base,
        "-s",
        "probe:other-probe",
        "-n",
        "3",
        "-o",
        "run.jsonl",
    ];
    let said = sandbox.run(&args);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let order: Vec<(u32, bool)> = sandbox
        .contents()
        .records
        .iter()
        .map(|record| (record.round, record.subject.name == base))
        .collect();
    assert_eq!(order, [(1, true), (1, false), (2, false), (2, true), (3, true), (3, false)]);

    let compared = sandbox.run(&["compare", "run.jsonl"]);
    let (tables, verdicts) = compared.out.split_once("\nAbove are medians").unwrap();
    assert!(said.out.contains(tables), "the run shows the comparison too: {}", said.out);
    assert!(verdicts.contains("verdict: inconclusive"), "three rounds decide no time: {verdicts}");
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(compared.out);
    assert_eq!(compared.code, 0);
}

#[test]
fn runs_are_compared_and_a_faster_wrong_answer_is_broken() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    // What `auto` resolves to may change between builds: the case is the same, the work is not.
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let digest = |record: &Contents| match &record.records[0].outcome {
        Outcome::Measured(samples) => samples.iterations[0].digest.to_string(),
        other => panic!("{other:?}"),
    };
    let wrong = text.replace(&digest(&sandbox.contents()), "0123456789abcdef");
    fs::write(sandbox.path("wrong.jsonl"), wrong).unwrap();

    assert_eq!(sandbox.run(&["compare", "run.jsonl", "run.jsonl"]).code, 0);
    let said = sandbox.run(&["compare", "run.jsonl", "wrong.jsonl"]);
    assert!(
        said.out.contains("broken: the output tokens differ between base and head"),
        "{}",
        said.out
    );
    assert_eq!(said.code, 5);

    // A base whose own outputs differ cannot tell which of them is right.
    let (begun, last) = text.trim_end().rsplit_once('\n').unwrap();
    let last = last.replace(&digest(&sandbox.contents()), "0123456789abcdef");
    fs::write(sandbox.path("varies.jsonl"), format!("{begun}\n{last}\n")).unwrap();
    let said = sandbox.run(&["compare", "varies.jsonl", "run.jsonl"]);
    let reason = "the output tokens of the base differ from round to round";
    assert_eq!(said.out.matches(reason).count(), 2, "{}", said.out);
    assert!(said.out.ends_with("\nverdict: invalid\n"), "{}", said.out);
    assert_eq!(said.code, 4, "as the table says");

    let elsewhere = text.replace("\"cores\":", "\"cores\":1");
    fs::write(sandbox.path("elsewhere.jsonl"), elsewhere).unwrap();
    let said = sandbox.run(&["compare", "run.jsonl", "elsewhere.jsonl"]);
    assert!(said.out.contains("not comparable:\n    cores: "), "{}", said.out);
    assert_eq!(said.code, 4);
}

#[test]
fn a_head_that_crashed_is_broken_and_a_case_that_is_missing_is_not_green() {
    let sandbox = Sandbox::new(&["fine", "fast"]);
    sandbox.measure();
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let write = |name: &str, lines: &[&str]| {
        fs::write(sandbox.path(name), lines.join("\n") + "\n").unwrap();
    };
    let mut record: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    record["record"]["outcome"] =
        serde_json::json!({ "failed": { "crashed": { "status": "signal 11", "tail": "" } } });
    let crashed = record.to_string();
    write("crashed.jsonl", &[lines[0], &crashed, lines[2], lines[3], lines[4]]);
    let said = sandbox.run(&["compare", "run.jsonl", "crashed.jsonl"]);
    assert!(
        said.out.contains("head: round 1 failed: the probe crashed (signal 11)"),
        "{}",
        said.out
    );
    assert_eq!(said.code, 5);

    write("fewer.jsonl", &[lines[0], lines[1], lines[3]]);
    let said = sandbox.run(&["compare", "run.jsonl", "fewer.jsonl"]);
    assert!(said.out.contains("not compared: not in the head"), "{}", said.out);
    assert_eq!(said.code, 4);
}

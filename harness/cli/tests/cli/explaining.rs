//! Attribution: asked for, kept apart, shown.

use std::fs;

use windtunnel_ledger::record::Outcome;

use crate::sandbox::{FAKE_PROBE, Said, Sandbox};

/// Measures `test/fake` with an attribution round.
fn attribute(sandbox: &Sandbox, out: &str) -> Said {
    sandbox.run(&["-q", "run", "test/fake", "--probe", FAKE_PROBE, "-o", out, "--attribute"])
}

#[test]
fn an_attribution_round_comes_after_the_measured_ones_and_is_no_sample() {
    let sandbox = Sandbox::new(&["fine", "fast"]);
    let attributed = attribute(&sandbox, "run.jsonl");
    assert_eq!(attributed.code, 0, "{}", attributed.err);
    let records = sandbox.contents().records;
    let kinds: Vec<bool> =
        records.iter().map(|record| matches!(record.outcome, Outcome::Attributed(_))).collect();
    assert_eq!(kinds, [false, false, false, false, true, true]);
    // The table is the same as without attribution.
    fs::remove_file(sandbox.path("run.jsonl")).unwrap();
    let table = |text: &str| text.split("\n\n").next().unwrap().to_owned();
    assert_eq!(table(&sandbox.measure().out), table(&attributed.out));
}

#[test]
fn stages_are_shown_of_one_subject_and_of_two_side_by_side() {
    let sandbox = Sandbox::new(&["fine"]);
    assert_eq!(attribute(&sandbox, "base.jsonl").code, 0);
    let said = sandbox.run(&["explain", "fake", "base.jsonl"]).out;
    let words = said.lines().map(|line| line.split_whitespace().collect());
    let rows: Vec<Vec<&str>> = words.filter(|row: &Vec<&str>| !row.is_empty()).collect();
    // Of 91 ms in ten steps, 90 ms are in named stages; 5 ms more were outside the engine.
    assert!(said.contains("decode: 10 steps of 9.1") && said.contains("98.9%"), "{said}");
    assert!(said.contains("beside the engine 5"), "{said}");
    let stages: Vec<&str> = rows.iter().filter_map(|row| row.first().copied()).collect();
    let at = |stage: &str| stages.iter().position(|found| *found == stage).expect(stage);
    assert!(at("linear") < at("attention") && at("attention") < at("other"), "{said}");
    assert_eq!(rows[at("linear")].last(), Some(&"65.9%"), "{said}");

    let counted = |line: &str| said.lines().any(|found| found.contains(line));
    assert!(counted("allocations") && counted("1200"), "{said}");
    assert!(counted("most bytes at once") && counted("3.00 MiB"), "{said}");
    assert!(counted("this processor does not tell"), "{said}");

    // Another build, with slower matrix products.
    let text = fs::read_to_string(sandbox.path("base.jsonl")).unwrap();
    let slower = text.replace("\"linear\":60000000", "\"linear\":90000000");
    assert_ne!(slower, text);
    let slower = slower.replace("\"allocations\":1200", "\"allocations\":1100");
    fs::write(sandbox.path("head.jsonl"), slower).unwrap();
    let said = sandbox.run(&["explain", "fake", "base.jsonl", "head.jsonl"]);
    assert!(said.out.contains("linear carries the difference: +3"), "{}", said.out);
    assert!(said.out.contains("−100"), "{}", said.out);
    assert_eq!(said.code, 0);
}

#[test]
fn what_was_not_attributed_is_said_with_the_way_to_it() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    let way =
        "has an attribution of a case like `fake`: measure one with `windtunnel run --attribute`";
    let said = sandbox.run(&["explain", "fake", "run.jsonl"]);
    assert!(said.err.contains(&way.replace("has an", "has no")), "{}", said.err);
    assert_eq!(said.code, 2);
    let said = sandbox.run(&["explain", "fake"]);
    assert!(said.err.contains("no run below") && said.err.contains(way), "{}", said.err);

    let older = Sandbox::new(&["older"]);
    let said = attribute(&older, "run.jsonl");
    assert!(said.out.contains("cannot say where the time goes"), "{}", said.out);
    assert_eq!(said.code, 5);
}

#[test]
fn an_interrupted_run_is_resumed_with_its_attributions() {
    let sandbox = Sandbox::new(&["fine"]);
    assert_eq!(attribute(&sandbox, "run.jsonl").code, 0);
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(sandbox.path("run.jsonl"), lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    let said = sandbox.run(&["-q", "run", "--resume", "run.jsonl"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let records = sandbox.contents().records;
    assert_eq!(records.len(), lines.len() - 1);
    assert!(matches!(records.last().unwrap().outcome, Outcome::Attributed(_)));
}

#[test]
fn a_gate_of_ci_is_the_newest_run_until_another_one_is_kept() {
    let sandbox = Sandbox::new(&["fine"]);
    let probe = format!("probe:{FAKE_PROBE}");
    let gate = ["-q", "gate", "test/fake", "-b", &probe, "-s", &probe];
    sandbox.run(&[&gate[..], &["-o", "reports/gate/run.jsonl"]].concat());
    let explained = || sandbox.run(&["explain-verdict", "decode-rate"]);
    let said = explained();
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let newest = || sandbox.run(&["show"]).out;
    let of_gate = newest();
    assert_eq!(of_gate, sandbox.run(&["show", "gate"]).out);
    // By its id, as pages and summaries name it.
    let id =
        windtunnel_ledger::store::read(&sandbox.path("reports/gate/run.jsonl")).unwrap().run.id.0;
    let named = sandbox.run(&["explain-verdict", "decode-rate", "--run", &id]);
    assert_eq!((named.code, &named.out), (0, &said.out), "{}", named.err);
    assert_eq!(sandbox.run(&["-q", "run", "test/fake", "--probe", FAKE_PROBE]).code, 0);
    assert_ne!(newest(), of_gate);
    assert_eq!(explained().out, said.out, "the newest gate is the same");
}

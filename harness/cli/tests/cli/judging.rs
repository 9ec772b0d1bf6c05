//! Verdicts on plain samples.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use crate::sandbox::{Said, Sandbox, redacted};

/// Series whose truth is known, with the expected verdicts.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");

/// The expected result for a series of the corpus.
#[derive(Debug, Deserialize)]
struct Known {
    verdict: String,
    est: Option<f64>,
    lo: Option<f64>,
    hi: Option<f64>,
    n: Option<usize>,
    mde90: Option<f64>,
}

/// The command's result for a series.
#[derive(Debug, Deserialize)]
struct Told {
    verdict: String,
    effect: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    rounds: Option<usize>,
    mde: Option<f64>,
}

fn judge(args: &[&str]) -> (Sandbox, Said) {
    let sandbox = Sandbox::new(&["fine"]);
    let said = sandbox.run(&[&["judge"], args].concat());
    (sandbox, said)
}

/// Runs the command on these files of the corpus.
fn judge_cases(cases: &[&str], args: &[&str]) -> Said {
    let files: Vec<String> =
        cases.iter().map(|case| format!("{CORPUS}/case_{case}.json")).collect();
    let mut all: Vec<&str> = files.iter().map(String::as_str).collect();
    all.extend(args);
    judge(&all).1
}

#[test]
fn the_corpus_gets_the_verdicts_that_are_known() {
    let (_, said) = judge(&[CORPUS, "--format", "json"]);
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let told: BTreeMap<String, Told> = serde_json::from_str(&said.out).unwrap();
    let known = fs::read_to_string(format!("{CORPUS}/verdicts.json")).unwrap();
    let known: BTreeMap<String, Known> = serde_json::from_str(&known).unwrap();
    assert!(told.keys().eq(known.keys()));
    let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-9,
        (a, b) => a == b,
    };
    for ((case, told), known) in told.iter().zip(known.values()) {
        assert_eq!(told.verdict, known.verdict, "{case}");
        assert_eq!(told.rounds, known.n, "{case}");
        let bounds = near(told.low, known.lo) && near(told.high, known.hi);
        assert!(near(told.effect, known.est) && bounds, "{case}: {told:?} {known:?}");
        assert!(known.mde90.is_none() || near(told.mde, known.mde90), "{case}: {told:?} {known:?}");
    }
}

#[test]
fn a_table_shows_each_run_and_what_is_missing() {
    let cases = ["011", "012", "021", "025", "026", "106", "109", "172", "173", "174"];
    insta::assert_snapshot!(judge_cases(&cases, &[]).out);
}

#[test]
fn a_program_reads_one_entry_for_each_series() {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"(\.\d{6})\d+", "$1…");
    let _shortened = settings.bind_to_scope();
    insta::assert_snapshot!(judge_cases(&["021", "106"], &["--format", "json"]).out);
}

#[test]
fn the_exit_code_is_that_of_the_worst_verdict() {
    assert_eq!(judge_cases(&["026", "109"], &[]).code, 0, "pass and improved");
    assert_eq!(judge_cases(&["026", "011"], &[]).code, 3, "inconclusive");
    assert_eq!(judge_cases(&["026", "011"], &["--inconclusive", "warns"]).code, 0);
    assert_eq!(judge_cases(&["026", "011", "012"], &[]).code, 1, "regressed");
}

#[test]
fn the_file_that_the_document_shows_can_be_judged() {
    let document = include_str!("../../../../ci/judge.md");
    let example = document.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let sandbox = Sandbox::new(&["fine"]);
    fs::write(sandbox.path("series.json"), example).unwrap();
    let said = sandbox.run(&["judge", "series.json"]);
    assert_eq!(said.code, 1, "{}", said.err);
    insta::assert_snapshot!(said.out, @"
    monday
      series                      verdict     worse by         interval   margin    MDE   rounds   rule
    ────────────────────────────────────────────────────────────────────────────────────────────────────────────
      decode of the small model   regressed      +5.0%   +4.9% to +5.1%     3.0%   0.2%        6   interleaved
    1 judged in a family of 12: 1 regressed
    ");
}

#[test]
fn pairs_beyond_the_last_look_are_told_and_no_more_are_asked_for() {
    let sandbox = Sandbox::new(&["fine"]);
    // Pairs that differ by a fifth, alternating in direction.
    let rounds = |up: usize| -> BTreeMap<String, [f64; 1]> {
        let value = |place: usize| if place % 2 == up { 1.2 } else { 1.0 };
        (0..160).map(|place| (format!("p{place:03}"), [value(place)])).collect()
    };
    let file = serde_json::json!({
        "id": "noisy", "kind": "time", "mode": "paired", "theta": 0.03,
        "baseline": rounds(0), "candidate": rounds(1),
    });
    fs::write(sandbox.path("series.json"), file.to_string()).unwrap();
    let said = sandbox.run(&["judge", "series.json"]);
    assert_eq!(said.code, 3, "{}", said.err);
    let note = "noisy: judged by the first 150 of 160 pairs: there is no look beyond them\n";
    assert!(said.out.contains(note), "{}", said.out);
    let lack = "noisy lacks a quieter machine: there is no look beyond 150 pairs of rounds, and ";
    assert!(said.out.contains(lack), "{}", said.out);
    assert!(!said.out.contains("more pairs"), "{}", said.out);
}

#[test]
fn a_file_that_cannot_be_judged_is_told_with_its_key() {
    let sandbox = Sandbox::new(&["fine"]);
    let _redacted = redacted(&sandbox);
    let good = r#"{"kind": "time", "mode": "paired", "theta": 0.03,
        "baseline": {"a": [1.0]}, "candidate": {"a": [1.0]}}"#;
    let complaint = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        fs::write(sandbox.path("series.json"), good.replace(from, to)).unwrap();
        let said = sandbox.run(&["judge", "series.json"]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{to}");
        said.err
    };
    insta::assert_snapshot!(complaint("\"theta\": 0.03,", ""), @"error: `series.json`, key `theta`: missing");
    insta::assert_snapshot!(complaint("theta", "thetta"), @"error: `series.json`, key `thetta`: unknown key `thetta`, did you mean `theta`?");
    insta::assert_snapshot!(complaint("0.03", "3%"), @"error: `series.json`, line 1: expected `,` or `}`");
    insta::assert_snapshot!(complaint("0.03", "30"), @"error: `series.json`, key `theta`: a relative margin of `30`: write a share above 0 and below 10, `0.03` for 3 %");
    insta::assert_snapshot!(complaint("\"time\"", "\"tme\""), @"error: `series.json`, key `kind`: unknown value `tme`, did you mean `time`?");
    insta::assert_snapshot!(complaint("{\"a\": [1.0]}}", "{\"a\": [1.0, \"x\"]}}"), @r#"error: `series.json`, key `candidate.a[1]`: invalid type: string "x", expected a number"#);
    insta::assert_snapshot!(complaint("\"candidate\": {\"a\"", "\"candidate\": {\"b\""), @"error: `series.json`, key `baseline`: no round has the name of one of `candidate`: the rounds of a pair share theirs");
    insta::assert_snapshot!(complaint("0.03,", "0.03, \"quantile\": 0.9,"), @"error: `series.json`, key `quantile`: `0.9`: write 0.5, 0.95 or 0.99");
    insta::assert_snapshot!(complaint("0.03,", "0.03, \"abs_floor\": -1,"), @"error: `series.json`, key `abs_floor`: an absolute margin of `-1`: write an amount in the unit of the values, 0 for none");
    insta::assert_snapshot!(complaint("0.03,", "0.03, \"bias_floor\": -1,"), @"error: `series.json`, key `bias_floor`: `-1` is negative: write 0 or more");
    insta::assert_snapshot!(complaint("0.03,", "0.03, \"baseline_sessions\": [],"), @r#"error: `series.json`, key `baseline_sessions`: sessions of other days belong to `"mode": "stored"`"#);
    insta::assert_snapshot!(complaint("\"paired\", \"theta\": 0.03,\n        \"baseline\": {\"a\": [1.0]},", "\"stored\", \"theta\": 0.03,"), @"error: `series.json`, key `baseline`: missing, and so is `baseline_sessions`: write one");
    insta::assert_snapshot!(complaint("1.0]}}", "1.0]}} {}"), @"error: `series.json`, line 2: the file continues after its object: write one series per file");
    insta::assert_snapshot!(complaint("{\"kind\"", "{{\"kind\""), @"error: `series.json`, line 1: key must be a string");
}

#[test]
fn files_that_are_missing_or_named_alike_are_told() {
    let sandbox = Sandbox::new(&["fine"]);
    let _redacted = redacted(&sandbox);
    let complaint = |args: &[&str]| {
        let said = sandbox.run(&[&["judge"], args].concat());
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        said.err
    };
    insta::assert_snapshot!(complaint(&["gone.json"]), @"error: cannot read `gone.json`: No such file or directory (os error 2)");
    insta::assert_snapshot!(complaint(&["scenarios"]), @"error: there is no file `case_*.json` in folder `scenarios`: name the files");
    fs::copy(format!("{CORPUS}/case_026.json"), sandbox.path("one.json")).unwrap();
    fs::copy(format!("{CORPUS}/case_026.json"), sandbox.path("two.json")).unwrap();
    insta::assert_snapshot!(complaint(&["one.json", "two.json"]), @"error: `one.json` and `two.json` are both series `case_026`: give one of them another `id`");
}

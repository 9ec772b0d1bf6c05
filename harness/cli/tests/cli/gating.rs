//! Whole gates over fake probes: they find what is planted in the head, and nothing else.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use windtunnel_ledger::record::Record;

use crate::sandbox::{FAKE_PROBE, Said, Sandbox, redacted};

const SCENARIO: &str = "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\niterations = 2\n\
                        matrix = { batch = [1, 2], output = [8] }\n";

/// A gate whose head has these words planted, and whose base only has noise.
fn gate(words: &str, args: &[&str]) -> (Sandbox, Said) {
    let sandbox = Sandbox::with(SCENARIO);
    let said = gate_in(&sandbox, "noise=0.5 seed=1", words, args);
    (sandbox, said)
}

fn gate_in(sandbox: &Sandbox, base: &str, head: &str, args: &[&str]) -> Said {
    let (base, head) = (sandbox.plant("base-probe", base), sandbox.plant("head-probe", head));
    let all = ["-q", "gate", "test", "--base", &base, "--subject", &head, "--out", "run.jsonl"];
    sandbox.run(&[&all, args].concat())
}

/// Where a document violates `ci/gate.schema.json`.
pub(crate) fn against_schema(document: &Path) -> Vec<String> {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/gate.schema.json");
    let read = |path: &Path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&read(Path::new(schema))).unwrap();
    validator.iter_errors(&read(document)).map(|error| error.to_string()).collect()
}

fn json(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&fs::read_to_string(sandbox.path("gate.json")).unwrap()).unwrap()
}

/// The verdict on a series of the first case.
fn verdict_on(sandbox: &Sandbox, series: &str) -> String {
    let document = json(sandbox);
    let rows = document["cases"][0]["rows"].as_array().unwrap().clone();
    let row = rows.into_iter().find(|row| row["series"] == series).unwrap();
    row["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn unchanged_code_passes_and_everything_is_written_down() {
    let (sandbox, said) = gate("noise=0.5 seed=2", &[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains("\nverdict: pass\n"), "{}", said.out);
    for name in ["run.jsonl", "run.log", "report.html", "summary.md", "junit.xml", "gate.json"] {
        assert!(sandbox.path(name).is_file(), "{name}");
    }
    let rounds = sandbox.contents().records.len();
    assert_eq!(rounds, 2 * (6 + 6 + 3), "two cases, six pairs, three control rounds");
    let page = fs::read_to_string(sandbox.path("report.html")).unwrap();
    let leads =
        page.split("<p class=\"lead\">").skip(1).filter_map(|rest| rest.split("</p>").next());
    let leads: Vec<&str> = leads.collect();
    assert!(leads.iter().any(|lead| lead.contains(" against ")), "{leads:?}");
    assert!(!leads.iter().any(|lead| lead.contains("about equal")), "it is judged: {leads:?}");
    let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("no {words}"));
    assert!(place("Control, the base against itself") < place("<div class=\"row heads\""));
}

#[test]
fn a_budget_that_ends_before_the_first_look_is_told_before_anything_is_measured() {
    let warning = "the first look takes 6 pairs of rounds of each case, about ";
    let gate = |scenario: &str| {
        let sandbox = Sandbox::with(scenario);
        let probe = sandbox.plant("a-probe", "noise=0.5 seed=1");
        let args = ["gate", "test", "--base", &probe, "--subject", &probe, "--out", "run.jsonl"];
        sandbox.run(&args).err
    };
    // Estimated from the model's size; the fake probe would be done sooner.
    let large = SCENARIO.replace("tiny-qwen3", "mistral-7b").replace("[8]", "[256]");
    let err = gate(&large);
    assert!(err.starts_with(warning) && err.contains("the budget is 60 min"), "{err}");
    assert!(!gate(SCENARIO).contains(warning));
    let nowhere = large.replace("matrix = {", "matrix = { device-map = [\"cuda:7\"],");
    let has_gpu = std::path::Path::new("/proc/driver/nvidia/version").exists();
    assert!(
        has_gpu || !gate(&nowhere).contains(warning),
        "what a machine cannot run takes no time"
    );
}

#[test]
fn a_quick_gate_keeps_a_case_that_this_machine_can_run() {
    let two = SCENARIO.replace("matrix = {", "matrix = { device-map = [\"cuda:7\", \"cpu:0\"],");
    let sandbox = Sandbox::with(&two);
    let said = gate_in(&sandbox, "noise=0.5 seed=1", "noise=0.5 seed=2", &["--quick"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let ids = sandbox.contents().run.cases.into_iter().map(|planned| planned.case.id.to_string());
    let ids: Vec<String> = ids.collect();
    assert!(ids.len() == 1 && ids[0].contains("device-map=cpu:0"), "{ids:?}");
}

#[test]
fn a_slow_down_in_decode_is_regressed_there_and_nowhere_else() {
    let (sandbox, said) = gate("noise=0.5 seed=2 decode=6", &[]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(verdict_on(&sandbox, "decode-rate"), "regressed");
    assert_eq!(verdict_on(&sandbox, "peak-rss"), "pass");
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!("slow_decode", said.out);
    let summary = fs::read_to_string(sandbox.path("summary.md")).unwrap();
    assert!(summary.starts_with("<!-- windtunnel gate -->\n### Windtunnel: regressed\n"));
}

#[test]
fn a_speed_up_is_improved() {
    let (sandbox, said) = gate("noise=0.5 seed=2 decode=-6", &[]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(verdict_on(&sandbox, "decode-rate"), "improved");
    assert_eq!(json(&sandbox)["verdict"], "improved");
}

#[test]
fn more_memory_is_regressed_from_64_mib_on() {
    for (bytes, verdict, code) in [(70_000_000, "regressed", 1), (60_000_000, "pass", 0)] {
        let (sandbox, said) = gate(&format!("noise=0.5 seed=2 bytes={bytes}"), &[]);
        assert_eq!(verdict_on(&sandbox, "peak-rss"), verdict);
        assert_eq!(said.code, code, "{}", said.out);
    }
}

#[test]
fn a_wrong_token_with_a_speed_up_is_broken_and_the_base_is_shown() {
    let (sandbox, said) = gate("noise=0.5 seed=2 decode=-10 wrong", &[]);
    assert_eq!(said.code, 5, "{}", said.out);
    assert!(said.out.contains("the output tokens differ between base and head"), "{}", said.out);
    let row = &json(&sandbox)["cases"][0]["rows"][0];
    assert_eq!((&row["verdict"], row["base"].is_f64()), (&"broken".into(), true), "{row}");
    assert_eq!(sandbox.contents().records.len(), 6, "one pair and a control round a case");
}

#[test]
fn a_head_that_crashes_hangs_or_refuses_is_broken_and_a_base_that_does_is_invalid() {
    let short = format!("deadline = 2\n{SCENARIO}").replace("batch = [1, 2], ", "");
    for (behaviour, told) in [
        ("crash", "head: round 1 failed: the probe crashed (exit code 3)"),
        ("hang", "head: round 1 failed: not finished after 2.00 s: killed"),
        ("broken-engine", "head: round 1 failed: cannot load `config.json`: no such file"),
    ] {
        let sandbox = Sandbox::with(&short);
        let said = gate_in(&sandbox, "", behaviour, &[]);
        assert_eq!(said.code, 5, "{}", said.out);
        assert!(said.out.contains(told), "{}", said.out);
        assert!(json(&sandbox)["cases"][0]["rows"][0]["base"].is_f64());
    }
    let sandbox = Sandbox::with(&short);
    let said = gate_in(&sandbox, "crash", "", &[]);
    assert_eq!(said.code, 4, "{}", said.out);
    assert!(said.out.contains("base: round 1 failed"), "{}", said.out);
    let said = gate_in(&Sandbox::with(&short), "unsupported", "unsupported", &[]);
    assert_eq!(said.code, 4, "nothing compared: {}", said.out);
    assert!(said.out.contains("verdict: invalid: nothing was compared"), "{}", said.out);
}

#[test]
fn a_quick_gate_tells_what_it_has_not_seen() {
    let (sandbox, said) = gate("noise=0.5 seed=2", &["--quick"]);
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(said.out.contains("verdict: pass in the 1 case seen; 1 not seen\n"), "{}", said.out);
    let unjudged = json(&sandbox)["unjudged"].as_array().unwrap().clone();
    let unseen = |row: &&Value| row["reason"] == "not seen: left out to keep the run quick";
    assert_eq!(unjudged.iter().filter(unseen).count(), 1, "{unjudged:?}");
}

#[test]
fn a_killed_gate_goes_on_with_what_it_began_with() {
    let sandbox = Sandbox::with(SCENARIO);
    let probe = sandbox.plant("probe", "slow");
    let args = ["-q", "gate", "test", "-b", &probe, "-s", &probe, "--out", "run.jsonl"];
    let mut child = sandbox.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    let lines =
        || fs::read_to_string(sandbox.path("run.jsonl")).unwrap_or_default().lines().count();
    while lines() < 6 && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = sandbox.contents().records;
    assert!((5..30).contains(&before.len()), "{} records were there at the kill", before.len());

    let said = sandbox.run(&["gate", "--resume", "run.jsonl"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let after = sandbox.contents().records;
    assert_eq!(after[..before.len()], before[..]);
    let key = |record: &Record| (record.case.id.clone(), record.subject.clone(), record.round);
    let mut rounds: Vec<_> = after.iter().map(key).collect();
    rounds.sort();
    rounds.dedup();
    assert_eq!((after.len(), rounds.len()), (30, 30));
}

#[test]
fn programs_can_read_what_came_of_it() {
    let (sandbox, said) = gate("noise=0.5 seed=2 decode=6", &["--annotate", "github"]);
    let title = "::error title=regressed%3A test/fake/tiny-qwen3/batch=1%2Coutput=8::decode: ";
    assert!(said.out.contains(title), "{}", said.out);

    let junit = fs::read_to_string(sandbox.path("junit.xml")).unwrap();
    let document = roxmltree::Document::parse(&junit).unwrap();
    let all = |tag: &str| document.descendants().filter(|node| node.has_tag_name(tag)).count();
    assert_eq!(all("testsuite"), 4, "two cases, what was not judged, the whole: {junit}");
    assert!(all("failure") >= 2 && all("testcase") > all("failure"));

    assert_eq!(against_schema(&sandbox.path("gate.json")), [""; 0]);
    assert_eq!(json(&sandbox)["exit"], 1);
    let broken = gate("broken-engine", &[]).0;
    assert_eq!(against_schema(&broken.path("gate.json")), [""; 0]);
    fs::write(sandbox.path("other.json"), "{ \"schema\": 1 }").unwrap();
    assert!(!against_schema(&sandbox.path("other.json")).is_empty());
}

#[test]
fn the_arithmetic_behind_a_verdict_can_be_seen() {
    let (sandbox, _) = gate("noise=0.5 seed=2 decode=6", &[]);
    let explain = |row: &str| sandbox.run(&["explain-verdict", row, "--run", "run.jsonl"]);
    let said = explain("batch=1*decode-rate");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!("explained", said.out);
    assert!(explain("batch=1*kv-bytes").out.contains("compared as they are, without statistics"));
    let said = explain("no such row");
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @"error: no judged row matches `no such row`; rows are written `CASE SERIES`, for instance `test/fake/tiny-qwen3/batch=1,output=8 decode-rate`");
}

#[test]
fn a_gate_is_compared_by_the_same_rule() {
    let (sandbox, gated) = gate("noise=0.5 seed=2 decode=6", &[]);
    let compared = sandbox.run(&["compare", "run.jsonl"]);
    assert_eq!((gated.code, compared.code), (1, 1), "{}{}", compared.out, compared.err);
    assert!(compared.out.contains("verdict: regressed"), "{}", compared.out);
}

#[test]
fn what_cannot_be_gated_is_told() {
    let sandbox = Sandbox::with(SCENARIO);
    let probe = format!("probe:{FAKE_PROBE}");
    let run = |args: &[&str]| {
        let said =
            sandbox.run(&[&["-q", "gate", "test", "-b", &probe, "-s", &probe], args].concat());
        (said.code, said.err)
    };
    let _redacted = redacted(&sandbox);
    let (code, err) = run(&["--filter", "no such case"]);
    assert_eq!(code, 4);
    insta::assert_snapshot!(err, @"nothing to compare, which never passes (exit code 4): 0 skipped, 2 left out by the filter; `windtunnel list` shows the cases");

    let policy = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/gate.toml"));
    let policy = policy.unwrap();
    fs::write(sandbox.path("few.toml"), policy.replace("pairs   = 30", "pairs   = 5")).unwrap();
    let (code, err) = run(&["--policy", "few.toml"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"error: `few.toml`: a budget of 5 pairs decides nothing: the first look is taken after 6");

    fs::write(sandbox.path("odd.toml"), policy.replace("minutes = 60", "hours = 1")).unwrap();
    let (code, err) = run(&["--policy", "odd.toml"]);
    assert_eq!(code, 2);
    assert!(err.contains("`odd.toml`, line 8: unknown key `hours`"), "{err}");

    let run_only = sandbox.measure();
    assert_eq!(run_only.code, 0, "{}", run_only.err);
    let said = sandbox.run(&["gate", "--resume", "run.jsonl"]);
    insta::assert_snapshot!(said.err, @"error: `run.jsonl` holds a run that only measures: continue with `windtunnel run --resume run.jsonl`");
    assert_eq!(said.code, 2);
}

#[test]
fn a_machine_is_calibrated_by_unchanged_code_and_later_gates_know_it() {
    let sandbox = Sandbox::with(&SCENARIO.replace("batch = [1, 2], ", ""));
    let probe = sandbox.plant("quiet-probe", "noise=0.5 seed=3");
    for (session, out) in ["one.jsonl", "two.jsonl"].into_iter().enumerate() {
        let said = sandbox.run(&["-q", "calibrate", "test", "-s", &probe, "-o", out]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        let sessions = format!("in {} session", session + 1);
        assert!(said.out.contains(&sessions), "{}", said.out);
        assert!(said.out.contains("0 of "), "{}", said.out);
    }
    let machines = fs::read_dir(sandbox.path("baselines/machines")).unwrap();
    let files: Vec<_> = machines.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);

    let gated = gate_in(&sandbox, "noise=0.5 seed=1", "noise=0.5 seed=2 decode=6", &[]);
    assert_eq!(gated.code, 1, "{}", gated.out);
    let terms = sandbox.contents().run.gate.unwrap();
    assert_eq!(terms.floors.bias.len(), terms.floors.session_sd.len());
    assert!(terms.floors.bias.values().all(|bias| *bias < 0.005), "{:?}", terms.floors);

    fs::write(&files[0], "{}").unwrap();
    let gated = sandbox.run(&["-q", "gate", "test", "-b", &probe, "-s", &probe]);
    assert_eq!(gated.code, 2);
    assert!(
        gated.err.contains("is not a calibration: delete it and calibrate again"),
        "{}",
        gated.err
    );
}

#[test]
fn shards_are_merged_into_the_run_that_they_share() {
    let sandbox = Sandbox::with(SCENARIO);
    let base = sandbox.plant("base-probe", "noise=0.5 seed=1");
    let head = sandbox.plant("head-probe", "noise=0.5 seed=2 decode=6");
    let mut cases = Vec::new();
    for (shard, out) in [("1/2", "a.jsonl"), ("2/2", "b.jsonl")] {
        let args = ["-q", "gate", "test", "-b", &base, "-s", &head, "--shard", shard, "-o", out];
        let said = sandbox.run(&args);
        assert_eq!(said.code, 1, "{}{}", said.out, said.err);
        assert!(said.out.contains("7 judged in a family of 14"), "{}", said.out);
        let run = windtunnel_ledger::store::read(&sandbox.path(out)).unwrap().run;
        assert_eq!(run.cases.len(), 1);
        cases.push(run.cases[0].case.id.clone());
    }
    assert_ne!(cases[0], cases[1]);
    let said = sandbox.run(&["merge", "a.jsonl", "b.jsonl", "-o", "run.jsonl"]);
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{}", said.out);
    assert!(said.out.contains("14 judged as one family"), "{}", said.out);
    let merged = sandbox.contents();
    assert_eq!(merged.run.cases.iter().map(|planned| planned.shard).collect::<Vec<_>>(), [0, 1]);
    assert!(merged.records.iter().all(|record| record.run == merged.run.id));
    assert_eq!(json(&sandbox)["family"], 14);
    let machine = merged.records[0].environment.machine.key();
    assert_eq!(json(&sandbox)["machine"], machine.as_str());
    let compared = sandbox.run(&["compare", "run.jsonl"]);
    assert_eq!(compared.code, 1, "its rounds alternated: {}", compared.out);

    // As if a shard had been killed before its first round.
    let text = fs::read_to_string(sandbox.path("b.jsonl")).unwrap();
    let begun = text.lines().next().unwrap();
    fs::write(sandbox.path("killed.jsonl"), format!("{begun}\n")).unwrap();
    let said = sandbox.run(&["merge", "a.jsonl", "killed.jsonl", "-o", "half.jsonl"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    insta::assert_snapshot!(said.err, @"error: `killed.jsonl` is not finished: continue with `windtunnel gate --resume killed.jsonl`, then merge");

    let twice = sandbox.run(&["merge", "a.jsonl", "a.jsonl", "-o", "twice.jsonl"]);
    assert_eq!(twice.code, 2);
    assert!(twice.err.contains("is in `a.jsonl` and in a run before it"), "{}", twice.err);
    let other = ["-q", "gate", "test", "-b", &head, "-s", &base, "--shard", "2/2", "-o", "c.jsonl"];
    assert_eq!(sandbox.run(&other).code, 0);
    let said = sandbox.run(&["merge", "a.jsonl", "c.jsonl", "-o", "d.jsonl"]);
    insta::assert_snapshot!(said.err, @"error: `c.jsonl` and `a.jsonl` measured different subjects: build once and give every shard the same probes");

    // A pass of a part would look like a pass of the whole.
    let said = sandbox.run(&["merge", "a.jsonl", "-o", "part.jsonl"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    insta::assert_snapshot!(said.err, @"error: a part of the plan is missing: merge every run that `--shard` made of it, or its cases go unjudged");
    assert!(!sandbox.path("part.jsonl").exists());
}

#[test]
fn shards_that_only_measure_are_merged_into_a_folder_that_was_not_there_and_end_as_a_run() {
    let sandbox = Sandbox::new(&["fine", "liar"]);
    for (shard, out) in [("1/2", "a.jsonl"), ("2/2", "b.jsonl")] {
        let args = ["run", "test/fake", "--probe", FAKE_PROBE, "--shard", shard, "-o", out];
        sandbox.run(&args);
    }
    let said = sandbox.run(&["merge", "a.jsonl", "b.jsonl", "-o", "new/all.jsonl"]);
    assert_eq!((said.code, said.err.as_str()), (5, ""), "{}", said.out);
    assert!(said.out.contains("the output tokens differ between rounds"), "{}", said.out);
    assert!(sandbox.path("new/all.jsonl").is_file() && sandbox.path("new/all.html").is_file());
}

#[test]
fn a_head_that_was_asked_other_things_is_invalid_and_not_broken() {
    let sandbox = Sandbox::new(&["fine"]);
    let (base, head) = (sandbox.plant("base", "fine"), sandbox.plant("head", "other-prompts"));
    let args = ["-q", "gate", "test/fake", "--base", &base, "--subject", &head, "-o", "run.jsonl"];
    let said = sandbox.run(&args);
    assert_eq!(said.code, 4, "{}{}", said.out, said.err);
    let reason = "the prompts differ: this probe draws them differently";
    assert!(said.out.contains(reason), "{}", said.out);
}

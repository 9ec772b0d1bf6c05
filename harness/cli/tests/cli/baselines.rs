//! The life of a baseline: recorded, promoted, compared against, shared and pruned.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use windtunnel_ledger::Record;

use crate::sandbox::{Said, Sandbox, redacted};

const SCENARIO: &str = "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\niterations = 2\n\
                        matrix = { batch = [1], output = [8] }\n";
/// A log of three upstream commits; commits up to the second are considered.
pub(crate) const LOG: &str = r#"
repository = "https://example.org/upstream"
considered = "bbbbbbbbb"
[[commit]]
hash = "aaaaaaaaa"
date = "2026-01-01"
area = "engine"
priority = "P1"
state = "skipped"
change = "one"
reason = "none"
[[commit]]
hash = "bbbbbbbbb"
date = "2026-01-02"
area = "engine"
priority = "P1"
state = "skipped"
change = "two"
reason = "none"
"#;

fn workspace() -> Sandbox {
    let sandbox = Sandbox::with(SCENARIO);
    fs::create_dir_all(sandbox.path("engine")).unwrap();
    fs::write(sandbox.path("engine/upstream.toml"), LOG).unwrap();
    fs::create_dir_all(sandbox.path("ci")).unwrap();
    fs::write(sandbox.path("ci/gate.toml"), policy()).unwrap();
    sandbox
}

/// The repository's policy, changed so that no state of the machine makes a round void.
pub(crate) fn policy() -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/gate.toml"));
    let text = text.unwrap();
    let calm = [("idle-before = 0.5", "idle-before = 0.0"), ("stolen      = 0.05", "stolen = 1.0")];
    let calm = calm.iter().chain(&[("swapped     = 0 ", "swapped = 1_000_000_000 ")]);
    calm.fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

fn baseline(sandbox: &Sandbox, args: &[&str]) -> Said {
    sandbox.run(&[&["-q", "baseline"], args].concat())
}

/// Records a session of a probe in which these words are planted.
fn record(sandbox: &Sandbox, probe: &str, words: &str, upstream: &str) {
    let probe = sandbox.plant(probe, words);
    let args = ["record", "test", "-s", &probe, "-n", "5", "--upstream", upstream];
    let said = baseline(sandbox, &args);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

fn promote(sandbox: &Sandbox, args: &[&str]) -> Said {
    baseline(sandbox, &[&["promote", "--by", "Ada"], args].concat())
}

/// A promoted baseline of five sessions of the same probe.
fn promoted() -> Sandbox {
    let sandbox = workspace();
    (0..5).for_each(|_| record(&sandbox, "base-probe", "noise=0.5 seed=1", "aaaaaaaaa"));
    let said = promote(&sandbox, &["--upstream", "aaaaaaaaa"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    sandbox
}

fn gate(sandbox: &Sandbox, words: &str, args: &[&str]) -> Said {
    let head = sandbox.plant("head-probe", words);
    let all = ["-q", "gate", "test", "--base", "baseline", "-s", &head, "-o", "run.jsonl"];
    sandbox.run(&[&all, args].concat())
}

/// The files of all sessions, sorted by name.
fn sessions(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![sandbox.path("baselines")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "jsonl") => found.push(path),
                false => (),
            }
        }
    }
    found.sort();
    found
}

/// Redacts the names of sessions and machines, which differ from run to run.
fn settled(
    sandbox: &Sandbox,
) -> (insta::internals::SettingsBindDropGuard, insta::internals::SettingsBindDropGuard) {
    let outer = redacted(sandbox);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"[a-z0-9-]+-\d+c-\d+g(-\d+x[a-z0-9-]+?)?-[0-9a-f]{6}", "MACHINE");
    settings.add_filter(r"probe-[0-9a-f]{9,32}", "PROBE");
    settings.add_filter(r"TIME-[0-9a-f]{16}", "SESSION");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "WHEN");
    settings.add_filter(r"policy [0-9a-f]{32}", "policy HASH");
    // Columns are as wide as the machine's name.
    settings.add_filter(r"─+", "─");
    settings.add_filter(r"  +", "  ");
    (outer, settings.bind_to_scope())
}

#[test]
fn five_sessions_judge_a_head_by_what_is_stored_and_say_so() {
    let sandbox = promoted();
    assert_eq!(sessions(&sandbox).len(), 5);
    let said = gate(&sandbox, "noise=0.5 seed=2 decode=20", &[]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let _settled = settled(&sandbox);
    insta::assert_snapshot!("stored_gate", said.out);
    insta::assert_snapshot!(said.err, @"the base cannot be built here: the head is compared with its records");
    let own = |record: &&Record| record.subject.name == "probe:head-probe";
    let contents = sandbox.contents();
    assert_eq!(contents.records.iter().filter(own).count(), 10, "the head is measured alone");
    assert_eq!(contents.records.len(), 35, "and the run holds what it is compared with");
    let summary = fs::read_to_string(sandbox.path("summary.md")).unwrap();
    assert!(
        summary.contains("Base: stored aaaaaaaaa, 1 upstream commit before the head, 5 sessions."),
        "{summary}"
    );
    assert!(summary.contains("regressed (stored)"), "{summary}");
}

#[test]
fn unchanged_code_passes_beside_five_sessions_and_is_undecided_beside_one() {
    let sandbox = promoted();
    let said = gate(&sandbox, "noise=0.5 seed=2", &[]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("pass (stored)"), "{}", said.out);

    let sandbox = workspace();
    record(&sandbox, "base-probe", "noise=0.5 seed=1", "bbbbbbbbb");
    assert_eq!(promote(&sandbox, &[]).code, 0);
    let said = gate(&sandbox, "noise=0.5 seed=2 decode=50", &[]);
    assert!(
        said.out.contains("inconclusive (stored)") || said.out.contains("inconclusive"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("pass (stored)"), "{}", said.out);
    assert!(said.out.contains("store 5 sessions of the base (there are 1)"), "{}", said.out);
}

#[test]
fn a_wrong_token_is_broken_beside_a_stored_base_too() {
    let sandbox = promoted();
    let said = gate(&sandbox, "noise=0.5 seed=2 decode=-10 wrong", &["--base", "stored"]);
    assert_eq!(said.code, 2, "one base at a time");
    let said = gate(&sandbox, "noise=0.5 seed=2 decode=-10 wrong", &[]);
    assert_eq!(said.code, 5, "{}{}", said.out, said.err);
    assert!(said.out.contains("the output tokens differ between base and head"), "{}", said.out);
}

#[test]
fn without_a_baseline_nothing_is_green_and_the_commands_are_named() {
    let sandbox = workspace();
    let _settled = settled(&sandbox);
    let said = gate(&sandbox, "", &[]);
    assert_eq!((said.code, said.out.as_str()), (4, ""));
    insta::assert_snapshot!(said.err, @r"
    error: there is no baseline to compare this with: nothing is promoted on machines like this (`MACHINE`)
    hint: record a session with `windtunnel baseline record`, then make it count with `windtunnel baseline promote`; `windtunnel baseline list` shows all
    ");
    record(&sandbox, "base-probe", "", "bbbbbbbbb");
    let said = gate(&sandbox, "", &[]);
    assert_eq!(said.code, 4);
    insta::assert_snapshot!(said.err, @r"
    error: there is no baseline to compare this with: nothing is promoted on machines like this (`MACHINE`)
    hint: make it count with `windtunnel baseline promote`; `windtunnel baseline list` shows all
    ");
    let said = baseline(&sandbox, &["show"]);
    assert_eq!(said.code, 4, "{}", said.out);
    let said = promote(&sandbox, &["--upstream", "aaaaaaaaa"]);
    assert_eq!(said.code, 4);
    insta::assert_snapshot!(said.err, @r"
    error: nothing was recorded at aaaaaaaaa on `MACHINE`
    hint: record it with `windtunnel baseline record`; `windtunnel baseline list` shows what there is
    ");
}

#[test]
fn what_is_regressed_is_promoted_only_after_it_was_accepted() {
    let sandbox = promoted();
    record(&sandbox, "slow-probe", "noise=0.5 seed=2 decode=20", "bbbbbbbbb");
    let refused = promote(&sandbox, &[]);
    assert_eq!(refused.code, 1, "{}{}", refused.out, refused.err);
    let _settled = settled(&sandbox);
    insta::assert_snapshot!("not_promoted", refused.err);
    let current = || fs::read_to_string(sandbox.path("baselines/current.toml")).unwrap();
    assert_eq!(current().matches("  {").count(), 1, "nothing was moved");

    let said = baseline(&sandbox, &["accept", "--reason", " ", "--by", "Ada"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @"error: an empty reason explains nothing: write one");
    let row = ["accept", "decode-rate", "--reason", "it was wrong before", "--by", "Ada"];
    assert_eq!(baseline(&sandbox, &row).code, 0);
    assert!(current().contains("it was wrong before") && current().contains("\"Ada\""));
    let again = promote(&sandbox, &[]);
    assert_eq!(again.code, 1, "one row is accepted, the others are not: {}", again.err);
    assert!(!again.err.contains("decode-rate"), "{}", again.err);
    assert_eq!(baseline(&sandbox, &["accept", "--reason", "the same", "--by", "Ada"]).code, 0);
    let nothing = baseline(&sandbox, &["accept", "--reason", "the same", "--by", "Ada"]);
    assert_eq!(nothing.code, 4);
    assert!(nothing.err.contains("from being promoted"), "{}", nothing.err);
    let said = promote(&sandbox, &[]);
    assert_eq!(said.code, 0, "{}", said.err);
    insta::assert_snapshot!(said.out.lines().last().unwrap(), @"PROBE at bbbbbbbbb on `MACHINE` counts from now on");
    let twice = promote(&sandbox, &[]);
    insta::assert_snapshot!(twice.out, @"PROBE at bbbbbbbbb on `MACHINE` counts already");
    insta::assert_snapshot!("shown", baseline(&sandbox, &["show"]).out);
    insta::assert_snapshot!("listed", baseline(&sandbox, &["list"]).out);
    // An older head is compared with what was promoted at its own upstream commit.
    let older = baseline(&sandbox, &["show", "--upstream", "aaaaaaaaa"]).out;
    assert!(older.contains("aaaaaaaaa, the upstream commit of the head"), "{older}");
}

#[test]
fn what_is_broken_is_not_promoted() {
    let sandbox = promoted();
    record(&sandbox, "wrong-probe", "noise=0.5 seed=2 wrong", "bbbbbbbbb");
    let said = promote(&sandbox, &[]);
    assert_eq!(said.code, 5, "{}", said.err);
    assert!(said.err.contains("test/fake/tiny-qwen3/batch=1,output=8: broken"), "{}", said.err);

    let sandbox = workspace();
    record(&sandbox, "crash-probe", "crash", "bbbbbbbbb");
    let said = promote(&sandbox, &[]);
    assert_eq!(said.code, 5, "the first one too: {}{}", said.out, said.err);
}

#[test]
fn another_policy_or_other_features_are_invalid_with_all_reasons() {
    let sandbox = promoted();
    let strict = policy().replace("relative = 0.03", "relative = 0.02");
    fs::write(sandbox.path("strict.toml"), strict).unwrap();
    let scenario = SCENARIO.replace("iterations = 2", "iterations = 3");
    fs::write(sandbox.path("scenarios/test/fake.toml"), scenario).unwrap();
    let said = gate(&sandbox, "", &["--policy", "strict.toml"]);
    assert_eq!(said.code, 4, "{}{}", said.out, said.err);
    assert!(said.out.contains("the case means something else"), "{}", said.out);
    assert!(said.out.contains("policy: `"), "{}", said.out);
    let own = |record: &&Record| record.subject.name == "probe:head-probe";
    assert_eq!(sandbox.contents().records.iter().filter(own).count(), 1, "one round tells it all");
}

#[test]
fn damage_is_named_by_file_and_line_and_costs_nothing_else() {
    let sandbox = promoted();
    let files = sessions(&sandbox);
    let text = fs::read_to_string(&files[0]).unwrap();
    fs::write(&files[0], text.replacen("\"round\":2", "\"round\":7", 1)).unwrap();
    let text = fs::read_to_string(&files[1]).unwrap();
    fs::write(&files[1], &text[..text.len() / 2]).unwrap();
    let text = fs::read_to_string(&files[2]).unwrap();
    fs::write(&files[2], text.replacen("{\"schema\":1,\"record\"", "{\"schema\":9,\"future\"", 1))
        .unwrap();
    let said = baseline(&sandbox, &["verify"]);
    assert_eq!(said.code, 2);
    let _settled = settled(&sandbox);
    insta::assert_snapshot!(said.err, @r"
    error: `baselines/aaaaaaaaa/MACHINE/test/fake/SESSION.jsonl`, line 3: this line differs from what was sealed
    error: `baselines/aaaaaaaaa/MACHINE/test/fake/SESSION.jsonl`, line 4: the file ends here, without its seal: it was cut short
    error: `baselines/aaaaaaaaa/MACHINE/test/fake/SESSION.jsonl`, line 2: written in schema 9, this version reads up to 1; use a newer `windtunnel`
    ");
    insta::assert_snapshot!(said.out, @"2 sessions with 10 records as they were sealed, 3 damaged");
    let gated = gate(&sandbox, "", &[]);
    assert_eq!(gated.code, 2, "{}", gated.out);
    assert!(
        gated.err.contains("(and 2 more); `windtunnel baseline verify` shows all damage"),
        "{}",
        gated.err
    );
    let listed = baseline(&sandbox, &["list"]);
    assert_eq!(listed.code, 2, "what is whole is listed: {}", listed.out);
    assert!(listed.out.contains("aaaaaaaaa"), "{}", listed.out);
    // As if only others had the files that are damaged here.
    for file in &files[..3] {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(gate(&sandbox, "noise=0.5 seed=2", &["--base", "x"]).code, 2);
    assert_eq!(baseline(&sandbox, &["verify"]).code, 0);
}

#[test]
fn a_run_is_kept_as_a_session_and_never_twice() {
    let sandbox = workspace();
    sandbox.measure();
    let from = ["record", "--from", "run.jsonl", "--upstream", "bbbbbbbbb"];
    let said = baseline(&sandbox, &from);
    assert_eq!(said.code, 0, "{}", said.err);
    let _settled = settled(&sandbox);
    insta::assert_snapshot!(said.out, @"kept baselines/bbbbbbbbb/MACHINE/test/fake/SESSION.jsonl");
    let kept = fs::read(&sessions(&sandbox)[0]).unwrap();
    let said = baseline(&sandbox, &from);
    insta::assert_snapshot!(said.out, @"is there already: baselines/bbbbbbbbb/MACHINE/test/fake/SESSION.jsonl");
    assert_eq!(sessions(&sandbox).len(), 1);
    assert_eq!(fs::read(&sessions(&sandbox)[0]).unwrap(), kept);
    // To other commands a session is a run like any other.
    let session = sessions(&sandbox)[0].display().to_string();
    let said = sandbox.run(&["compare", &session, "run.jsonl"]);
    assert!(said.out.contains("verdict: inconclusive"), "{}{}", said.out, said.err);

    let said = baseline(&sandbox, &["record", "--from", "run.jsonl"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @"error: it is not known at which upstream commit `probe:FAKE-PROBE` is: give it with `--upstream HASH`");

    // A prefix of a hash stands for the hash in the log.
    let log = LOG.replace("hash = \"aaaaaaaaa\"", "hash = \"aaaaaaaaa0123\"");
    fs::write(sandbox.path("engine/upstream.toml"), log).unwrap();
    let said = baseline(&sandbox, &["record", "--from", "run.jsonl", "--upstream", "aaaaaaaaa"]);
    assert!(said.out.starts_with("\nkept baselines/aaaaaaaaa0123/"), "{}{}", said.out, said.err);
    // So does a longer form of that hash.
    let all = "aaaaaaaaa0123456789";
    let said = baseline(&sandbox, &["record", "--from", "run.jsonl", "--upstream", all]);
    assert!(said.out.contains("is there already: baselines/aaaaaaaaa0123/"), "{}", said.out);
}

#[test]
fn a_baseline_that_another_policy_let_count_is_marked() {
    let sandbox = promoted();
    let listed = || baseline(&sandbox, &["list"]).out;
    assert!(!listed().contains("not by"), "{}", listed());
    let strict = policy().replace("relative = 0.03", "relative = 0.02");
    fs::write(sandbox.path("ci/gate.toml"), strict).unwrap();
    assert!(listed().contains(", not by `ci/gate.toml`"), "{}", listed());
    assert!(listed().ends_with("are invalid until it is promoted again\n"), "{}", listed());
    // A list judges nothing, and so does not need the policy.
    fs::write(sandbox.path("ci/gate.toml"), "pears = 30").unwrap();
    assert!(!listed().contains("not by"), "{}", listed());
}

#[test]
fn what_nobody_could_build_again_is_not_recorded() {
    let sandbox = workspace();
    sandbox.measure();
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    fs::write(sandbox.path("run.jsonl"), text.replace("\"dirty\":false", "\"dirty\":true"))
        .unwrap();
    let said = baseline(&sandbox, &["record", "--from", "run.jsonl", "--upstream", "bbbbbbbbb"]);
    assert_eq!(said.code, 2);
    let _settled = settled(&sandbox);
    insta::assert_snapshot!(said.err, @"error: `probe:FAKE-PROBE` differs from its commit, and a baseline must be reproducible: commit first, or record `--subject rev:HEAD`");
    let few = baseline(&sandbox, &["record", "test", "-n", "4"]);
    assert!(few.err.contains("write a whole number from 5 to 100000"), "{}", few.err);
}

#[test]
fn pruning_names_what_it_would_delete_and_keeps_what_counts() {
    let sandbox = promoted();
    record(&sandbox, "tried-probe", "seed=3", "aaaaaaaaa");
    record(&sandbox, "newest-probe", "seed=4", "aaaaaaaaa");
    let said = baseline(&sandbox, &["prune", "--keep", "1"]);
    assert_eq!((said.code, sessions(&sandbox).len()), (0, 7), "{}", said.out);
    let _settled = settled(&sandbox);
    insta::assert_snapshot!(said.out, @r"
    baselines/aaaaaaaaa/MACHINE/test/fake/SESSION.jsonl
    1 session would be deleted: repeat with `--yes` to do it
    ");
    let said = baseline(&sandbox, &["prune", "--keep", "1", "--yes"]);
    assert!(said.out.ends_with("1 session deleted\n"), "{}", said.out);
    assert_eq!(sessions(&sandbox).len(), 6);
    let said = baseline(&sandbox, &["prune", "--keep", "1", "--yes"]);
    assert_eq!(said.out, "nothing to delete of 6 sessions\n");
    assert_eq!(gate(&sandbox, "noise=0.5 seed=2", &[]).code, 0, "the promoted ones are there");
}

#[test]
fn sessions_are_shared_by_a_folder_and_damage_does_not_spread() {
    let (here, there) = (promoted(), workspace());
    let shared = tempfile::tempdir().unwrap();
    let place = shared.path().join("team").display().to_string();
    fs::write(here.path("baselines/store.toml"), format!("url = {place:?}\n")).unwrap();
    let said = baseline(&here, &["push"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("5 sessions copied to `"), "{}", said.out);
    assert!(baseline(&here, &["push"]).out.contains("0 sessions copied"));
    let victim = sessions(&here)[0].strip_prefix(here.path("baselines")).unwrap().to_owned();
    let victim = PathBuf::from(&place).join(victim);
    fs::write(&victim, "{}").unwrap();
    let said = baseline(&there, &["pull", &place]);
    assert_eq!(said.code, 2);
    assert!(
        said.out.contains("4 sessions copied") && said.out.contains("1 damaged and left alone"),
        "{}",
        said.out
    );
    assert!(said.err.contains("line 1: "), "{}", said.err);
    assert_eq!(sessions(&there).len(), 4);

    let said = baseline(&there, &["pull"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @r#"error: no place given: name a folder or a URL such as `s3://BUCKET/PREFIX`, or write `url = "…"` into `baselines/store.toml`"#);
    let unset = baseline(&here, &["push", ""]);
    assert_eq!((unset.code, unset.out.as_str(), unset.err), (2, "", said.err));
    let said = baseline(&there, &["pull", "no/such/share"]);
    insta::assert_snapshot!(said.err, @"error: there is no folder `no/such/share` to pull from");
    assert_eq!(said.code, 2);
    fs::write(there.path("baselines/store.toml"), "ulr = \"x\"\n").unwrap();
    let said = baseline(&there, &["pull"]);
    assert!(said.err.contains("`baselines/store.toml`, line 1: unknown key `ulr`"), "{}", said.err);
}

#[test]
fn a_run_is_compared_with_the_baseline() {
    let sandbox = promoted();
    assert_eq!(gate(&sandbox, "noise=0.5 seed=2 decode=20", &[]).code, 1);
    let said = sandbox.run(&["compare", "baseline", "run.jsonl@probe:head-probe"]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert!(
        said.out.starts_with("base baseline aaaaaaaaa, 1 upstream commit before the head\n"),
        "{}",
        said.out
    );
    assert!(said.out.contains("regressed (stored)"), "{}", said.out);
}

#[test]
fn a_killed_gate_beside_a_stored_base_goes_on_with_all_of_it() {
    let sandbox = promoted();
    assert_eq!(gate(&sandbox, "noise=0.5 seed=2", &[]).code, 0);
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let whole = sandbox.contents().records;
    // As if killed while the records of the base were being written.
    let lines: Vec<&str> = text.lines().take(8).collect();
    fs::write(sandbox.path("run.jsonl"), lines.join("\n") + "\n").unwrap();
    let said = sandbox.run(&["-q", "gate", "--resume", "run.jsonl"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let again = sandbox.contents().records;
    let key = |record: &Record| (record.subject.name.clone(), record.run.clone(), record.round);
    assert_eq!(again.len(), 35);
    assert!(again.iter().map(key).eq(whole.iter().map(key)));
    assert!(again[..25] == whole[..25], "the base is what was recorded");
}

#[test]
fn a_log_that_is_named_is_looked_for_where_its_name_is_typed() {
    let sandbox = workspace();
    fs::create_dir(sandbox.path("engine/notes")).unwrap();
    let list = |log: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command.current_dir(sandbox.path("engine/notes")).args(["baseline", "list", "--log", log]);
        Said::from(command.output().unwrap())
    };
    let said = list("../upstream.toml");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let said = list("upstream.toml");
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(said.err.starts_with("error: there is no integration log `upstream.toml`: "));
}

#[test]
fn runs_judged_by_other_policies_are_not_compared() {
    let sandbox = Sandbox::with(SCENARIO);
    let (base, head) =
        (sandbox.plant("base-probe", "seed=1"), sandbox.plant("head-probe", "seed=2"));
    let strict = policy().replace("relative = 0.03", "relative = 0.02");
    fs::write(sandbox.path("strict.toml"), strict).unwrap();
    let gate = |out: &str, more: &[&str]| {
        let args = ["-q", "gate", "test", "-b", &base, "-s", &head, "-o", out];
        sandbox.run(&[&args, more].concat())
    };
    gate("a.jsonl", &[]);
    gate("b.jsonl", &["--policy", "strict.toml"]);
    let (a, b) = (format!("a.jsonl@{base}"), format!("b.jsonl@{head}"));
    let said = sandbox.run(&["compare", &a, &b]);
    assert_eq!(said.code, 4, "{}{}", said.out, said.err);
    assert!(said.out.contains("  policy: `"), "{}", said.out);
    let same = sandbox.run(&["compare", &a, &format!("a.jsonl@{head}")]);
    assert!(!same.out.contains("policy: `"), "{}", same.out);
}

#[test]
fn an_interrupted_session_goes_on_and_is_kept_by_the_commands_that_it_told() {
    let sandbox = workspace();
    let probe = sandbox.plant("a-probe", "noise=0.5 seed=1");
    let args = ["record", "test", "-s", &probe, "-n", "5", "--upstream", "aaaaaaaaa"];
    let said = sandbox.run(&[&["baseline"], &args[..]].concat());
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let told = said.err.lines().find_map(|line| line.split_once(" (if interrupted: ")).unwrap().1;
    let (again, keep) = told.trim_end_matches(')').split_once(", then ").unwrap();
    let again: Vec<&str> = again.split(' ').skip(3).collect();
    let keep: Vec<&str> = keep.split(' ').skip(3).collect();
    assert_eq!(again[..2], ["run", "--resume"]);
    assert_eq!(again[3..], ["--forget-oom"]);

    // As if killed after its second round.
    let run = sandbox.path(again[2]);
    let text = fs::read_to_string(&run).unwrap();
    let lines: Vec<&str> = text.lines().take(3).collect();
    fs::write(&run, lines.join("\n") + "\n").unwrap();
    fs::remove_dir_all(sandbox.path("baselines")).unwrap();
    for args in [again, keep] {
        let said = sandbox.run(&args);
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
    }
    assert_eq!(sessions(&sandbox).len(), 1);
}

#[test]
fn a_session_by_rules_that_no_file_holds_can_go_on_too() {
    let sandbox = workspace();
    fs::remove_file(sandbox.path("ci/gate.toml")).unwrap();
    let probe = sandbox.plant("a-probe", "noise=0.5 seed=1");
    let args = ["record", "test", "-s", &probe, "-n", "5", "--upstream", "aaaaaaaaa"];
    let said = sandbox.run(&[&["baseline"], &args[..]].concat());
    assert!(said.err.contains(" (if interrupted: windtunnel "), "{}", said.err);
    assert!(said.err.contains("/run.jsonl --forget-oom, then windtunnel "), "{}", said.err);
}

#[test]
fn the_baselines_of_this_project_count_under_its_policy() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let list = ["-C", root, "baseline", "list"];
    let output = Command::new(env!("CARGO_BIN_EXE_windtunnel")).args(list).output().unwrap();
    let said = Said::from(output);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(!said.out.contains("not by `ci/gate.toml`"), "promote them again: {}", said.out);
}

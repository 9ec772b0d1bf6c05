//! `windtunnel bisect`: finds a planted commit, whatever surrounds it.

use std::fs;

use super::script::{BUILD, Script};
use crate::sandbox::{FAKE_PROBE, Said, Sandbox, redacted};

const SCENARIO: &str = "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\niterations = 2\n\
                        matrix = { batch = [1], output = [8] }\n";
const CASE: &str = "test/fake/tiny-qwen3/batch=1,output=8";

/// A toy engine and its description; its first commit is tagged `good`.
fn sandbox() -> (Sandbox, Script) {
    let sandbox = Sandbox::with(SCENARIO);
    let script = Script::new(&sandbox.path("engine"));
    script.commit(
        "Toy engine",
        &[
            ("build.sh", BUILD),
            (".gitignore", "/probe\n"),
            ("plants/a", "noise=0.5\nseed=1\n"),
            ("src/lib.rs", ""),
        ],
    );
    script.git(&["tag", "good"]);
    let description = format!(
        "repository = \"engine\"\nbuild = \"sh build.sh '{FAKE_PROBE}'\"\n[probe]\npath = \"probe\"\n"
    );
    fs::write(sandbox.path("engine.toml"), description).unwrap();
    (sandbox, script)
}

/// Makes commits that change nothing relevant.
fn idle(script: &Script, words: &[&str]) {
    for word in words {
        script.commit(&format!("Write {word}"), &[(&format!("src/{word}.rs"), word)]);
    }
}

fn bisect(sandbox: &Sandbox, args: &[&str]) -> Said {
    let all = ["-q", "bisect", "--good", "good", "--subject", "external:engine.toml"];
    sandbox.run(&[&all, args].concat())
}

#[test]
fn a_slow_down_in_a_merged_branch_is_found_and_confirmed_twice() {
    let (sandbox, script) = sandbox();
    idle(&script, &["one", "two", "three"]);
    script.git(&["checkout", "--quiet", "-b", "side"]);
    idle(&script, &["four", "five"]);
    let slow = script.commit("Refactor decode", &[("plants/slow", "decode=5\n")]);
    script.commit("Break the build", &[("build.sh", "no-such-compiler\n")]);
    script.commit("Mend the build", &[("build.sh", BUILD)]);
    script.git(&["checkout", "--quiet", "upstream"]);
    idle(&script, &["six", "seven", "eight"]);
    script.git(&["merge", "--quiet", "--no-ff", "--message", "Merge side", "side"]);
    script.commit("Break its output for a while", &[("plants/wrong", "wrong\n")]);
    script.git(&["rm", "--quiet", "plants/wrong"]);
    script.commit("Mend its output", &[]);
    idle(&script, &["nine", "ten"]);

    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains(&format!("culprit: {slow} Refactor decode")), "{}", said.out);
    insta::assert_snapshot!("found", said.out);

    // What was measured is not measured again, and what was interrupted is resumed. The search's
    // folder lies beside the index of all pages.
    let entries = fs::read_dir(sandbox.path("reports")).unwrap();
    let folder = entries.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let mut runs: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("run.jsonl"))
        .collect();
    runs.sort();
    let texts =
        || -> Vec<String> { runs.iter().map(|run| fs::read_to_string(run).unwrap()).collect() };
    let before = texts();
    let interrupted: Vec<&str> = before[0].split_inclusive('\n').take(5).collect();
    fs::write(&runs[0], interrupted.concat()).unwrap();
    let again = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((again.code, again.err.as_str()), (0, ""), "{}", again.out);
    assert!(again.out.contains(&format!("culprit: {slow}")), "{}", again.out);
    let after = texts();
    assert_eq!(after[1..], before[1..]);
    assert_eq!(after[0].lines().count(), before[0].lines().count());
}

#[test]
fn a_metric_can_be_searched_alone_and_a_wrong_output_is_found_as_well() {
    let (sandbox, script) = sandbox();
    idle(&script, &["one"]);
    script.commit("Fatter", &[("plants/fat", "bytes=900000000\n")]);
    let slow = script.commit("Slower", &[("plants/slow", "decode=9\n")]);
    idle(&script, &["two"]);
    let args = ["--bad", "upstream", "--case", "test/fake", "--metric", "decode-rate"];
    let said = bisect(&sandbox, &args);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains(&format!("culprit: {slow} Slower")), "{}", said.out);
    assert!(said.out.starts_with(&format!("decode of {CASE}\n")), "{}", said.out);

    let wrong = script.commit("Cleverer", &[("plants/wrong", "wrong\n")]);
    idle(&script, &["three"]);
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains(&format!("culprit: {wrong} Cleverer")), "{}", said.out);
    assert!(said.out.contains("beside its parent: broken"), "{}", said.out);
}

#[test]
fn commits_that_cannot_be_judged_are_named_beside_the_culprit() {
    let (sandbox, script) = sandbox();
    idle(&script, &["one"]);
    let unbuildable = script.commit("Break the build", &[("build.sh", "no-such-compiler\n")]);
    let slow = script
        .commit("Mend the build, slowly", &[("build.sh", BUILD), ("plants/slow", "decode=9\n")]);
    idle(&script, &["two"]);
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (3, ""), "{}", said.out);
    let told = format!(
        "one of 2 commits, all but the last of which could not be judged:\n  {} Break the build\n  {} Mend the build, slowly\n",
        &unbuildable[..9],
        &slow[..9]
    );
    assert!(said.out.ends_with(&told), "{}", said.out);
    assert!(said.out.contains("unknown: it does not build"), "{}", said.out);
}

#[test]
fn a_culprit_on_which_others_build_is_confirmed_by_its_parent_alone() {
    let (sandbox, script) = sandbox();
    script.commit("Slower", &[("plants/slow", "decode=9\n")]);
    script.commit("Slower still", &[("plants/slow", "decode=10\n")]);
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let told = "the bad commit without it: not tried, later commits build on it in plants/slow";
    assert!(said.out.contains(told), "{}", said.out);
}

#[test]
fn a_culprit_that_was_taken_out_again_is_not_the_one_that_lasts() {
    let (sandbox, script) = sandbox();
    idle(&script, &["one", "two"]);
    let slow = script.commit("Slower", &[("plants/slow", "decode=9\n")]);
    idle(&script, &["three"]);
    script.git(&["rm", "--quiet", "plants/slow"]);
    script.commit("Take it back", &[]);
    // In an existing file, so that git does not take it for a rename of the other.
    script.commit("Slower by other means", &[("plants/a", "noise=0.5\nseed=1\ndecode=9\n")]);
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (3, ""), "{}", said.out);
    assert!(said.out.contains(&format!("culprit: {slow} Slower\n")), "{}", said.out);
    let told = "not confirmed: without it the bad commit is still worse, so there is another one\n";
    assert!(said.out.ends_with(told), "{}", said.out);
}

#[test]
fn what_is_worst_is_looked_for_and_another_regression_on_the_way_is_not() {
    let (sandbox, script) = sandbox();
    script.commit("Fatter", &[("plants/fat", "bytes=80000000\n")]);
    idle(&script, &["one", "two", "three", "four"]);
    let slow = script.commit("Slower", &[("plants/slow", "decode=90\n")]);
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains(&format!("culprit: {slow} Slower\n")), "{}", said.out);
}

#[test]
fn a_metric_that_only_warns_gets_as_many_rounds_as_it_takes_where_it_is_looked_for() {
    let (sandbox, script) = sandbox();
    // Six pairs cannot tell nine per cent from this noise.
    script.commit("Noisy", &[("plants/a", "noise=4\nseed=1\n")]);
    script.git(&["tag", "--force", "good"]);
    let slow = script.commit("Slower", &[("plants/slow", "decode=9\n")]);
    let exception =
        "\n[[exceptions]]\ncases = \"*\"\nweight = \"warns\"\nreason = \"as an example\"\n";
    let policy = include_str!("../../../../../ci/gate.toml").to_owned() + exception;
    fs::write(sandbox.path("policy.toml"), policy).unwrap();
    let args = ["--bad", "upstream", "--case", CASE, "--policy", "policy.toml"];
    let said = bisect(&sandbox, &[&args[..], &["--metric", "decode-rate"]].concat());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains(&format!("culprit: {slow} Slower\n")), "{}", said.out);
}

#[test]
fn a_branch_that_began_before_the_good_commit_is_not_blamed_for_what_it_lacks() {
    let (sandbox, script) = sandbox();
    script.commit("Slow at first", &[("plants/slow", "decode=9\n")]);
    script.git(&["checkout", "--quiet", "-b", "side"]);
    idle(&script, &["a", "b", "c", "d", "e", "f"]);
    script.git(&["checkout", "--quiet", "upstream"]);
    script.git(&["rm", "--quiet", "plants/slow"]);
    script.commit("Faster", &[]);
    script.git(&["tag", "--force", "good"]);
    script.git(&["merge", "--quiet", "--no-ff", "--message", "Merge side", "side"]);
    idle(&script, &["one"]);
    let slow = script.commit("Slower", &[("plants/slower", "decode=9\n")]);
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains(&format!("culprit: {slow} Slower\n")), "{}", said.out);
    assert!(said.out.contains("unknown: its branch began at "), "{}", said.out);
}

#[test]
fn a_culprit_that_takes_over_a_range_of_its_upstream_is_followed_there() {
    let (sandbox, script) = sandbox();
    let up = Script::new(&sandbox.path("up"));
    let toy =
        [("build.sh", BUILD), (".gitignore", "/probe\n"), ("plants/a", "noise=0.5\nseed=1\n")];
    let before = up.commit("Toy engine", &toy);
    idle(&up, &["one", "two"]);
    let slow = up.commit("Refactor decode", &[("plants/slow", "decode=9\n")]);
    idle(&up, &["three"]);
    let newest = up.head();

    idle(&script, &["our"]);
    let message = format!("Sync\n\nTakes over {}..{newest}.", &before[..12]);
    script.commit(&message, &[("plants/slow", "decode=9\n"), ("src/all.rs", "all")]);
    idle(&script, &["own"]);
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let range = format!("it takes over {}..{} of its upstream", &before[..9], &newest[..9]);
    let hint = format!("{range}: `--upstream CLONE` follows it there\n");
    assert!(said.out.ends_with(&hint), "{}", said.out);

    let clone = sandbox.path("up").display().to_string();
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE, "--upstream", &clone]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let (_, there) = said.out.split_once(&format!("{range}; there:\n")).unwrap();
    assert!(there.contains(&format!("culprit: {slow} Refactor decode\n")), "{}", said.out);
    assert!(there.contains("the bad commit without it: well"), "{}", said.out);

    let clone = sandbox.path("engine").display().to_string();
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE, "--upstream", &clone]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let told =
        format!("{range}, where it could not be followed: `{}` is not a commit of", &before[..12]);
    assert!(said.out.contains(&told), "{}", said.out);
}

#[test]
fn where_there_is_nothing_to_find_nothing_is_found() {
    let (sandbox, script) = sandbox();
    idle(&script, &["one", "two"]);
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, said.err.as_str()), (4, ""), "{}", said.out);
    assert!(said.out.ends_with("is not worse than the good one: there is nothing to look for\n"));

    // If the definition of a case changes, the same name starts a new search.
    let searches = || {
        let entries = fs::read_dir(sandbox.path("reports")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
    };
    assert_eq!(searches(), 1);
    // A filter on the case id means the same, whatever benches are beside the scenario.
    let bench = "workload = \"criterion\"\npackage = \"parts\"\nbenches = [\"micro\"]\n";
    fs::write(sandbox.path("scenarios/test/bench.toml"), bench).unwrap();
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", "batch=1,output=8"]);
    assert_eq!((said.code, searches()), (4, 1), "{}", said.err);
    let scenario = SCENARIO.replace("iterations = 2", "iterations = 3");
    fs::write(sandbox.path("scenarios/test/fake.toml"), scenario).unwrap();
    let said = bisect(&sandbox, &["--bad", "upstream", "--case", CASE]);
    assert_eq!((said.code, searches()), (4, 2), "{}", said.err);
}

#[test]
fn mistakes_about_a_search_are_answered_with_what_to_do() {
    let (sandbox, script) = sandbox();
    idle(&script, &["one"]);
    script.commit("Break the build", &[("build.sh", "no-such-compiler\n")]);
    script.git(&["tag", "unbuildable"]);
    idle(&script, &["two"]);
    let complaint = |args: &[&str]| {
        let said = bisect(&sandbox, args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        said.err
    };
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(complaint(&["--bad", "good", "--case", CASE]), @"error: `good` is not an ancestor of `good`: name an earlier commit that was good");
    insta::assert_snapshot!(complaint(&["--case", "smoke"]), @"error: no case is called `smoke`; `windtunnel list` shows the cases");
    insta::assert_snapshot!(complaint(&["--case", "test/fake/other"]), @"error: no case is called `test/fake/other`; `windtunnel list` shows the cases");
    let err = complaint(&["--good", "unbuildable", "--case", CASE]);
    assert!(err.contains("cannot be used multiple times"), "{err}");
    let args = ["-q", "bisect", "--good", "unbuildable", "--bad", "upstream", "--case", CASE];
    let said = sandbox.run(&[&args[..], &["-s", "external:engine.toml"]].concat());
    assert!(said.err.contains("the commit to compare with, does not build"), "{}", said.err);
    let said = sandbox.run(&[&args[..], &["-s", "probe:x"]].concat());
    insta::assert_snapshot!(said.err, @"error: `probe:x` has no commits to search: name `.` or `external:FILE.toml`");
    let bench = "workload = \"criterion\"\npackage = \"parts\"\nbenches = [\"micro\"]\n";
    fs::write(sandbox.path("scenarios/test/bench.toml"), bench).unwrap();
    let err = complaint(&["--case", "test/bench"]);
    assert!(err.contains("is a bench of criterion, in which no commit can be searched"), "{err}");
    let err = complaint(&["--case", "output=9"]);
    assert!(
        err.starts_with("error: no case is called `output=9`"),
        "a bench has no such id: {err}"
    );
    fs::write(
        sandbox.path("scenarios/test/fake.toml"),
        SCENARIO.replace("batch = [1]", "batch = [1, 2]"),
    )
    .unwrap();
    insta::assert_snapshot!(complaint(&["--case", "test/fake"]), @"error: `test/fake` is in the ids of 2 cases, for instance `test/fake/tiny-qwen3/batch=1,output=8`: name one");
}

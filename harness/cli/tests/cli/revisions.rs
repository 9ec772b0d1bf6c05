//! Built subjects: the working tree and revisions of a small repository whose probe needs no
//! engine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use windtunnel_ledger::record::{Failure, Outcome};

use crate::baselines::{LOG, policy};
use crate::forks::script::Script;
use crate::gating::against_schema;
use crate::sandbox::{Said, Sandbox, git_in};

/// A probe that answers without reading its case; `@GAP` is the time between its tokens.
const PROBE: &str = r##"fn main() {
    let iteration = r#"{"iteration":{"kind":"@KIND","digest":"0","values":{"time-per-output-token":[@GAP]}}}"#;
    println!("{}", r#"{"hello":{"protocol":1,"build":{"engine":"0","candle":"0","rustc":"0","profile":"release","target":"t","target_features":[],"features":[]}}}"#);
    println!("{}", r#"{"loaded":{"attention":"fake","values":{"load-time":1.0}}}"#);
    for kind in ["warm-up", "timed", "timed", "timed"] {
        println!("{}", iteration.replace("@KIND", kind));
    }
    println!("{}", r#"{"end":{"values":{}}}"#);
}
"##;

/// A repository with a workspace in which `windtunnel` can build a probe.
pub(crate) fn repository() -> Sandbox {
    let sandbox = Sandbox::new(&["fine"]);
    let write = |path: &str, text: &str| {
        let path = sandbox.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"harness/probe\"]\n");
    write(
        "harness/probe/Cargo.toml",
        "[package]\nname = \"windtunnel-probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [features]\nextra = []\n",
    );
    write(
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"windtunnel-probe\"\nversion = \"0.0.0\"\n",
    );
    write(".gitignore", "/target\n/run*\n/report*\n");
    write("harness/probe/src/main.rs", &PROBE.replace("@GAP", "1000"));
    git(sandbox.dir.path(), &["init", "--quiet"]);
    commit(&sandbox, "first");
    sandbox
}

fn git(dir: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
    assert!(git_in(dir).args(identity).args(args).status().unwrap().success());
}

pub(crate) fn commit(sandbox: &Sandbox, message: &str) {
    git(sandbox.dir.path(), &["add", "--all"]);
    git(sandbox.dir.path(), &["commit", "--quiet", "--message", message]);
}

fn set_gap(sandbox: &Sandbox, gap: &str) {
    fs::write(sandbox.path("harness/probe/src/main.rs"), PROBE.replace("@GAP", gap)).unwrap();
}

/// Where revisions are built: the only folder in the cache.
fn builds(sandbox: &Sandbox) -> PathBuf {
    let mut folders = fs::read_dir(sandbox.cache.path().join("windtunnel")).unwrap();
    folders.next().unwrap().unwrap().path()
}

/// The target directories of revisions, one for each kind of processor.
fn targets(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = fs::read_dir(builds(sandbox)).unwrap().map(|entry| entry.unwrap());
    let targets =
        entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with("target-"));
    targets.map(|entry| entry.path()).collect()
}

/// Where a revision is checked out to be built, after one has been.
fn builds_worktree(sandbox: &Sandbox) -> PathBuf {
    assert_eq!(measure(sandbox, &["rev:HEAD"]).code, 0);
    // So that the next run builds it again.
    fs::remove_dir_all(sandbox.path("target/windtunnel/revisions")).unwrap();
    builds(sandbox).join("worktree")
}

fn measure(sandbox: &Sandbox, subjects: &[&str]) -> Said {
    let _ = fs::remove_file(sandbox.path("run.jsonl"));
    let mut args = vec!["--quiet", "run", "test/fake", "--out", "run.jsonl"];
    for subject in subjects {
        args.extend(["--subject", subject]);
    }
    sandbox.run(&args)
}

#[test]
fn a_revision_and_the_working_tree_are_built_apart_and_alternate() {
    let sandbox = repository();
    set_gap(&sandbox, "2000");
    commit(&sandbox, "slower");
    set_gap(&sandbox, "4000");
    let said = measure(&sandbox, &["rev:HEAD~1", "rev:HEAD", "."]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);

    let contents = sandbox.contents();
    let told: Vec<(&str, bool, f64)> = contents
        .records
        .iter()
        .map(|record| {
            let Outcome::Measured(samples) = &record.outcome else { panic!("{record:?}") };
            let gap = samples.of(windtunnel_ledger::Metric::TimePerOutputToken)[0];
            (record.subject.name.as_str(), record.subject.dirty, gap)
        })
        .collect();
    let round = [("rev:HEAD~1", false, 1e3), ("rev:HEAD", false, 2e3), (".", true, 4e3)];
    let back: Vec<_> = round.iter().rev().copied().collect();
    assert_eq!(told, [round.to_vec(), back].concat());
    let commits: Vec<_> = contents.run.subjects.iter().map(|s| s.commit.clone().unwrap()).collect();
    assert_eq!(commits[1], commits[2], "the working tree stands on the newest commit");
    assert!(!builds(&sandbox).join("worktree").exists(), "the worktree is taken away");
}

#[test]
fn a_subject_tells_the_upstream_of_its_own_log_and_the_files_that_were_changed() {
    let sandbox = repository();
    fs::create_dir(sandbox.path("engine")).unwrap();
    let considered = |digit: &str| {
        // A log of another version may contain unknown keys.
        let log = format!("unheard-of = 1\nconsidered = \"{}\"\n", digit.repeat(40));
        fs::write(sandbox.path("engine/upstream.toml"), log).unwrap();
    };
    considered("a");
    commit(&sandbox, "follow");
    considered("b");
    fs::write(sandbox.path("harness/a note"), "new").unwrap();
    let said = measure(&sandbox, &["rev:HEAD~1", "rev:HEAD", "."]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);

    let subjects = sandbox.contents().run.subjects;
    let upstream =
        |i: usize| subjects[i].upstream.as_ref().map(|hash| hash.as_str()[..1].to_owned());
    assert_eq!([0, 1, 2].map(upstream), [None, Some("a".into()), Some("b".into())]);
    assert_eq!(subjects[1].changed, [] as [&str; 0]);
    assert_eq!(subjects[2].changed, ["engine/upstream.toml", "harness/a note"]);
    assert!(said.out.contains("), 2 files changed, upstream bbbbbbbbb\n"), "{}", said.out);
    let page = fs::read_to_string(sandbox.path("report.html")).unwrap();
    for words in [
        format!(", upstream <code>{}</code>", "a".repeat(40)),
        ", changed engine/upstream.toml, harness/a note".to_owned(),
    ] {
        assert!(page.contains(&words), "{words}");
    }

    for i in 0..30 {
        fs::write(sandbox.path(&format!("harness/{i:02}")), "").unwrap();
    }
    assert_eq!(measure(&sandbox, &["."]).code, 0);
    let subject = &sandbox.contents().run.subjects[0];
    assert_eq!((subject.changed.len(), subject.changed_besides), (20, 12), "a record stays small");
    assert!(fs::read_to_string(sandbox.path("report.html")).unwrap().contains(" and 12 more"));
}

#[test]
fn a_revision_is_built_once_for_each_set_of_features() {
    let sandbox = repository();
    assert_eq!(measure(&sandbox, &["rev:HEAD"]).code, 0);
    let binary = sandbox.contents().run.subjects[0].binary.clone();
    let probe = sandbox.path(&format!("target/windtunnel/probes/{binary}/windtunnel-probe"));
    let file = |path: &Path| (fs::read(path).unwrap(), fs::metadata(path).unwrap().ino());
    let (bytes, first) = file(&probe);
    // A build would have to create the target directory.
    let remove_targets =
        || targets(&sandbox).iter().for_each(|path| fs::remove_dir_all(path).unwrap());
    remove_targets();
    assert_eq!(measure(&sandbox, &["rev:HEAD"]).code, 0);
    assert!(targets(&sandbox).is_empty());
    let (same, second) = file(&probe);
    assert_eq!(same, bytes);
    assert_ne!(second, first, "each session writes the executables that it measures anew");

    let args =
        ["-q", "run", "test/fake", "-s", "rev:HEAD", "--features", "extra", "-o", "run2.jsonl"];
    assert_eq!(sandbox.run(&args).code, 0);
    assert_eq!(targets(&sandbox).len(), 1);

    // Other build settings make another build; the number of jobs does not matter.
    let built = |name: &str, value: &str| {
        let _ = fs::remove_file(sandbox.path("run.jsonl"));
        let mut told =
            sandbox.command(&["-q", "run", "test/fake", "-s", "rev:HEAD", "-o", "run.jsonl"]);
        let said = Said::from(told.env(name, value).output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
        targets(&sandbox).len()
    };
    for (name, value, expected) in [
        ("RUSTFLAGS", "-C opt-level=1", 1),
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1", 1),
        ("CFLAGS", "-O1", 1),
        ("CARGO_BUILD_JOBS", "1", 0),
    ] {
        remove_targets();
        assert_eq!(built(name, value), expected, "{name}");
    }

    // It is built separately for another processor. Another process writes the executable, so that
    // no child of this one can hold it open.
    assert_eq!(built("CFLAGS", "-O2"), 1);
    let compiler =
        r#"case "$*" in *target-cpu=native*) echo another ;; *) exec rustc "$@" ;; esac"#;
    let path = sandbox.path("run-compiler");
    let mut shell = Command::new("sh");
    shell.args(["-ec", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\"; chmod +x \"$0\""]);
    assert!(shell.arg(&path).arg(compiler).status().unwrap().success());
    assert_eq!(built("RUSTC", path.to_str().unwrap()), 2);
}

#[test]
fn a_workspace_below_the_top_of_its_repository_is_built_at_its_revisions() {
    let sandbox = repository();
    let inner = sandbox.path("inner");
    fs::create_dir_all(inner.join("engine")).unwrap();
    fs::write(inner.join("engine/upstream.toml"), LOG).unwrap();
    for name in ["Cargo.toml", "Cargo.lock", ".gitignore", "harness", "scenarios"] {
        fs::rename(sandbox.path(name), inner.join(name)).unwrap();
    }
    commit(&sandbox, "Move");
    let measure = |subject: &str, out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command.current_dir(&inner).args(["-q", "run", "test/fake", "-s", subject, "-o", out]);
        command.env("XDG_CACHE_HOME", sandbox.cache.path());
        command.env("WINDTUNNEL_LOCKS", sandbox.cache.path());
        Said::from(command.output().unwrap())
    };
    let said = measure("rev:HEAD", "run.jsonl");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let contents = windtunnel_ledger::store::read(&inner.join("run.jsonl")).unwrap();
    assert!(contents.run.subjects[0].upstream.is_some(), "its log is read there too");

    let said = measure("rev:HEAD~1", "run2.jsonl");
    assert_eq!((said.code, said.err.as_str()), (5, ""), "{}", said.out);
    let told = "the workspace does not exist at this commit";
    assert!(said.out.contains(told), "{}", said.out);
}

#[test]
fn a_branch_that_only_the_origin_has_is_named() {
    let sandbox = repository();
    git(sandbox.dir.path(), &["update-ref", "refs/remotes/origin/trunk", "HEAD"]);
    let said = sandbox.run(&["-q", "gate", "test", "--base", "trunk", "-s", "rev:HEAD"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    let told = "error: `trunk` is not a commit of `";
    assert!(said.err.starts_with(told), "{}", said.err);
    assert!(said.err.contains("`: name `origin/trunk`, which is one"), "{}", said.err);
    let said = measure(&sandbox, &["rev:branch"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(said.err.contains("fetch it there, or name another one"), "{}", said.err);
}

#[test]
fn what_a_hook_is_told_of_its_repository_is_not_handed_on() {
    let (sandbox, hooked) = (repository(), tempfile::tempdir().unwrap());
    git(hooked.path(), &["init", "--quiet"]);
    let mut command =
        sandbox.command(&["-q", "run", "test/fake", "-s", "rev:HEAD", "-o", "run.jsonl"]);
    command.env("GIT_DIR", hooked.path().join(".git"));
    command.env("GIT_INDEX_FILE", hooked.path().join(".git/index"));
    let said = Said::from(command.output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(!hooked.path().join(".git/index").exists(), "nothing was checked out for the hook");
}

#[test]
fn a_worktree_that_is_out_of_sight_is_still_one_afterwards() {
    let (sandbox, elsewhere) = (repository(), tempfile::tempdir().unwrap());
    let (other, away) = (elsewhere.path().join("other"), elsewhere.path().join("away"));
    let path = other.to_str().unwrap();
    git(sandbox.dir.path(), &["worktree", "add", "--quiet", "--detach", path]);
    fs::rename(&other, &away).unwrap();
    // As after an interruption: the worktree for builds is registered, but its folder is gone.
    let left = builds_worktree(&sandbox);
    git(sandbox.dir.path(), &["worktree", "add", "--quiet", "--detach", left.to_str().unwrap()]);
    fs::remove_dir_all(&left).unwrap();
    assert_eq!(measure(&sandbox, &["rev:HEAD"]).code, 0);
    fs::rename(&away, &other).unwrap();
    git(&other, &["status", "--short"]);
}

#[test]
fn a_subject_that_does_not_build_is_a_finding_and_the_other_is_measured() {
    let sandbox = repository();
    set_gap(&sandbox, "this is no number");
    fs::write(sandbox.path("harness/probe/src/main.rs"), "fn main() { unknown_function() }")
        .unwrap();
    let said = measure(&sandbox, &["rev:HEAD", "."]);
    assert_eq!(said.code, 5);
    assert!(said.out.contains("cannot find function `unknown_function`"), "{}", said.out);

    let records = sandbox.contents().records;
    let measured = records.iter().filter(|r| matches!(r.outcome, Outcome::Measured(_))).count();
    let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(Failure::Build { .. }));
    assert_eq!((measured, records.iter().filter(|r| failed(&r.outcome)).count()), (2, 1));

    let said = sandbox.run(&["-q", "run", "--resume", "run.jsonl"]);
    assert_eq!(said.code, 5, "{}", said.err);
    assert_eq!(sandbox.contents().records.len(), 3, "nothing was left to measure");

    let refused = |args: &[&str]| {
        let said = sandbox.run(&[&["-q", "baseline", "record"], args].concat());
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        said.err
    };
    commit(&sandbox, "Break");
    let told = refused(&["test", "-n", "5", "-s", "rev:HEAD"]);
    let begin = "error: `rev:HEAD` does not build, so there is no session to keep\n";
    assert!(told.starts_with(begin), "{told}");
    assert!(told.contains("cannot find function `unknown_function`"), "{told}");
    let told = refused(&["--from", "run.jsonl@.", "--upstream", "bbbbbbbbb"]);
    assert!(told.contains("`.` did not build in run `run.jsonl`"), "{told}");
    assert!(!sandbox.path("baselines").exists());
}

#[test]
fn the_commit_that_made_this_workspace_slower_is_found() {
    let sandbox = repository();
    git(sandbox.dir.path(), &["tag", "good"]);
    for (message, gap) in
        [("Rename", "1000 "), ("Refactor", "1300"), ("Tidy", "1300 "), ("Document", " 1300")]
    {
        set_gap(&sandbox, gap);
        commit(&sandbox, message);
    }
    let said = sandbox.run(&["-q", "bisect", "--good", "good", "--case", "test/fake"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let culprit = said.out.lines().find(|line| line.starts_with("culprit: ")).unwrap();
    assert!(culprit.ends_with(" Refactor"), "{}", said.out);
    assert!(
        said.out.contains("without it: not tried, later commits build on it in"),
        "{}",
        said.out
    );
}

/// A repository whose probe takes the time between its tokens from candle, with two versions of
/// candle in its registry, and beside it a clone of candle with the commits between the two.
fn on_candle() -> (Sandbox, Script) {
    let sandbox = repository();
    let manifest = |version: &str| {
        format!("[package]\nname = \"candle-core\"\nversion = \"{version}\"\nedition = \"2024\"\n")
    };
    let code = |gap: &str| format!("pub const GAP: &str = \"{gap}\";\n");
    let write = |path: &str, text: &str| {
        let path = sandbox.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (version, gap) in [("0.1.0", "1000"), ("0.2.0", "1300")] {
        let folder = format!("vendor/candle-core-{version}");
        write(&format!("{folder}/Cargo.toml"), &manifest(version));
        write(&format!("{folder}/src/lib.rs"), &code(gap));
        write(&format!("{folder}/.cargo-checksum.json"), "{\"files\":{}}");
    }
    let sources =
        "[source.crates-io]\nreplace-with = \"vendor\"\n[source.vendor]\ndirectory = \"vendor\"\n";
    write(".cargo/config.toml", sources);
    let probe = PROBE
        .replace("iteration.replace(", "iteration.replace(\"@GAP\", candle_core::GAP).replace(");
    write("harness/probe/src/main.rs", &probe);
    let dependency = "[dependencies]\ncandle-core.workspace = true\n";
    let package = fs::read_to_string(sandbox.path("harness/probe/Cargo.toml")).unwrap();
    write("harness/probe/Cargo.toml", &(package + dependency));
    write(".gitignore", "/target\n/run*\n/report*\n/candle\n");
    depend(&sandbox, "0.1.0");
    commit(&sandbox, "Compute with candle");
    git(sandbox.dir.path(), &["tag", "good"]);

    let clone = Script::new(&sandbox.path("candle"));
    let file = "candle-core/src/lib.rs";
    clone.commit("First", &[("candle-core/Cargo.toml", &manifest("0.1.0")), (file, &code("1000"))]);
    clone.git(&["tag", "0.1.0"]);
    clone.commit("Describe kernels", &[("README.md", "kernels\n")]);
    clone.commit("Tidy kernels", &[(file, &code("1300"))]);
    clone.commit("Describe more", &[("README.md", "more kernels\n")]);
    clone.commit("Release", &[("candle-core/Cargo.toml", &manifest("0.2.0"))]);
    clone.git(&["tag", "0.2.0"]);
    (sandbox, clone)
}

/// Moves a repository to this version of candle.
fn depend(sandbox: &Sandbox, version: &str) {
    let manifest = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\"harness/probe\"]\nexclude = [\"vendor\", \"candle\"]\n\
         [workspace.dependencies]\ncandle-core = \"{version}\"\n"
    );
    fs::write(sandbox.path("Cargo.toml"), manifest).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(sandbox.dir.path()).args(["generate-lockfile", "--quiet"]);
    assert!(cargo.status().unwrap().success());
}

#[test]
fn a_revision_is_measured_beside_itself_on_another_candle() {
    let (sandbox, clone) = on_candle();
    let gate = |args: &[&str]| {
        let _ = fs::remove_file(sandbox.path("run.jsonl"));
        sandbox.run(&[&["-q", "gate", "test", "-o", "run.jsonl"], args].concat())
    };
    let said = gate(&["--candle", "0.2.0"]);
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{}", said.out);
    let names = |sandbox: &Sandbox| -> Vec<String> {
        sandbox.contents().run.subjects.into_iter().map(|subject| subject.name).collect()
    };
    assert_eq!(names(&sandbox)[..2], ["rev:HEAD", "rev:HEAD+candle=0.2.0"]);

    let said = gate(&["--base", "rev:good", "--candle", "candle@HEAD~3"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert_eq!(names(&sandbox)[1], "rev:good+candle=candle@HEAD~3");
    assert_eq!(gate(&["--candle", "candle@HEAD~2"]).code, 1, "the clone became slower");
    assert_eq!(clone.git(&["status", "--porcelain"]), "", "the clone is left alone");

    let subject = sandbox.contents().run.subjects[1].clone();
    assert_eq!(subject.candle.as_deref(), Some(clone.git(&["rev-parse", "HEAD~2"]).as_str()));

    assert_eq!(against_schema(&sandbox.path("gate.json")), [""; 0]);

    // A candle that lacks what the engine needs.
    let manifest = fs::read_to_string(sandbox.path("Cargo.toml")).unwrap();
    let more = format!("{manifest}candle-transformers = \"0.1.0\"\n");
    fs::write(sandbox.path("Cargo.toml"), more).unwrap();
    commit(&sandbox, "Need more of candle");
    let said = gate(&["--candle", "candle"]);
    assert_eq!(said.code, 5, "{}", said.out);
    let told = "`Cargo.toml` needs `candle-transformers`, which this candle does not have";
    assert!(said.out.contains(told), "{}", said.out);
    fs::write(sandbox.path("Cargo.toml"), manifest).unwrap();
    commit(&sandbox, "Need no more of candle");

    // The compiler's error shows up wherever the result is read.
    clone.commit("Break", &[("candle-core/src/lib.rs", "pub const GAP: &str = nonsense_here;\n")]);
    let said = gate(&["--candle", "candle"]);
    assert_eq!(said.code, 5, "{}", said.out);
    for text in [said.out].into_iter().chain(
        ["summary.md", "gate.json"].map(|file| fs::read_to_string(sandbox.path(file)).unwrap()),
    ) {
        assert!(text.contains("nonsense_here"), "{text}");
    }
    let junit = fs::read_to_string(sandbox.path("junit.xml")).unwrap();
    let junit = roxmltree::Document::parse(&junit).unwrap();
    let failure = junit.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert!(failure.text().unwrap().contains("nonsense_here"), "{failure:?}");
    let told = |args: &[&str]| {
        let said = gate(args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        said.err
    };
    insta::assert_snapshot!(told(&["--candle", "0.2.0", "--base", "probe:x"]), @"error: `--candle` measures a revision of this workspace beside itself: name it with `--base rev:REVISION`");
    insta::assert_snapshot!(told(&["--candle", "elsewhere@main"]), @"error: there is no clone `elsewhere`: make one with `git clone`, and name its folder");
    let none = told(&["--candle", "0.9.9"]);
    assert!(
        none.starts_with(
            "error: there is no candle 0.9.9 to build on, or the registry cannot be reached"
        ),
        "{none}"
    );
    let args = ["-q", "baseline", "record", "test", "-n", "5", "-s", "rev:good+candle=0.2.0"];
    let said = sandbox.run(&args);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @"error: `rev:good+candle=0.2.0` is built on another candle than its commit's, and a baseline must be reproducible: record a commit that depends on that candle");
    assert!(told(&["--candle", "0.2"]).contains("`0.2` is not a whole version"));
    assert!(told(&["--base", "rev:good+candle=0.2"]).contains("`0.2` is not a whole version"));
    assert!(told(&["--candle", "0.2.0", "-s", "."]).contains("cannot be used with"));
    let own = fs::read_to_string(sandbox.path("Cargo.toml")).unwrap();
    assert!(own.contains("candle-core = \"0.1.0\""), "the working tree is left alone");
}

#[test]
fn a_culprit_that_moves_to_another_candle_is_followed_into_it() {
    let (sandbox, clone) = on_candle();
    fs::write(sandbox.path("notes"), "one").unwrap();
    commit(&sandbox, "Take notes");
    depend(&sandbox, "0.2.0");
    commit(&sandbox, "Bump candle");
    fs::write(sandbox.path("notes"), "two").unwrap();
    commit(&sandbox, "Take more notes");
    let bisect = |args: &[&str]| {
        sandbox.run(&[&["-q", "bisect", "--good", "good", "--case", "test/fake"], args].concat())
    };
    let said = bisect(&[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let hint = "it moves candle from 0.1.0 to 0.2.0: `--candle CLONE` follows it there\n";
    assert!(said.out.ends_with(hint), "{}", said.out);

    let said = bisect(&["--candle", "candle"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let (_, there) = said.out.split_once("it moves candle from 0.1.0 to 0.2.0; there:\n").unwrap();
    let culprit = clone.git(&["rev-parse", "HEAD~2"]);
    assert!(there.contains(&format!("culprit: {culprit} Tidy kernels\n")), "{}", said.out);
    assert!(there.contains("beside its parent: regressed"), "{}", said.out);

    let said = bisect(&["--candle", "nowhere"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @"error: there is no clone `nowhere`: make one with `git clone`, and name its folder");
    let said = bisect(&["--upstream", "candle"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @"error: `--upstream` follows a fork into what it takes over: name the fork with `--subject external:FILE.toml`");

    clone.git(&["tag", "--delete", "0.1.0"]);
    let said = bisect(&["--candle", "candle"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    insta::assert_snapshot!(said.out.lines().last().unwrap(), @"it moves candle from 0.1.0 to 0.2.0, where it could not be followed: the clone of candle has neither a commit nor a tag `0.1.0`: fetch there, with `--tags`");
}

#[test]
fn the_cargo_configuration_of_the_working_tree_does_not_reach_a_revision() {
    let sandbox = repository();
    fs::create_dir(sandbox.path(".cargo")).unwrap();
    fs::write(sandbox.path(".cargo/config.toml"), "[build]\nrustc = \"no-such-compiler\"\n")
        .unwrap();
    let said = measure(&sandbox, &["rev:HEAD"]);
    assert_eq!(said.code, 0, "{}", said.out);
}

#[test]
fn a_baseline_that_can_be_built_is_measured_beside_the_head() {
    let sandbox = repository();
    for (path, text) in [
        ("engine/upstream.toml", LOG),
        ("ci/gate.toml", &policy()),
        (".gitignore", "/target\n/run*\n/reports\n"),
    ] {
        fs::create_dir_all(sandbox.path(path).parent().unwrap()).unwrap();
        fs::write(sandbox.path(path), text).unwrap();
    }
    let record = || sandbox.run(&["-q", "baseline", "record", "test", "-n", "5"]);
    let said = record();
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @"error: `.` differs from its commit, and a baseline must be reproducible: commit first, or record `--subject rev:HEAD`");
    commit(&sandbox, "with a log");
    for _ in 0..2 {
        let said = record();
        assert_eq!(said.code, 0, "a baseline makes no other engine: {}", said.err);
        assert!(said.out.contains("kept baselines/bbbbbbbbb/"), "by the log: {}", said.out);
    }
    let promoted = sandbox.run(&["-q", "baseline", "promote", "--by", "Ada"]);
    assert_eq!(promoted.code, 0, "{}", promoted.err);
    set_gap(&sandbox, "2000");
    let gate = |base: &str| {
        let _ = fs::remove_file(sandbox.path("run.jsonl"));
        sandbox.run(&["-q", "gate", "test", "--base", base, "-o", "run.jsonl"])
    };
    let said = gate("baseline");
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert!(said.out.starts_with("base rev:") && !said.out.contains("stored"), "{}", said.out);
    assert_eq!(sandbox.contents().run.subjects.len(), 3, "base, head and control alternate");
    let said = gate("stored");
    assert!(said.out.starts_with("base baseline ("), "{}", said.out);
    assert!(
        said.out.contains("inconclusive (stored)"),
        "two sessions decide no time: {}",
        said.out
    );

    // Without git and the commit, its records are all there is.
    fs::remove_dir_all(sandbox.path(".git")).unwrap();
    let said = gate("baseline");
    assert!(said.out.contains("inconclusive (stored)"), "{}{}", said.out, said.err);
    assert!(said.err.contains("git does not have the commit of the base"), "{}", said.err);
}

//! The integration log: read, shown, and checked against the sources.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::sandbox::{Said, Sandbox, redacted};

const LOG: &str = r#"repository = "https://example.org/upstream"
considered = "bbbbbbbbb"

[[commit]]
hash     = "aaaaaaaaa"
date     = "2025-10-19"
subject  = "No busy loop"
pr       = 7
area     = "engine"
priority = "P1"
state    = "integrated"
change   = "an idle engine waits"
reason   = "the thread sleeps"
needs    = ["bbbbbbbbb"]
guards   = ["scenarios/test/fake.toml", "engine/tests/idle.rs::an_idle_thread_sleeps"]

[[commit]]
hash     = "bbbbbbbbb"
date     = "2025-11-05"
area     = "engine"
priority = "P2"
state    = "deferred"
change   = "work from inside wakes it"
reason   = "not here yet"
"#;

const TEST: &str = "#[test]\nfn an_idle_thread_sleeps() {}\n\nfn helper() {}\n";

fn sandbox(log: &str) -> Sandbox {
    let sandbox = Sandbox::new(&["fine"]);
    fs::create_dir_all(sandbox.path("engine/tests")).unwrap();
    fs::write(sandbox.path("engine/upstream.toml"), log).unwrap();
    fs::write(sandbox.path("engine/tests/idle.rs"), TEST).unwrap();
    sandbox
}

#[test]
fn the_log_of_this_engine_says_what_is_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    let said =
        Said::from(command.arg("-C").arg(root).args(["upstream", "check"]).output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
}

#[test]
fn what_is_not_so_is_named_and_red() {
    let sandbox = sandbox(LOG);
    let check = || sandbox.run(&["upstream", "check"]);
    let said = check();
    assert_eq!(said.code, 5);
    insta::assert_snapshot!(said.err, @"aaaaaaaaa is integrated, but bbbbbbbbb, which it needs, is deferred");

    fs::write(sandbox.path("engine/tests/idle.rs"), TEST.replace("#[test]\n", "")).unwrap();
    fs::remove_file(sandbox.path("scenarios/test/fake.toml")).unwrap();
    insta::assert_snapshot!(check().err, @"
    aaaaaaaaa is integrated, but bbbbbbbbb, which it needs, is deferred
    aaaaaaaaa is guarded by `scenarios/test/fake.toml`: there is no such file
    aaaaaaaaa is guarded by `engine/tests/idle.rs::an_idle_thread_sleeps`: this function is not a test
    ");

    fs::write(sandbox.path("engine/tests/idle.rs"), "").unwrap();
    assert!(check().err.contains("an_idle_thread_sleeps`: there is no such function"));
}

#[test]
fn a_log_that_is_named_is_looked_for_where_its_name_is_typed() {
    let sandbox = sandbox(LOG);
    fs::create_dir(sandbox.path("engine/notes")).unwrap();
    let other = LOG.replace("upstream\"", "another\"");
    fs::write(sandbox.path("engine/notes/other.toml"), other).unwrap();
    let status = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command.current_dir(sandbox.path("engine/notes")).args(["upstream", "status"]).args(args);
        let said = Said::from(command.output().unwrap());
        (said.code, said.out, said.err)
    };
    let (code, out, err) = status(&["--log", "other.toml"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("https://example.org/another: 2 commits"), "{out}");
    assert!(status(&[]).1.starts_with("https://example.org/upstream: 2 commits"));
    assert_eq!(status(&["--log", "../upstream.toml"]), status(&[]));
    let told = "error: there is no integration log `gone.toml`: name another one with `--log`";
    assert!(status(&["--log", "gone.toml"]).2.starts_with(told));
}

#[test]
fn commits_are_listed_shown_and_counted() {
    let sandbox = sandbox(LOG);
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(sandbox.run(&["upstream", "list"]).out, @"
      commit      date         state        pri   area     what it changed
    ──────────────────────────────────────────────────────────────────────────────────
      aaaaaaaaa   2025-10-19   integrated   P1    engine   an idle engine waits
      bbbbbbbbb   2025-11-05   deferred     P2    engine   work from inside wakes it
    ");
    insta::assert_snapshot!(sandbox.run(&["upstream", "list", "--state", "deferred"]).out, @"
      commit      date         state      pri   area     what it changed
    ────────────────────────────────────────────────────────────────────────────────
      bbbbbbbbb   2025-11-05   deferred   P2    engine   work from inside wakes it
    ");
    insta::assert_snapshot!(sandbox.run(&["upstream", "list", "--area", "vision"]).out, @"no commit in the log matches");
    insta::assert_snapshot!(sandbox.run(&["upstream", "show", "aaa"]).out, @"
    aaaaaaaaa
    No busy loop
    2025-10-19, engine, P1, integrated
    https://example.org/upstream/pull/7

    change  an idle engine waits
    here    the thread sleeps
    needs   bbbbbbbbb, which is deferred
    guard   scenarios/test/fake.toml (no kept run of it)
    guard   engine/tests/idle.rs::an_idle_thread_sleeps (a test of every change)
    ");
    insta::assert_snapshot!(sandbox.run(&["upstream", "show", "bbb"]).out, @"
    bbbbbbbbb
    2025-11-05, engine, P2, deferred
    https://example.org/upstream/commit/bbbbbbbbb

    change  work from inside wakes it
    here    not here yet
    ");
    insta::assert_snapshot!(sandbox.run(&["upstream", "status"]).out, @"
    https://example.org/upstream: 2 commits, considered up to bbbbbbbbb

      priority   integrated   deferred   skipped   not-applicable   new   integrated of wanted
    ────────────────────────────────────────────────────────────────────────────────────────────
      P1                  1          0         0                0     0                  100 %
      P2                  0          1         0                0     0                    0 %
      P3                  0          0         0                0     0                      –
      P4                  0          0         0                0     0                      –

    aaaaaaaaa is integrated, but bbbbbbbbb, which it needs, is deferred
    ");
}

#[test]
fn mistakes_about_the_log_are_answered_with_what_to_do() {
    let complaint = |log: &str, args: &[&str]| {
        let said = sandbox(log).run(args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        said.err
    };
    insta::assert_snapshot!(complaint(LOG, &["upstream", "show", "ccc"]), @"error: `ccc` is not the beginning of any hash in the log; `windtunnel upstream list` shows all");
    insta::assert_snapshot!(complaint(LOG, &["upstream", "check", "--log", "elsewhere.toml"]), @"error: there is no integration log `elsewhere.toml`: name another one with `--log`, or change to the workspace with `-C`: No such file or directory (os error 2)");
    insta::assert_snapshot!(complaint(&LOG.replace("reason   = \"not", "raeson   = \"not"), &["upstream", "check"]), @"error: `engine/upstream.toml`, line 24: unknown key `raeson`, did you mean `reason`?");
    insta::assert_snapshot!(complaint(&LOG.replace("hash     = \"bbbbbbbbb\"", "hash     = \"HEAD\""), &["upstream", "check"]), @"error: `engine/upstream.toml`, line 18: `HEAD` is not a commit hash: write 9 to 40 digits of 0-9 and a-f");
    let several = LOG.replace("bbbbbbbbb", "aaaaaaaab");
    insta::assert_snapshot!(complaint(&several, &["upstream", "show", "aaa"]), @"error: `aaa` begins 2 hashes of the log: write more digits");
    insta::assert_snapshot!(complaint(LOG, &["upstream", "list", "--area", "motor"]), @"error: unknown area `motor`; known: python, docs, build, embedding, audio, vision, sampling, scheduling, cuda, attention, placement, loading, text, engine");
    assert!(
        complaint(LOG, &["upstream", "list", "--state", "defered"])
            .contains("unknown value `defered`, did you mean `deferred`?")
    );
}

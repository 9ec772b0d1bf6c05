//! `windtunnel upstream sync`.

use std::fs;

use super::script::{Fork, Script};
use crate::sandbox::Sandbox;

const LOG: &str = r#"# A remark that stays.
repository = "https://example.org/upstream"
considered = "@CONSIDERED" # and one beside a key

[[commit]]
hash     = "@CONSIDERED"
date     = "2025-10-19"
area     = "engine"
priority = "P2"
state    = "skipped"
change   = "the toy engine"
reason   = "a toy"
"#;

/// A workspace whose log considers the first commit of a scripted upstream in `fork`.
fn sandbox() -> (Sandbox, Fork, String) {
    let sandbox = Sandbox::new(&["fine"]);
    let fork = Fork::new(&sandbox.path("fork"));
    let first = fork.script.git(&["rev-list", "--max-parents=0", "upstream"]);
    fs::create_dir(sandbox.path("engine")).unwrap();
    let log = LOG.replace("@CONSIDERED", &first);
    fs::write(sandbox.path("engine/upstream.toml"), &log).unwrap();
    (sandbox, fork, log)
}

#[test]
fn new_commits_are_entered_once_with_proposals_and_the_rest_of_the_file_stays() {
    let (sandbox, _fork, before) = sandbox();
    let sync = |more: &[&str]| {
        let args = ["upstream", "sync", "--repo", "fork", "--head", "upstream"];
        let said = sandbox.run(&[&args, more].concat());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        said.out
    };
    let read = || fs::read_to_string(sandbox.path("engine/upstream.toml")).unwrap();
    let shown = sync(&["--dry-run"]);
    insta::assert_snapshot!("proposals", shown);
    assert_eq!(read(), before, "asked only");

    sync(&["--limit", "4"]);
    let text = read();
    let added = text.strip_prefix(&before).expect("what was there stays as it is");
    insta::assert_snapshot!("entries", added);
    assert!(sync(&[]).starts_with("8 commits from"), "the rest");
    assert!(sync(&[]).starts_with("nothing new from"), "no commit is entered twice");

    let said = sandbox.run(&["upstream", "check"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "13 commits: the log agrees with the sources\n")
    );
    let said = sandbox.run(&["upstream", "list", "--state", "new", "--area", "sampling"]);
    assert!(said.out.contains("Fix wrong sampler order"), "{}", said.out);
    let said = sandbox.run(&["upstream", "status"]);
    assert!(said.out.contains("12 commits are new: nobody has read them yet"), "{}", said.out);
}

#[test]
fn an_upstream_elsewhere_is_copied_and_brought_up_to_date() {
    let (sandbox, fork, _) = sandbox();
    let address = format!("file://{}", sandbox.path("fork").display());
    let sync = || {
        let args = ["upstream", "sync", "--repo", &address, "--head", "upstream", "--dry-run"];
        let said = sandbox.run(&args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        said.out
    };
    assert!(sync().starts_with("12 commits from"));
    fork.script.git(&["checkout", "--quiet", "upstream"]);
    fork.script.commit("One more", &[("src/more.rs", "more\n")]);
    assert!(sync().starts_with("13 commits from"));
}

#[test]
fn mistakes_about_an_upstream_are_answered_with_what_to_do() {
    let (sandbox, ..) = sandbox();
    let complaint = |repo: &str, head: &str| {
        let said = sandbox.run(&["upstream", "sync", "--repo", repo, "--head", head]);
        assert_eq!((said.code, said.out.as_str()), (2, ""));
        said.err
    };
    insta::assert_snapshot!(complaint("nowhere", "HEAD"), @"error: there is no folder `nowhere`: name a clone, or the address of a repository");
    let err = complaint("scenarios", "HEAD");
    assert!(err.starts_with("error: `scenarios` is no git repository"), "{err}");
    let err = complaint("fork", "nothing");
    assert!(err.starts_with("error: `nothing` is no commit of `fork`: fetch it there"), "{err}");
    Script::new(&sandbox.path("other")).commit("Another project", &[]);
    let err = complaint("other", "HEAD");
    let told = "error: the log considers commits up to ";
    assert!(err.starts_with(told) && err.contains("and it is not there"), "{err}");
    let err = complaint("file:///nowhere/at/all", "HEAD");
    assert!(err.starts_with("error: cannot copy `file:///nowhere/at/all`: git clone"), "{err}");
}

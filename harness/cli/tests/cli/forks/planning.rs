//! `windtunnel upstream plan`.

use std::fs;

use super::script::{Fork, Script};
use crate::sandbox::Sandbox;

#[test]
fn a_plan_tells_what_is_picked_what_applies_what_conflicts_and_what_needs_what() {
    let sandbox = Sandbox::new(&["fine"]);
    let fork = Fork::new(&sandbox.path("fork"));
    fs::write(sandbox.path("fork/src/sampler.rs"), "work in progress\n").unwrap();
    let state = || {
        let objects = fork.script.git(&["count-objects", "-v"]);
        let all = ["for-each-ref", "--format=%(refname) %(objectname)"];
        [objects, fork.script.git(&["status", "--porcelain"]), fork.script.git(&all)]
    };
    let before = state();
    let said = sandbox.run(&["upstream", "plan", "--repo", "fork", "--upstream", "upstream"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    insta::assert_snapshot!("plan", said.out);
    assert_eq!(state(), before, "nothing is written");
}

#[test]
fn a_fork_that_has_everything_lacks_nothing() {
    let sandbox = Sandbox::new(&["fine"]);
    Fork::new(&sandbox.path("fork"));
    let args = ["upstream", "plan", "--repo", "fork", "--upstream", "fork~1", "--branch", "fork"];
    let said = sandbox.run(&args);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.ends_with("\n\nthe fork has all that the upstream has\n"), "{}", said.out);
}

#[test]
fn what_cannot_be_planned_is_told() {
    let sandbox = Sandbox::new(&["fine"]);
    let fork = Fork::new(&sandbox.path("fork"));
    let complaint = |upstream: &str| {
        let said = sandbox.run(&["upstream", "plan", "--repo", "fork", "--upstream", upstream]);
        assert_eq!((said.code, said.out.as_str()), (2, ""));
        said.err
    };
    let err = complaint("upstream/main");
    assert!(err.starts_with("error: `upstream/main` is no commit of `fork`: fetch it"), "{err}");
    let other = Script::new(&sandbox.path("other"));
    other.commit("Another project", &[("a", "a")]);
    let other = other.dir.display().to_string();
    fork.script.git(&["fetch", "--quiet", &other, "upstream:strange"]);
    let err = complaint("strange");
    assert!(err.contains("have no commit in common"), "{err}");
}

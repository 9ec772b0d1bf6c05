//! `windtunnel upstream plan`.

use std::fs;

use super::script::{Fork, Script};
use crate::sandbox::{Said, Sandbox};

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
    assert!(
        said.out.ends_with("\n\nthe fork has everything that the upstream has\n"),
        "{}",
        said.out
    );
}

#[test]
fn neither_the_folder_nor_the_configuration_of_the_user_changes_a_plan() {
    let sandbox = Sandbox::new(&["fine"]);
    Fork::new(&sandbox.path("fork"));
    let plan = |repo: &str, configuration: &str| {
        let args = ["upstream", "plan", "--repo", repo, "--upstream", "upstream"];
        fs::write(sandbox.path("gitconfig"), configuration).unwrap();
        let mut command = sandbox.command(&args);
        let command = command.env("GIT_CONFIG_GLOBAL", sandbox.path("gitconfig"));
        let said = Said::from(command.output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        said.out
    };
    let plain = plan("fork", "");
    assert!(plain.contains("1e5e8867a c357a9981 cd2c151fa   Calm down (#8)"), "{plain}");
    assert_eq!(plan("fork/src", ""), plain);
    assert_eq!(plan("fork", "[color]\n\tui = always\n"), plain);
    assert_eq!(plan("fork", "[blame]\n\tignoreRevsFile = .git-blame-ignore-revs\n"), plain);
}

#[test]
fn the_first_commit_of_a_project_that_was_merged_in_is_planned_and_not_proposed() {
    let sandbox = Sandbox::new(&["fine"]);
    let Fork { script, .. } = Fork::new(&sandbox.path("fork"));
    script.git(&["checkout", "--quiet", "--orphan", "part"]);
    script.git(&["rm", "--quiet", "-r", "--force", "."]);
    let first = script.commit("Another project", &[("part/lib.rs", "part\n")]);
    let second = script.commit("More of it", &[("part/lib.rs", "more of the part\n")]);
    script.git(&["checkout", "--quiet", "upstream"]);
    let merge = ["merge", "--quiet", "--no-ff", "--allow-unrelated-histories", "--message"];
    script.git(&[&merge[..], &["Merge it", "part"]].concat());
    let args = ["upstream", "plan", "--repo", "fork", "--upstream", "upstream", "--branch", "fork"];
    let said = sandbox.run(&args);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let line = |hash: &str| {
        let begins = |line: &&str| line.trim_start().starts_with(&hash[..9]);
        said.out.lines().find(begins).unwrap_or_else(|| panic!("{}", said.out))
    };
    assert!(line(&first).contains("clean, but a first commit: it is not picked"), "{}", said.out);
    let conflict = line(&second);
    assert!(conflict.contains(" conflict ") && conflict.contains(&first[..9]), "{}", said.out);
    let last = said.out.lines().last().unwrap();
    assert!(last.starts_with("those that apply, in order: "), "{last}");
    assert!(!last.contains(&first[..9]), "{last}");
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
    assert!(err.starts_with("error: `upstream/main` is not a commit of `fork`: fetch it"), "{err}");
    let other = Script::new(&sandbox.path("other"));
    other.commit("Another project", &[("a", "a")]);
    let other = other.dir.display().to_string();
    fork.script.git(&["fetch", "--quiet", &other, "upstream:strange"]);
    let err = complaint("strange");
    assert!(err.trim_end().ends_with("have no commit in common"), "{err}");

    let address = format!("file://{}", sandbox.path("fork").display());
    let (clone, depth) = (["clone", "--quiet", "--no-single-branch"], ["--depth", "1"]);
    let shallow = sandbox.path("shallow").display().to_string();
    fork.script.git(&[&clone[..], &depth, &[&address, &shallow]].concat());
    let args = ["upstream", "plan", "--repo", "shallow", "--upstream", "origin/upstream"];
    let said = sandbox.run(&args);
    let told = "have no commit in common; this clone is shallow: `git fetch --unshallow`\n";
    assert!(said.code == 2 && said.err.ends_with(told), "{}", said.err);
    let said = sandbox.run(&["upstream", "plan", "--repo", "shallow", "--upstream", "upstream"]);
    let told = "`upstream` is not a commit of `shallow`: name `origin/upstream`, which is one";
    assert!(said.code == 2 && said.err.contains(told), "{}", said.err);
}

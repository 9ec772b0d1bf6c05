//! The files in `ci` for other people's machines.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::git_in;

fn ci() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ci")
}

/// The calls, one per line, to a `gh` that finds the comments `ids`.
fn asked(ids: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let gh = format!(
        "#!/bin/sh\necho \"$*\" >> {log}\ncase \"$*\" in *--paginate*) printf '{ids}' ;; esac\n",
        log = at("log").display()
    );
    fs::write(at("gh"), gh).unwrap();
    fs::set_permissions(at("gh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("summary.md"), "<!-- windtunnel gate -->\n### Windtunnel: pass\n").unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(ci().join("comment.sh"))
        .args(["7", "summary.md"])
        .current_dir(dir.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(at("log")).unwrap()
}

#[test]
fn the_comment_of_a_gate_is_found_by_its_marker_and_written_anew() {
    let first = asked("");
    assert!(first.contains(r#"startswith("<!-- windtunnel gate -->")"#), "{first}");
    let last = |log: &str| log.lines().last().unwrap().to_owned();
    assert_eq!(
        last(&first),
        "api --silent --method POST repos/{owner}/{repo}/issues/7/comments -F body=@summary.md"
    );
    assert_eq!(
        last(&asked("41\\n52\\n")),
        "api --silent --method PATCH repos/{owner}/{repo}/issues/comments/41 -F body=@summary.md"
    );
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn workflows_are_what_their_linter_expects() {
    let workflows =
        ["check.yml", "gate.yml", "nightly.yml"].map(|name| ci().join("github").join(name));
    match Command::new("actionlint").args(&workflows).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        Err(error) => println!("skipped: `actionlint` cannot be started: {error}"),
    }
}

/// The output and exit code of a script of `ci` on a machine without any programs.
fn bare(script: &str, args: &[&str]) -> (String, Option<i32>) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/bash");
    command.arg(ci().join(script)).args(args).env("PATH", dir.path());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.code())
}

#[test]
fn a_browser_that_cannot_be_had_fails_nothing_and_is_told() {
    let (said, code) = bare("browser.sh", &[]);
    insta::assert_snapshot!(said, @"skipped: pages are not opened in a browser: there is none, and no apt-get that installs it");
    assert_eq!(code, Some(0));
    let (said, code) = bare("picture.sh", &["page.html", "page.png"]);
    insta::assert_snapshot!(said, @"no browser is installed: `apt-get install chromium`");
    assert_eq!(code, Some(2));
}

/// The blocks with a key at this indentation, below the line `above`: in a workflow, its jobs.
fn blocks(text: &str, above: &str, indentation: &str) -> Vec<String> {
    let (_, text) = text.split_once(above).unwrap();
    let is_key = |line: &str| {
        let key = line.strip_prefix(indentation);
        key.is_some_and(|key| key.ends_with(':') && key.starts_with(|c: char| c.is_alphabetic()))
    };
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        match blocks.last_mut() {
            Some(block) if !is_key(line) => block.extend([line, "\n"]),
            _ if is_key(line) => blocks.push(format!("{line}\n")),
            _ => (),
        }
    }
    blocks
}

/// The jobs of all workflows.
fn jobs() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(ci().join(path)).unwrap();
    let github = ["check.yml", "gate.yml", "nightly.yml"].map(|name| format!("github/{name}"));
    let github = github.iter().flat_map(|path| blocks(&read(path), "\njobs:\n", "  "));
    let gitlab = ["gate.yml", "nightly.yml"].map(|name| format!("gitlab/{name}"));
    let gitlab = gitlab.iter().flat_map(|path| blocks(&read(path), "", ""));
    github.chain(gitlab).collect()
}

#[test]
fn a_hosted_job_that_keeps_what_it_built_says_for_which_processor() {
    let jobs = jobs();
    let keeps = |job: &&String| {
        job.lines().any(|line| ["target", "paths: [target]"].contains(&line.trim()))
    };
    let is_own = |job: &&String| job.contains("self-hosted") || job.contains("tags: [windtunnel]");
    let kept = jobs.iter().filter(keeps);
    let (own, hosted): (Vec<&String>, Vec<&String>) = kept.partition(is_own);
    assert_eq!((own.len(), hosted.len()), (4, 3), "{jobs:?}");
    for job in hosted {
        assert!(job.contains("RUSTFLAGS: -C target-cpu=x86-64-v3\n"), "{job}");
    }
}

#[test]
fn a_pull_request_from_a_fork_is_not_commented_on() {
    let job = jobs().into_iter().find(|job| job.contains("ci/comment.sh")).unwrap();
    let step = job.split("\n      - ").find(|step| step.contains("ci/comment.sh")).unwrap();
    let own = "github.event.pull_request.head.repo.full_name == github.repository";
    assert!(step.contains(own), "its token may only read: {step}");
}

#[test]
fn a_gate_in_a_clone_without_the_base_says_what_to_fetch_and_that_nothing_regressed() {
    let dir = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        assert!(git_in(dir.path()).args(identity).args(args).status().unwrap().success());
    };
    git(&["init", "--quiet", "--initial-branch=main", "origin"]);
    let commit = |message: &str| {
        git(&["-C", "origin", "commit", "--quiet", "--allow-empty", "--message", message]);
    };
    commit("First");
    git(&["-C", "origin", "checkout", "--quiet", "-b", "topic"]);
    commit("Change");
    git(&["-C", "origin", "checkout", "--quiet", "main"]);
    commit("Second");
    let origin = format!("file://{}", dir.path().join("origin").display());
    let shallow = ["clone", "--quiet", "--depth=1", "--no-single-branch", "--branch=topic"];
    git(&[&shallow[..], &[&origin, "clone"]].concat());
    fs::create_dir(dir.path().join("clone/ci")).unwrap();
    fs::copy(ci().join("gate.sh"), dir.path().join("clone/ci/gate.sh")).unwrap();
    let mut gate = Command::new("bash");
    for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] {
        gate.env_remove(name);
    }
    let output = gate.arg(dir.path().join("clone/ci/gate.sh")).output().unwrap();
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"where HEAD branched from origin/main is not in this clone: get the rest of it with `git fetch --unshallow`");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn no_script_runs_what_another_target_folder_holds() {
    for entry in fs::read_dir(ci()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            let script = fs::read_to_string(&path).unwrap();
            let hint = "a build lies where CARGO_TARGET_DIR says";
            assert!(!script.contains("target/release/"), "{}: {hint}", path.display());
        }
    }
}

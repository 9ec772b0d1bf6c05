//! What lies in `ci` for other people's machines.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn ci() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ci")
}

/// What a `gh` was asked that finds the comments `ids`, a call in each line.
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

/// What a script of `ci` says on a machine without any program, and its exit code.
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

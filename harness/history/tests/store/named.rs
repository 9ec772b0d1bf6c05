//! Changes with their commits: ours from a repository made by the test, the upstream's from a log.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use windtunnel_history::commits::Commits;
use windtunnel_ledger::record::Subject;

use crate::{printed, runs};

/// The output of git, independent of who runs it and when.
#[expect(clippy::disallowed_methods, reason = "the test makes a repository")]
fn git(dir: &Path, day: usize, args: &[&str]) -> String {
    let mut git = Command::new("git");
    let when = format!("2026-01-{day:02}T00:00:00Z");
    // If a hook runs the test, it must not change the hook's repository.
    for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] {
        git.env_remove(name);
    }
    git.arg("-C").arg(dir).args(args);
    git.env("GIT_AUTHOR_DATE", &when).env("GIT_COMMITTER_DATE", &when);
    for (name, value) in [("NAME", "Tester"), ("EMAIL", "tester@localhost")] {
        git.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let output = git.output().expect("git starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const HOSTILE: &str = "Read <script>alert(1)</script> \u{1b}[31m twice (#12)";

/// A repository of 14 commits, each but the eighth and ninth measured on its day; from the ninth on
/// decode is slower. The upstream moves on at the fifth and the tenth.
fn repository() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path();
    git(root, 1, &["init", "--quiet", "--initial-branch", "main"]);
    for day in 1..=14 {
        let subject = match day {
            9 => HOSTILE.to_owned(),
            10 => "Merge pull request #7 from a/b".to_owned(),
            day => format!("Take step {day}"),
        };
        git(root, day, &["commit", "--quiet", "--allow-empty", "--message", &subject]);
        if day == 8 || day == 9 {
            continue;
        }
        let commit = git(root, day, &["rev-parse", "HEAD"]);
        let upstream = ["1111111111", "3333333333", "4444444444"][(day / 5).min(2)].to_owned();
        let subject = Subject {
            name: ".".into(),
            commit: Some(commit),
            upstream: Some(upstream.try_into().expect("a hash")),
            ..Subject::default()
        };
        let rate = if day < 9 { 100.0 } else { 92.0 } + 0.1 * (day % 3) as f64;
        runs::write_of(root, day as u32, &subject, &[rate, rate + 0.1]);
    }
    std::fs::create_dir(root.join("engine")).expect("a writable directory");
    std::fs::write(root.join("engine/upstream.toml"), log()).expect("a writable directory");
    dir
}

fn log() -> String {
    let mut log =
        "repository = \"https://example.org/upstream\"\nconsidered = \"4444444444\"\n".to_owned();
    for n in 1..=4 {
        let hash = n.to_string().repeat(10);
        log += &format!(
            "[[commit]]\nhash = \"{hash}\"\npr = {n}0\ndate = \"2026-01-0{n}\"\nsubject = \"Change {n}\"\n\
             area = \"engine\"\npriority = \"P2\"\nstate = \"deferred\"\nchange = \"c\"\nreason = \"r\"\n"
        );
    }
    log
}

const DECODE: [&str; 4] = ["--case", "decode", "--metric", "decode-rate"];

#[test]
fn a_change_is_named_with_commit_request_and_subject() {
    insta::assert_snapshot!(printed(repository().path(), &DECODE));
}

#[test]
fn along_the_upstream_a_change_is_named_with_the_commits_of_the_log() {
    insta::assert_snapshot!(printed(
        repository().path(),
        &[&DECODE[..], &["--along", "upstream"]].concat()
    ));
}

#[test]
fn what_a_user_configures_changes_no_commit() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path();
    git(root, 1, &["init", "--quiet", "--initial-branch", "main"]);
    git(root, 1, &["commit", "--quiet", "--allow-empty", "--message", "Größer (#1)"]);
    // Git asks another program about the signature, and would print its output before the commit.
    let plain = git(root, 1, &["cat-file", "commit", "HEAD"]);
    let (head, message) = plain.split_once("\n\n").expect("a commit has a message");
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n none\n -----END PGP SIGNATURE-----";
    let file = root.join("commit");
    std::fs::write(&file, format!("{head}\n{signature}\n\n{message}\n")).unwrap();
    let file = file.display().to_string();
    let signed = git(root, 1, &["hash-object", "-t", "commit", "-w", &file]);
    git(root, 1, &["update-ref", "HEAD", &signed]);
    let program = root.join("signatures");
    std::fs::write(&program, "#!/bin/sh\necho 'told of a signature' >&2\n").unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let program = program.display().to_string();
    for (name, value) in [
        ("log.showSignature", "true"),
        ("gpg.program", program.as_str()),
        ("color.ui", "always"),
        ("i18n.logOutputEncoding", "ISO-8859-1"),
    ] {
        git(root, 1, &["config", name, value]);
    }
    let said = git(root, 1, &["log", "--format=%s"]);
    assert!(said.contains("told of a signature") && !said.contains("Größer"), "{said}");

    let commits = Commits::of_repository(root);
    let commit = commits.get(0).expect("it has a commit");
    let told = (commit.hash.as_str(), commit.date.as_str(), commit.subject.as_str(), commit.pr);
    assert_eq!(told, (signed.as_str(), "2026-01-01", "Größer (#1)", Some(1)));
    assert_eq!(commits.count(), 1);
}

#[test]
fn old_commits_that_are_measured_late_stand_where_they_belong() {
    let dir = repository();
    let late = git(dir.path(), 1, &["rev-list", "--max-parents=0", "HEAD"]);
    let subject = Subject { name: "rev:old".into(), commit: Some(late), ..Subject::default() };
    runs::write_of(dir.path(), 20, &subject, &[100.0, 100.1]);
    let printed = printed(dir.path(), &DECODE);
    let line = |text: &str| printed.lines().position(|line| line.contains(text)).unwrap();
    assert!(line("2026-01-20") < line("2026-01-02"), "{printed}");
    assert!(printed.contains("8.6 % worse"), "{printed}");
}

#[test]
fn a_change_at_one_commit_is_the_machine_or_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    for day in 1..=12 {
        let rate = if day < 7 { 100.0 } else { 90.0 } + 0.1 * f64::from(day % 3);
        runs::write(dir.path(), day, 'a', &[rate]);
        let file = dir.path().join(format!("2026-01-{day:02}/run.jsonl"));
        let kernel = if day < 7 { "6.1" } else { "6.2" };
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace("\"kernel\":\"\"", &format!("\"kernel\":\"{kernel}\"")))
            .unwrap();
    }
    std::fs::create_dir(dir.path().join("repo")).unwrap();
    let printed = printed(dir.path(), &DECODE);
    assert!(printed.contains("not the same before and after: kernel 6.1 → 6.2"), "{printed}");
    assert!(printed.contains("the machine or its setting changed, not the code"), "{printed}");
}

#[test]
fn a_page_is_written_and_a_hostile_subject_stays_text() {
    let dir = repository();
    let file = dir.path().join("history.html");
    let told = printed(dir.path(), &["--html", &file.display().to_string()]);
    assert_eq!(told, "history: DIR/history.html\n--- stderr\n--- exit 0");
    let page = std::fs::read_to_string(&file).unwrap();
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(page.contains("Read &lt;script&gt;alert(1)&lt;/script&gt;"), "the subject is there");
    let below = file.join("again.html").display().to_string();
    let told = printed(dir.path(), &["--html", &below]);
    let told_so = "error: cannot write the page `DIR/history.html/again.html`: ";
    assert!(told.contains(told_so), "{told}");
}

//! `windtunnel upstream sync`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::script::{Fork, Script};
use crate::sandbox::{Said, Sandbox};

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
    let asked = |head: &str| {
        sandbox.command(&["upstream", "sync", "--repo", &address, "--head", head, "--dry-run"])
    };
    let sync = |head: &str| {
        let said = Said::from(asked(head).output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        said.out
    };
    // A git that begins a clone and then fails.
    let path = std::env::var("PATH").unwrap();
    let broken = "for last; do :; done\ncase \" $* \" in *' clone '*) mkdir \"$last\"; exit 1;; esac\n\
                  export PATH=\"${PATH#*:}\"\nexec git \"$@\"\n";
    executable(&sandbox, "broken/git", broken);
    let mut command = asked("upstream");
    command.env("PATH", format!("{}:{path}", sandbox.path("broken").display()));
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, 2, "{}", said.out);
    assert!(said.err.starts_with(&format!("error: cannot copy `{address}`")), "{}", said.err);

    assert!(sync("upstream").starts_with("12 commits from"));
    fork.script.git(&["checkout", "--quiet", "upstream"]);
    fork.script.commit("One more", &[("src/more.rs", "more\n")]);
    assert!(sync("upstream").starts_with("13 commits from"));
    // The default branch is another one, and is then renamed.
    assert!(sync("HEAD").starts_with("13 commits from"));
    fork.script.git(&["branch", "--move", "upstream", "trunk"]);
    assert!(sync("HEAD").starts_with("13 commits from"));
}

/// Makes a shell script.
fn executable(sandbox: &Sandbox, name: &str, text: &str) {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_git_says_of_signatures_is_not_entered_and_subjects_keep_their_letters() {
    let (sandbox, fork, _) = sandbox();
    let plain = fork.script.git(&["cat-file", "commit", "upstream"]);
    let (head, message) = plain.split_once("\n\n").unwrap();
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n none\n -----END PGP SIGNATURE-----";
    fs::write(sandbox.path("commit"), format!("{head}\n{signature}\n\nFür {message}\n")).unwrap();
    let file = sandbox.path("commit").display().to_string();
    let signed = fork.script.git(&["hash-object", "-t", "commit", "-w", &file]);
    fork.script.git(&["update-ref", "refs/heads/upstream", &signed]);
    executable(&sandbox, "signatures", "echo 'told of a signature' >&2\n");
    let program = sandbox.path("signatures").display().to_string();
    let show = ["-c", "log.showSignature=true", "-c", &format!("gpg.program={program}")];
    let said = fork.script.git(&[&show[..], &["log", "-1", "upstream"]].concat());
    assert!(said.contains("told of a signature"), "{said}");

    let configuration = format!(
        "[log]\n\tshowSignature = true\n[gpg]\n\tprogram = {program}\n[i18n]\n\tlogOutputEncoding = ISO-8859-1\n"
    );
    fs::write(sandbox.path("gitconfig"), configuration).unwrap();
    let args = ["upstream", "sync", "--repo", "fork", "--head", "upstream"];
    let mut command = sandbox.command(&args);
    command.env("GIT_CONFIG_GLOBAL", sandbox.path("gitconfig"));
    let said = Said::from(command.output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.starts_with("12 commits from"), "{}", said.out);
    let entered = fs::read_to_string(sandbox.path("engine/upstream.toml")).unwrap();
    assert!(!entered.contains("told of a signature"), "{entered}");
    assert!(entered.contains("\"Für "), "{entered}");
}

#[test]
fn a_folder_for_caches_that_is_none_of_its_own_counts_as_not_set() {
    let (sandbox, ..) = sandbox();
    let address = format!("file://{}", sandbox.path("fork").display());
    for (place, home) in [("", "one"), ("beside", "two")] {
        let args = ["upstream", "sync", "--repo", &address, "--head", "upstream", "--dry-run"];
        let mut command = sandbox.command(&args);
        command.env("XDG_CACHE_HOME", place).env("HOME", sandbox.path(home));
        let said = Said::from(command.output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        assert!(sandbox.path(home).join(".cache/windtunnel").is_dir());
        assert!(!sandbox.path(place).join("windtunnel").exists());
    }
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
    assert!(err.starts_with("error: `scenarios` is not a git repository"), "{err}");
    let err = complaint("fork", "nothing");
    assert!(err.starts_with("error: `nothing` is not a commit of `fork`: fetch it there"), "{err}");
    Script::new(&sandbox.path("other")).commit("Another project", &[]);
    let err = complaint("other", "HEAD");
    let told = "error: the log considers commits up to ";
    assert!(err.starts_with(told) && err.contains("and it is not there"), "{err}");
    let err = complaint("file:///nowhere/at/all", "HEAD");
    assert!(err.starts_with("error: cannot copy `file:///nowhere/at/all`: git clone"), "{err}");
}

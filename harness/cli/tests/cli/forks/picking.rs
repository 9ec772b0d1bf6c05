//! `windtunnel upstream pick`: what is kept, what stops it, and what is written down.

use std::fs;

use super::script::Fork;
use crate::sandbox::{FAKE_PROBE, Said, Sandbox, redacted};

const SCENARIO: &str = "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\niterations = 2\n\
                        matrix = { batch = [1], output = [8] }\n";

/// A scripted fork and its description.
pub(super) fn sandbox() -> (Sandbox, Fork) {
    let sandbox = Sandbox::with(SCENARIO);
    let fork = Fork::new(&sandbox.path("fork"));
    fs::write(
        sandbox.path("fork.toml"),
        format!(
            r#"repository = "fork"
build      = "sh build.sh '{FAKE_PROBE}'"

[probe]
path = "probe"

[[check]]
name = "format"
run  = "! grep -rn TODO src"

[[check]]
name = "tests"
run  = "test -e build.sh && echo told 'the tests' && test ! -e src/untested.rs"

[measure]
scenarios = ["test/fake"]
"#
        ),
    )
    .unwrap();
    (sandbox, fork)
}

fn pick(sandbox: &Sandbox, commits: &[&str]) -> Said {
    let args = ["--quiet", "upstream", "pick", "--checks", "fork.toml", "--out", "pick"];
    let branch = ["--branch", "picked"];
    sandbox.run(&[&args, &branch[..], commits].concat())
}

#[test]
fn what_applies_holds_and_passes_is_kept_until_something_is_slower() {
    let (sandbox, fork) = sandbox();
    let before = fork.script.head();
    let commits = [&fork.docs, &fork.context, &fork.dependent, &fork.slow, &fork.last];
    let said = pick(&sandbox, &commits.map(String::as_str));
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{}", said.out);
    let _redacted = redacted(&sandbox);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("(kept as|branch picked:) [0-9a-f]{9}", "$1 COMMITTED");
    settings.add_filter("(onto|branch `picked`,) `[0-9a-f]{9}`", "$1 `COMMITTED`");
    settings.add_filter(r" at \d{4}-\d\d-\d\dT[\d:]+Z", " at TIME");
    settings.bind(|| {
        insta::assert_snapshot!("picked", said.out);
        let markdown = fs::read_to_string(sandbox.path("pick/integration.md")).unwrap();
        insta::assert_snapshot!("integration", markdown);
    });

    let log = fork.script.git(&["log", "--reverse", "--format=%s%n%b", "fork..picked"]);
    assert!(log.starts_with("Describe the engine (#1)\n"), "{log}");
    assert_eq!(log.matches("cherry picked from commit").count(), 3, "{log}");
    assert!(!log.contains("Refactor decode"), "what is slower is not kept");
    assert_eq!(fork.script.head(), before, "the fork's own branch stays");
    assert_eq!(fork.script.git(&["status", "--porcelain"]), "");

    let page = fs::read_to_string(sandbox.path("pick/integration.html")).unwrap();
    for words in ["3 of 5 commits kept", "stopped: regressed", "04-", "not tried"] {
        assert!(page.contains(words), "{words}");
    }
    let links: Vec<&str> = page.split("href=\"").skip(1).filter(|l| !l.starts_with('#')).collect();
    assert_eq!(links.len(), 4, "each measured commit leads to its run");
    for link in links {
        let link = link.split('"').next().unwrap();
        assert!(sandbox.path("pick").join(link).is_file(), "{link}");
    }
}

#[test]
fn whatever_must_not_be_kept_stops_with_its_reason() {
    let check = |commit: fn(&Fork) -> &str, code: i32, told: &[&str]| {
        let (sandbox, fork) = sandbox();
        let said = pick(&sandbox, &[commit(&fork), &fork.last]);
        assert_eq!((said.code, said.err.as_str()), (code, ""), "{}", said.out);
        for words in told {
            assert!(said.out.contains(words), "{words}: {}", said.out);
        }
        assert!(said.out.contains("0 of 2 commits kept"), "{}", said.out);
        assert_ne!(fork.script.try_git(&["rev-parse", "--verify", "picked"]).0, 0, "no branch");
    };
    check(|fork| &fork.conflict, 4, &["conflict in src/sampler.rs", "stopped: it conflicts"]);
    check(|fork| &fork.dependent, 4, &["conflict in src/context.rs"]);
    check(
        |fork| &fork.wrong,
        5,
        &["stopped: broken", "the output tokens differ between base and head"],
    );
    check(|fork| &fork.unbuildable, 5, &["stopped: it does not build", "no-such-compiler"]);
}

#[test]
fn a_check_that_fails_stops_it_and_what_the_fork_has_is_passed_over() {
    let (sandbox, fork) = sandbox();
    fork.script.git(&["checkout", "--quiet", "upstream"]);
    let untested = fork.script.commit("Do without tests", &[("src/untested.rs", "")]);
    fork.script.git(&["checkout", "--quiet", "fork"]);
    let named = fork.script.git(&["rev-parse", "upstream~4"]);
    let said = pick(&sandbox, &[&named, &untested]);
    assert_eq!((said.code, said.err.as_str()), (5, ""), "{}", said.out);
    for words in ["passed over: the fork has all of it", "tests failed", "told the tests"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
}

/// A scripted fork without measurements and with one more check.
fn unmeasured(check: &str) -> (Sandbox, Fork) {
    let (sandbox, fork) = sandbox();
    let description = fs::read_to_string(sandbox.path("fork.toml")).unwrap();
    let (kept, _) = description.split_once("[measure]").unwrap();
    let check = format!("[[check]]\nname = \"more\"\nrun = '''{check}'''\n");
    fs::write(sandbox.path("fork.toml"), format!("{kept}{check}")).unwrap();
    (sandbox, fork)
}

#[test]
fn a_branch_that_somebody_has_checked_out_or_added_to_is_left_alone() {
    let told = |meanwhile: &str| {
        let (sandbox, fork) =
            unmeasured(&format!("git rev-parse --verify --quiet picked || exit 0\n{meanwhile}"));
        let said = pick(&sandbox, &[&fork.docs, &fork.context]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
        let (_, rest) = said.err.split_once("` cannot move on; `git branch NAME ").unwrap();
        let picked = rest.split('`').next().unwrap();
        let subject = |commit: &str| fork.script.git(&["log", "-1", "--format=%s", commit]);
        assert_eq!(subject(picked), "Support long contexts", "what was picked can be kept");
        (subject("picked"), said.err, sandbox)
    };
    let (left, err, sandbox) = told("git worktree add --quiet ../away-from-here picked");
    assert_eq!(left, "Describe the engine (#1)");
    assert!(err.contains("away-from-here"), "{err}");
    drop(sandbox);
    let (left, err, _sandbox) = told(
        "git update-ref refs/heads/picked $(git commit-tree -p picked -m Theirs 'picked^{tree}')",
    );
    assert_eq!(left, "Theirs");
    assert!(err.contains("it was moved from "), "{err}");
}

#[test]
fn a_branch_that_somebody_made_meanwhile_is_left_alone() {
    let (sandbox, fork) = unmeasured("git branch picked upstream");
    let said = pick(&sandbox, &[&fork.docs]);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
    assert!(said.err.contains("already exists"), "{}", said.err);
    assert_eq!(fork.script.git(&["rev-parse", "picked"]), fork.last);
}

#[test]
fn what_a_kill_left_locked_is_in_nobodys_way() {
    let (sandbox, fork) = unmeasured("true");
    assert_eq!(pick(&sandbox, &[&fork.docs]).code, 0);
    fs::write(sandbox.path("fork/.git/worktrees/pick/index.lock"), "").unwrap();
    let args = ["-q", "upstream", "pick", "--checks", "fork.toml", "--branch", "again"];
    let said = sandbox.run(&[&args[..], &[&fork.context]].concat());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains("1 of 1 commit kept"), "{}", said.out);
}

#[test]
fn what_cannot_be_picked_is_told_before_anything_is_done() {
    let (sandbox, fork) = sandbox();
    let complaint = |args: &[&str]| {
        let all = ["-q", "upstream", "pick", "--checks", "fork.toml"];
        let said = sandbox.run(&[&all, args].concat());
        assert_eq!((said.code, said.out.as_str()), (2, ""));
        said.err
    };
    let err = complaint(&["nothing"]);
    assert!(err.starts_with("error: `nothing` is not a commit of"), "{err}");
    let first = fork.script.git(&["rev-list", "--max-parents=0", "upstream"]);
    let err = complaint(&[&first]);
    assert!(err.contains("is a merge, or the first commit of all"), "{err}");
    let err = complaint(&["--branch", "fork", &fork.docs]);
    assert!(err.contains("has a branch `fork`: name another one with `--branch`"), "{err}");
    for name in ["no branch", "fork/beside-one", "HEAD"] {
        let err = complaint(&["--branch", name, &fork.docs]);
        let told = format!("can have no branch `{name}`: name another one with `--branch`");
        assert!(err.contains(&told), "{err}");
    }
    // What an earlier pick measured, perhaps against another commit, does not count for this one.
    fs::create_dir(sandbox.path("before")).unwrap();
    let err = complaint(&["--out", "before", &fork.docs]);
    assert!(err.contains("`before` exists already: name a new folder"), "{err}");

    let description = fs::read_to_string(sandbox.path("fork.toml")).unwrap();
    let rewritten = |from: &str, to: &str| {
        fs::write(sandbox.path("fork.toml"), description.replace(from, to)).unwrap();
        complaint(&[&fork.docs])
    };
    let err = rewritten("[[check]]", "[[chekc]]");
    assert!(
        err.contains("`fork.toml`, line 7: unknown key `chekc`, did you mean `check`?"),
        "{err}"
    );
    let err = rewritten("[probe]\npath = \"probe\"\n", "");
    assert!(
        err.contains("write one of `[probe]`, `[openai]`, `[llama-bench]`, `[mistralrs-bench]` and `[criterion]`"),
        "{err}"
    );
    let err = rewritten("repository = \"fork\"\n", "");
    assert!(err.contains("`build` builds a checkout of `repository`, and none is named"), "{err}");
    let err = rewritten("repository = \"fork\"\n", "repository = \"nowhere\"\n");
    assert!(err.contains("nowhere`: name a clone"), "{err}");
    let err =
        rewritten("scenarios = [\"test/fake\"]", "scenarios = [\"test/fake\"]\nfilter = [\"x=\"]");
    assert!(err.contains("nothing to measure: 0 skipped, 1 left out by the filter"), "{err}");
    fs::remove_file(sandbox.path("fork.toml")).unwrap();
    let err = complaint(&[&fork.docs]);
    assert!(err.starts_with("error: there is no description of a subject `fork.toml`"), "{err}");
}

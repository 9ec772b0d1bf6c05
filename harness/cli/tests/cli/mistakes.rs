//! The messages when something cannot be done.

use std::process::Command;

use crate::sandbox::{FAKE_PROBE, Said, Sandbox, redacted};

#[test]
fn clocks_of_no_gpu_are_not_held_and_nothing_is_run() {
    if std::path::Path::new("/proc/driver/nvidia/version").exists() {
        return;
    }
    let sandbox = Sandbox::new(&["fine"]);
    let said = sandbox.run(&["-q", "hold-clocks", "1500", "run", "test/fake"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    insta::assert_snapshot!(said.err, @"error: nothing was run: this machine has no NVIDIA driver, and so no GPU clocks");
}

#[test]
fn the_help_lists_the_commands_by_what_they_are_for_and_says_where_to_begin() {
    let said = Sandbox::new(&["fine"]).run(&["--help"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    // Two spaces precede the name of a command; continuation lines are indented further.
    let names = said.out.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = names.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    let expected = [
        ["list", "fetch", "run"].as_slice(),
        &["gate", "compare", "judge", "merge", "museum"],
        &["show", "explain", "explain-verdict", "report", "index"],
        &["baseline", "history"],
        &["upstream", "bisect"],
        &["doctor", "calibrate", "hold-clocks"],
        &["help"],
    ];
    assert_eq!(names, expected.concat());
    assert!(
        said.out.ends_with("\n\nStart with: doctor, run smoke, gate --base main.\n"),
        "{}",
        said.out
    );
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    let _redacted = redacted(&sandbox);
    let complaint = |args: &[&str]| {
        let said = sandbox.run(args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        said.err
    };
    insta::assert_snapshot!(complaint(&["run", "test/fake"]), @"error: there is no probe to build in `DIR`: change to the workspace with `-C DIR`, or name a ready probe with `--probe PATH`");
    insta::assert_snapshot!(complaint(&["run", "tset"]), @"error: no scenario `tset` in `DIR/scenarios`, did you mean `test`?");
    insta::assert_snapshot!(complaint(&["run", "test", "--probe", "nowhere"]), @"error: there is no probe at `nowhere`");
    std::fs::write(sandbox.path("copied"), "#!/bin/sh\n").unwrap();
    insta::assert_snapshot!(complaint(&["run", "test", "--probe", "copied"]), @"error: `copied` is not executable, as a probe must be: `chmod +x copied`, if it is one");
    insta::assert_snapshot!(complaint(&["run", "test", "-s", "HEAD"]), @"
    error: invalid value 'HEAD' for '--subject <SUBJECT>': a subject is `.` (the working tree), `rev:REVISION`, `probe:PATH` or `external:FILE.toml`

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(complaint(&["run", "test", "-s", "rev:no-such-revision"]), @"error: `DIR` is not a git repository: git rev-parse: fatal: not a git repository (or any of the parent directories): .git");
    insta::assert_snapshot!(complaint(&["run", "test", "-s", ".", "-s", "."]), @"error: subject `.` is named twice");
    // Rejected before anything is built: there is nothing to build here.
    insta::assert_snapshot!(complaint(&["run", "test", "-o", "run.jsonl"]), @"error: `run.jsonl` exists already; continue it with `--resume run.jsonl`, or choose another `--out`");
    insta::assert_snapshot!(complaint(&["run", "test", "-s", &format!("probe:{FAKE_PROBE}"), "--features", "cuda"]), @"error: `--features` applies to what is built here, `.` and `rev:REVISION`, and not to `probe:FAKE-PROBE`: leave it out, and enable the features where that is built");
    insta::assert_snapshot!(complaint(&["gate", "test", "-b", "probe:x", "-s", "external:y.toml", "--features", "cuda"]), @"error: `--features` applies to what is built here, `.` and `rev:REVISION`, and not to `external:y.toml`: leave it out, and enable the features where that is built");
    insta::assert_snapshot!(complaint(&["run", "test", "--probe", FAKE_PROBE, "-o", "run.jsonl"]), @"error: `run.jsonl` exists already; continue it with `--resume run.jsonl`, or choose another `--out`");
    insta::assert_snapshot!(complaint(&["run", "test", "--probe", FAKE_PROBE, "-o", "run.html"]), @"error: `--out run.html` does not end in `.jsonl`: log and report take the same name with endings of their own");
    insta::assert_snapshot!(complaint(&["compare", "run.jsonl"]), @"error: run `run.jsonl` has one subject only: name a second run to compare it with");
    insta::assert_snapshot!(complaint(&["compare", "run.jsonl", "gone"]), @"error: there is no run `gone` here or below `DIR/reports`");
    insta::assert_snapshot!(complaint(&["compare", "run.jsonl", "run.jsonl@rev:x"]), @"error: run `TIME-test-fake` has no subject `rev:x`; it has `probe:FAKE-PROBE`");
    insta::assert_snapshot!(complaint(&["run", "test", "-n", "0"]), @"
    error: invalid value '0' for '--rounds <N>': write a whole number from 1 to 100000

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(complaint(&["baseline", "record", "-n", "3"]), @"
    error: invalid value '3' for '--rounds <N>': write a whole number from 5 to 100000

    For more information, try '--help'.
    ");
    for args in [&["hold-clocks", "fast", "run"][..], &["baseline", "prune", "--keep", "all"]] {
        let told = complaint(args);
        assert!(told.contains(": write a whole number that is not too large\n"), "{told}");
    }
    insta::assert_snapshot!(complaint(&["compare", "baseline"]), @"error: a baseline is compared with a run: name it, `windtunnel compare baseline RUN`");
    insta::assert_snapshot!(complaint(&["report", "gone"]), @"error: there is no run `gone` here or below `DIR/reports`");
}

#[test]
fn a_run_without_a_round_says_how_it_goes_on() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    let text = std::fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let plan = text.lines().next().unwrap().to_owned() + "\n";
    std::fs::write(sandbox.path("run.jsonl"), plan).unwrap();
    let said = sandbox.run(&["show", "run.jsonl"]);
    assert_eq!((said.code, said.out.as_str()), (4, ""));
    let told = said.err.replace(&format!(" -C {}", sandbox.dir.path().display()), "");
    insta::assert_snapshot!(told, @"error: no round was measured yet: if it was interrupted, continue with `windtunnel run --resume run.jsonl` and the options that it had");
}

#[test]
fn a_folder_may_have_the_sign_of_a_subject_in_its_name() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    std::fs::create_dir(sandbox.path("me@work")).unwrap();
    std::fs::copy(sandbox.path("run.jsonl"), sandbox.path("me@work/run.jsonl")).unwrap();
    let compared = |head: &str| {
        let said = sandbox.run(&["compare", "run.jsonl", head]);
        (said.code, said.out, said.err)
    };
    let plain = compared("run.jsonl");
    assert_eq!(plain.2, "");
    for head in ["me@work", "me@work/run.jsonl", &format!("me@work@probe:{FAKE_PROBE}")] {
        assert_eq!(compared(head), plain, "{head}");
    }
    let (code, _, said) = compared("me@work@probe:other");
    assert_eq!(code, 2);
    assert!(said.contains("has no subject `probe:other`; it has `probe:"), "{said}");
}

#[test]
fn a_directory_that_does_not_exist_is_named() {
    let command = ["-C", "no-such-dir", "list"];
    let output = Command::new(env!("CARGO_BIN_EXE_windtunnel")).args(command).output().unwrap();
    let said = Said::from(output);
    insta::assert_snapshot!(said.err, @"error: cannot enter directory `no-such-dir`: No such file or directory (os error 2)");
    assert_eq!(said.code, 2);
}

#[test]
fn history_is_told_by_the_program_beside_this_one_or_not_at_all() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new(&["fine"]);
    let here = sandbox.path("windtunnel");
    std::fs::copy(env!("CARGO_BIN_EXE_windtunnel"), &here).unwrap();
    let history = |args: &[&str]| {
        let mut command = Command::new(&here);
        command.current_dir(sandbox.dir.path()).arg("history").args(args);
        Said::from(command.output().unwrap())
    };
    let _redacted = redacted(&sandbox);
    let said = history(&[]);
    insta::assert_snapshot!(said.err, @"error: `windtunnel-history` is neither beside `windtunnel` nor can it be built in `DIR`");
    assert_eq!(said.code, 2);
    for help in [&["--help"][..], &["export", "-h"]] {
        let said = history(help);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "nothing is built for that");
        assert!(said.out.contains("--metric <NAME>"), "{}", said.out);
    }

    let beside = sandbox.path("windtunnel-history");
    std::fs::write(&beside, "#!/bin/sh\necho \"$@\"\nexit 2\n").unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = history(&["--case", "decode"]);
    insta::assert_snapshot!(said.out, @"--workspace DIR --store DIR/reports --case decode");
    assert_eq!(said.code, 2, "its code is passed on");
    assert_eq!(history(&["--store=x", "--workspace=y"]).out, "--store=x --workspace=y\n");
    assert_eq!(history(&["export", "--help"]).out, "export --help\n", "it knows its own options");
    std::fs::write(&beside, "#!/bin/sh\nexit 101\n").unwrap();
    assert_eq!(history(&[]).code, 70, "a panic is a bug of ours");

    // In a workspace it is built first, here by a cargo that fails.
    std::fs::create_dir_all(sandbox.path("harness/probe")).unwrap();
    std::fs::write(sandbox.path("harness/probe/Cargo.toml"), "").unwrap();
    let mut command = Command::new(&here);
    command.current_dir(sandbox.dir.path()).args(["-q", "history"]).env("CARGO", &beside);
    let said = Said::from(command.output().unwrap());
    insta::assert_snapshot!(said.err, @"error: `windtunnel-history` does not build: cargo says why");
    assert_eq!(said.code, 2);
}

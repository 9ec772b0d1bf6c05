//! Two runs on one machine: the second waits for its turn or is refused.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::forks::script::{BUILD, Script};
use crate::sandbox::{FAKE_PROBE, Said, Sandbox};

/// How long these tests wait before they fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox with a run in progress that measures a hanging probe, and that run.
fn measuring() -> (Sandbox, Child) {
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 1\ndeadline = 600\n\
         matrix = { attention = [\"hang\", \"fine\"] }\n",
    );
    let args = ["-q", "run", "test/fake", "--filter", "hang", "--probe", FAKE_PROBE];
    let args = [&args[..], &["--out", "first.jsonl"]].concat();
    let child = sandbox.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + PATIENCE;
    // A run begins its file once it is its turn.
    while !sandbox.path("first.jsonl").exists() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    (sandbox, child)
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

const SECOND: [&str; 6] = ["run", "test/fake", "--filter", "fine", "--probe", FAKE_PROBE];

#[test]
fn a_second_run_is_refused_and_told_by_whom_and_leaves_nothing() {
    let (sandbox, first) = measuring();
    let said = sandbox.run(&[&SECOND[..], &["--out", "second.jsonl"]].concat());
    let holder = format!("(process {} of `", first.id());
    end(first);
    assert_eq!(said.code, 75, "{}", said.err);
    let begin = "error: another run is measuring on this machine, `windtunnel -C ";
    assert!(said.err.starts_with(begin), "{}", said.err);
    assert!(said.err.contains(" -q run test/fake --filter hang "), "{}", said.err);
    assert!(said.err.contains(&holder) && said.err.contains("`, since 20"), "{}", said.err);
    let last = "concurrent runs would disturb each other; wait for its end with `--wait`\n";
    assert!(said.err.ends_with(last), "{}", said.err);
    assert!(!sandbox.path("second.jsonl").exists(), "nothing was begun");
}

#[test]
fn a_second_run_that_waits_measures_when_the_first_is_killed() {
    let (sandbox, first) = measuring();
    let args = [&SECOND[..], &["--wait", "--out", "run.jsonl"]].concat();
    let mut command = sandbox.command(&args);
    let mut second = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(second.try_wait().unwrap(), None, "it waits");
    end(first);
    let said = Said::from(second.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("waiting for another run on this machine, `windtunnel "),
        "{}",
        said.err
    );
    assert_eq!(sandbox.contents().records.len(), 1);
}

#[test]
fn patience_that_ends_is_a_refusal_and_every_measuring_command_queues() {
    let (sandbox, first) = measuring();
    let gate = ["gate", "test/fake", "--filter", "fine", "--base"];
    let probe = format!("probe:{FAKE_PROBE}");
    let gate = [&gate[..], &[&probe, "--subject", &probe, "--wait=100ms"]].concat();
    let calibrate = ["calibrate", "test/fake", "--filter", "fine", "--subject", &probe];
    let resume = ["run", "--resume", "first.jsonl"];
    for args in [&SECOND[..], &gate, &calibrate] {
        let said = sandbox.run(args);
        assert_eq!(said.code, 75, "{args:?}: {}", said.err);
        assert!(said.err.contains("another run is measuring on this machine"), "{}", said.err);
    }
    let said = sandbox.run(&resume);
    assert_eq!(said.code, 75, "the file of the run is taken too: {}", said.err);
    let said = sandbox.run(&["doctor"]);
    assert!(said.out.contains("another run is measuring, `windtunnel "), "{}", said.out);
    assert!(said.out.contains("not measured because another run is measuring"), "{}", said.out);
    let said = sandbox.run(&["list", "test/fake"]);
    assert_eq!(said.code, 0, "what measures nothing is not held up");
    end(first);
}

#[test]
fn nobody_waits_for_a_subject_that_is_not_there() {
    let (sandbox, first) = measuring();
    let probe = format!("probe:{FAKE_PROBE}");
    let wanted = ["probe:nowhere", "external:nowhere.toml", "rev:nowhere"];
    let said = wanted.map(|wanted| {
        let run = ["run", "test/fake", "--wait=100ms", "-s", wanted];
        let gate = ["gate", "test/fake", "--wait=100ms", "-b", &probe, "-s", wanted];
        let calibrate = ["calibrate", "test/fake", "--wait=100ms", "-s", wanted];
        [&run[..], &gate, &calibrate].map(|args| sandbox.run(args))
    });
    end(first);
    for said in said.iter().flatten() {
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
    }
}

#[test]
fn whoever_waits_for_a_doctor_is_no_other_run() {
    let (sandbox, first) = measuring();
    let doctor = |lender: u32| {
        let mut command = sandbox.command(&["doctor"]);
        let command = command.env("WINDTUNNEL_TURN_OF", lender.to_string());
        Said::from(command.output().unwrap()).out
    };
    let (lent, other) = (doctor(first.id()), doctor(std::process::id()));
    end(first);
    assert!(!lent.contains("another run is measuring"), "{lent}");
    assert!(other.contains("another run is measuring"), "{other}");
}

#[test]
fn a_time_that_is_none_is_told() {
    let sandbox = Sandbox::new(&["fine"]);
    let said = sandbox.run(&["run", "test/fake", "--wait=soon"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("a time is written `30s`, `10m` or `2h`"), "{}", said.err);
}

#[test]
fn where_no_lock_can_be_kept_a_note_says_so_and_the_run_goes_on() {
    let sandbox = Sandbox::new(&["fine"]);
    let mut command = sandbox.command(&SECOND);
    let said = command.env("WINDTUNNEL_LOCKS", sandbox.path("none")).output().unwrap();
    let said = Said::from(said);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("measuring without a lock, others may disturb it: "), "{}", said.err);
}

#[test]
fn a_history_is_not_built_beside_a_run_and_shown_by_what_was_built_before() {
    let (sandbox, first) = measuring();
    // As if the sources were here. Another process writes the executable, so that no child of this
    // one can hold it open.
    let write = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script, env!("CARGO_BIN_EXE_windtunnel")]);
        assert!(shell.current_dir(sandbox.dir.path()).status().unwrap().success(), "{script}");
    };
    write("mkdir -p harness/probe; touch harness/probe/Cargo.toml; cp \"$0\" windtunnel");
    let history = |args: &[&str]| {
        let mut command = Command::new(sandbox.path("windtunnel"));
        command.arg("-C").arg(sandbox.dir.path()).args(args).arg("history");
        command.env("WINDTUNNEL_LOCKS", sandbox.cache.path());
        Said::from(command.output().unwrap())
    };
    let refused = history(&[]);
    write("printf '#!/bin/sh\\necho shown\\n' > windtunnel-history; chmod +x windtunnel-history");
    let (shown, quiet) = (history(&[]), history(&["-q"]));
    end(first);
    assert_eq!((refused.code, refused.out.as_str()), (75, ""), "{}", refused.err);
    assert!(refused.err.ends_with("; try again after it ends\n"), "{}", refused.err);
    assert_eq!((shown.code, shown.out.as_str()), (0, "shown\n"), "{}", shown.err);
    assert!(shown.err.contains("by the windtunnel-history that was built before"), "{}", shown.err);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("shown\n", ""));
}

/// Whether something measures within the turn of the command that started it, or outside of it.
#[derive(Clone, Copy)]
enum Beside {
    Guest,
    Intruder,
}

/// Runs `args` on an engine of three commits; every build, and the check of a commit, measures
/// `beside` it. Returns the exit codes of these measurements.
fn codes_beside(beside: Beside, args: &[&str], code: i32) -> Vec<String> {
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\niterations = 2\n\
         matrix = { batch = [1], output = [8] }\n",
    );
    let script = Script::new(&sandbox.path("engine"));
    let toy =
        [("build.sh", BUILD), (".gitignore", "/probe\n"), ("plants/a", "noise=0.5\nseed=1\n")];
    script.commit("Toy engine", &toy);
    script.git(&["tag", "good"]);
    script.commit("Slower", &[("plants/slow", "decode=9\n")]);
    script.git(&["tag", "slow"]);
    script.commit("Idle", &[("src/idle.rs", "sleep\n")]);
    let beside = match beside {
        Beside::Guest => sandbox.guest(),
        Beside::Intruder => sandbox.intruder(),
    };
    let description = format!(
        "repository = \"engine\"\nbuild = \"sh build.sh '{FAKE_PROBE}' && sh {beside}\"\n\
         [probe]\npath = \"probe\"\n[[check]]\nname = \"alone\"\nrun = \"sh {beside}\"\n\
         [measure]\nscenarios = [\"test/fake\"]\n"
    );
    fs::write(sandbox.path("engine.toml"), description).unwrap();
    let said = sandbox.run(args);
    assert_eq!((said.code, said.err.as_str()), (code, ""), "{args:?}: {}", said.out);
    sandbox.codes()
}

const PICK: [&str; 10] = [
    "-q",
    "upstream",
    "pick",
    "slow",
    "--checks",
    "engine.toml",
    "--onto",
    "good",
    "--out",
    "pick",
];

#[test]
fn a_command_holds_its_turn_from_its_first_build_to_its_end() {
    let check = |args: &[&str], code: i32, builds: usize| {
        let codes = codes_beside(Beside::Intruder, args, code);
        assert!(codes.len() >= builds, "{args:?}: {codes:?}");
        assert!(codes.iter().all(|code| code == "75"), "{args:?}: {codes:?}");
    };
    check(&["-q", "run", "test/fake", "-s", "external:engine.toml@good"], 0, 1);
    let bisect = ["-q", "bisect", "--good", "good", "--bad", "upstream", "--case", "test/fake"];
    check(&[&bisect[..], &["--subject", "external:engine.toml"]].concat(), 0, 3);
    check(&PICK, 1, 3);
}

#[test]
fn a_check_measures_in_the_turn_of_whoever_waits_for_it() {
    let codes = codes_beside(Beside::Guest, &PICK, 1);
    assert_eq!(codes, ["0", "75", "75"], "a check measures, and two builds do not");
}

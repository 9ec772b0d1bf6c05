//! The command as a person uses it, with a fake probe in the place of a real one.

#![expect(clippy::disallowed_methods, reason = "these tests start the program that they test")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use windtunnel_ledger::record::{Failure, Outcome};
use windtunnel_ledger::store::{self, Contents};

const FAKE_PROBE: &str = env!("CARGO_BIN_EXE_fake-probe");

/// A directory with one scenario, `test/fake`.
struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    /// A scenario whose cases behave as these words tell the fake probe.
    fn new(behaviours: &[&str]) -> Sandbox {
        Sandbox::with(&format!(
            "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 2\ndeadline = 2.0\n\
             matrix = {{ attention = {behaviours:?}, output = [4] }}\n"
        ))
    }

    fn with(scenario: &str) -> Sandbox {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("scenarios/test")).unwrap();
        fs::write(dir.path().join("scenarios/test/fake.toml"), scenario).unwrap();
        Sandbox { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command.arg("-C").arg(self.dir.path()).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::from(self.command(args).output().unwrap())
    }

    /// Measures `test/fake` with the fake probe into `run.jsonl`.
    fn measure(&self) -> Said {
        self.run(&["--quiet", "run", "test/fake", "--probe", FAKE_PROBE, "--out", "run.jsonl"])
    }

    fn contents(&self) -> Contents {
        store::read(&self.path("run.jsonl")).unwrap()
    }
}

/// What the command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Replaces what differs from machine to machine and run to run.
fn redacted(sandbox: &Sandbox) -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    let dir = sandbox.dir.path().canonicalize().unwrap();
    settings.add_filter(&regex_escape(&dir.display().to_string()), "DIR");
    settings.add_filter(&regex_escape(FAKE_PROBE), "FAKE-PROBE");
    settings.add_filter(r"\d{8}T\d{9}Z", "TIME");
    settings.add_filter(r"\n.*the machine was busy.*\n", "");
    settings.add_filter(r"\(\d[\d.]* (ns|µs|ms|s)\)", "(WALL)");
    settings.bind_to_scope()
}

fn regex_escape(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("\\{c}") })
        .collect()
}

#[test]
fn a_run_prints_a_table_and_keeps_records_log_and_report() {
    let sandbox = Sandbox::new(&["fine", "fast"]);
    let said = sandbox.measure();
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(said.out);
    assert_eq!((said.code, said.err.as_str()), (0, ""));

    let contents = sandbox.contents();
    assert_eq!(contents.records.len(), 4);
    assert_eq!(contents.run.cases.len(), 2);
    let log = fs::read_to_string(sandbox.path("run.log")).unwrap();
    assert_eq!(log.matches("echo '{\"protocol\":").count(), 4, "{log}");
    assert!(fs::read_to_string(sandbox.path("report.html")).unwrap().contains("tiny-qwen3"));
}

#[test]
fn a_line_from_the_log_repeats_the_round_in_a_shell() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    let command = &sandbox.contents().records[0].command;
    let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().last().unwrap().starts_with("{\"end\":"), "{text}");
}

#[test]
fn whatever_a_probe_does_the_run_goes_on_and_tells() {
    let behaviours = [
        "broken-engine",
        "crash",
        "early",
        "garbage",
        "hang",
        "mute",
        "other-protocol",
        "partial",
        "silent-end",
        "unsupported",
        "fine",
    ];
    let sandbox = Sandbox::new(&behaviours);
    let said = sandbox.measure();
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(said.out);
    assert_eq!((said.code, said.err.as_str()), (5, ""));

    let records = sandbox.contents().records;
    let failed = records.iter().filter(|r| matches!(r.outcome, Outcome::Failed(_))).count();
    assert_eq!(failed, 9, "a case that failed is not tried again");
    assert!(records.iter().any(|r| matches!(r.outcome, Outcome::Failed(Failure::TimedOut { .. }))));
}

#[test]
fn a_probe_that_cannot_be_started_is_a_failure_and_no_end() {
    let sandbox = Sandbox::new(&["fine"]);
    fs::write(sandbox.path("no-program"), "this is no program").unwrap();
    let said =
        sandbox.run(&["-q", "run", "test/fake", "--probe", "no-program", "--out", "run.jsonl"]);
    assert_eq!(said.code, 5, "{}", said.err);
    let failed = &sandbox.contents().records[0].outcome;
    assert!(matches!(failed, Outcome::Failed(Failure::Start { .. })), "{failed:?}");
}

#[test]
fn output_that_varies_between_rounds_is_told() {
    let sandbox = Sandbox::new(&["liar"]);
    assert!(sandbox.measure().out.contains("the output tokens differ between rounds"));
}

#[test]
fn a_killed_run_is_resumed_without_loss_or_doubling() {
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\", \"tiny-llama\"]\nrounds = 6\n\
         matrix = { attention = [\"slow\"], batch = [1, 2] }\n",
    );
    let out = sandbox.path("run.jsonl");
    let args = ["-q", "run", "test/fake", "--probe", FAKE_PROBE, "--out", "run.jsonl"];
    let mut child = sandbox.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    while lines(&out) < 6 && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = sandbox.contents().records;
    assert!((5..24).contains(&before.len()), "{} records were there at the kill", before.len());

    // The kill may also have come in the middle of a line.
    let torn = fs::read_to_string(&out).unwrap() + "{\"schema\":1,\"reco";
    fs::write(&out, torn).unwrap();
    let said = sandbox.run(&["run", "--resume", "run.jsonl"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("the last line was cut short"), "{}", said.err);

    let after = sandbox.contents().records;
    assert_eq!(after[..before.len()], before[..], "what was measured stays as it was");
    let mut rounds: Vec<_> = after.iter().map(|r| (r.case.id.clone(), r.round)).collect();
    rounds.sort();
    rounds.dedup();
    assert_eq!((after.len(), rounds.len()), (24, 24));
}

#[test]
fn a_probe_does_not_outlive_a_killed_run() {
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\ndeadline = 600\n\
         matrix = { attention = [\"hang\"] }\n",
    );
    let args = ["-q", "run", "test/fake", "--probe", FAKE_PROBE, "--out", "run.jsonl"];
    let mut child = sandbox.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while children_of(child.id()).is_empty() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    let probes = children_of(child.id());
    assert_eq!(probes.len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    while probes.iter().any(|pid| is_alive(*pid)) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!probes.iter().any(|pid| is_alive(*pid)), "the probe is still there");
}

/// The processes whose parent is `parent`.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| state(*pid).is_some_and(|(_, ppid)| ppid == parent)).collect()
}

fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State letter and parent of a process.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

#[test]
fn an_unfinished_run_is_found_and_a_finished_one_is_left_alone() {
    let sandbox = Sandbox::new(&["fine"]);
    let run = ["-q", "run", "test/fake", "--probe", FAKE_PROBE];
    assert_eq!(sandbox.run(&run).code, 0);
    let said = sandbox.run(&["run", "--resume"]);
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(said.err, @"
    error: every run below `DIR/reports` is finished: there is nothing to resume
    ");
    assert_eq!(said.code, 2);
}

#[test]
fn a_resumed_run_measures_with_the_same_executable_or_not_at_all() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(sandbox.path("run.jsonl"), lines[..2].join("\n") + "\n").unwrap();
    fs::remove_dir_all(sandbox.path("target")).unwrap();
    let said = sandbox.run(&["run", "--resume", "run.jsonl"]);
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(said.err, @"error: the probe of subject `probe:FAKE-PROBE` is gone from `DIR/target/windtunnel`, and another build might measure something else: start a new run");
    assert_eq!(said.code, 2);
}

#[test]
fn the_plan_is_listed_without_measuring() {
    let sandbox = Sandbox::with(
        "workload = \"prefill\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { prompt = [64, 256], kv = [\"contiguous\", \"paged-16\"] }\n\
         [[skip]]\nwhen = { prompt = 256, kv = \"contiguous\" }\nreason = \"as an example\"\n",
    );
    let said = sandbox.run(&["list", "test"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @"
      case                                           rounds      time      memory
    ───────────────────────────────────────────────────────────────────────────────
      test/fake/tiny-qwen3/kv=contiguous,prompt=64        3   ~358 ms   ~4.44 MiB
      test/fake/tiny-qwen3/kv=paged-16,prompt=64          3   ~358 ms   ~4.44 MiB
      test/fake/tiny-qwen3/kv=paged-16,prompt=256         3   ~456 ms   ~5.56 MiB

    skipped by the scenarios:
      test/fake/tiny-qwen3/kv=contiguous,prompt=256: as an example

    3 cases, 1 skipped, 0 left out by the filter. Time ~1.17 s, memory ~5.56 MiB at most.
    ");
    assert!(!sandbox.path("reports").exists());

    let said = sandbox.run(&["list", "test", "--filter", "no such case"]);
    assert_eq!(said.code, 4);
    let said = sandbox.run(&["run", "test", "--filter", "no such case"]);
    assert_eq!(said.code, 2);
    insta::assert_snapshot!(said.err, @"error: nothing to measure: 0 skipped, 4 left out by the filter; `windtunnel list` shows the cases");
}

#[test]
fn two_subjects_alternate_and_are_compared() {
    let sandbox = Sandbox::new(&["fine"]);
    let other = sandbox.path("other-probe");
    fs::copy(FAKE_PROBE, &other).unwrap();
    // Another file, the same program: as a new build of the same revision would be.
    let mut bytes = fs::read(&other).unwrap();
    bytes.push(0);
    fs::write(&other, bytes).unwrap();
    let base = format!("probe:{FAKE_PROBE}");
    let args = [
        "-q",
        "run",
        "test/fake",
        "-s",
        &base,
        "-s",
        "probe:other-probe",
        "-n",
        "3",
        "-o",
        "run.jsonl",
    ];
    let said = sandbox.run(&args);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let order: Vec<(u32, bool)> = sandbox
        .contents()
        .records
        .iter()
        .map(|record| (record.round, record.subject.name == base))
        .collect();
    assert_eq!(order, [(1, true), (1, false), (2, false), (2, true), (3, true), (3, false)]);

    let said = sandbox.run(&["compare", "run.jsonl"]);
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(said.out);
    assert_eq!(said.code, 0);
}

#[test]
fn runs_are_compared_and_a_faster_wrong_answer_is_broken() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    // What `auto` runs may change between two builds: the case is the same, the work is not.
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let digest = |record: &store::Contents| match &record.records[0].outcome {
        Outcome::Measured(samples) => samples.iterations[0].digest.to_string(),
        other => panic!("{other:?}"),
    };
    let wrong = text.replace(&digest(&sandbox.contents()), "0123456789abcdef");
    fs::write(sandbox.path("wrong.jsonl"), wrong).unwrap();

    assert_eq!(sandbox.run(&["compare", "run.jsonl", "run.jsonl"]).code, 0);
    let said = sandbox.run(&["compare", "run.jsonl", "wrong.jsonl"]);
    assert!(
        said.out.contains("broken: the output tokens differ between base and head"),
        "{}",
        said.out
    );
    assert_eq!(said.code, 5);

    let elsewhere = text.replace("\"cores\":", "\"cores\":1");
    fs::write(sandbox.path("elsewhere.jsonl"), elsewhere).unwrap();
    let said = sandbox.run(&["compare", "run.jsonl", "elsewhere.jsonl"]);
    assert!(said.out.contains("not comparable:\n    cores: "), "{}", said.out);
    assert_eq!(said.code, 4);
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
    insta::assert_snapshot!(complaint(&["run", "test", "-s", "HEAD"]), @"
    error: invalid value 'HEAD' for '--subject <SUBJECT>': a subject is `.` (the working tree), `rev:REVISION` or `probe:PATH`

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(complaint(&["run", "test", "-s", "rev:no-such-revision"]), @"error: `no-such-revision` is no revision of `DIR`: git rev-parse: fatal: not a git repository (or any of the parent directories): .git");
    insta::assert_snapshot!(complaint(&["run", "test", "-s", ".", "-s", "."]), @"error: subject `.` is named twice");
    insta::assert_snapshot!(complaint(&["run", "test", "--probe", FAKE_PROBE, "-o", "run.jsonl"]), @"error: `run.jsonl` exists already; continue it with `--resume run.jsonl`, or choose another `--out`");
    insta::assert_snapshot!(complaint(&["compare", "run.jsonl"]), @"error: run `run.jsonl` has one subject only: name a second run to compare it with");
    insta::assert_snapshot!(complaint(&["compare", "run.jsonl", "gone"]), @"error: there is no run `gone` here or below `DIR/reports`");
    insta::assert_snapshot!(complaint(&["compare", "run.jsonl", "run.jsonl@rev:x"]), @"error: run `TIME-test-fake` has no subject `rev:x`; it has `probe:FAKE-PROBE`");
    insta::assert_snapshot!(complaint(&["report", "gone"]), @"error: there is no run `gone` here or below `DIR/reports`");
    insta::assert_snapshot!(complaint(&["history"]), @"error: `windtunnel-history` is neither beside `windtunnel` nor can it be built in `DIR`");
}

#[test]
fn a_directory_that_does_not_exist_is_named() {
    let command = ["-C", "no-such-dir", "list"];
    let output = Command::new(env!("CARGO_BIN_EXE_windtunnel")).args(command).output().unwrap();
    let said = Said::from(output);
    insta::assert_snapshot!(said.err, @"error: cannot enter directory `no-such-dir`: No such file or directory (os error 2)");
    assert_eq!(said.code, 2);
}

//! Runs that are killed, and how they are resumed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{FAKE_PROBE, Said, Sandbox, redacted};

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
fn a_full_disk_leaves_no_file_that_can_neither_be_resumed_nor_begun_anew() {
    let sandbox = Sandbox::new(&["fine", "fast", "slow", "long"]);
    fs::write(sandbox.path("probe"), "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(sandbox.path("probe"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = ["-q", "run", "test/fake", "--probe", "probe", "--out", "run.jsonl"];
    // Files may grow to 512 bytes: the probe fits, the plan of the run does not.
    let line = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_windtunnel")]).args(run);
    command.current_dir(sandbox.dir.path());
    command.env("XDG_CACHE_HOME", sandbox.cache.path());
    command.env("WINDTUNNEL_LOCKS", sandbox.cache.path());
    let said = Said::from(command.output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
    let told = "error: cannot create `run.jsonl`: File too large";
    assert!(said.err.starts_with(told), "{}", said.err);
    assert_eq!(sandbox.run(&run).code, 5, "the run can begin, and the probe crashes");
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
    // The process that measures the roof comes and goes before the probe.
    let probes = loop {
        let probes: Vec<u32> =
            children_of(child.id()).into_iter().filter(|pid| runs_a_case(*pid)).collect();
        if !probes.is_empty() || Instant::now() > patience {
            break probes;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(probes.len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    while probes.iter().any(|pid| is_alive(*pid)) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!probes.iter().any(|pid| is_alive(*pid)), "the probe is still there");
}

#[test]
fn a_run_ends_with_whoever_holds_clocks_for_it() {
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\ndeadline = 600\n\
         matrix = { attention = [\"hang\"] }\n",
    );
    let windtunnel = env!("CARGO_BIN_EXE_windtunnel");
    let run = format!("-q run test/fake --probe {FAKE_PROBE} --out run.jsonl");
    // As `hold-clocks` starts a command, which alone is killed.
    let line = format!("export WINDTUNNEL_HELD_CLOCKS=1500@$$; {windtunnel} {run} & wait");
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(sandbox.dir.path()).stdout(Stdio::null());
    command.env("XDG_CACHE_HOME", sandbox.cache.path());
    command.env("WINDTUNNEL_LOCKS", sandbox.cache.path());
    let mut holder = command.spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while !sandbox.path("run.jsonl").exists() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    let runs = children_of(holder.id());
    assert_eq!(runs.len(), 1);
    holder.kill().unwrap();
    holder.wait().unwrap();
    while runs.iter().any(|pid| is_alive(*pid)) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!runs.iter().any(|pid| is_alive(*pid)), "the run goes on without its clocks");
}

#[test]
fn options_that_mean_nothing_to_a_gate_are_refused_where_it_is_resumed() {
    let sandbox = Sandbox::new(&["fine"]);
    let probe = format!("probe:{FAKE_PROBE}");
    sandbox.run(&["-q", "gate", "test/fake", "-b", &probe, "-s", &probe, "-o", "gate.jsonl"]);
    for option in [&["--format", "json"][..], &["--policy", "none.toml"], &["--forget-oom"]] {
        let said = sandbox.run(&[&["run", "--resume", "gate.jsonl"], option].concat());
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{option:?}");
        let told = format!("to which `{}` does not apply", option[0]);
        assert!(said.err.contains(&told), "{}", said.err);
    }
    let said = sandbox.run(&["run", "--resume", "gate.jsonl", "--format", "json"]);
    insta::assert_snapshot!(said.err, @"error: `gate.jsonl` holds a gate, to which `--format` does not apply: continue with `windtunnel gate --resume gate.jsonl`");
}

#[test]
fn a_calibration_that_judges_nothing_is_invalid_and_says_that_it_cannot_go_on() {
    let sandbox = Sandbox::new(&["unsupported"]);
    let probe = format!("probe:{FAKE_PROBE}");
    let said = sandbox.run(&["calibrate", "test/fake", "-s", &probe, "-o", "run.jsonl"]);
    assert_eq!((said.code, said.out.as_str()), (4, ""), "{}", said.err);
    let begun =
        "records: run.jsonl (if interrupted: start anew, a calibration is measured in one go)\n";
    assert!(said.err.contains(begun), "{}", said.err);
    let last =
        "error: nothing could be judged, so nothing is known of this machine; see report.html\n";
    assert!(said.err.ends_with(last), "{}", said.err);
    assert!(!sandbox.path("baselines").exists());
}

#[test]
fn a_calibration_is_never_taken_up_and_a_gate_only_by_what_takes_up_gates() {
    let sandbox = Sandbox::new(&["unsupported"]);
    let probe = format!("probe:{FAKE_PROBE}");
    sandbox.run(&["-q", "calibrate", "test/fake", "-s", &probe, "-o", "run.jsonl"]);
    let said = sandbox.run(&["run", "--resume", "run.jsonl"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    insta::assert_snapshot!(said.err, @"error: `run.jsonl` holds a calibration, which is measured in one go: start it anew");
    let said = sandbox.run(&["calibrate", "test/fake", "-s", &probe, "-o", "run.jsonl"]);
    insta::assert_snapshot!(said.err, @"error: `run.jsonl` exists already: choose another `--out`");

    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let plan = format!("{}\n", text.lines().next().unwrap());
    fs::write(sandbox.path("empty.jsonl"), plan).unwrap();
    let said = sandbox.run(&["show", "empty.jsonl"]);
    assert_eq!((said.code, said.out.as_str()), (4, ""));
    insta::assert_snapshot!(said.err, @"error: no round was measured yet: if it was interrupted, start it anew");

    // As if both had been killed before their first round.
    let begun = |from: &str, name: &str| {
        let text = fs::read_to_string(sandbox.path(from)).unwrap();
        let folder = sandbox.path("reports").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("run.jsonl"), format!("{}\n", text.lines().next().unwrap())).unwrap();
    };
    sandbox.run(&["-q", "run", "test/fake", "--probe", FAKE_PROBE, "-o", "plain.jsonl"]);
    begun("run.jsonl", "20990101T000002000Z-calibration");
    let said = sandbox.run(&["run", "--resume"]);
    assert!(said.err.contains("is finished: there is nothing to resume"), "{}", said.err);
    begun("plain.jsonl", "20990101T000001000Z-run");
    let said = sandbox.run(&["gate", "--resume"]);
    assert!(said.err.starts_with("error: every gate below"), "{}", said.err);
    let said = sandbox.run(&["run", "--resume"]);
    assert!(said.err.contains("20990101T000001000Z-run/run.jsonl"), "{}", said.err);
}

/// The processes whose parent is `parent`.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| state(*pid).is_some_and(|(_, ppid)| ppid == parent)).collect()
}

fn runs_a_case(pid: u32) -> bool {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.contains("--until-eof") && !line.contains("--roof")
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
fn a_file_that_another_run_writes_to_is_left_alone() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    let other = fs::File::open(sandbox.path("run.jsonl")).unwrap();
    other.lock().unwrap();
    let said = sandbox.run(&["run", "--resume", "run.jsonl"]);
    insta::assert_snapshot!(said.err, @"error: another run is writing to `run.jsonl`: wait for its end");
    assert_eq!(said.code, 75);
}

#[test]
fn a_run_is_not_continued_on_another_kind_of_machine() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().take(2).collect();
    let elsewhere = lines.join("\n").replace("\"cores\":", "\"cores\":1");
    fs::write(sandbox.path("run.jsonl"), elsewhere + "\n").unwrap();
    let said = sandbox.run(&["-q", "run", "--resume", "run.jsonl"]);
    assert!(said.err.contains("was begun on another kind of machine"), "{}", said.err);
    assert_eq!(said.code, 2);
}

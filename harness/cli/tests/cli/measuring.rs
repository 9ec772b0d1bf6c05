//! Plans and runs.

use std::fs;
use std::process::{Command, Stdio};

use windtunnel_ledger::precision::Cause;
use windtunnel_ledger::record::{Failure, Outcome};

use crate::sandbox::{FAKE_PROBE, Sandbox, redacted};

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
    assert_eq!(log.matches("printf '%s\\n' '{\"protocol\":").count(), 4, "{log}");
    assert!(fs::read_to_string(sandbox.path("report.html")).unwrap().contains("tiny-qwen3"));
}

#[test]
fn the_table_of_a_service_shows_what_matters_first_and_fits_a_terminal() {
    let sandbox = Sandbox::with(
        "workload = \"serve\"\nmodels = [\"qwen2.5-0.5b\"]\niterations = 1\nslo = { end-to-end = 0.3 }\n\
         [matrix]\narrival = [\"closed\", \"poisson-2.5\"]\nprompt = [\"mixed-16-64\"]\noutput = [17]\n\
         requests = [128]\nbatch = [1, 32]\n",
    );
    let said = sandbox.measure();
    let widest = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("the machine was busy"));
        lines.map(|line| line.chars().count()).max()
    };
    let (table, percentiles) = said.out.split_once("percentiles of all samples").unwrap();
    assert!(widest(table) <= Some(120) && widest(percentiles) <= Some(100), "{}", said.out);
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(said.out);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let log = fs::read_to_string(sandbox.path("run.log")).unwrap();
    assert!(log.contains("\n  output "), "{log}");
}

#[test]
fn a_round_that_is_to_be_precise_says_how_it_ended() {
    let measured = |behaviour: &str| {
        let sandbox = Sandbox::with(&format!(
            "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 1\niterations = 2\n\
             precision = {{ target = 0.01, budget = 30 }}\n\
             matrix = {{ attention = [\"{behaviour}\"] }}\n"
        ));
        let said = sandbox.measure();
        let outcome = sandbox.contents().records.remove(0).outcome;
        let page = fs::read_to_string(sandbox.path("report.html")).unwrap();
        assert!(page.contains("at least 2, until ±1.00 % or 30.0 s"));
        (said, outcome)
    };
    let counts = |outcome: Outcome| {
        let Outcome::Measured(samples) = outcome else { panic!("{outcome:?}") };
        let stopped = samples.stopped.unwrap();
        (samples.iterations.len(), samples.digests().len(), stopped.by)
    };
    let (said, outcome) = measured("fine");
    assert_eq!((said.code, counts(outcome)), (0, (7, 3, Cause::Precise)));
    assert!(!said.out.contains("precision"), "{}", said.out);

    let (said, outcome) = measured("restless");
    assert_eq!((said.code, counts(outcome)), (0, (5, 3, Cause::Budget)));
    let told =
        "1 round ended before the median was known to ±1.00 % (±3.40 % at worst): raise `budget`";
    assert!(said.out.contains(told), "{}", said.out);

    let (said, outcome) = measured("endless");
    assert_eq!(said.code, 5);
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    insta::assert_snapshot!(failure, @"the probe did not say why it stopped iterating: build it from a revision that does, or leave out `[precision]`");
}

#[test]
fn silence_a_soak_and_a_growing_context_have_tables_of_their_own() {
    let mut tables = String::new();
    for workload in ["idle", "soak", "context"] {
        let sandbox =
            Sandbox::with(&format!("workload = \"{workload}\"\nmodels = [\"tiny-qwen3\"]\n"));
        let said = sandbox.measure();
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        tables += said.out.split("\n\n").next().unwrap_or_default();
        tables.push('\n');
    }
    insta::assert_snapshot!(tables);
}

#[test]
fn a_line_from_the_log_repeats_the_round_in_a_shell() {
    let sandbox = Sandbox::new(&["fine"]);
    sandbox.measure();
    let command = &sandbox.contents().records[0].command;
    let output =
        Command::new("sh").arg("-c").arg(command).current_dir(sandbox.dir.path()).output().unwrap();
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
        "too-few",
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
    assert_eq!(failed, 10, "a case that failed is not tried again");
    assert!(records.iter().any(|r| matches!(r.outcome, Outcome::Failed(Failure::TimedOut { .. }))));
}

#[test]
fn a_probe_that_cannot_be_started_is_a_failure_and_no_end() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new(&["fine"]);
    let probe = sandbox.path("probe.sh");
    fs::write(&probe, "#!/there/is/no/shell\n").unwrap();
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).unwrap();
    let said =
        sandbox.run(&["-q", "run", "test/fake", "--probe", "probe.sh", "--out", "run.jsonl"]);
    assert_eq!(said.code, 5, "{}", said.err);
    let failed = &sandbox.contents().records[0].outcome;
    assert!(matches!(failed, Outcome::Failed(Failure::Start { .. })), "{failed:?}");
}

#[test]
fn output_that_varies_between_rounds_is_broken() {
    let sandbox = Sandbox::new(&["liar"]);
    let said = sandbox.measure();
    assert!(said.out.contains("the output tokens differ between rounds"), "{}", said.out);
    assert_eq!(said.code, 5);
}

#[test]
fn a_probe_that_has_said_all_and_stays_is_a_failure_of_its_own() {
    let sandbox = Sandbox::new(&["lingering"]);
    assert_eq!(sandbox.measure().code, 5);
    let failed = &sandbox.contents().records[0].outcome;
    assert!(matches!(failed, Outcome::Failed(Failure::Lingered { .. })), "{failed:?}");
}

#[test]
fn what_a_hanging_probe_has_started_ends_with_it() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new(&["hang"]);
    let probe = sandbox.path("probe.sh");
    fs::write(&probe, "#!/bin/sh\necho 'a word for people' >&2\nsleep 3600\n").unwrap();
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).unwrap();
    let said = sandbox.run(&["-q", "run", "test/fake", "--probe", "probe.sh", "-o", "run.jsonl"]);
    assert_eq!(said.code, 5, "{}", said.err);
    let failed = &sandbox.contents().records[0].outcome;
    let Outcome::Failed(Failure::TimedOut { tail, .. }) = failed else { panic!("{failed:?}") };
    assert_eq!(tail, "a word for people");
}

#[test]
fn a_probe_that_does_not_read_its_order_meets_its_deadline_all_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 1\ndeadline = 5.0\n\
         matrix = { topology = [\"long\"], output = [4] }\n",
    );
    // More than a pipe holds.
    let topology = "0: { isq: Q8_0 }\n".to_owned() + &"# This is said at length.\n".repeat(10_000);
    fs::create_dir_all(sandbox.path("scenarios/topologies")).unwrap();
    fs::write(sandbox.path("scenarios/topologies/long.yaml"), topology).unwrap();
    let probe = sandbox.path("probe.sh");
    fs::write(&probe, "#!/bin/sh\nsleep 3600\n").unwrap();
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).unwrap();
    let said = sandbox.run(&["-q", "run", "test/fake", "--probe", "probe.sh", "-o", "run.jsonl"]);
    assert_eq!(said.code, 5, "{}", said.err);
    let failed = &sandbox.contents().records[0].outcome;
    assert!(matches!(failed, Outcome::Failed(Failure::TimedOut { .. })), "{failed:?}");
}

#[test]
fn megabytes_on_stderr_that_are_no_text_cost_no_round() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new(&["fine"]);
    let probe = sandbox.path("probe.sh");
    let noise = "head -c 3000000 /dev/zero | tr '\\0' '\\377' >&2";
    fs::write(&probe, format!("#!/bin/sh\n{noise}\nexec '{FAKE_PROBE}' \"$@\"\n")).unwrap();
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).unwrap();
    let said = sandbox.run(&["-q", "run", "test/fake", "--probe", "probe.sh", "-o", "run.jsonl"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let records = sandbox.contents().records;
    assert!(records.iter().all(|record| matches!(record.outcome, Outcome::Measured(_))));
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let sandbox = Sandbox::new(&["fine"]);
    let mut command = sandbox.command(&["-q", "run", "test/fake", "-o", "run.jsonl", "--probe"]);
    let mut child = command.arg(FAKE_PROBE).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(sandbox.path("report.html").is_file());
}

#[test]
fn models_are_named_one_by_one_and_swallow_no_scenario() {
    let sandbox = Sandbox::with("workload = \"decode\"\nmodels = [\"tiny-gemma2\"]\n");
    let check = |args: &[&str], models: &[&str]| {
        let said = sandbox.run(&[&["list"], args].concat());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}");
        let cases = said.out.lines().filter_map(|line| line.trim().split(' ').next());
        let cases: Vec<&str> = cases.filter_map(|id| id.strip_prefix("test/fake/")).collect();
        let named = cases.iter().map(|id| id.split('/').next().unwrap());
        assert_eq!(named.collect::<Vec<_>>(), models, "{}", said.out);
    };
    check(&["-m", "tiny-llama", "test/fake"], &["tiny-llama"]);
    check(&["test/fake", "--models", "tiny-llama,tiny-qwen3"], &["tiny-llama", "tiny-qwen3"]);
    check(&["-m", "tiny-llama", "-m", "tiny-qwen3", "test"], &["tiny-llama", "tiny-qwen3"]);
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
      test/fake/tiny-qwen3/kv=contiguous,prompt=64        3   ~342 ms   ~4.44 MiB
      test/fake/tiny-qwen3/kv=paged-16,prompt=64          3   ~342 ms   ~4.44 MiB
      test/fake/tiny-qwen3/kv=paged-16,prompt=256         3   ~420 ms   ~5.56 MiB

    skipped by the scenarios:
      test/fake/tiny-qwen3/kv=contiguous,prompt=256: as an example

    3 cases, 1 skipped, 0 left out by the filter. Time ~1.10 s, memory ~5.56 MiB at most.
    ");
    assert!(!sandbox.path("reports").exists());

    let said = sandbox.run(&["list", "test", "--filter", "no such case"]);
    assert_eq!((said.code, said.err.as_str()), (4, ""));
    assert_eq!(said.out, "0 cases, 0 skipped, 4 left out by the filter.\n");
    let said = sandbox.run(&["run", "test", "--filter", "no such case"]);
    assert_eq!(said.code, 4);
    insta::assert_snapshot!(said.err, @"nothing to measure: 0 skipped, 4 left out by the filter; `windtunnel list` shows the cases");
    let said = sandbox.run(&["run", "test", "--shard", "4/4"]);
    assert_eq!(said.code, 4);
    insta::assert_snapshot!(said.err, @"nothing to measure: 0 skipped, 0 left out by the filter, 3 in other shards; `windtunnel list` shows the cases");

    let shard = |part: &str| sandbox.run(&["list", "test", "--shard", part]).out;
    let first = "\n1 case, 1 skipped, 0 left out by the filter, 2 in other shards. Time ~420 ms,";
    assert!(shard("1/2").contains(first), "{}", shard("1/2"));
    let second = "\n2 cases, 0 skipped, 0 left out by the filter, 1 in other shards. Time ~";
    assert!(shard("2/2").contains(second), "{}", shard("2/2"));
}

#[test]
fn what_a_scenario_skips_is_not_told_of_the_cases_that_were_measured() {
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 1\nmatrix = { batch = [1, 2], kv = [\"contiguous\", \"paged-16\"] }\n\
         [[skip]]\nwhen = { kv = \"contiguous\" }\nreason = \"as an example\"\n",
    );
    let said = sandbox.measure();
    let note = "\ntest/fake/tiny-qwen3/batch=1,kv=contiguous and 1 more: skipped: as an example\n";
    assert!(said.out.contains(note), "{}", said.out);
}

#[test]
fn numbers_are_printed_for_people_documents_spreadsheets_and_programs() {
    let sandbox = Sandbox::new(&["fine", "fast"]);
    let measured = sandbox.measure();
    let shown = |format: &str| {
        let said = sandbox.run(&["show", "run.jsonl", "--format", format]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        said.out
    };
    let table = shown("table");
    assert!(measured.out.starts_with(&table), "{table}");
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(shown("markdown"));

    let lines: Vec<String> = shown("csv").lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "case,subject,commit,series,unit,better,rounds,median,spread");
    let decode = lines.iter().find(|line| line.contains(",decode-rate,")).unwrap();
    assert!(decode.starts_with("\"test/fake/tiny-qwen3/attention=fine,output=4\","), "{decode}");
    assert!(decode.contains(",tokens-per-second,higher,2,"), "{decode}");

    let json: serde_json::Value = serde_json::from_str(&shown("json")).unwrap();
    let entries = json.as_array().unwrap();
    assert_eq!(entries.len(), lines.len() - 1);
    assert!(entries.iter().all(|entry| entry["median"].is_number()), "{json}");

    // A run that prints them for a program prints everything else to stderr.
    let file = sandbox.path("again.jsonl");
    let file = file.to_str().unwrap();
    let said =
        sandbox.run(&["run", "test/fake", "--probe", FAKE_PROBE, "-o", file, "--format", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(serde_json::from_str::<serde_json::Value>(&said.out).is_ok(), "{}", said.out);
    assert!(said.err.contains("report: "), "{}", said.err);
}

#[test]
fn a_comparison_is_printed_for_documents_spreadsheets_and_programs() {
    let sandbox = Sandbox::new(&["fine"]);
    assert_eq!(sandbox.measure().code, 0);
    let shown =
        |format: &str| sandbox.run(&["compare", "run.jsonl", "run.jsonl", "--format", format]).out;
    assert!(shown("markdown").starts_with("### Windtunnel: "), "{}", shown("markdown"));
    let csv = shown("csv");
    assert!(
        csv.starts_with("case,series,unit,better,verdict,weight,base,head,worse_by,low,high,"),
        "{csv}"
    );
    let json: serde_json::Value = serde_json::from_str(&shown("json")).unwrap();
    assert_eq!(json.as_array().unwrap().len(), csv.lines().count() - 1);
}

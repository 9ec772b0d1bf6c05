//! Pages with the history of their run's series.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use windtunnel_ledger::course::Course;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::series::Series;
use windtunnel_report::history::{Build, History, Point, Track};

use crate::sandbox::{Said, Sandbox, redacted};

/// A measured run, five kept ones, and `windtunnel` in its own folder, with this script as
/// `windtunnel-history` beside it.
fn place(script: Option<&str>) -> Sandbox {
    let sandbox = Sandbox::new(&["fine"]);
    assert_eq!(sandbox.measure().code, 0);
    for day in 1..=5 {
        let folder = sandbox.path(&format!("reports/2026010{day}T000000000Z-test"));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(sandbox.path("run.jsonl"), folder.join("run.jsonl")).unwrap();
    }
    fs::create_dir(sandbox.path("bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_windtunnel"), sandbox.path("bin/windtunnel")).unwrap();
    if let Some(script) = script {
        let path = sandbox.path("bin/windtunnel-history");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    sandbox
}

fn report(sandbox: &Sandbox, args: &[&str]) -> Said {
    let mut command = Command::new(sandbox.path("bin/windtunnel"));
    command.arg("-C").arg(sandbox.dir.path()).args(["report", "run.jsonl"]).args(args);
    command.env("CARGO", "no-cargo");
    Said::from(command.output().unwrap())
}

fn page(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.path("report.html")).unwrap()
}

/// The output of `windtunnel-history` for a series with this many builds.
fn history(case: &str, builds: usize) -> String {
    let points = (0..builds).map(|build| Point { build, rounds: vec![100.0] });
    let track = Track {
        case: case.to_owned(),
        series: Series::median(Metric::DecodeRate),
        machine: "a-machine".into(),
        variant: String::new(),
        points: points.collect(),
        course: Course::default(),
        causes: Vec::new(),
    };
    let build = |place| Build { subject: format!("build-{place}"), ..Build::default() };
    let builds = (0..builds).map(build).collect();
    let history = History { builds, tracks: vec![track], family: 1, ..History::default() };
    serde_json::to_string(&history).unwrap()
}

#[test]
fn the_page_of_a_run_tells_its_history_where_enough_is_kept_and_something_reads_it() {
    let sandbox = place(Some("echo \"$@\" > asked; cat history.json"));
    let case = sandbox.contents().run.cases[0].case.id.to_string();
    fs::write(sandbox.path("history.json"), history(&case, 6)).unwrap();
    let said = report(&sandbox, &[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let text = page(&sandbox);
    assert!(text.contains("<section id=\"history\">"), "{text}");
    assert!(text.contains(&format!("id=\"history/{case}/decode-rate\"")), "{text}");
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(
        fs::read_to_string(sandbox.path("asked")).unwrap(),
        @"--format json --run run.jsonl --workspace DIR --store DIR/reports"
    );

    // Too little is kept of this series, or no history is wanted.
    fs::write(sandbox.path("history.json"), history(&case, 5)).unwrap();
    assert_eq!(report(&sandbox, &[]).code, 0);
    assert!(!page(&sandbox).contains("id=\"history\""));
    fs::remove_file(sandbox.path("asked")).unwrap();
    assert_eq!(report(&sandbox, &["--history", "never"]).code, 0);
    assert!(!sandbox.path("asked").exists());
    fs::remove_dir_all(sandbox.path("reports/20260101T000000000Z-test")).unwrap();
    assert_eq!(report(&sandbox, &[]).code, 0);
    assert!(!sandbox.path("asked").exists(), "with few runs nothing is asked");
}

#[test]
fn a_history_that_cannot_be_told_costs_no_page_unless_it_was_asked_for() {
    let sandbox = place(Some("echo 'error: the store is gone' >&2; exit 2"));
    let said = report(&sandbox, &[]);
    insta::assert_snapshot!(said.err, @"the page has no history: `windtunnel-history` printed no history: error: the store is gone: EOF while parsing a value at line 1 column 0");
    assert_eq!((said.code, said.out.as_str()), (0, "report: report.html\n"));
    let said = report(&sandbox, &["--history", "always"]);
    insta::assert_snapshot!(said.err, @"error: `windtunnel-history` printed no history: error: the store is gone: EOF while parsing a value at line 1 column 0");
    assert_eq!(said.code, 2);
}

#[test]
fn a_page_without_a_history_says_how_it_could_have_one() {
    let sandbox = place(None);
    let said = report(&sandbox, &[]);
    insta::assert_snapshot!(said.err, @"the page has no history of its series: `--history always` adds it, and builds `windtunnel-history` for that, which takes several minutes once");
    assert_eq!(said.code, 0);
    let quiet = report(&sandbox, &["--quiet"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, ""));
    let said = report(&sandbox, &["--history", "always"]);
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(said.err, @"error: `windtunnel-history` is neither beside `windtunnel` nor can it be built in `DIR`");
    assert_eq!(said.code, 2);
}

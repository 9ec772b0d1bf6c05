//! From files to frames, series, changes and the binary's output.

mod archive;
mod named;
mod runs;

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use windtunnel_history::commits::Commits;
use windtunnel_history::frame::{Loaded, NAMES, load};
use windtunnel_history::series::{Along, History, history};
use windtunnel_ledger::metric::Metric;
use windtunnel_report::history as plain;

/// Three runs: the second like the first, the third slower.
fn three_runs() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    runs::write(dir.path(), 2, 'b', &[100.0, 101.0, 99.0]);
    runs::write(dir.path(), 1, 'a', &[100.0, 100.0, 100.0]);
    runs::write(dir.path(), 3, 'c', &[90.0]);
    dir
}

/// Twelve runs on as many days, the last five slower.
fn twelve_runs() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (day, digit) in (1..).zip("0123456789de".chars()) {
        let rate = if day < 8 { 100.0 } else { 92.0 } + 0.1 * f64::from(day % 3);
        runs::write(dir.path(), day, digit, &[rate, rate + 0.2, rate - 0.1]);
    }
    dir
}

/// The output and exit code of the binary, with the directory's name replaced.
fn printed(dir: &Path, args: &[&str]) -> String {
    let dir_text = dir.display().to_string();
    let place = ["--store", &dir_text, "--workspace", &dir_text];
    let (out, err, code) = ended(&[&place, args].concat());
    format!("{out}--- stderr\n{err}--- exit {code}").replace(&dir_text, "DIR")
}

#[expect(clippy::disallowed_methods, reason = "the test runs the binary whole")]
fn ended(args: &[&str]) -> (String, String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel-history"));
    let output = command.args(args).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code().expect("it ends by itself"))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test runs the binary whole")]
fn what_cannot_be_printed_is_an_error() {
    let dir = three_runs();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel-history"));
    command
        .args(["--format", "json", "--store"])
        .arg(dir.path())
        .arg("--workspace")
        .arg(dir.path());
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.starts_with("error: cannot write to stdout: "), "{err}");
}

fn loaded(dir: &Path) -> Loaded {
    load(&[dir.to_owned()]).expect("a store")
}

/// The history of a metric in order of time.
fn series(loaded: &Loaded, pattern: &str, metric: Option<Metric>) -> History {
    let none = Commits::default();
    history(loaded, pattern, metric, None, Along::Own, &none, &none).expect("a frame")
}

#[test]
fn a_frame_has_a_row_for_each_measured_record_and_a_column_for_each_series() {
    let dir = three_runs();
    let loaded = loaded(dir.path());
    assert_eq!((loaded.files, loaded.unread.len(), loaded.records), (3, 0, 10));
    let names: Vec<&str> = loaded.frame.get_column_names().iter().map(|n| n.as_str()).collect();
    assert_eq!(names, [&NAMES[..], &["round", "decode-rate", "load-time"]].concat());
    assert_eq!(loaded.frame.height(), 10, "seven rounds of decode and three loads");
}

#[test]
fn overlapping_stores_count_a_round_once_and_a_missing_one_holds_nothing() {
    let dir = three_runs();
    let inner = dir.path().join("2026-01-01");
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(inner.join("run.jsonl"), copy.join("run.jsonl")).unwrap();
    let missing = dir.path().join("missing");
    let loaded = load(&[dir.path().to_owned(), inner, missing]).unwrap();
    let history = series(&loaded, "decode", Some(Metric::DecodeRate));
    let rounds: Vec<usize> = history.series[0].points.iter().map(|p| p.rounds.len()).collect();
    assert_eq!(rounds, [3, 3, 1]);
}

#[test]
fn a_merged_run_beside_its_shards_counts_no_round_twice() {
    let dir = three_runs();
    let shard = dir.path().join("2026-01-01/run.jsonl");
    let merged = std::fs::read_to_string(&shard).unwrap().replace("-gate\"", "-gate-merged\"");
    std::fs::write(dir.path().join("merged.jsonl"), merged).unwrap();
    let loaded = loaded(dir.path());
    assert_eq!(loaded.files, 4);
    let told = series(&loaded, "decode", Some(Metric::DecodeRate));
    let rounds: Vec<usize> = told.series[0].points.iter().map(|p| p.rounds.len()).collect();
    assert_eq!(rounds, [3, 3, 1]);
    let runs = told.origins.iter().map(|origin| loaded.names.text(origin.run));
    assert_eq!(runs.collect::<Vec<_>>(), ["2026-01-01-gate", "2026-01-02-gate", "2026-01-03-gate"]);
    let merged = Some("2026-01-01-gate-merged");
    let none = Commits::default();
    let asked =
        history(&loaded, "decode", None, merged, Along::Own, &none, &none).expect("a frame");
    let runs = asked.origins.iter().map(|origin| loaded.names.text(origin.run));
    assert!(
        runs.collect::<Vec<_>>().contains(&"2026-01-01-gate-merged"),
        "its page has its own rows"
    );
}

#[test]
fn the_base_that_a_gate_copied_from_a_baseline_counts_no_round_twice() {
    let dir = three_runs();
    let text = std::fs::read_to_string(dir.path().join("2026-01-01/run.jsonl")).unwrap();
    let copied = text.replace("\"name\":\".\"", "\"name\":\"baseline\"");
    assert_ne!(copied, text);
    std::fs::write(dir.path().join("gate.jsonl"), copied).unwrap();
    let told = series(&loaded(dir.path()), "decode", Some(Metric::DecodeRate));
    let rounds: Vec<usize> = told.series[0].points.iter().map(|p| p.rounds.len()).collect();
    assert_eq!(rounds, [3, 3, 1]);
}

#[test]
fn a_base_and_its_control_are_one_session_and_another_subject_is_another() {
    for (name, expected) in
        [(". (control)", &[4][..]), (". (head)", &[4][..]), ("probe:x", &[2, 2][..])]
    {
        let dir = tempfile::tempdir().unwrap();
        runs::write(dir.path(), 1, 'c', &[100.0, 101.0]);
        let file = dir.path().join("2026-01-01/run.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        let other = text.replace("\"name\":\".\"", &format!("\"name\":\"{name}\""));
        // Measured an hour later.
        let other = other.replace("T00:", "T01:");
        std::fs::write(dir.path().join("other.jsonl"), other).unwrap();
        let told = series(&loaded(dir.path()), "decode", Some(Metric::DecodeRate));
        let rounds: Vec<usize> = told.series[0].points.iter().map(|p| p.rounds.len()).collect();
        assert_eq!(rounds, expected, "{name}");
    }
}

#[test]
fn a_series_is_in_the_order_of_time_and_a_round_is_one_number() {
    let dir = three_runs();
    let loaded = loaded(dir.path());
    let history = series(&loaded, "decode", Some(Metric::DecodeRate));
    let [decode] = &history.series[..] else { panic!("one case on one machine") };
    let rounds: Vec<&[f64]> = decode.points.iter().map(|point| &point.rounds[..]).collect();
    assert_eq!(rounds, [&[100.0, 100.0, 100.0][..], &[100.0, 101.0, 99.0], &[90.0]]);
    let newest = &history.origins[decode.points[2].build];
    assert_eq!(loaded.names.text(newest.commit), "c".repeat(40) + "+");
}

#[test]
fn machines_definitions_features_and_engines_are_never_in_one_series() {
    for (from, to, variants) in [
        ("EPYC 7763", "EPYC 9555", ["", ""]),
        ("\"output\":32", "\"output\":64", ["", "an earlier definition"]),
        ("\"features\":[],\"binary\"", "\"features\":[\"cuda\"],\"binary\"", ["", "cuda"]),
        (
            "\"name\":\".\"",
            "\"name\":\"external:fork.toml@v1 (control)\"",
            ["", "external:fork.toml"],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        runs::write(dir.path(), 1, 'a', &[100.0]);
        runs::write(dir.path(), 2, 'b', &[50.0]);
        let file = dir.path().join("2026-01-02/run.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
        let history = series(&loaded(dir.path()), "", Some(Metric::DecodeRate));
        assert_eq!(history.series.len(), 2, "{from}");
        let place = dir.path().display().to_string();
        let place = ["--store", &place, "--workspace", &place, "--format", "json"];
        let (out, err, code) = ended(&[&place[..], &["--metric", "decode-rate"]].concat());
        assert_eq!((err.as_str(), code), ("", 0));
        let told: plain::History = serde_json::from_str(&out).unwrap();
        let mut told: Vec<&str> = told.tracks.iter().map(|track| &*track.variant).collect();
        told.sort_unstable();
        assert_eq!(told, variants, "{from}");
    }
}

#[test]
fn a_program_reads_the_series_of_a_run_wherever_its_file_lies() {
    let dir = twelve_runs();
    let elsewhere = tempfile::tempdir().unwrap();
    runs::write(elsewhere.path(), 13, 'f', &[92.0, 92.1, 91.9]);
    let run = elsewhere.path().join("2026-01-13/run.jsonl");
    let place = dir.path().display().to_string();
    let told = |args: &[&str]| -> plain::History {
        let place = ["--store", &place, "--workspace", &place, "--format", "json"];
        let (out, err, code) = ended(&[&place, args].concat());
        assert_eq!((err.as_str(), code), ("", 0));
        serde_json::from_str(&out).unwrap()
    };
    let all = told(&[]);
    assert_eq!((all.tracks.len(), all.builds.len(), all.family), (3, 12, 3));
    let own = told(&["--run", &run.display().to_string(), "--metric", "decode-rate"]);
    let [track] = &own.tracks[..] else { panic!("decode, on one machine") };
    assert_eq!((track.points.len(), own.builds.len(), own.family), (13, 13, 1));
    assert_eq!(own.builds[track.points[12].build].run, "2026-01-13-gate");
    assert!(own.tells() && track.course.events.len() == 1, "{:?}", track.course);
}

#[test]
fn a_run_that_is_not_there_and_an_archive_of_some_series_are_refused() {
    let dir = three_runs();
    let missing = dir.path().join("no.jsonl").display().to_string();
    let told = printed(dir.path(), &["--run", &missing]);
    insta::assert_snapshot!(told, @r"
    --- stderr
    error: cannot read `DIR/no.jsonl`: No such file or directory (os error 2)
    --- exit 2
    ");
    let told = printed(dir.path(), &["--format", "json", "export", "all.parquet"]);
    insta::assert_snapshot!(told, @r"
    --- stderr
    error: `--case`, `--metric`, `--run`, `--html` and `--format` choose what is shown: an archive holds the whole store
    --- exit 2
    ");
}

#[test]
fn without_arguments_what_changed_is_told_first_and_then_every_series() {
    insta::assert_snapshot!(printed(twelve_runs().path(), &[]));
}

#[test]
fn a_series_is_printed_with_what_happened_and_its_points() {
    let args = ["--case", "decode", "--metric", "decode-rate"];
    insta::assert_snapshot!(printed(twelve_runs().path(), &args));
}

#[test]
fn too_short_a_series_says_what_it_lacks() {
    let args = ["--case", "decode", "--metric", "decode-rate"];
    insta::assert_snapshot!(printed(three_runs().path(), &args));
}

#[test]
fn without_a_metric_every_metric_of_the_case_is_printed() {
    let printed = printed(three_runs().path(), &["--case", "gate*tiny"]);
    assert_eq!(printed.matches("decode-rate, more is better").count(), 1);
    assert_eq!(printed.matches("load-time, less is better").count(), 2);
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let dir = three_runs();
    let asked = [
        &["--case", "serve"][..],
        &["--case", "load", "--metric", "decode-rate"],
        &["--metric", "decode-rat"],
        &["--along", "upstream"],
    ];
    let answers: Vec<String> = asked.into_iter().map(|args| printed(dir.path(), args)).collect();
    // The list of metrics grows.
    let names = windtunnel_ledger::Metric::ALL.map(|metric| metric.spec().name).join(", ");
    insta::assert_snapshot!(answers.join("\n\n").replace(&names, "[every metric]"));
}

#[test]
fn an_empty_store_says_what_to_do_next() {
    insta::assert_snapshot!(printed(tempfile::tempdir().unwrap().path(), &[]));
}

#[test]
fn a_corrupt_file_is_named_and_the_others_are_shown() {
    let dir = three_runs();
    let file = dir.path().join("2026-01-02/run.jsonl");
    let text = std::fs::read_to_string(&file).unwrap().replacen("\"round\":2", "\"round\":-", 1);
    std::fs::write(file, text).unwrap();
    insta::assert_snapshot!(printed(dir.path(), &["--metric", "decode-rate"]));
}

#[test]
fn a_policy_a_log_or_a_calibration_that_cannot_be_read_is_named() {
    let dir = three_runs();
    for (file, text, words) in [
        ("ci/gate.toml", "budget = 1", "`DIR/ci/gate.toml`: "),
        ("engine/upstream.toml", "repository = 1", "`DIR/engine/upstream.toml`: "),
        ("baselines/machines/m.json", "{", "`DIR/baselines/machines/m.json`: "),
    ] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let printed = printed(dir.path(), &[]);
        assert!(printed.contains(words) && printed.ends_with("exit 2"), "{printed}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_hostile_name_does_not_steer_the_terminal() {
    let dir = three_runs();
    let file = dir.path().join("2026-01-01/run.jsonl");
    let text = std::fs::read_to_string(&file).unwrap().replace("gate/decode", "\\u001b[2Jgate");
    std::fs::write(file, text).unwrap();
    for args in [&[][..], &["--metric", "decode-rate"], &["--case", "nowhere"]] {
        let printed = printed(dir.path(), args);
        assert!(!printed.contains('\u{1b}'), "{printed:?}");
    }
}

#[test]
fn the_help_of_windtunnel_without_this_program_names_every_option() {
    let short = include_str!("../../../cli/src/history.rs");
    for args in [&["-h"][..], &["import", "-h"], &["export", "-h"]] {
        let (help, _, code) = ended(args);
        assert_eq!(code, 0, "{args:?}");
        for line in help.lines().filter(|line| line.trim_start().starts_with('-')) {
            let option = line.split_whitespace().find(|word| word.starts_with("--"));
            let option = option.expect("every option has a long name");
            let is_own = option != "--help" && option != "--version";
            assert!(!is_own || short.contains(option), "{args:?}: `{option}`");
        }
    }
}

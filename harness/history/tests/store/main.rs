//! From files to frames, series and what the binary prints.

mod runs;

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use windtunnel_history::frame::load;
use windtunnel_history::series::{known, series};
use windtunnel_ledger::metric::Metric;

/// Three runs: the second like the first, the third slower.
fn three_runs() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    runs::write(dir.path(), 2, 'b', &[100.0, 101.0, 99.0]);
    runs::write(dir.path(), 1, 'a', &[100.0, 100.0, 100.0]);
    runs::write(dir.path(), 3, 'c', &[90.0]);
    dir
}

/// What the binary prints and how it ends, with the directory's name replaced.
#[expect(clippy::disallowed_methods, reason = "the test runs the binary whole")]
fn history(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel-history"));
    let output = command.arg("--store").arg(dir).args(args).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    let code = output.status.code().expect("it ends by itself");
    format!("{out}--- stderr\n{err}--- exit {code}").replace(&dir.display().to_string(), "DIR")
}

#[test]
fn a_frame_has_a_row_for_each_record_and_metric() {
    let dir = three_runs();
    let loaded = load(&[dir.path().to_owned()]).unwrap();
    assert_eq!((loaded.files, loaded.unread.len()), (3, 0));
    // Seven rounds of decode with two metrics, three loads with one.
    assert_eq!(loaded.frame.shape(), (17, 10));
    let names: Vec<&str> = loaded.frame.get_column_names().iter().map(|n| n.as_str()).collect();
    let expected =
        ["run", "at", "machine", "commit", "subject", "case", "metric", "round", "value", "unit"];
    assert_eq!(names, expected);
}

#[test]
fn overlapping_stores_count_a_file_once_and_a_missing_one_holds_nothing() {
    let dir = three_runs();
    let inner = dir.path().join("2026-01-01");
    let missing = dir.path().join("missing");
    let loaded = load(&[dir.path().to_owned(), inner, missing]).unwrap();
    assert_eq!(loaded.frame.height(), 17);
}

#[test]
fn a_series_is_in_the_order_of_time_and_a_round_is_one_number() {
    let dir = three_runs();
    let frame = load(&[dir.path().to_owned()]).unwrap().frame;
    let [decode] = &series(&frame, "decode", Metric::DecodeRate).unwrap()[..] else {
        panic!("one case on one machine")
    };
    let rounds: Vec<&[f64]> = decode.points.iter().map(|p| &p.location.rounds[..]).collect();
    assert_eq!(rounds, [&[100.0, 100.0, 100.0][..], &[100.0, 101.0, 99.0], &[90.0]]);
    assert_eq!(decode.changes().count(), 2);
    assert_eq!(decode.points[2].commit.as_deref(), Some(&*("c".repeat(40) + "+")));
}

#[test]
fn machines_are_never_in_one_series() {
    let dir = tempfile::tempdir().unwrap();
    runs::write(dir.path(), 1, 'a', &[100.0]);
    runs::write(dir.path(), 2, 'b', &[50.0]);
    let file = dir.path().join("2026-01-02/run.jsonl");
    let text = std::fs::read_to_string(&file).unwrap().replace("EPYC 7763", "EPYC 9555");
    std::fs::write(file, text).unwrap();
    let frame = load(&[dir.path().to_owned()]).unwrap().frame;
    assert_eq!(series(&frame, "", Metric::DecodeRate).unwrap().len(), 2);
    assert_eq!(known(&frame, "decode").unwrap()[0].runs, 2);
}

#[test]
fn the_list_says_what_there_is() {
    insta::assert_snapshot!(history(three_runs().path(), &[]));
}

#[test]
fn a_series_is_printed_with_its_changes() {
    let args = ["--case", "decode", "--metric", "decode-rate"];
    insta::assert_snapshot!(history(three_runs().path(), &args));
}

#[test]
fn without_a_metric_every_metric_of_the_case_is_printed() {
    let printed = history(three_runs().path(), &["--case", "gate*tiny"]);
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
    ];
    let answers: Vec<String> = asked.into_iter().map(|args| history(dir.path(), args)).collect();
    // Their list grows with the metrics.
    let names = windtunnel_ledger::Metric::ALL.map(|metric| metric.spec().name).join(", ");
    insta::assert_snapshot!(answers.join("\n\n").replace(&names, "[every metric]"));
}

#[test]
fn an_empty_store_says_what_to_do_next() {
    insta::assert_snapshot!(history(tempfile::tempdir().unwrap().path(), &[]));
}

#[test]
fn a_corrupt_file_is_named_and_the_others_are_shown() {
    let dir = three_runs();
    let file = dir.path().join("2026-01-02/run.jsonl");
    let text = std::fs::read_to_string(&file).unwrap().replacen("\"round\":2", "\"round\":-", 1);
    std::fs::write(file, text).unwrap();
    insta::assert_snapshot!(history(dir.path(), &["--metric", "decode-rate"]));
}

#[test]
fn a_hostile_name_does_not_steer_the_terminal() {
    let dir = three_runs();
    let file = dir.path().join("2026-01-01/run.jsonl");
    let text = std::fs::read_to_string(&file).unwrap().replace("gate/decode", "\\u001b[2Jgate");
    std::fs::write(file, text).unwrap();
    for args in [&[][..], &["--metric", "decode-rate"], &["--case", "nowhere"]] {
        let printed = history(dir.path(), args);
        assert!(!printed.contains('\u{1b}'), "{printed:?}");
    }
}

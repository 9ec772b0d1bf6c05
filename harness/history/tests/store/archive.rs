//! A store exported to one file, and imported again.

use std::path::Path;

use windtunnel_ledger::store;

use crate::{printed, three_runs};

fn shown(archive: &Path, text: &str) -> String {
    text.replace(&archive.display().to_string(), "ARCHIVE")
}

#[test]
fn what_is_imported_is_what_was_exported_to_the_byte() {
    let (dir, other) = (three_runs(), tempfile::tempdir().unwrap());
    // Not every line of a store is a measured record: there are seals and failed rounds.
    let sealed = store::read(&dir.path().join("2026-01-01/run.jsonl")).unwrap();
    let mut failed = sealed.records.clone();
    failed[1].outcome = windtunnel_ledger::Outcome::Skipped("as an example".into());
    std::fs::create_dir_all(dir.path().join("sub/folder")).unwrap();
    let text = store::sealed(&sealed.run, &failed);
    std::fs::write(dir.path().join("sub/folder/sealed.jsonl"), text).unwrap();

    let archive = other.path().join("all.parquet");
    let file = archive.display().to_string();
    let out = printed(dir.path(), &["export", &file]);
    assert_eq!(shown(&archive, &out), "4 runs with 19 lines in `ARCHIVE`\n--- stderr\n--- exit 0");
    let counted = |store: &Path| crate::loaded(store).records;
    assert_eq!((counted(&archive), counted(dir.path())), (14, 14), "the one that failed too");
    let into = other.path().join("again").display().to_string();
    let back =
        |into: &str| shown(&archive, &printed(dir.path(), &["import", &file, "--into", into]));
    assert!(back(&into).starts_with("4 runs with 19 lines in "), "{}", back(&into));
    for name in ["2026-01-01/run", "2026-01-02/run", "2026-01-03/run", "sub/folder/sealed"] {
        let of = |root: &Path| root.join(format!("{name}.jsonl"));
        let (before, after) = (of(dir.path()), of(Path::new(&into)));
        assert_eq!(std::fs::read(&before).unwrap(), std::fs::read(&after).unwrap(), "{name}");
        assert_eq!(store::read(&before).unwrap(), store::read(&after).unwrap());
    }
    assert!(back(&into).contains("; 4 of them were there already"));
}

#[test]
fn an_archive_is_a_store_like_the_one_it_was_made_of() {
    let (dir, other) = (crate::twelve_runs(), tempfile::tempdir().unwrap());
    let archive = other.path().join("all.parquet");
    let file = archive.display().to_string();
    printed(dir.path(), &["export", &file]);
    for args in [&[][..], &["--metric", "decode-rate"]] {
        let of = |store: &str| crate::ended(&[&["--store", store][..], args].concat());
        assert_eq!(of(&file), of(&dir.path().display().to_string()));
    }
    std::fs::write(&archive, "no Parquet").unwrap();
    let (_, err, code) = crate::ended(&["--store", &file]);
    assert!(err.contains("is not an archive of a store: "), "{err}");
    assert_eq!(code, 2);
}

#[test]
fn other_programs_find_facts_and_numbers_in_columns() {
    use polars_io::SerReader as _;
    let (dir, other) = (three_runs(), tempfile::tempdir().unwrap());
    let archive = other.path().join("all.parquet");
    printed(dir.path(), &["export", &archive.display().to_string()]);
    let file = std::fs::File::open(&archive).unwrap();
    let frame = polars_io::parquet::read::ParquetReader::new(file).finish().unwrap();
    let rates = frame.column("decode-rate").unwrap().f64().unwrap().clone();
    let told: Vec<f64> = rates.iter().flatten().collect();
    assert_eq!(told, [100.0, 100.0, 100.0, 100.0, 101.0, 99.0, 90.0]);
    let commits = frame.column("commit").unwrap().str().unwrap().clone();
    assert_eq!(commits.get(0), None, "the first line is no record");
    assert_eq!(commits.get(1), Some(&*"a".repeat(40)));
    assert_eq!(frame.column("file").unwrap().str().unwrap().get(0), Some("2026-01-01/run.jsonl"));
}

#[test]
fn nothing_is_overwritten_and_what_is_no_archive_is_named() {
    let (dir, other) = (three_runs(), tempfile::tempdir().unwrap());
    let archive = other.path().join("all.parquet");
    let file = archive.display().to_string();
    printed(dir.path(), &["export", &file]);
    let changed = dir.path().join("2026-01-03/run.jsonl");
    let text = std::fs::read_to_string(&changed).unwrap();
    std::fs::write(&changed, text.replace("90.0", "91.0")).unwrap();
    std::fs::remove_file(dir.path().join("2026-01-01/run.jsonl")).unwrap();
    insta::assert_snapshot!(printed(dir.path(), &["import", &file]));
    assert!(!dir.path().join("2026-01-01/run.jsonl").exists(), "nothing was imported");

    std::fs::write(&archive, "no Parquet").unwrap();
    let said = shown(&archive, &printed(dir.path(), &["import", &file]));
    assert!(said.contains("error: `ARCHIVE` is not an archive of a store: "), "{said}");
    assert!(said.contains("write one with `windtunnel history export FILE`"), "{said}");
    std::fs::remove_file(&archive).unwrap();
    let said = shown(&archive, &printed(dir.path(), &["import", &file]));
    assert!(said.contains("error: cannot read `ARCHIVE`: "), "{said}");
}

#[test]
fn a_store_that_cannot_be_read_whole_is_not_exported() {
    let dir = three_runs();
    let file = dir.path().join("2026-01-02/run.jsonl");
    let text = std::fs::read_to_string(&file).unwrap().replacen("\"round\":2", "\"round\":-", 1);
    std::fs::write(file, text).unwrap();
    let archive = dir.path().join("all.parquet").display().to_string();
    insta::assert_snapshot!(printed(dir.path(), &["export", &archive]));
    assert!(!Path::new(&archive).exists());
}

#[test]
fn one_file_is_a_store_too() {
    let (dir, other) = (three_runs(), tempfile::tempdir().unwrap());
    let run = dir.path().join("2026-01-02/run.jsonl");
    let path = |name: &str| other.path().join(name).display().to_string();
    let (file, into) = (path("one.parquet"), path("again"));
    let (_, err, code) = crate::ended(&["--store", &run.display().to_string(), "export", &file]);
    assert_eq!((err.as_str(), code), ("", 0));
    printed(dir.path(), &["import", &file, "--into", &into]);
    let again = std::fs::read(Path::new(&into).join("run.jsonl")).unwrap();
    assert_eq!(again, std::fs::read(&run).unwrap());
}

#[test]
fn an_archive_is_never_replaced_by_one_of_nothing() {
    let (dir, other) = (three_runs(), tempfile::tempdir().unwrap());
    let archive = other.path().join("all.parquet");
    let file = archive.display().to_string();
    printed(dir.path(), &["export", &file]);
    let before = std::fs::read(&archive).unwrap();
    let nowhere = other.path().join("mistyped").display().to_string();
    let (_, err, code) = crate::ended(&["--store", &nowhere, "export", &file]);
    assert!(err.starts_with("error: there is no run in "), "{err}");
    assert_eq!(code, 2);
    assert_eq!(std::fs::read(&archive).unwrap(), before);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test kills the binary while it writes")]
fn an_import_that_is_killed_leaves_no_half_of_a_run() {
    let (dir, other) = (three_runs(), tempfile::tempdir().unwrap());
    let archive = other.path().join("all.parquet");
    let file = archive.display().to_string();
    printed(dir.path(), &["export", &file]);
    let into = other.path().join("again");
    let line = format!(
        "ulimit -c 0; ulimit -f 1; exec {} import {file} --into {}",
        env!("CARGO_BIN_EXE_windtunnel-history"),
        into.display()
    );
    // No file may grow beyond a block or two: a process that writes more is killed.
    let status = std::process::Command::new("sh").args(["-c", &line]).status().unwrap();
    assert!(!status.success(), "{status}");
    let folders = std::fs::read_dir(&into).unwrap().flatten();
    let runs = folders.filter(|folder| folder.path().join("run.jsonl").exists());
    assert_eq!(runs.count(), 0);

    let into = into.display().to_string();
    let out = shown(&archive, &printed(dir.path(), &["import", &file, "--into", &into]));
    assert!(out.starts_with("3 runs with ") && !out.contains("there already"), "{out}");
}

//! The index of all reports.

use std::fs;

use crate::sandbox::{FAKE_PROBE, Sandbox, redacted};

/// A run kept below `reports`, and its messages.
fn kept(sandbox: &Sandbox) -> String {
    let said = sandbox.run(&["--quiet", "run", "test/fake", "--probe", FAKE_PROBE]);
    assert_eq!(said.code, 0, "{}", said.err);
    said.err
}

fn list(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.path("reports/index.html")).unwrap()
}

#[test]
fn every_page_that_is_written_below_reports_is_in_the_list_with_its_heading() {
    let sandbox = Sandbox::new(&["fine"]);
    kept(&sandbox);
    let text = list(&sandbox);
    assert!(text.contains("1 report, and none found anything worse."), "{text}");
    assert!(text.contains("<strong>1 case measured, none failed.</strong>"), "{text}");
    let run = fs::read_dir(sandbox.path("reports")).unwrap().find_map(|entry| {
        let entry = entry.unwrap();
        entry.path().is_dir().then(|| entry.file_name().into_string().unwrap())
    });
    let run = run.unwrap();
    assert!(text.contains(&format!("<a href=\"./{run}/report.html\">")), "{text}");

    // A page written twice is listed once; one outside `reports` is not listed.
    sandbox.run(&["report", &run]);
    sandbox.run(&["report", &run, "--out", "elsewhere.html"]);
    assert!(list(&sandbox).contains("1 report, and none"));
    assert!(!sandbox.path("index.html").exists());
}

#[test]
fn the_list_is_written_once_more_when_asked_also_of_pages_that_are_to_be_published() {
    let sandbox = Sandbox::new(&["fine"]);
    kept(&sandbox);
    fs::remove_file(sandbox.path("reports/index.html")).unwrap();
    fs::create_dir_all(sandbox.path("public/old")).unwrap();
    fs::write(sandbox.path("public/old/report.html"), "<html>").unwrap();
    fs::write(sandbox.path("public/notes.txt"), "no page").unwrap();
    let _redacted = redacted(&sandbox);
    insta::assert_snapshot!(sandbox.run(&["index"]).out, @"1 report in reports/index.html");
    assert!(list(&sandbox).contains("1 report, and none"));
    insta::assert_snapshot!(sandbox.run(&["index", "public"]).out, @"1 report in public/index.html");
    let public = fs::read_to_string(sandbox.path("public/index.html")).unwrap();
    assert!(public.contains("written by an older version"), "{public}");
    let said = sandbox.run(&["index", "gone"]);
    insta::assert_snapshot!(said.err, @"error: cannot look for reports in `gone`: No such file or directory (os error 2)");
    assert_eq!(said.code, 2);
}

#[test]
fn a_list_that_cannot_be_written_costs_no_run() {
    let sandbox = Sandbox::new(&["fine"]);
    fs::create_dir_all(sandbox.path("reports/index.html/in-the-way")).unwrap();
    let said = kept(&sandbox);
    assert!(
        said.starts_with("the list of all reports is not up to date: cannot write the list"),
        "{said}"
    );
    assert!(said.ends_with("; `windtunnel index` rewrites it\n"), "{said}");
}

#[test]
fn a_run_that_failed_is_what_got_worse() {
    let sandbox = Sandbox::new(&["fine", "crash"]);
    let said = sandbox.run(&["--quiet", "run", "test/fake", "--probe", FAKE_PROBE]);
    assert_eq!(said.code, 5, "{}", said.err);
    let text = list(&sandbox);
    assert!(text.contains("▲ 1 of 1 report</span> found something worse"), "{text}");
    assert!(text.contains("✕ broken"), "{text}");
}

//! Planted faults, shown to their guards.

use std::fs;

use crate::sandbox::{FAKE_PROBE, Said, Sandbox, redacted};

const COLLECTION: &str = r#"
[[guard]]
scenario = "test/fake"
watches  = ["peak-rss", "allocations", "decode-rate"]

[[exhibit]]
fault    = "wrong"
upstream = "aaaaaaaaa"
guard    = "test/fake"

[[exhibit]]
fault    = "crash"
upstream = "bbbbbbbbb"
guard    = "test/fake"

[[exhibit]]
fault    = "fine"
upstream = "ccccccccc"
guard    = "test/fake"
"#;

fn sandbox(collection: &str) -> Sandbox {
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 3\nmatrix = { output = [4] }\n",
    );
    fs::write(sandbox.path("scenarios/museum.toml"), collection).unwrap();
    sandbox
}

fn museum(sandbox: &Sandbox, args: &[&str]) -> Said {
    sandbox.run(&[&["-q", "museum", "--probe", FAKE_PROBE][..], args].concat())
}

#[test]
fn every_fault_has_a_line_and_one_that_is_not_caught_is_red() {
    let sandbox = sandbox(COLLECTION);
    let said = museum(&sandbox, &["-o", "first"]);
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    insta::assert_snapshot!(said.out, @"");
    // The records are kept, and all engines alternate in one run.
    let contents = windtunnel_ledger::store::read(&sandbox.path("first/test-fake/run.jsonl"));
    let subjects = contents.unwrap().run.subjects;
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    assert_eq!(names, ["clean", "clean, again", "wrong", "crash", "fine"]);
    assert!(sandbox.path("first/test-fake/report.html").is_file());

    let caught = museum(&sandbox, &["--fault", "wrong", "crash"]);
    assert_eq!(caught.code, 0, "{}{}", caught.out, caught.err);
    assert!(!caught.out.contains("fine"), "{}", caught.out);
}

#[test]
fn documents_and_programs_read_what_was_found() {
    let sandbox = sandbox(COLLECTION);
    let as_format = |format| museum(&sandbox, &["--fault", "crash", "-n", "1", "--format", format]);
    let markdown = as_format("markdown");
    assert_eq!(markdown.code, 0, "{}", markdown.err);
    insta::assert_snapshot!(markdown.out, @"");
    let json: serde_json::Value = serde_json::from_str(&as_format("json").out).unwrap();
    let shown = &json["faults"][0];
    assert_eq!(shown["fault"], "crash");
    assert_eq!(shown["verdict"], "broken");
    assert_eq!(shown["seen"][0], "the probe crashed (exit code 3)");
    assert_eq!(json["clean"][0]["guard"], "test/fake");
}

#[test]
fn a_clean_engine_that_is_caught_is_red_too() {
    // The base is wrong as often as the fault is: nothing can be told.
    let sandbox = sandbox(COLLECTION);
    let scenario = "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 2\nmatrix = { attention = [\"liar\"], output = [4] }\n";
    fs::write(sandbox.path("scenarios/test/fake.toml"), scenario).unwrap();
    let said = museum(&sandbox, &["--fault", "crash"]);
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("0 of 1 guard found nothing in the clean engine"), "{}", said.out);
}

#[test]
fn mistakes_about_the_museum_are_answered_with_what_to_do() {
    let _redacted = redacted(&sandbox(COLLECTION));
    let complaint = |collection: &str, args: &[&str]| {
        let sandbox = sandbox(collection);
        let _redacted = redacted(&sandbox);
        let said = museum(&sandbox, args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        said.err.replace(&sandbox.dir.path().canonicalize().unwrap().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(complaint(COLLECTION, &["--fault", "crush"]), @"");
    insta::assert_snapshot!(complaint(COLLECTION, &["--fault", "xyz"]), @"");
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("allocations", "alocations", 1), &[]), @"");
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("[[exhibit]]\nfault", "[[exhibit]]\nfualt", 1), &[]), @"");
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("\"crash\"", "\"wrong\"", 1), &[]), @"");
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("guard    = \"test/fake\"", "guard = \"test/other\"", 1), &[]), @"");
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("\"crash\"", "\"hang\"", 1), &[]), @"");
    insta::assert_snapshot!(complaint(COLLECTION, &["-o", "scenarios"]), @"");

    let sandbox = sandbox(COLLECTION);
    let said = sandbox.run(&["-q", "museum", "--probe", "/bin/true"]);
    insta::assert_snapshot!(said.err, @"");
    fs::remove_file(sandbox.path("scenarios/museum.toml")).unwrap();
    let said = museum(&sandbox, &[]);
    let dir = sandbox.dir.path().canonicalize().unwrap().display().to_string();
    insta::assert_snapshot!(said.err.replace(&dir, "DIR"), @"");
}

#[test]
fn its_help_says_what_is_planted_and_how_it_is_judged() {
    let said = sandbox(COLLECTION).run(&["museum", "--help"]);
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(said.out, @"");
}

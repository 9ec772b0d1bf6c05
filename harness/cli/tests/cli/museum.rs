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
    insta::assert_snapshot!(said.out, @"
      fault    guard       verdict      what it saw
    ────────────────────────────────────────────────────────────────────────────────────
      wrong    test/fake   broken       the output tokens differ between base and head
      crash    test/fake   broken       the probe crashed (exit code 3)
      fine     test/fake   not caught   decode 100 tok/s → 100 tok/s; undecided
      (none)   test/fake   not caught   decode 100 tok/s → 100 tok/s; undecided

    2 of 3 faults caught; 1 of 1 guard found nothing in the clean engine
    not caught: fine, It is fine | not what it was.
    ");
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
fn a_museum_holds_its_turn_before_its_first_guard() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = sandbox(COLLECTION);
    // Before the first run the probe is asked for its faults, and then tries to measure.
    let intruder = sandbox.intruder();
    let probe = format!(
        "#!/bin/sh\ncase \"$*\" in *--faults*) sh {intruder} ;; esac\nexec {FAKE_PROBE} \"$@\"\n"
    );
    fs::write(sandbox.path("probe.sh"), probe).unwrap();
    fs::set_permissions(sandbox.path("probe.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let args = ["-q", "museum", "--probe", "probe.sh", "--fault", "crash", "-n", "1"];
    let said = sandbox.run(&args);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert_eq!(sandbox.codes(), ["75"]);
}

#[test]
fn documents_and_programs_read_what_was_found() {
    let sandbox = sandbox(COLLECTION);
    let as_format = |format| museum(&sandbox, &["--fault", "crash", "-n", "1", "--format", format]);
    let markdown = as_format("markdown");
    assert_eq!(markdown.code, 0, "{}", markdown.err);
    insta::assert_snapshot!(markdown.out, @r"
    | fault | what it does | upstream | guard | verdict | what it saw |
    |---|---|---|---|---|---|
    | `crash` | It is crash \| not what it was. | `bbbbbbbbb` | `test/fake` | broken | the probe crashed (exit code 3) |
    | (none) | | | `test/fake` | not caught | decode 100 tok/s → 100 tok/s; peak RSS 95.4 MiB → 95.4 MiB; allocations 1200 → 1200; undecided |

    1 of 1 fault caught; 1 of 1 guard found nothing in the clean engine
    ");
    let json: serde_json::Value = serde_json::from_str(&as_format("json").out).unwrap();
    let shown = &json["faults"][0];
    assert_eq!(shown["fault"], "crash");
    assert_eq!(shown["verdict"], "broken");
    assert_eq!(shown["seen"][0], "the probe crashed (exit code 3)");
    assert_eq!(json["clean"][0]["guard"], "test/fake");
}

#[test]
fn a_clean_engine_that_is_caught_is_red_too() {
    // The base is wrong as often as the fault, so nothing can be told.
    let sandbox = sandbox(COLLECTION);
    let scenario = "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 2\nmatrix = { attention = [\"liar\"], output = [4] }\n";
    fs::write(sandbox.path("scenarios/test/fake.toml"), scenario).unwrap();
    let said = museum(&sandbox, &["--fault", "crash"]);
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("0 of 1 guard found nothing in the clean engine"), "{}", said.out);
}

#[test]
fn mistakes_about_the_museum_are_answered_with_what_to_do() {
    let complaint = |collection: &str, args: &[&str]| {
        let sandbox = sandbox(collection);
        let _redacted = redacted(&sandbox);
        let said = museum(&sandbox, args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        said.err.replace(&sandbox.dir.path().canonicalize().unwrap().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(complaint(COLLECTION, &["--fault", "crush"]), @"error: no fault `crush` in the museum, did you mean `crash`? There are: wrong, crash, fine");
    insta::assert_snapshot!(complaint(COLLECTION, &["--fault", "xyz"]), @"error: no fault `xyz` in the museum; there are: wrong, crash, fine");
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("allocations", "alocations", 1), &[]), @r#"
    error: `scenarios/museum.toml`, line 4: `alocations` is not a metric, a counter or a gauge
      |
    4 | watches  = ["peak-rss", "alocations", "decode-rate"]
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("[[exhibit]]\nfault", "[[exhibit]]\nfualt", 1), &[]), @r#"
    error: `scenarios/museum.toml`, line 7: unknown key `fualt`, did you mean `fault`?
      |
    7 | fualt    = "wrong"
      | ^^^^^
    "#);
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("\"crash\"", "\"wrong\"", 1), &[]), @"error: `scenarios/museum.toml`: fault `wrong` is listed twice");
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("guard    = \"test/fake\"", "guard = \"test/other\"", 1), &[]), @"error: `scenarios/museum.toml`: fault `wrong` has the guard `test/other`, which is not a `[[guard]]`");
    insta::assert_snapshot!(complaint(&COLLECTION.replacen("\"crash\"", "\"hang\"", 1), &[]), @"error: `scenarios/museum.toml`: the engine knows no fault `hang`; it knows crash, fine, garbage, wrong");
    insta::assert_snapshot!(complaint(COLLECTION, &["-o", "scenarios"]), @"error: `scenarios` exists already: name a new folder, so that nothing measured is lost");

    let sandbox = sandbox(COLLECTION);
    let said = sandbox.run(&["-q", "museum", "--probe", "/bin/true"]);
    insta::assert_snapshot!(said.err, @"error: `probe:/bin/true` has nothing to plant: it was built without the feature `faults`");
    fs::remove_file(sandbox.path("scenarios/museum.toml")).unwrap();
    let said = museum(&sandbox, &[]);
    let dir = sandbox.dir.path().canonicalize().unwrap().display().to_string();
    insta::assert_snapshot!(said.err.replace(&dir, "DIR"), @"error: cannot read `DIR/scenarios/museum.toml`: change to the workspace of the engine with `-C DIR`: No such file or directory (os error 2)");
}

#[test]
fn its_help_says_what_is_planted_and_how_it_is_judged() {
    let said = sandbox(COLLECTION).run(&["museum", "--help"]);
    assert_eq!(said.code, 0);
    // An empty line of a list keeps its indent.
    let help: Vec<&str> = said.out.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(help.join("\n"), @"
    Plant regressions that really happened in the engine, and show which guard catches which

    Usage: windtunnel museum [OPTIONS]

    Options:
      -C, --directory <DIR>
              Act as if started in this directory

          --fault <NAME>...
              Show only these faults

      -n, --rounds <N>
              Rounds of every guard and engine, instead of what the scenarios say: exact metrics need 3,
              times 6

      -q, --quiet
              Print only results and errors

          --probe <PATH>
              Plant in this ready probe, which was built with the feature `faults`, and build nothing

      -o, --out <DIR>
              A new folder for records and pages; by default one below `target/windtunnel/museum`

          --format <FORMAT>
              How to print what was found

              Possible values:
              - table:    For people
              - markdown: For documents
              - json:     For programs: an object with a list of faults and one of clean engines

              [default: table]

          --wait[=<DURATION>]
              Wait for another measuring run on this machine instead of refusing: this long, or without
              limit

      -h, --help
              Print help (see a summary with '-h')

    `scenarios/museum.toml` lists the faults, the upstream commit that each one was, and the guard that
    must catch it. The probe is built with its feature `faults`. Each guard runs, in alternation, on the
    clean engine twice, where it must report no difference, and on an engine with each of its faults;
    the results are judged by the rule of a gate and the policy `ci/gate.toml`, even where that only
    warns.

    Exit codes: 0 every fault was caught without a false alarm, 1 otherwise, 2 usage error, or a probe
    that cannot be built.
    ");
}

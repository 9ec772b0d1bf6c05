//! Scenarios of workload `criterion`, on the benches of small packages that write the same files as
//! criterion and depend on nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use windtunnel_ledger::Metric;
use windtunnel_ledger::record::Outcome;

use crate::baselines::policy;
use crate::gating::against_schema;
use crate::revisions::{commit, repository};
use crate::sandbox::{Said, Sandbox};

/// A bench whose benchmarks do what their names say; `@NS` is the time of an iteration.
const BENCH: &str = r##"use std::path::Path;
use std::{env, fs};

fn main() {
    let words: Vec<String> = env::args().collect();
    assert!(words.contains(&"--bench".to_owned()), "cargo says that");
    if words.contains(&"--list".to_owned()) {
        return ["@NAMES"].iter().for_each(|name| println!("{name}: benchmark"));
    }
    let exact = words.iter().position(|word| word == "--exact").unwrap();
    let name = words[exact + 1].as_str();
    let mut samples = 12;
    match name {
        "fails" => panic!("no luck"),
        "hangs" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        "silent" => return,
        "few" => samples = 2,
        _ => (),
    }
    let home = env::var("CRITERION_HOME").unwrap();
    let folder = Path::new(&home).join(name.replace(", ", "-")).join("new");
    fs::create_dir_all(&folder).unwrap();
    let about = format!(r#"{{"full_id":"{name}","throughput":{{"Elements":100}}}}"#);
    fs::write(folder.join("benchmark.json"), about).unwrap();
    let iters: Vec<u64> = (1..=samples).collect();
    let times: Vec<u64> = iters.iter().map(|n| n * @NS).collect();
    let sample = format!(r#"{{"sampling_mode":"Linear","iters":{iters:?},"times":{times:?}}}"#);
    fs::write(folder.join("sample.json"), sample).unwrap();
}
"##;

const SCENARIO: &str = "workload = \"criterion\"\npackage = \"parts\"\nbenches = [\"micro\"]\n\
                        rounds = 2\ndeadline = 60\n";

/// A repository with a package `parts` whose bench `micro` has these benchmarks.
fn parts(names: &[&str], ns: u64) -> Sandbox {
    let sandbox = repository();
    let write = |path: &str, text: &str| {
        fs::create_dir_all(sandbox.path(path).parent().unwrap()).unwrap();
        fs::write(sandbox.path(path), text).unwrap();
    };
    write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"harness/probe\", \"parts\"]\n",
    );
    write(
        "parts/Cargo.toml",
        "[package]\nname = \"parts\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\nname = \"micro\"\n[[bench]]\nname = \"micro\"\nharness = false\n",
    );
    write("parts/src/lib.rs", "");
    write(
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"parts\"\nversion = \"0.0.0\"\n\n\
         [[package]]\nname = \"windtunnel-probe\"\nversion = \"0.0.0\"\n",
    );
    write("ci/gate.toml", &policy().replace("weight = \"warns\"", "weight = \"blocks\""));
    write("scenarios/test/fake.toml", SCENARIO);
    rewrite(&sandbox, names, ns);
    commit(&sandbox, "parts");
    sandbox
}

fn rewrite(sandbox: &Sandbox, names: &[&str], ns: u64) {
    let text = BENCH.replace("@NAMES", &names.join("\", \"")).replace("@NS", &ns.to_string());
    fs::create_dir_all(sandbox.path("parts/benches")).unwrap();
    fs::write(sandbox.path("parts/benches/micro.rs"), text).unwrap();
}

fn run(sandbox: &Sandbox, args: &[&str]) -> Said {
    let _ = fs::remove_file(sandbox.path("run.jsonl"));
    sandbox.run(&[&["-q", "run", "test/fake", "-o", "run.jsonl"], args].concat())
}

/// The case ids of the newest run, from the bench on, with the value of each round.
fn rounds(sandbox: &Sandbox) -> Vec<(String, f64)> {
    let records = sandbox.contents().records.into_iter();
    let told = records.map(|record| {
        let Outcome::Measured(samples) = &record.outcome else { panic!("{record:?}") };
        let times = samples.of(Metric::IterationTime);
        assert!(times.len() == 12 && times.iter().all(|time| *time == times[0]), "{times:?}");
        assert_eq!(samples.of(Metric::ElementRate)[0], 100.0 * 1e9 / times[0]);
        assert_eq!(record.subject.benches.keys().collect::<Vec<_>>(), ["parts/micro"]);
        (record.case.id.as_str().replace("test/fake/micro/benchmark=", ""), times[0])
    });
    told.collect()
}

#[test]
fn every_benchmark_of_a_bench_is_a_case_with_criterions_own_samples() {
    let sandbox = parts(&["sum/short", "sum/long, twice", "product"], 500);
    let said = run(&sandbox, &[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let round = ["sum/short", "sum/long+ twice", "product"].map(|name| (name.to_owned(), 500.0));
    assert_eq!(rounds(&sandbox), [round.clone(), round].concat());
    for words in ["test/fake", "bench ", "benchmark", "sum/long+ twice", "500 ns", "200 Melem/s"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let page = fs::read_to_string(sandbox.path("report.html")).unwrap();
    assert!(page.contains("sum/long, twice") && page.contains("iteration"));

    let listed = sandbox.run(&["list", "test/fake"]);
    let told = "A bench stands for all of its benchmarks: once it is built, each is a case.";
    assert!(listed.out.contains(told), "{}", listed.out);

    // The scenario's filter matches benchmark names, the command's filter case ids.
    let filtered = format!("{SCENARIO}filter = \"sum\"\n");
    fs::write(sandbox.path("scenarios/test/fake.toml"), filtered).unwrap();
    assert_eq!(run(&sandbox, &["--filter", "micro*long", "-n", "1"]).code, 0);
    assert_eq!(rounds(&sandbox), [("sum/long+ twice".to_owned(), 500.0)]);
}

#[test]
fn revisions_are_compared_and_gated_benchmark_by_benchmark() {
    let sandbox = parts(&["sum/short", "gone"], 500);
    rewrite(&sandbox, &["sum/short", "new"], 600);
    commit(&sandbox, "slower");
    let said = run(&sandbox, &["-s", "rev:HEAD~1", "-s", "rev:HEAD"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let times: Vec<f64> = rounds(&sandbox).into_iter().map(|(_, time)| time).collect();
    assert_eq!(times, [500.0, 600.0, 600.0, 500.0], "the subjects alternate");
    for words in [
        "1.200 ",
        "benchmark=gone: skipped: `rev:HEAD` has no such benchmark",
        "benchmark=new: skipped: `rev:HEAD~1` has no such benchmark",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let gate = |base: &str, head: &str| {
        let said = sandbox.run(&["-q", "gate", "test/fake", "-b", base, "-s", head]);
        assert_eq!(said.err, "", "{}", said.out);
        said
    };
    let slower = gate("rev:HEAD~1", "rev:HEAD");
    assert_eq!(slower.code, 1, "{}", slower.out);
    assert!(slower.out.contains("verdict: regressed"), "{}", slower.out);
    assert_eq!(gate("rev:HEAD", "rev:HEAD~1").code, 0, "faster");
    let runs = fs::read_dir(sandbox.path("reports")).unwrap().map(|run| run.unwrap().path());
    let documents: Vec<_> =
        runs.map(|run| run.join("gate.json")).filter(|path| path.is_file()).collect();
    assert_eq!(documents.len(), 2);
    for document in documents {
        assert_eq!(against_schema(&document), [""; 0]);
    }

    // A bench that the base does not have yet is not judged, and one that the head breaks is
    // broken.
    let manifest = fs::read_to_string(sandbox.path("parts/Cargo.toml")).unwrap();
    let fresh = format!("{manifest}[[bench]]\nname = \"fresh\"\nharness = false\n");
    fs::write(sandbox.path("parts/Cargo.toml"), fresh).unwrap();
    let bench = fs::read_to_string(sandbox.path("parts/benches/micro.rs")).unwrap();
    fs::write(sandbox.path("parts/benches/fresh.rs"), bench).unwrap();
    let both = SCENARIO.replace("[\"micro\"]", "[\"micro\", \"fresh\"]") + "filter = \"sum\"\n";
    fs::write(sandbox.path("scenarios/test/fake.toml"), both).unwrap();
    commit(&sandbox, "fresh");
    let fresh = gate("rev:HEAD~1", "rev:HEAD");
    assert_eq!(fresh.code, 0, "{}", fresh.out);
    let told = "`rev:HEAD~1` does not build this bench";
    assert!(fresh.out.contains(told), "{}", fresh.out);
    let broken = gate("rev:HEAD", "rev:HEAD~1");
    assert_eq!(broken.code, 5, "{}", broken.out);
}

#[test]
fn each_session_writes_the_benches_that_it_measures_anew() {
    let sandbox = parts(&["sum/short"], 500);
    for subject in ["rev:HEAD", "."] {
        let measured = || {
            let said = run(&sandbox, &["-s", subject, "-n", "1"]);
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
            let hash = sandbox.contents().run.subjects[0].benches["parts/micro"].clone();
            let bench = sandbox.path(&format!("target/windtunnel/probes/{hash}/bench"));
            fs::metadata(bench).unwrap().ino()
        };
        let (first, second) = (measured(), measured());
        assert_ne!(first, second, "{subject}");
    }
}

#[test]
fn an_interrupted_run_goes_on_with_the_bench_that_it_began_with() {
    let sandbox = parts(&["sum/short"], 500);
    assert_eq!(run(&sandbox, &[]).code, 0);
    let text = fs::read_to_string(sandbox.path("run.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(sandbox.path("run.jsonl"), lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    rewrite(&sandbox, &["sum/short"], 600);
    let said = sandbox.run(&["-q", "run", "--resume", "run.jsonl"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert_eq!(rounds(&sandbox), [500.0; 2].map(|time| ("sum/short".to_owned(), time)));

    fs::write(sandbox.path("run.jsonl"), lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    fs::remove_dir_all(sandbox.path("target/windtunnel/probes")).unwrap();
    let said = sandbox.run(&["-q", "run", "--resume", "run.jsonl"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("start a new run"), "{}", said.err);
}

#[test]
fn whatever_a_bench_does_is_told() {
    let names = ["fails", "few", "silent", "hangs"];
    let sandbox = parts(&names, 500);
    let scenario = SCENARIO.replace("60", "5");
    fs::write(sandbox.path("scenarios/test/fake.toml"), scenario).unwrap();
    let said = run(&sandbox, &[]);
    assert_eq!((said.code, said.err.as_str()), (5, ""), "{}", said.out);
    let failures = sandbox.contents().records.into_iter().map(|record| match record.outcome {
        Outcome::Failed(failure) => failure.to_string(),
        other => panic!("{other:?}"),
    });
    let [fails, few, silent, hangs] = &failures.collect::<Vec<String>>()[..] else { panic!() };
    assert!(
        fails.contains("--exact fails --noplot --nresamples 1000` failed (exit status: 101): "),
        "{fails}"
    );
    insta::assert_snapshot!(few, @"benchmark `few` left 2 samples, and fewer than 10 say nothing: do not run it with `--quick`");
    insta::assert_snapshot!(silent, @"benchmark `silent` left no samples: is it in this bench, and is that written with criterion?");
    insta::assert_snapshot!(hangs, @"not finished after 5.00 s: killed");
}

#[test]
fn a_bench_that_hangs_when_it_is_asked_what_is_in_it_holds_up_nothing_for_ever() {
    let sandbox = parts(&[], 500);
    let text = "fn main() { std::thread::sleep(std::time::Duration::from_secs(3600)) }\n";
    fs::write(sandbox.path("parts/benches/micro.rs"), text).unwrap();
    fs::write(sandbox.path("scenarios/test/fake.toml"), SCENARIO.replace("60", "2")).unwrap();
    let said = run(&sandbox, &[]);
    assert_eq!((said.code, said.err.as_str()), (5, ""), "{}", said.out);
    let told = "test/fake/micro: round 1 failed: not finished after 2.00 s: killed";
    assert!(said.out.contains(told), "{}", said.out);
}

#[test]
fn a_bench_that_is_not_there_or_has_not_what_is_asked_for_is_told() {
    let sandbox = parts(&["sum/short", "sum/long"], 500);
    let scenario = |text: &str| {
        fs::write(sandbox.path("scenarios/test/fake.toml"), text).unwrap();
        run(&sandbox, &["-n", "1"])
    };
    let said = scenario(&format!("{SCENARIO}filter = \"product\"\n"));
    insta::assert_snapshot!(said.err, @"error: no benchmark of `parts/micro` contains `product`; there are: sum/short, sum/long");
    assert_eq!(said.code, 2);
    let said = scenario(&SCENARIO.replace("micro", "macro"));
    assert_eq!(said.code, 5, "{}", said.err);
    assert!(said.out.contains("test/fake/macro: round 1 failed: the build failed"), "{}", said.out);
    assert!(said.out.contains("no bench target named `macro`"), "{}", said.out);

    let text = "fn main() {}\n";
    fs::write(sandbox.path("parts/benches/micro.rs"), text).unwrap();
    let said = scenario(SCENARIO);
    insta::assert_snapshot!(said.err, @"error: the bench `parts/micro` lists no benchmarks: is it written with criterion, and does it have `harness = false`?");
}

#[test]
fn an_external_subject_runs_its_benches_by_its_own_command() {
    let sandbox = Sandbox::with(&SCENARIO.replace("rounds = 2", "rounds = 1"));
    let script = "case \"$*\" in\n*--list*) echo 'sum: benchmark' ;;\n\
                  *)\n mkdir -p \"$CRITERION_HOME/sum/new\"\n cd \"$CRITERION_HOME/sum/new\"\n\
                  echo '{\"full_id\":\"sum\",\"throughput\":null}' > benchmark.json\n\
                  echo '{\"iters\":[1,1,1,1,1,1,1,1,1,1],\"times\":[7,7,7,7,7,7,7,7,7,7]}' > sample.json\n;;\nesac\n";
    fs::write(sandbox.path("bench.sh"), script).unwrap();
    let describe = |command: &str| {
        let text = format!("[criterion]\ncommand = \"{command}\"\n");
        fs::write(sandbox.path("other.toml"), text).unwrap();
    };
    describe("test '{package}/{bench}' = parts/micro && sh bench.sh {arguments}");
    let said = run(&sandbox, &["-s", "external:other.toml"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let Outcome::Measured(samples) = &sandbox.contents().records[0].outcome else { panic!() };
    assert_eq!(samples.of(Metric::IterationTime), [7.0; 10]);

    // Without `{arguments}` the command runs the wrong benchmark.
    describe("test '{arguments}' = --list && echo 'sum/a: benchmark' || sh bench.sh");
    let said = run(&sandbox, &["-s", "external:other.toml"]);
    assert_eq!(said.code, 5, "{}", said.out);
    let told =
        "benchmark `sum/a` left no samples, but `sum` did: write `{arguments}` in the command";
    assert!(said.out.contains(told), "{}", said.out);

    fs::write(
        sandbox.path("scenarios/test/fake.toml"),
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\n",
    )
    .unwrap();
    let said = run(&sandbox, &["-s", "external:other.toml"]);
    assert_eq!(said.code, 4, "{}", said.out);
    let told = "benches cannot run `decode`: choose scenarios of workload `criterion`";
    assert!(said.out.contains(told), "{}", said.out);

    fs::write(sandbox.path("scenarios/test/fake.toml"), SCENARIO).unwrap();
    fs::write(sandbox.path("other.toml"), "[llama-bench]\ncommand = \"true\"\n").unwrap();
    let said = run(&sandbox, &["-s", "external:other.toml"]);
    assert_eq!(said.code, 4, "{}", said.out);
    assert!(said.out.contains("llama-bench cannot run `criterion`"), "{}", said.out);
}

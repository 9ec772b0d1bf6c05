//! External subjects: a server and a benchmark with protocols of their own end up in the same
//! records, tables and reports.

use std::fs;
use std::process::{Child, Command, Stdio};

use windtunnel_ledger::record::{Failure, Outcome};
use windtunnel_ledger::{Metric, Samples};

use crate::forks::script::Script;
use crate::sandbox::{FAKE_PROBE, Said, Sandbox};

const GENERATE: &str = "workload = \"generate\"\nmodels = [\"tiny-qwen3\"]\nrounds = 2\n\
                        iterations = 2\nwarmup = 1\nmatrix = { prompt = [5], output = [4], batch = [2] }\n";
const MS: f64 = 1e6;

/// A sandbox whose subject is a server started with these words.
fn serving(scenario: &str, words: &str) -> Sandbox {
    described(
        scenario,
        &format!(
            "[openai]\naddress = \"http://127.0.0.1:{{port}}/v1\"\n\
             server = \"exec '{FAKE_PROBE}' --serve {{port}} {words}\"\n"
        ),
    )
}

fn described(scenario: &str, description: &str) -> Sandbox {
    let sandbox = Sandbox::with(scenario);
    fs::write(sandbox.path("other.toml"), description).unwrap();
    sandbox
}

fn run(sandbox: &Sandbox) -> Said {
    sandbox.run(&["-q", "run", "test/fake", "-s", "external:other.toml", "-o", "run.jsonl"])
}

/// The samples of all rounds, all of which must be measured.
fn measured(sandbox: &Sandbox) -> Vec<Samples> {
    let samples = |outcome| match outcome {
        Outcome::Measured(samples) => samples,
        other => panic!("{other:?}"),
    };
    sandbox.contents().records.into_iter().map(|record| samples(record.outcome)).collect()
}

fn failure(sandbox: &Sandbox) -> Failure {
    match sandbox.contents().records.into_iter().next().unwrap().outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// A server that is running already, stopped on drop.
struct Running(Child);

impl Running {
    fn start(port: u16) -> Running {
        let mut command = Command::new(FAKE_PROBE);
        command.args(["--serve", &port.to_string(), "first=1"]).stderr(Stdio::null());
        let running = Running(command.spawn().unwrap());
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(std::time::Instant::now() < patience, "the server of the test never came up");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago, for a server that a test starts itself.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether a process started with this word is running.
fn runs(word: &str) -> bool {
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    numbers.into_iter().any(|entry| {
        // A process that has ended has no readable command line.
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|found| found == word.as_bytes())
    })
}

#[test]
fn a_server_ends_with_whoever_started_it_even_if_that_is_killed() {
    let word = format!("server-of-{}", std::process::id());
    let sandbox = serving(GENERATE, &format!("first=3600000 {word}"));
    let args = ["-q", "run", "test/fake", "-s", "external:other.toml", "-o", "run.jsonl"];
    let mut child = sandbox.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let wait_until = |there: bool| {
        while runs(&word) != there {
            assert!(std::time::Instant::now() < patience, "the server is there: {}", !there);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    wait_until(true);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(false);

    let sandbox = serving(GENERATE, &word);
    assert_eq!(run(&sandbox).code, 0);
    assert!(!runs(&word), "it ended with its round");
}

#[test]
fn a_server_is_started_asked_and_ended_and_its_delays_are_in_the_records() {
    let sandbox = serving(GENERATE, "first=30 gap=4 loading");
    let said = run(&sandbox);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let rounds = measured(&sandbox);
    assert_eq!(rounds.len(), 2);
    for samples in &rounds {
        let count = |metric| samples.of(metric).len();
        assert_eq!(count(Metric::TimeToFirstToken), 4, "two requests in two iterations");
        assert_eq!(count(Metric::InterToken), 12);
        assert!(samples.of(Metric::TimeToFirstToken).iter().all(|time| *time >= 30.0 * MS));
        assert!(samples.of(Metric::EndToEnd).iter().all(|time| *time >= 42.0 * MS));
        assert!(samples.of(Metric::DecodeRate).iter().all(|rate| *rate > 0.0));
        assert!(samples.of(Metric::LoadTime)[0] > 0.0);
        assert!(samples.of(Metric::PeakRss)[0] > 100_000.0);
        assert_eq!(samples.digests(), rounds[0].digests());
        assert_eq!(samples.prompts, rounds[0].prompts);
    }
    assert!(said.out.contains("TTFT"), "{}", said.out);
    let page = fs::read_to_string(sandbox.path("report.html")).unwrap();
    assert!(page.contains("external:other.toml"));
    for record in sandbox.contents().records {
        let Some(trace) = record.trace else { continue };
        let gauges: Vec<_> = trace.process().unwrap().gauges.keys().copied().collect();
        assert!(gauges.iter().all(|gauge| gauge.is_of_machine()), "the adapter's: {gauges:?}");
    }
}

#[test]
fn a_server_that_lists_its_models_before_they_are_loaded_is_waited_for() {
    let sandbox = serving(GENERATE, "warming");
    let said = run(&sandbox);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert_eq!(measured(&sandbox).len(), 2);
}

#[test]
fn a_server_that_runs_already_is_asked_where_it_is() {
    let port = free_port();
    let description = format!(
        "[openai]\naddress = \"http://127.0.0.1:{port}/v1/\"\nmodel = \"m\"\nbody = {{ ignore_eos = true }}\n"
    );
    let serve = "workload = \"serve\"\nmodels = [\"tiny-qwen3\"]\nrounds = 1\niterations = 1\n\
                 matrix = { arrival = [\"closed\"], prompt = [5], output = [3], requests = [6], batch = [2] }\n";
    let sandbox = described(serve, &description);
    let said = run(&sandbox);
    assert_eq!(said.code, 5, "{}", said.out);
    let told = "no server answers at";
    assert!(failure(&sandbox).to_string().starts_with(told), "{}", failure(&sandbox));

    let _running = Running::start(port);
    fs::remove_file(sandbox.path("run.jsonl")).unwrap();
    let said = run(&sandbox);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let samples = &measured(&sandbox)[0];
    assert_eq!(samples.of(Metric::TimeToFirstToken).len(), 6);
    assert!(samples.of(Metric::RequestRate)[0] > 0.0);
    assert!(samples.of(Metric::LoadTime).is_empty(), "nobody saw it load");
}

#[test]
fn a_server_is_asked_in_an_open_loop_too() {
    let serve = "workload = \"serve\"\nmodels = [\"tiny-qwen3\"]\nrounds = 2\niterations = 2\n\
                 matrix = { arrival = [\"fixed-100\", \"poisson-100\"], prompt = [\"uniform-5-9\"], \
                 output = [\"mixed-2-4\"], shared = [50], requests = [8], batch = [1] }\n";
    let sandbox = serving(serve, "first=30 gap=4");
    let said = run(&sandbox);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let rounds = measured(&sandbox);
    assert_eq!(rounds.len(), 4);
    for samples in &rounds {
        let times = samples.of(Metric::TimeToFirstToken);
        assert_eq!(times.len(), 16, "eight requests in two iterations");
        assert!(times.iter().all(|time| *time >= 30.0 * MS));
        assert!((16..=48).contains(&samples.of(Metric::InterToken).len()));
        assert!(samples.of(Metric::RequestRate).iter().all(|rate| *rate > 0.0));
        // Lengths and words depend on the seed alone, so they are the same in both cases.
        assert_eq!(samples.digests(), rounds[0].digests());
        assert_eq!(samples.prompts, rounds[0].prompts);
    }
    let sandbox = serving(serve, "early");
    assert_eq!(run(&sandbox).code, 5);
    let failure = failure(&sandbox).to_string();
    assert!(failure.starts_with("the server gave 2 tokens instead of 4"), "{failure}");
}

#[test]
fn a_server_in_the_place_of_ours_is_not_measured() {
    let port = free_port();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _running = Running::start(port);
    for port in [port, silent.local_addr().unwrap().port()] {
        let description = format!(
            "[openai]\naddress = \"http://127.0.0.1:{port}/v1\"\nserver = \"exec '{FAKE_PROBE}' --serve {port}\"\n"
        );
        let sandbox = described(&GENERATE.replace("rounds = 2", "rounds = 1"), &description);
        let said = run(&sandbox);
        assert_eq!(said.code, 5, "{}", said.out);
        let told =
            format!("there is a server at `http://127.0.0.1:{port}/v1` already, perhaps that");
        assert!(failure(&sandbox).to_string().starts_with(&told), "{}", failure(&sandbox));
    }
}

#[test]
fn words_are_compared_where_moments_decide_nothing() {
    for (scenario, code) in
        [(GENERATE.to_owned(), 0), (GENERATE.replace("batch = [2]", "batch = [1]"), 5)]
    {
        let sandbox = serving(&scenario, "varies");
        let said = run(&sandbox);
        assert_eq!(said.code, code, "{}{}", said.out, said.err);
        assert_eq!(said.out.contains("tokens differ between rounds"), code == 5, "{}", said.out);
    }
}

#[test]
fn whatever_a_server_does_is_told() {
    for (words, told) in [
        ("early", "the server gave 2 tokens instead of 4: where it ends early, tell it not to"),
        ("garbage", "the server sent something other than a completion: `<html>`"),
        ("refuse", "the server answered 400 Bad Request to `POST http://127.0.0.1:"),
        ("fails", "the server broke off its answer: out of memory"),
        ("breaks", "the server broke off its answer: {\"code\":500}"),
        ("dies", "the server ended before it answered at `http://127.0.0.1:"),
    ] {
        let sandbox = serving(GENERATE, words);
        let said = run(&sandbox);
        assert_eq!(said.code, 5, "{}", said.out);
        let failure = failure(&sandbox).to_string();
        assert!(failure.starts_with(told), "{failure}");
    }
    let sandbox = serving("workload = \"load\"\nmodels = [\"tiny-qwen3\"]\nrounds = 1\n", "");
    let said = run(&sandbox);
    assert_eq!(said.code, 4, "{}", said.out);
    assert!(said.out.contains("a server cannot run `load`: choose prefill"), "{}", said.out);
}

/// The output of llama-bench for a decode that takes this many nanoseconds, with fields that are
/// not used.
fn tests_of(ns: [u64; 2]) -> String {
    format!(
        r#"[
  {{ "build_commit": "0123abc", "model_type": "llama 1B Q4_K", "model_size": 4096, "n_threads": 2,
     "n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": 1.0, "samples_ns": [100, 100], "samples_ts": [] }},
  {{ "build_commit": "0123abc", "model_type": "llama 1B Q4_K", "model_size": 4096, "n_threads": 2,
     "n_prompt": 0, "n_gen": 10, "n_depth": 16, "avg_ts": 1.0, "samples_ns": [{}, {}], "samples_ts": [] }}
]"#,
        ns[0], ns[1]
    )
}

const DECODE: &str = "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 1\niterations = 2\n\
                      matrix = { depth = [16], output = [10], batch = [1] }\n";

#[test]
fn what_llama_bench_writes_is_recorded_and_judged() {
    let command = "test '{prompt} {output} {depth} {iterations}' = '0 10 16 2' && cat bench.json";
    let sandbox = described(DECODE, &format!("[llama-bench]\ncommand = \"{command}\"\n"));
    fs::write(sandbox.path("bench.json"), tests_of([1_000_000, 2_000_000])).unwrap();
    let said = run(&sandbox);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let samples = &measured(&sandbox)[0];
    assert_eq!(samples.of(Metric::DecodeRate), [10_000.0, 5_000.0]);
    assert_eq!(samples.of(Metric::TimePerOutputToken), [100_000.0, 200_000.0]);
    assert_eq!(samples.of(Metric::WeightBytes), [4096.0]);
    let build = sandbox.contents().records[0].environment.build.clone().unwrap();
    assert_eq!((build.engine.as_str(), build.target.as_str()), ("0123abc", "llama-bench"));

    // Two of its builds, side by side.
    let slower = "[llama-bench]\ncommand = \"cat slower.json\"\n";
    fs::write(sandbox.path("slower.toml"), slower).unwrap();
    fs::write(sandbox.path("slower.json"), tests_of([1_100_000, 2_200_000])).unwrap();
    let args = ["-q", "gate", "test", "-b", "external:other.toml", "-s", "external:slower.toml"];
    let said = sandbox.run(&[&args[..], &["-o", "gate.jsonl"]].concat());
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{}", said.out);
    assert!(said.out.contains("verdict: regressed"), "{}", said.out);
}

#[test]
fn two_revisions_of_an_engine_without_a_probe_run_side_by_side() {
    let description = "repository = \"engine\"\nbuild = \"cp tests built.json\"\n\
                       [llama-bench]\ncommand = \"cat built.json\"\n";
    let sandbox = described(DECODE, description);
    let script = Script::new(&sandbox.path("engine"));
    let fast = tests_of([1_000_000, 1_000_000]);
    let first = script.commit("First", &[("tests", &fast), (".gitignore", "/built.json\n")]);
    let second = script.commit("Second", &[("tests", &tests_of([1_100_000, 1_100_000]))]);
    let gate = |base: &str, head: &str, out: &str| {
        let [base, head] = [base, head].map(|at| format!("external:other.toml@{at}"));
        let said = sandbox.run(&["-q", "gate", "test", "-b", &base, "-s", &head, "-o", out]);
        assert_eq!(said.err, "", "{}", said.out);
        said.code
    };
    assert_eq!(gate("HEAD~1", "HEAD", "a.jsonl"), 1, "slower");
    assert_eq!(gate("HEAD", "HEAD~1", "b.jsonl"), 0, "faster");
    let run = windtunnel_ledger::store::read(&sandbox.path("a.jsonl")).unwrap().run;
    let commits: Vec<_> = run.subjects.iter().map(|subject| subject.commit.clone()).collect();
    assert_eq!(commits, [Some(first.clone()), Some(second), Some(first)]);
    assert!(!sandbox.path("engine/built.json").exists(), "its own work tree is left alone");

    let said = sandbox.run(&["-q", "run", "test/fake", "-s", "external:other.toml@nothing"]);
    assert_eq!(said.code, 2);
    assert!(said.err.starts_with("error: `nothing` is not a commit of"), "{}", said.err);
    fs::write(sandbox.path("bare.toml"), "[llama-bench]\ncommand = \"x\"\n").unwrap();
    let said = sandbox.run(&["-q", "run", "test/fake", "-s", "external:bare.toml@HEAD"]);
    insta::assert_snapshot!(said.err, @"error: this subject has no revisions: name its `repository` in its description");
}

#[test]
fn an_engine_without_a_probe_is_followed_into_candle() {
    let description = "repository = \"engine\"\nbuild = \"sh build.sh\"\n\
                       [llama-bench]\ncommand = \"cat built.json\"\n";
    let sandbox = described(DECODE, description);
    let core = "[package]\nname = \"candle-core\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    let (fast, slow) = (tests_of([1_000_000, 1_000_000]), tests_of([1_100_000, 1_100_000]));
    let candle = Script::new(&sandbox.path("candle"));
    let files = [("candle-core/Cargo.toml", core), ("candle-core/src/lib.rs", "")];
    let first =
        candle.commit("First", &[&files[..], &[("candle-core/tests.json", &fast)]].concat());
    candle.commit("Describe kernels", &[("README.md", "kernels")]);
    let culprit = candle.commit("Tidy kernels", &[("candle-core/tests.json", &slow)]);
    let last = candle.commit("Describe more", &[("README.md", "more kernels")]);

    // The engine is as fast as the candle that its manifest points to.
    let build = "candle=$(sed -n 's/^.*path = \"\\(.*\\)\".*/\\1/p' Cargo.toml)\n\
                 cp \"$candle/tests.json\" built.json\n";
    let manifest = "[package]\nname = \"engine\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                    [dependencies]\ncandle-core = { path = \"own\" }\n";
    let lock = |commit: &str| {
        format!(
            "version = 4\n\n[[package]]\nname = \"candle-core\"\nversion = \"0.1.0\"\n\
             source = \"git+https://candle.git#{commit}\"\n"
        )
    };
    let engine = Script::new(&sandbox.path("engine"));
    let own = [("own/Cargo.toml", core), ("own/src/lib.rs", ""), ("own/tests.json", &fast)];
    let rest = [
        ("Cargo.toml", manifest),
        ("Cargo.lock", &lock(&first)),
        ("src/lib.rs", ""),
        ("build.sh", build),
        (".gitignore", "/built.json\n/target\n"),
    ];
    engine.commit("First", &[&own[..], &rest].concat());
    engine.git(&["tag", "good"]);
    engine.commit("Take notes", &[("notes", "one")]);
    engine.commit("Bump candle", &[("own/tests.json", &slow), ("Cargo.lock", &lock(&last))]);
    engine.commit("Take more notes", &[("notes", "two")]);

    let args = ["-q", "bisect", "--good", "good", "--bad", "upstream", "--case", "test/fake"];
    let more = ["--subject", "external:other.toml", "--candle", "candle"];
    let said = sandbox.run(&[&args[..], &more].concat());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let moves = format!("it moves candle from {} to {}; there:\n", &first[..9], &last[..9]);
    let (_, there) = said.out.split_once(&moves).unwrap_or_else(|| panic!("{}", said.out));
    assert!(there.contains(&format!("culprit: {culprit} Tidy kernels\n")), "{}", said.out);
}

#[test]
fn whatever_llama_bench_does_is_told() {
    let check = |scenario: &str, command: &str, code: i32, told: &str| {
        let sandbox = described(scenario, &format!("[llama-bench]\ncommand = \"{command}\"\n"));
        fs::write(sandbox.path("bench.json"), tests_of([1, 1])).unwrap();
        let said = run(&sandbox);
        assert_eq!((said.code, said.err.as_str()), (code, ""), "{}", said.out);
        assert!(said.out.contains(told), "{told}: {}", said.out);
    };
    check(DECODE, "exit 3", 5, "`exit 3` failed (exit status: 3)");
    check(DECODE, "echo 17 t/s", 5, "this is not what `llama-bench -o json` writes");
    let other = DECODE.replace("depth = [16]", "depth = [99]");
    check(
        &other,
        "cat bench.json",
        5,
        "ran no test `-p 0 -n 10 -d 99`, but: -p 512 -n 0 -d 0, -p 0",
    );
    let more = DECODE.replace("iterations = 2", "iterations = 3");
    check(
        &more,
        "cat bench.json",
        5,
        "measured 2 repetitions instead of 3: write `-r {iterations}`",
    );
    // For example, with two thread counts.
    let sandbox = described(DECODE, "[llama-bench]\ncommand = \"cat twice.json\"\n");
    let once = tests_of([1, 1]);
    let twice = format!("{},{}", once.trim_end_matches(']'), once.trim_start_matches('['));
    fs::write(sandbox.path("twice.json"), twice).unwrap();
    let said = run(&sandbox);
    assert_eq!(said.code, 5, "{}", said.out);
    assert!(said.out.contains("llama-bench ran 2 tests of this shape"), "{}", said.out);
    let two = DECODE.replace("batch = [1]", "batch = [2]");
    check(&two, "cat bench.json", 4, "llama-bench runs one sequence: choose batch = 1");
}

#[test]
fn what_the_environment_tells_git_reaches_what_is_built() {
    let description = "repository = \"engine\"\nbuild = 'test \"$(git config test.told)\" = yes'\n\
                       [llama-bench]\ncommand = \"cat bench.json\"\n";
    let sandbox = described(DECODE, description);
    let script = Script::new(&sandbox.path("engine"));
    script.commit("First", &[("bench.json", &tests_of([1_000_000, 1_000_000]))]);
    let subject = ["-s", "external:other.toml@HEAD", "-o", "run.jsonl"];
    let mut command = sandbox.command(&[&["-q", "run", "test/fake"], &subject[..]].concat());
    for (name, value) in [("COUNT", "1"), ("KEY_0", "test.told"), ("VALUE_0", "yes")] {
        command.env(format!("GIT_CONFIG_{name}"), value);
    }
    let said = Said::from(command.output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
}

#[test]
fn the_table_of_mistralrs_bench_is_recorded_and_judged() {
    let table = |rate: &str| {
        format!(
            "Model: m\n│ Test                    ┆ T/s         ┆ Latency    │\n\
             │ Prefill (16 tokens)     ┆ 90.0 ± 0.1  ┆ 177.78 ms  │\n\
             │ Decode (10 tokens @ d16) ┆ {rate} ± 0.5 ┆ 0.10 ms/T │\n"
        )
    };
    let command = "test '{prompt} {output} {depth} {iterations}' = '0 10 16 2' && cat table";
    let sandbox = described(DECODE, &format!("[mistralrs-bench]\ncommand = \"{command}\"\n"));
    fs::write(sandbox.path("table"), table("10000.0")).unwrap();
    let said = run(&sandbox);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let samples = &measured(&sandbox)[0];
    assert_eq!(samples.of(Metric::DecodeRate), [10_000.0], "of two repetitions it tells the mean");
    assert_eq!(samples.of(Metric::TimePerOutputToken), [100_000.0]);
    let build = sandbox.contents().records[0].environment.build.clone().unwrap();
    assert_eq!(build.target, "mistralrs-bench");

    let slower = "[mistralrs-bench]\ncommand = \"cat slower\"\n";
    fs::write(sandbox.path("slower.toml"), slower).unwrap();
    fs::write(sandbox.path("slower"), table("9000.0")).unwrap();
    let args = ["-q", "gate", "test", "-b", "external:other.toml", "-s", "external:slower.toml"];
    let said = sandbox.run(&[&args[..], &["-o", "gate.jsonl"]].concat());
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{}", said.out);

    let told = |scenario: &str, table: &str, code: i32, told: &str| {
        let sandbox = described(scenario, "[mistralrs-bench]\ncommand = \"cat table\"\n");
        fs::write(sandbox.path("table"), table).unwrap();
        let said = run(&sandbox);
        assert_eq!((said.code, said.err.as_str()), (code, ""), "{}", said.out);
        assert!(said.out.contains(told), "{told}: {}", said.out);
    };
    told(DECODE, "17 t/s\n", 5, "this is not a table of `mistralrs-bench`");
    let other = DECODE.replace("depth = [16]", "depth = [99]");
    told(
        &other,
        &table("1"),
        5,
        "ran no test of 10 tokens behind 99 others, but Prefill (16 tokens)",
    );
    told(DECODE, &table("fast"), 5, "`fast ± 0.5` is not a rate");
    let two = DECODE.replace("batch = [1]", "batch = [2]");
    told(&two, "", 4, "mistralrs-bench runs one sequence: choose batch = 1");
}

#[test]
fn an_external_subject_tells_no_stages() {
    let sandbox = described(DECODE, "[llama-bench]\ncommand = \"cat bench.json\"\n");
    fs::write(sandbox.path("bench.json"), tests_of([1, 1])).unwrap();
    let args = ["-q", "run", "test/fake", "--attribute", "-s", "external:other.toml"];
    let said = sandbox.run(&args);
    assert!(said.out.contains("does not report where its time goes"), "{}", said.out);
}

//! Cases that run out of memory, and the cases that are skipped because of them.

use windtunnel_ledger::holding::Occupied;
use windtunnel_ledger::record::{Failure, Outcome};

use crate::sandbox::{FAKE_PROBE, Said, Sandbox};

/// A matrix of sizes, and a probe with memory for two sequences.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 2\n\
         matrix = { batch = [2, 4, 8, 16], output = [4], depth = [32, 64] }\n",
    );
    sandbox.plant("one", "small");
    sandbox
}

/// The outcome of each round of the run in `file`: batch, depth, and a letter.
fn outcomes(sandbox: &Sandbox, file: &str) -> Vec<String> {
    let records = windtunnel_ledger::store::read(&sandbox.path(file)).unwrap().records;
    let told = records.iter().map(|record| {
        let axes = record.case.axes().replace("batch=", "").replace(",depth=", "x");
        let what = match &record.outcome {
            Outcome::Measured(_) => "measured",
            Outcome::Failed(failure) if failure.is_out_of_memory() => "starved",
            Outcome::Skipped(_) => "skipped",
            other => panic!("{other:?}"),
        };
        format!("{} {what}", axes.replace(",output=4", ""))
    });
    told.collect()
}

fn run(sandbox: &Sandbox, args: &[&str]) -> Said {
    let subject = ["-q", "run", "test/fake", "--subject", "probe:one"];
    sandbox.run(&[&subject[..], args].concat())
}

#[test]
fn what_is_larger_than_a_case_without_memory_is_skipped_with_the_reason() {
    let sandbox = sandbox();
    let said = run(&sandbox, &["--filter", "depth=32", "--out", "run.jsonl"]);
    assert_eq!(said.code, 5, "{}", said.err);
    let expected = ["2x32 measured", "4x32 starved", "8x32 skipped", "16x32 skipped"];
    assert_eq!(outcomes(&sandbox, "run.jsonl"), [&expected[..], &["2x32 measured"]].concat());
    let reason = "skipped: `test/fake/tiny-qwen3/batch=4,depth=32,output=4`, which is no larger, ran out of memory";
    assert!(said.out.contains(reason), "{}", said.out);
    let failed = "round 1 failed: out of memory for the cache; lower `kv_tokens`";
    assert!(said.out.contains(failed), "{}", said.out);
    // What was known of the device's memory at that moment is kept.
    let records = sandbox.contents().records;
    let devices = records.iter().find_map(|record| match &record.outcome {
        Outcome::Failed(Failure::Exhausted { devices, .. }) => Some(devices),
        _ => None,
    });
    let [Occupied { device, free, total, held }] = &devices.unwrap()[..] else { panic!() };
    assert_eq!((device.as_str(), free.unwrap().0, total.unwrap().0), ("cuda:0", 96, 4096));
    assert_eq!((held.weights.0, held.kv.0), (3000, 1000));
}

#[test]
fn later_runs_remember_until_they_are_asked_to_forget() {
    let sandbox = sandbox();
    // Kept below `reports`, where later runs look.
    assert_eq!(run(&sandbox, &["--filter", "depth=32"]).code, 5);
    let said = run(&sandbox, &["--filter", "batch=4", "--filter", "depth=64", "-o", "2.jsonl"]);
    assert_eq!(said.code, 4, "nothing was measured: {}", said.err);
    assert_eq!(outcomes(&sandbox, "2.jsonl"), ["4x64 skipped"]);
    let words = ["-fake`; `--forget-oom` tries it again", ", ran out of memory in run `20"];
    assert!(words.iter().all(|words| said.out.contains(words)), "{}", said.out);

    let listed = sandbox.run(&["list", "test/fake", "--filter", "batch=4"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let (_, told) = listed.out.split_once("\nskipped by `run` until `--forget-oom`").unwrap();
    let small = "test/fake/tiny-qwen3/batch=4,depth=32,output=4";
    for words in [
        format!("  {small} on `probe:one`: it ran out of memory in run `20"),
        format!("depth=64,output=4 on `probe:one`: `{small}`, which is no larger, ran out"),
    ] {
        assert!(told.contains(&words), "{words}: {told}");
    }
    let listed = sandbox.run(&["list", "test/fake", "--filter", "batch=2"]);
    assert!(!listed.out.contains("--forget-oom"), "{}", listed.out);

    let args = ["--filter", "batch=4", "--forget-oom", "-o", "3.jsonl"];
    assert_eq!(run(&sandbox, &args).code, 5);
    assert_eq!(outcomes(&sandbox, "3.jsonl"), ["4x32 starved", "4x64 skipped"], "this run knows");

    let other = ["-q", "run", "test/fake", "--probe", FAKE_PROBE, "--filter", "batch=4"];
    let said = sandbox.run(&[&other[..], &["-o", "4.jsonl"]].concat());
    assert_eq!(said.code, 0, "another subject has memory of its own: {}", said.out);
}

#[test]
fn what_is_a_hundred_runs_old_is_forgotten() {
    let sandbox = sandbox();
    assert_eq!(run(&sandbox, &["--filter", "depth=32"]).code, 5);
    let is_known = || {
        let listed = sandbox.run(&["list", "test/fake", "--filter", "batch=4"]);
        listed.out.contains("--forget-oom")
    };
    for newer in 1..=100 {
        // Newer runs, being empty, do not contradict it.
        assert!(newer != 100 || is_known());
        let folder = sandbox.path(&format!("reports/9999-{newer:03}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("run.jsonl"), "").unwrap();
    }
    assert!(!is_known());
}

#[test]
fn a_later_success_is_believed() {
    let sandbox = sandbox();
    assert_eq!(run(&sandbox, &["--filter", "depth=32"]).code, 5);
    // The same name, but now with room for eight.
    sandbox.plant("one", "roomy");
    assert_eq!(run(&sandbox, &["--filter", "batch=4", "--forget-oom"]).code, 0);
    assert_eq!(run(&sandbox, &["--filter", "depth=32", "-o", "run.jsonl"]).code, 5);
    let first: Vec<String> = outcomes(&sandbox, "run.jsonl").into_iter().take(4).collect();
    assert_eq!(first, ["2x32 measured", "4x32 measured", "8x32 measured", "16x32 starved"]);
}

#[test]
fn a_gate_asks_nobody_what_ran_out_of_memory() {
    let sandbox = sandbox();
    assert_eq!(run(&sandbox, &["--filter", "depth=32"]).code, 5);
    let gate = ["-q", "gate", "test/fake", "--filter", "batch=4", "--filter", "depth=32"];
    let sides = ["--base", "probe:one", "--subject", "probe:one", "-o", "gate.jsonl"];
    assert_eq!(sandbox.run(&[&gate[..], &sides].concat()).code, 5, "it finds it out");
    assert!(outcomes(&sandbox, "gate.jsonl").iter().all(|told| told == "4x32 starved"));
}

//! What is said about files that are wrong.

use std::path::Path;

use windtunnel_ledger::case::{Case, Lengths, Source};
use windtunnel_ledger::unit::Tokens;

use super::axes::AXES;
use super::*;
use crate::plan::expand;

/// What is said about a scenario file with this text.
fn complaint(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
    std::fs::create_dir_all(dir.path().join("scenarios/topologies")).unwrap();
    std::fs::write(dir.path().join("scenarios/topologies/first-half.yaml"), "0: {}").unwrap();
    std::fs::write(dir.path().join("scenarios/gate/x.toml"), text).unwrap();
    let workspace = Workspace::around(dir.path()).unwrap();
    let error = load(&workspace, &["gate/x".into()], &[]).unwrap_err().to_string();
    error.replace(&workspace.root().display().to_string(), "ROOT")
}

/// The cases of a scenario file with this text.
fn cases(text: &str) -> Vec<Case> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
    let topologies = dir.path().join("scenarios/topologies");
    std::fs::create_dir_all(&topologies).unwrap();
    std::fs::write(topologies.join("first-half.yaml"), "0-2: { device: \"cpu:1\" }").unwrap();
    std::fs::write(dir.path().join("scenarios/gate/x.toml"), text).unwrap();
    let workspace = Workspace::around(dir.path()).unwrap();
    let scenarios =
        load(&workspace, &["gate/x".into()], &[]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    expand(&scenarios, &[], None).cases.into_iter().map(|planned| planned.case).collect()
}

/// A scenario of this workload with these lines after its models.
fn of(workload: &str, lines: &str) -> String {
    format!("workload = \"{workload}\"\nmodels = [\"tiny-qwen3\"]\n{lines}\n")
}

#[test]
fn every_axis_changes_the_cases_of_the_workloads_that_take_it() {
    let other = |axis: &str| match axis {
        "dtype" => "\"bf16\"",
        "quant" => "\"q8_0\"",
        "kv" => "\"contiguous\"",
        "device-map" => "\"cpu:1\"",
        "topology" => "\"first-half\"",
        "attention" => "\"naive\"",
        "prefix-cache" => "\"on\"",
        "cuda-graphs" => "\"off\"",
        "arrival" => "\"fixed-2\"",
        "against" => "\"f32\"",
        "kv-share" | "shared" => "50",
        "shallow" => "16",
        _ => "200",
    };
    for workload in Workload::NAMES {
        // Whoever runs no model takes no axis.
        if workload == targets::CRITERION {
            assert!(AXES.iter().all(|(_, workloads)| !workloads.contains(&workload)));
            continue;
        }
        let plain = &cases(&of(workload, ""))[0];
        assert_eq!(plain.workload.name(), workload);
        for (axis, _) in AXES.iter().filter(|(_, workloads)| workloads.contains(&workload)) {
            let changed =
                &cases(&of(workload, &format!("matrix = {{ {axis} = [{}] }}", other(axis))))[0];
            assert_ne!(plain.hash(), changed.hash(), "{axis} of {workload}");
        }
    }
}

#[test]
fn a_device_map_has_no_comma_in_an_id_and_a_topology_comes_with_what_is_in_it() {
    let cases = cases(&of(
        "load",
        "matrix = { device-map = [\"cpu:0=1,cpu:1\"], topology = [\"first-half\", \"none\"] }",
    ));
    let [first, none] = &cases[..] else { panic!("{cases:?}") };
    assert_eq!(first.id.as_str(), "gate/x/tiny-qwen3/device-map=cpu:0=1+cpu:1,topology=first-half");
    assert_eq!(first.placement.devices.as_str(), "cpu:0=1+cpu:1");
    assert_eq!(first.placement.topology.text, "0-2: { device: \"cpu:1\" }");
    assert!(none.placement.topology.is_none());
}

#[test]
fn a_place_that_cannot_be_is_refused() {
    let load = |axis: &str| complaint(&of("load", &format!("matrix = {{ {axis} }}")));
    insta::assert_snapshot!(load("topology = [\"first-hal\"]"), @r#"
    `scenarios/gate/x.toml`, line 3: unknown topology `first-hal`, did you mean `first-half`? Topologies are YAML files in `scenarios/topologies`.
      |
    3 | matrix = { topology = ["first-hal"] }
      |                       ^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(load("device-map = [\"20\"]"), @r#"
    `scenarios/gate/x.toml`, line 3: `20` is no device map: write `cpu:0`, layers for each device as in `cpu:0=12,cpu:1`, or `auto`
      |
    3 | matrix = { device-map = ["20"] }
      |                         ^^^^^^
    "#);
}

#[test]
fn lengths_are_numbers_or_distributions() {
    let lengths: Vec<Lengths> =
        cases(&of("serve", "matrix = { prompt = [64, \"mixed-16-64\", \"lognormal-32-256\"] }"))
            .iter()
            .map(|case| match case.workload {
                Workload::Serve { prompt, .. } => prompt,
                other => panic!("{other:?}"),
            })
            .collect();
    let [short, long] = [Tokens(16), Tokens(64)];
    let expected = [
        Lengths::Fixed(long),
        Lengths::Mixed(short, long),
        Lengths::Lognormal(Tokens(32), Tokens(256)),
    ];
    assert_eq!(lengths, expected);
}

#[test]
fn an_objective_that_is_named_overrides_its_default() {
    let [case] = &cases(&of("serve", "slo = { end-to-end = 5 }"))[..] else { panic!() };
    let Workload::Serve { slo, .. } = case.workload else { panic!() };
    assert_eq!(slo.end_to_end, Nanos::from_seconds(5.0));
    assert_eq!(slo.time_to_first_token, Nanos::from_seconds(2.0));
}

#[test]
fn a_bench_takes_the_place_of_a_model_and_its_benchmarks_are_open_until_it_is_built() {
    let text = "workload = \"criterion\"\npackage = \"p\"\nbenches = [\"a\", \"b\"]\n";
    let all = cases(text);
    let [first, second] = &all[..] else { panic!("{all:?}") };
    assert_eq!([first.id.as_str(), second.id.as_str()], ["gate/x/a", "gate/x/b"]);
    assert_eq!((first.workload, first.iterations.get()), (Workload::Criterion, 1));
    let source = |case: &Case| match &case.model.source {
        Source::Bench(benchmark) => (benchmark.target(), benchmark.name.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(source(second), ("p/b".to_owned(), String::new()));
    let filtered = cases(&format!("{text}filter = \"long\"\n"));
    assert_eq!(source(&filtered[0]).1, "long");
}

#[test]
fn what_no_bench_or_no_model_can_mean_is_refused() {
    let bench = |lines: &str| complaint(&format!("workload = \"criterion\"\n{lines}\n"));
    let named = "package = \"p\"\nbenches = [\"a\"]\n";
    insta::assert_snapshot!(bench("package = \"p\""), @r#"
    `scenarios/gate/x.toml`, line 1: workload `criterion` runs benches: write which ones of which package, `package = "NAME"` and `benches = ["NAME"]`
      |
    1 | workload = "criterion"
      |            ^^^^^^^^^^^
    "#);
    let told = [
        (bench(&format!("{named}models = [\"tiny-qwen3\"]")), "takes no `models`"),
        (bench("package = \"p\"\nbenches = []"), "no bench is named"),
        (bench("package = \"p\"\nbenches = [\"a\", \"a\"]"), "bench `a` is named twice"),
        (bench(&format!("{named}filter = \"\"")), "an empty `filter` keeps every benchmark"),
        (
            bench(&format!("{named}matrix = {{ batch = [1] }}")),
            "axis `batch` means nothing to workload `criterion`, which takes none",
        ),
        (
            bench(&format!("{named}iterations = 3")),
            "workload `criterion` runs once in a process: raise `rounds` instead",
        ),
        (
            complaint(&of("load", "benches = [\"a\"]")),
            "`benches` means nothing to workload `load`: only `criterion` runs benches",
        ),
        (complaint("workload = \"load\""), "workload `load` runs on models: write which ones"),
    ];
    for (complaint, words) in told {
        assert!(complaint.contains(words), "{complaint}");
    }
}

#[test]
fn a_precision_goes_into_the_case_and_without_one_iterations_are_counted() {
    let [plain] = &cases(&of("decode", ""))[..] else { panic!() };
    assert_eq!(plain.enough, Enough::Counted);
    let [precise] = &cases(&of("decode", "precision = { target = 0.01, budget = 30 }"))[..] else {
        panic!()
    };
    let Enough::Precise(precision) = precise.enough else { panic!("{precise:?}") };
    assert_eq!((precision.target(), precision.budget), (0.01, Nanos::from_seconds(30.0)));
    assert_ne!(plain.hash(), precise.hash());
}

#[test]
fn a_precision_that_nobody_can_reach_is_refused() {
    let wrong = |workload: &str, table: &str| {
        complaint(&of(workload, &format!("precision = {{ {table} }}")))
    };
    insta::assert_snapshot!(wrong("decode", "target = 2, budget = 30"), @r"
    `scenarios/gate/x.toml`, line 3: a `target` of 2 is no share from 0.000001 to 1: write 0.01 for ±1 %
      |
    3 | precision = { target = 2, budget = 30 }
      |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
    let told = [
        (
            wrong("decode", "target = 0.01, budget = 600"),
            "does not end before the `deadline` of 600 s",
        ),
        (wrong("decode", "target = 0.01"), "missing field `budget`"),
        (wrong("load", "target = 0.01, budget = 30"), "workload `load` runs once in a process"),
    ];
    for (complaint, words) in told {
        assert!(complaint.contains(words), "{complaint}");
    }
}

#[test]
fn what_fills_a_process_runs_once_in_it() {
    for workload in ["load", "idle", "soak"] {
        let case = &cases(&of(workload, ""))[0];
        assert_eq!((case.warmup, case.iterations.get()), (0, 1));
    }
}

#[test]
fn traffic_that_means_nothing_is_refused() {
    let serve = |axis: &str| complaint(&of("serve", &format!("matrix = {{ {axis} }}")));
    insta::assert_snapshot!(serve("arrival = [\"poison-2\"]"), @r#"
    `scenarios/gate/x.toml`, line 3: `poison-2` is none of: closed, poisson-R, fixed-R with R requests a second, as in poisson-2.5
      |
    3 | matrix = { arrival = ["poison-2"] }
      |                      ^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(serve("arrival = [\"poisson-0\"]"), @r#"
    `scenarios/gate/x.toml`, line 3: `poisson-0` is none of: closed, poisson-R, fixed-R with R requests a second, as in poisson-2.5
      |
    3 | matrix = { arrival = ["poisson-0"] }
      |                      ^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(serve("arrival = [2]"), @"
    `scenarios/gate/x.toml`, line 3: `2` is none of: closed, poisson-R, fixed-R with R requests a second, as in poisson-2.5
      |
    3 | matrix = { arrival = [2] }
      |                      ^^^
    ");
    insta::assert_snapshot!(serve("prompt = [\"uniform-512-16\"]"), @r#"
    `scenarios/gate/x.toml`, line 3: `uniform-512-16` is none of: a number of tokens, uniform-LEAST-MOST, lognormal-MEDIAN-MOST, mixed-ONE-OTHER, all of at least 1 and at most 4294967295
      |
    3 | matrix = { prompt = ["uniform-512-16"] }
      |                     ^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(serve("output = [0]"), @"
    `scenarios/gate/x.toml`, line 3: `0` is none of: a number of tokens, uniform-LEAST-MOST, lognormal-MEDIAN-MOST, mixed-ONE-OTHER, all of at least 1 and at most 4294967295
      |
    3 | matrix = { output = [0] }
      |                     ^^^
    ");
    insta::assert_snapshot!(serve("shared = [50, 150]"), @"
    `scenarios/gate/x.toml`, line 3: `150` is no whole number of per cent from 0 to 100
      |
    3 | matrix = { shared = [50, 150] }
      |                     ^^^^^^^^^
    ");
    insta::assert_snapshot!(serve("prefix-cache = [\"onn\"]"), @r#"
    `scenarios/gate/x.toml`, line 3: `onn` is none of: off, on
      |
    3 | matrix = { prefix-cache = ["onn"] }
      |                           ^^^^^^^
    "#);
    insta::assert_snapshot!(serve("prefix-cache = [true]"), @"
    `scenarios/gate/x.toml`, line 3: `true` is none of: off, on
      |
    3 | matrix = { prefix-cache = [true] }
      |                           ^^^^^^
    ");
    insta::assert_snapshot!(serve("kv-share = [0]"), @"
    `scenarios/gate/x.toml`, line 3: invalid value: integer `0`, expected a nonzero u32
      |
    3 | matrix = { kv-share = [0] }
      |                        ^
    ");
    insta::assert_snapshot!(serve("requests = [2.5]"), @"
    `scenarios/gate/x.toml`, line 3: invalid type: floating point `2.5`, expected a nonzero u32
      |
    3 | matrix = { requests = [2.5] }
      |                        ^^^
    ");
}

#[test]
fn a_distribution_is_refused_where_requests_have_one_length() {
    insta::assert_snapshot!(complaint(&of(
        "generate",
        "[matrix]\nprompt = [128, \"mixed-16-64\"]"
    )), @r#"
    `scenarios/gate/x.toml`, line 4: axis `prompt` of workload `generate` takes a number of tokens, not `mixed-16-64`: only scenarios of `serve`, `soak` and `embed` have requests of different lengths
      |
    4 | prompt = [128, "mixed-16-64"]
      |          ^^^^^^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(complaint(&of("context", "[matrix]\noutput = [\"uniform-1-2\"]")), @r#"
    `scenarios/gate/x.toml`, line 4: axis `output` of workload `context` takes a number of tokens, not `uniform-1-2`: only scenarios of `serve`, `soak` and `embed` have requests of different lengths
      |
    4 | output = ["uniform-1-2"]
      |          ^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn an_axis_is_refused_by_the_workloads_that_have_no_use_for_it() {
    insta::assert_snapshot!(complaint(&of("decode", "matrix = { arrival = [\"closed\"] }")), @"
    `scenarios/gate/x.toml`, line 3: axis `arrival` means nothing to workload `decode`, which takes: attention, batch, cuda-graphs, depth, device-map, dtype, kv, output, quant, step-tokens, topology
      |
    3 | matrix = { arrival = [\"closed\"] }
      |                      ^^^^^^^^^^
    ");
    insta::assert_snapshot!(complaint(&of("context", "matrix = { batch = [8] }")), @"
    `scenarios/gate/x.toml`, line 3: axis `batch` means nothing to workload `context`, which takes: attention, cuda-graphs, depth, device-map, dtype, kv, output, quant, shallow, step-tokens, topology
      |
    3 | matrix = { batch = [8] }
      |                    ^^^
    ");
    insta::assert_snapshot!(complaint(&of("idle", "matrix = { shared = [50] }")), @"
    `scenarios/gate/x.toml`, line 3: axis `shared` means nothing to workload `idle`, which takes: attention, cuda-graphs, device-map, dtype, duration, kv, quant, requests, step-tokens, topology
      |
    3 | matrix = { shared = [50] }
      |                     ^^^^
    ");
    insta::assert_snapshot!(complaint(&of("soak", "matrix = { requests = [8] }")), @"
    `scenarios/gate/x.toml`, line 3: axis `requests` means nothing to workload `soak`, which takes: attention, batch, cuda-graphs, device-map, dtype, duration, kv, kv-share, output, prefix-cache, prompt, quant, shared, step-tokens, topology
      |
    3 | matrix = { requests = [8] }
      |                       ^^^
    ");
    insta::assert_snapshot!(complaint(&of("serve", "matrix = { duration = [8] }")), @"
    `scenarios/gate/x.toml`, line 3: axis `duration` means nothing to workload `serve`, which takes: arrival, attention, batch, cuda-graphs, device-map, dtype, kv, kv-share, output, prefix-cache, prompt, quant, requests, shared, step-tokens, topology
      |
    3 | matrix = { duration = [8] }
      |                       ^^^
    ");
}

#[test]
fn objectives_are_times_and_belong_to_a_service() {
    insta::assert_snapshot!(complaint(&of("decode", "[slo]\nend-to-end = 5.0")), @"
    `scenarios/gate/x.toml`, line 3: `slo` means nothing to workload `decode`: only `serve` judges its answers
      |
    3 | [slo]
      | ^^^^^
    ");
    insta::assert_snapshot!(complaint(&of("serve", "[slo]\nend-to-end = -1")), @"
    `scenarios/gate/x.toml`, line 4: `-1` is no positive number of seconds
      |
    4 | end-to-end = -1
      |              ^^
    ");
    insta::assert_snapshot!(complaint(&of("serve", "[slo]\ntime-to-last-token = 1")), @"
    `scenarios/gate/x.toml`, line 4: unknown key `time-to-last-token`, did you mean `time-to-first-token`?
      |
    4 | time-to-last-token = 1
      | ^^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn a_wish_that_cannot_come_true_is_refused() {
    insta::assert_snapshot!(complaint(&of("soak", "warmup = 1")), @"
    `scenarios/gate/x.toml`, line 3: workload `soak` runs once in a process: raise `rounds` instead
      |
    3 | warmup = 1
      |          ^
    ");
    insta::assert_snapshot!(complaint(&of("idle", "iterations = 5")), @"
    `scenarios/gate/x.toml`, line 3: workload `idle` runs once in a process: raise `rounds` instead
      |
    3 | iterations = 5
      |              ^
    ");
    insta::assert_snapshot!(complaint(&of(
        "context",
        "matrix = { shallow = [64, 512], depth = [256] }"
    )), @"
    `scenarios/gate/x.toml`, line 3: a `depth` of 256 tok is not deeper than a `shallow` of 512 tok: what context costs is the difference between the two
      |
    3 | matrix = { shallow = [64, 512], depth = [256] }
      |                                         ^^^^^
    ");
    insta::assert_snapshot!(complaint(&of("context", "matrix = { shallow = [128] }")), @"
    `scenarios/gate/x.toml`, line 3: a `depth` of 128 tok is not deeper than a `shallow` of 128 tok: what context costs is the difference between the two
      |
    3 | matrix = { shallow = [128] }
      |                      ^^^^^
    ");
    insta::assert_snapshot!(complaint(&of("soak", "matrix = { duration = [60, 600] }")), @"
    `scenarios/gate/x.toml`, line 3: a `duration` of 600 s does not end before the `deadline` of 600 s: raise `deadline`
      |
    3 | matrix = { duration = [60, 600] }
      |                       ^^^^^^^^^
    ");
    insta::assert_snapshot!(complaint(&of(
        "serve",
        "matrix = { arrival = [\"fixed-0.5\"], requests = [300] }"
    )), @r#"
    `scenarios/gate/x.toml`, line 3: 300 `requests` at 0.5 a second, in 4 iterations, do not all arrive before the `deadline` of 600 s: raise `deadline`
      |
    3 | matrix = { arrival = ["fixed-0.5"], requests = [300] }
      |                      ^^^^^^^^^^^^^
    "#);
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nroundz = 3\n"), @"
    `scenarios/gate/x.toml`, line 3: unknown key `roundz`, did you mean `rounds`?
      |
    3 | roundz = 3
      | ^^^^^^
    ");
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\n[matrix]\nflavour = [1]\n"), @"
    `scenarios/gate/x.toml`, line 4: unknown key `flavour`; known: dtype, quant, kv, device-map, topology, attention, step-tokens, prefix-cache, cuda-graphs, kv-share, arrival, shared, prompt, shallow, depth, output, duration, requests, against, batch
      |
    4 | flavour = [1]
      | ^^^^^^^
    ");
}

#[test]
fn a_value_of_the_wrong_type_is_shown_in_its_place() {
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = \"five\"\n"), @r#"
    `scenarios/gate/x.toml`, line 3: invalid type: string "five", expected a nonzero u32
      |
    3 | rounds = "five"
      |          ^^^^^^
    "#);
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { dtype = [\"fp32\"] }\n"), @r#"
    `scenarios/gate/x.toml`, line 3: unknown value `fp32`, did you mean `f32`?
      |
    3 | matrix = { dtype = ["fp32"] }
      |                     ^^^^^^
    "#);
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { kv = [\"paged\"] }\n"), @r#"
    `scenarios/gate/x.toml`, line 3: `paged` is none of: contiguous, paged-16, paged-32, or paged-N with N of at least 1
      |
    3 | matrix = { kv = ["paged"] }
      |                 ^^^^^^^^^
    "#);
}

#[test]
fn an_unknown_workload_and_an_unknown_model_are_named() {
    insta::assert_snapshot!(complaint("workload = \"decoding\"\nmodels = [\"tiny-qwen3\"]\n"), @r#"
    `scenarios/gate/x.toml`, line 1: unknown workload `decoding`, did you mean `decode`?
      |
    1 | workload = "decoding"
      |            ^^^^^^^^^^
    "#);
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\n  \"tiny-qwen3\",\n  \"tiny-qwen4\",\n]\n"), @r#"
    `scenarios/gate/x.toml`, line 4: unknown model `tiny-qwen4`, did you mean `tiny-qwen3`? Models are described in `models.toml`.
      |
    4 |   "tiny-qwen4",
      |   ^^^^^^^^^^^^
    "#);
}

#[test]
fn an_axis_without_values_or_without_meaning_is_refused() {
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { kv = [] }\n"), @"
    `scenarios/gate/x.toml`, line 3: axis `kv` is empty, so there would be no case at all: give it a value or remove it
      |
    3 | matrix = { kv = [] }
      |                 ^^
    ");
    insta::assert_snapshot!(complaint("workload = \"prefill\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { depth = [8] }\n"), @"
    `scenarios/gate/x.toml`, line 3: axis `depth` means nothing to workload `prefill`, which takes: attention, batch, cuda-graphs, device-map, dtype, kv, prompt, quant, step-tokens, topology
      |
    3 | matrix = { depth = [8] }
      |                    ^^^
    ");
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { batch = [1, 8, 1] }\n"), @"
    `scenarios/gate/x.toml`, line 3: axis `batch` lists `1` twice
      |
    3 | matrix = { batch = [1, 8, 1] }
      |                    ^^^^^^^^^
    ");
}

#[test]
fn a_scenario_without_models_or_with_an_impossible_wish_is_refused() {
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = []\n"), @"
    `scenarios/gate/x.toml`, line 2: no model is named
      |
    2 | models = []
      |          ^^
    ");
    insta::assert_snapshot!(complaint("workload = \"load\"\nmodels = [\"tiny-qwen3\"]\niterations = 5\n"), @"
    `scenarios/gate/x.toml`, line 3: workload `load` runs once in a process: raise `rounds` instead
      |
    3 | iterations = 5
      |              ^
    ");
    insta::assert_snapshot!(complaint("workload = \"load\"\nmodels = [\"tiny-qwen3\"]\ndeadline = 0.0\n"), @"
    `scenarios/gate/x.toml`, line 3: `0` is no positive number of seconds
      |
    3 | deadline = 0.0
      |            ^^^
    ");
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\n[[skip]]\nwhen = { kw = 1 }\nreason = \"r\"\n"), @"
    `scenarios/gate/x.toml`, line 4: unknown axis `kw`; known: model
      |
    4 | when = { kw = 1 }
      |          ^^
    ");
}

#[test]
fn a_skip_that_can_never_apply_or_always_does_is_refused() {
    let with = |when: &str| {
        complaint(&format!(
            "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = {{ batch = [1, 8] }}\n\
             [[skip]]\nwhen = {when}\nreason = \"r\"\n"
        ))
    };
    insta::assert_snapshot!(with("{ kv = \"paged-16\" }"), @r#"
    `scenarios/gate/x.toml`, line 5: unknown axis `kv`; known: batch, model
      |
    5 | when = { kv = "paged-16" }
      |          ^^
    "#);
    insta::assert_snapshot!(with("{ batch = [8, 80] }"), @"
    `scenarios/gate/x.toml`, line 5: unknown value `80`, did you mean `8`?
      |
    5 | when = { batch = [8, 80] }
      |                  ^^^^^^^
    ");
    insta::assert_snapshot!(with("{}"), @"
    `scenarios/gate/x.toml`, line 5: `when` names no axis, so every case would be left out
      |
    5 | when = {}
      |        ^^
    ");
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\", \"tiny-qwen3\"]\n"), @r#"
    `scenarios/gate/x.toml`, line 2: model `tiny-qwen3` is named twice
      |
    2 | models = ["tiny-qwen3", "tiny-qwen3"]
      |                         ^^^^^^^^^^^^
    "#);
}

#[test]
fn defaults_have_one_length_for_all_workloads() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
    let defaults = DEFAULTS.replace("prompt       = 128 ", "prompt       = \"mixed-8-16\"");
    std::fs::write(dir.path().join("scenarios/defaults.toml"), defaults).unwrap();
    std::fs::write(dir.path().join("scenarios/gate/x.toml"), of("serve", "")).unwrap();
    let workspace = Workspace::around(dir.path()).unwrap();
    let error = load(&workspace, &["gate/x".into()], &[]).unwrap_err().to_string();
    assert!(error.contains("axis `prompt` of the defaults takes a number of tokens"), "{error}");
}

#[test]
fn files_of_one_name_are_told_apart_from_one_file_named_twice() {
    let dir = tempfile::tempdir().unwrap();
    let text = "workload = \"load\"\nmodels = [\"tiny-qwen3\"]\n";
    for folder in ["scenarios/a", "x", "y"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join("s.toml"), text).unwrap();
    }
    let workspace = Workspace::around(dir.path()).unwrap();
    let path = |name: &str| workspace.root().join(name).display().to_string();
    assert_eq!(load(&workspace, &["a".into(), path("scenarios/a/s.toml")], &[]).unwrap().len(), 1);
    let error = load(&workspace, &[path("x/s.toml"), path("y/s.toml")], &[]).unwrap_err();
    assert!(error.to_string().contains("are both called `s`: rename one"), "{error}");
}

#[test]
fn a_scenario_that_does_not_exist_is_told_with_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
    std::fs::write(dir.path().join("scenarios/gate/decode.toml"), "").unwrap();
    let workspace = Workspace::around(dir.path()).unwrap();
    let complaint = |wanted: &str| {
        let error = load(&workspace, &[wanted.into()], &[]).unwrap_err().to_string();
        error.replace(&workspace.root().display().to_string(), "ROOT")
    };
    insta::assert_snapshot!(complaint("gate/decod"), @"no scenario `gate/decod` in `ROOT/scenarios`, did you mean `gate/decode`?");
    insta::assert_snapshot!(complaint("xyz"), @"no scenario `xyz` in `ROOT/scenarios`; there are: gate/decode");
    insta::assert_snapshot!(complaint("nowhere.toml"), @"cannot read `nowhere.toml`");
}

#[test]
fn every_scenario_of_the_workspace_can_be_read() {
    let workspace = Workspace::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let names: Vec<String> =
        files::all(&workspace.scenarios()).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"gate/decode".to_owned()), "{names:?}");
    let scenarios = load(&workspace, &names, &[]).unwrap();
    assert_eq!(scenarios.len(), names.len());
}

#[test]
fn a_folder_is_a_model_and_a_folder_of_folders_is_many() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["scenarios/gate/x.toml", "models/b/config.json", "models/a/config.json"] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, of("load", "")).unwrap();
    }
    std::fs::create_dir(dir.path().join("models/empty")).unwrap();
    let workspace = Workspace::around(dir.path()).unwrap();
    let names = |own: &[&str]| -> Result<Vec<String>, String> {
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        let scenarios = load(&workspace, &["gate/x".into()], &own).map_err(|e| e.to_string())?;
        Ok(scenarios[0].models.iter().map(|known| known.model.name.clone()).collect())
    };
    assert_eq!(names(&[]).unwrap(), ["tiny-qwen3"]);
    assert_eq!(names(&["models/b"]).unwrap(), ["b"]);
    assert_eq!(names(&["tiny-llama", "models/*", "models/b"]).unwrap(), ["tiny-llama", "a", "b"]);

    let complaint = |own: &str| {
        let root = workspace.root().display().to_string();
        names(&[own]).unwrap_err().replace(&root, "ROOT")
    };
    insta::assert_snapshot!(complaint("models/c"), @"`--models models/c`: there is no `ROOT/models/c/config.json`; a repository of Hugging Face is written `hub:models/c`");
    insta::assert_snapshot!(complaint("models/empty/*"), @"`--models models/empty/*`: no folder in `ROOT/models/empty` has a `config.json`");
    insta::assert_snapshot!(complaint("nowhere/*"), @"`--models nowhere/*`: cannot read the folder `ROOT/nowhere`: No such file or directory (os error 2)");
    insta::assert_snapshot!(complaint("tiny-lama"), @"`--models tiny-lama`: unknown model `tiny-lama`, did you mean `tiny-llama`? Models are described in `models.toml`.");
}

#[test]
fn a_tolerance_belongs_to_its_number_format() {
    let text = of("parity", "tolerance = { bf16 = 0.5 }\nmatrix = { dtype = [\"f32\", \"bf16\"] }");
    let found: Vec<f64> = cases(&text)
        .iter()
        .map(|case| match case.workload {
            Workload::Parity { tolerance } => tolerance.share(),
            _ => panic!("{case:?}"),
        })
        .collect();
    assert_eq!(found, [1e-4, 0.5]);
    insta::assert_snapshot!(complaint(&of("parity", "[tolerance]\nf32 = 0")), @"
    `scenarios/gate/x.toml`, line 4: `0` is no share from 0.000001 to 1
      |
    4 | f32 = 0
      |       ^
    ");
    insta::assert_snapshot!(complaint(&of("decode", "[tolerance]\nf32 = 0.1")), @"
    `scenarios/gate/x.toml`, line 3: `tolerance` means nothing to workload `decode`: only `parity` has a reference
      |
    3 | [tolerance]
      | ^^^^^^^^^^^
    ");
}

#[test]
fn a_model_of_a_hub_is_described_by_repository_revision_and_files() {
    let models = |described: &str, own: &[&str]| -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("scenarios")).unwrap();
        std::fs::write(dir.path().join("scenarios/models.toml"), described).unwrap();
        let workspace = Workspace::around(dir.path()).unwrap();
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        let found = super::models(&workspace, &own).map_err(|error| error.to_string())?;
        let shown = found.into_iter().map(|model| {
            format!("{}: {}", model.name, serde_json::to_string(&model.source).unwrap())
        });
        Ok(shown.collect())
    };
    let described = "[a]\nrepository = \"someone/tiny\"\n\
                     [b]\nrepository = \"gpt2\"\nrevision = \"v1\"\nfiles = [\"*.json\"]\n\
                     [c]\nrepository = \"someone/tiny\"\ngguf = \"q4.gguf\"\n";
    let own = ["a", "b", "c", "hub:someone/tiny@v1", "hub:gpt2:q/4.gguf"];
    insta::assert_snapshot!(models(described, &own).unwrap().join("\n"), @r#"
    a: {"hub":{"repository":"someone/tiny","revision":"main","files":{"matching":["*.json","*.jinja","model*.safetensors","*_Dense/*.safetensors"]}}}
    b: {"hub":{"repository":"gpt2","revision":"v1","files":{"matching":["*.json"]}}}
    c: {"hub":{"repository":"someone/tiny","revision":"main","files":{"gguf":"q4.gguf"}}}
    someone/tiny@v1: {"hub":{"repository":"someone/tiny","revision":"v1","files":{"matching":["*.json","*.jinja","model*.safetensors","*_Dense/*.safetensors"]}}}
    gpt2:q/4.gguf: {"hub":{"repository":"gpt2","revision":"main","files":{"gguf":"q/4.gguf"}}}
    "#);

    let complaint = |described: &str| models(described, &["a"]).unwrap_err();
    insta::assert_snapshot!(complaint("[a]\nrepository = \"some one/tiny\"\n"), @r#"
    `scenarios/models.toml`, line 2: `some one/tiny` is no name of a repository: it is written `OWNER/NAME`, as the hub's address has it
      |
    2 | repository = "some one/tiny"
      |              ^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\nrevision = \"../x\"\n"), @r#"
    `scenarios/models.toml`, line 3: `../x` is no revision: it is a branch, a tag or the hash of a commit
      |
    3 | revision = "../x"
      |            ^^^^^^
    "#);
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\nfiles = []\n"), @"
    `scenarios/models.toml`, line 3: `files` names no file: leave it out for all that a model needs
      |
    3 | files = []
      |         ^^
    ");
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\ngguf = \"../q4.gguf\"\n"), @r#"
    `scenarios/models.toml`, line 3: `../q4.gguf` is no GGUF file of a repository: it is written `NAME.gguf` or `FOLDER/NAME.gguf`
      |
    3 | gguf = "../q4.gguf"
      |        ^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\ngguf = \"q4.gguf\"\nfiles = [\"*\"]\n"), @r#"
    `scenarios/models.toml`, line 4: `gguf` is the one file: leave out `files`
      |
    4 | files = ["*"]
      |         ^^^^^
    "#);
    insta::assert_snapshot!(complaint("[a]\nfolder = \"f\"\nrevision = \"v1\"\n"), @"
    `scenarios/models.toml`, line 1: model `a` has `revision` and no `repository` to which it could belong
      |
    1 | [a]
      |  ^
    ");
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\nfolder = \"f\"\n"), @"
    `scenarios/models.toml`, line 1: model `a` needs one of `preset`, `folder`, `gguf` and `repository`
      |
    1 | [a]
      |  ^
    ");
    insta::assert_snapshot!(complaint("[a]\nrepositry = \"someone/tiny\"\n"), @r#"
    `scenarios/models.toml`, line 2: unknown key `repositry`, did you mean `repository`?
      |
    2 | repositry = "someone/tiny"
      | ^^^^^^^^^
    "#);
    insta::assert_snapshot!(models("", &["hub:x/y/z"]).unwrap_err(), @"`fetch hub:x/y/z`: `x/y/z` is no name of a repository: it is written `OWNER/NAME`, as the hub's address has it");
}

#[test]
fn two_folders_of_one_name_are_no_two_models() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["scenarios/gate/x.toml", "a/final/config.json", "b/final/config.json"] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, of("load", "")).unwrap();
    }
    let workspace = Workspace::around(dir.path()).unwrap();
    let own = ["a/final".to_owned(), "b/final".to_owned()];
    let error = load(&workspace, &["gate/x".into()], &own).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"`--models b/final`: another model is called `final` too: rename a folder");
}

#[test]
fn a_skip_of_a_model_that_the_user_has_replaced_leaves_nothing_out() {
    let skip = "matrix = { batch = [1, 2] }\n\
                skip = [{ when = { model = \"tiny-qwen3\", batch = 2 }, reason = \"r\" }]";
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
    std::fs::write(dir.path().join("scenarios/gate/x.toml"), of("prefill", skip)).unwrap();
    let workspace = Workspace::around(dir.path()).unwrap();
    let cases = |own: &[String]| {
        expand(&load(&workspace, &["gate/x".into()], own).unwrap(), &[], None).cases.len()
    };
    assert_eq!((cases(&[]), cases(&["tiny-llama".into()])), (1, 2));
}

#[test]
fn a_point_that_is_left_out_may_be_impossible() {
    let lines = "matrix = { shallow = [16, 64], depth = [32, 128] }";
    assert!(complaint(&of("context", lines)).contains("is not deeper than"));
    let skip = "skip = [{ when = { shallow = 64, depth = 32 }, reason = \"too shallow\" }]";
    assert_eq!(cases(&of("context", &format!("{lines}\n{skip}"))).len(), 3);
}

#[test]
fn what_takes_longer_than_a_child_may_live_is_refused() {
    let line = |workload: &str, lines: &str| {
        let complaint = complaint(&of(workload, lines));
        complaint.lines().next().unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(line("serve", "matrix = { arrival = [\"fixed-1\"], requests = [200] }"), @"`scenarios/gate/x.toml`, line 3: 200 `requests` at 1 a second, in 4 iterations, do not all arrive before the `deadline` of 600 s: raise `deadline`");
    insta::assert_snapshot!(line("idle", "matrix = { requests = [3000] }"), @"`scenarios/gate/x.toml`, line 3: a `duration` of 10.0 s and the pauses between 3000 `requests` do not end before the `deadline` of 600 s: raise `deadline`");
    insta::assert_snapshot!(line("serve", "matrix = { prefix-cache = [\"on\"], kv = [\"contiguous\"] }"), @"`scenarios/gate/x.toml`, line 3: a `prefix-cache` that is `on` needs blocks to share, and a `contiguous` `kv` has none: choose a `paged` one");
    insta::assert_snapshot!(line("quality", "matrix = { prompt = [1] }"), @"`scenarios/gate/x.toml`, line 3: a `prompt` of 1 token is a window that predicts nothing: raise it");
    insta::assert_snapshot!(line("quality", "matrix = { against = [\"f16\"] }"), @"`scenarios/gate/x.toml`, line 3: `f16` is none of: nothing, f32");
}

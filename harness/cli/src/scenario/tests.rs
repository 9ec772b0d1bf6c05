//! Scenario files, and the cases that they become.

use std::path::Path;

use windtunnel_ledger::case::{Case, Lengths, Source};
use windtunnel_ledger::unit::Tokens;

use super::axes::AXES;
use super::*;
use crate::plan::expand;

mod models;
mod refusals;

/// The error about a scenario file with this text.
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
        // A workload without a model takes no axes.
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
fn what_fills_a_process_runs_once_in_it() {
    for workload in ["load", "idle", "soak"] {
        let case = &cases(&of(workload, ""))[0];
        assert_eq!((case.warmup, case.iterations.get()), (0, 1));
    }
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
    `scenarios/gate/x.toml`, line 4: `-1` is not a positive number of seconds
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
fn every_scenario_of_the_workspace_can_be_read() {
    let workspace = Workspace::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let names: Vec<String> =
        files::all(&workspace.scenarios()).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"gate/decode".to_owned()), "{names:?}");
    let scenarios = load(&workspace, &names, &[]).unwrap();
    assert_eq!(scenarios.len(), names.len());
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
    `scenarios/gate/x.toml`, line 4: `0` is not a share from 0.000001 to 1
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
fn a_point_that_is_left_out_may_be_impossible() {
    let lines = "matrix = { shallow = [16, 64], depth = [32, 128] }";
    assert!(complaint(&of("context", lines)).contains("is not deeper than"));
    let skip = "skip = [{ when = { shallow = 64, depth = 32 }, reason = \"too shallow\" }]";
    assert_eq!(cases(&of("context", &format!("{lines}\n{skip}"))).len(), 3);
}

//! Errors in scenario files, and the messages about them.

use super::*;

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
    `scenarios/gate/x.toml`, line 3: `20` is not a device map: write `cpu:0`, layers for each device as in `cpu:0=12,cpu:1`, or `auto`
      |
    3 | matrix = { device-map = ["20"] }
      |                         ^^^^^^
    "#);
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
fn a_precision_that_nobody_can_reach_is_refused() {
    let wrong = |workload: &str, table: &str| {
        complaint(&of(workload, &format!("precision = {{ {table} }}")))
    };
    insta::assert_snapshot!(wrong("decode", "target = 2, budget = 30"), @r"
    `scenarios/gate/x.toml`, line 3: a `target` of 2 is not a share from 0.000001 to 1: write 0.01 for ±1 %
      |
    3 | precision = { target = 2, budget = 30 }
      |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
    let told = [
        (
            wrong("decode", "target = 0.01, budget = 600"),
            "does not end before the `deadline` of 600 s",
        ),
        (wrong("decode", "target = 0.01"), "missing key `budget`"),
        (wrong("load", "target = 0.01, budget = 30"), "workload `load` runs once in a process"),
    ];
    for (complaint, words) in told {
        assert!(complaint.contains(words), "{complaint}");
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
    `scenarios/gate/x.toml`, line 3: `150` is not a whole number of per cent from 0 to 100
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
    `scenarios/gate/x.toml`, line 3: invalid value: integer `0`, expected a whole number above 0 that is not too large
      |
    3 | matrix = { kv-share = [0] }
      |                        ^
    ");
    insta::assert_snapshot!(serve("requests = [2.5]"), @"
    `scenarios/gate/x.toml`, line 3: invalid type: floating point `2.5`, expected a whole number above 0 that is not too large
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
    let said = complaint(&of("decode", "matrix = { dtype = \"f32\" }"));
    assert!(said.contains("invalid type: string \"f32\", expected a list, `[…]`"), "{said}");
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = \"five\"\n"), @r#"
    `scenarios/gate/x.toml`, line 3: invalid type: string "five", expected a whole number above 0 that is not too large
      |
    3 | rounds = "five"
      |          ^^^^^^
    "#);
    insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 4000000000\n"), @"
    `scenarios/gate/x.toml`, line 3: 4000000000 rounds are too many: at most 100000
      |
    3 | rounds = 4000000000
      |          ^^^^^^^^^^
    ");
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
    `scenarios/gate/x.toml`, line 3: `0` is not a positive number of seconds
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
    // As shell completion writes it.
    for word in ["scenarios/a", "./scenarios/a/", "scenarios/a/s"] {
        assert_eq!(load(&workspace, &[word.into()], &[]).unwrap().len(), 1, "{word}");
    }
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

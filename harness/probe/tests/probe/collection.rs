//! The scenarios and faults in the repository, checked against the engine: the command cannot do
//! that, because it does not link the engine.

use super::*;

fn scenarios() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn toml(path: &str) -> toml::Table {
    toml::from_str(&std::fs::read_to_string(scenarios().join(path)).unwrap()).unwrap()
}

#[test]
fn every_regression_that_can_be_planted_is_shown_to_a_guard_of_its_commit() {
    let museum = toml("museum.toml");
    let exhibits = museum["exhibit"].as_array().unwrap();
    let text = |table: &toml::Value, key: &str| table[key].as_str().unwrap().to_owned();
    let shown: Vec<String> = exhibits.iter().map(|exhibit| text(exhibit, "fault")).collect();
    // `ci/faults.sh` plants the others: those with an amount, and the wrong token.
    let regressions = Fault::ALL
        .iter()
        .filter(|fault| fault.measure() == Measure::Whole && **fault != Fault::WrongToken);
    assert_eq!(shown, regressions.map(|fault| fault.name()).collect::<Vec<_>>());

    let log = toml("../engine/upstream.toml");
    let commits = log["commit"].as_array().unwrap();
    for exhibit in exhibits {
        let (hash, guard) = (text(exhibit, "upstream"), text(exhibit, "guard"));
        let commit = commits.iter().find(|commit| text(commit, "hash").starts_with(&hash));
        let commit = commit.unwrap_or_else(|| panic!("{hash} is not in the integration log"));
        let guard = toml::Value::String(format!("scenarios/{guard}.toml"));
        let guards = commit.get("guards").and_then(toml::Value::as_array);
        assert!(guards.is_some_and(|guards| guards.contains(&guard)), "{hash}: {guard}");
    }
}

#[test]
#[cfg(not(feature = "faults"))]
fn nothing_can_be_planted_in_a_probe_as_it_is_shipped() {
    for argument in ["--faults", "--fault=lost-mmap"] {
        let output = Command::new(env!("CARGO_BIN_EXE_windtunnel-probe"))
            .arg(argument)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{argument}");
        let told = String::from_utf8(output.stderr).unwrap();
        let expected =
            "error: nothing can be planted in this probe: build it with the feature `faults`\n";
        assert_eq!(told, expected, "{argument}");
    }
}

/// The CLI estimates from these numbers, and does not link the engine, which could correct them.
#[test]
fn the_models_of_the_scenarios_have_the_numbers_of_the_presets() {
    let models = toml("models.toml");
    let number = |model: &toml::Value, key: &str| model.get(key).and_then(toml::Value::as_integer);
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for (name, model) in &models {
        let Some(preset) = model.get("preset").and_then(toml::Value::as_str) else { continue };
        // The engine sketches no embedding models; their numbers are known only once loaded.
        let Ok(sketch) = Preset::named(preset).unwrap().sketch() else { continue };
        let heads = &sketch.heads;
        // Layers that share the KV cache of another have none of their own.
        let kv_width = 2 * heads.cached * heads.kv_heads * heads.dim;
        found.push((name, number(model, "parameters"), number(model, "kv-width")));
        expected.push((name, Some(sketch.parameters as i64), Some(kv_width as i64)));
    }
    assert_eq!(found, expected);
    for preset in presets() {
        assert!(models.contains_key(preset.name), "no `{}` in models.toml", preset.name);
    }
}

#[test]
fn every_family_is_measured_at_night_in_public_shapes() {
    let models = toml("models.toml");
    let families = |scenario: &str| -> BTreeSet<&'static str> {
        let named = toml(scenario)["models"].as_array().unwrap().clone();
        let architecture = |name: &toml::Value| {
            let preset = models[name.as_str().unwrap()]["preset"].as_str().unwrap();
            assert!(!preset.starts_with("tiny"), "{preset} is nobody's shape");
            Preset::named(preset).unwrap().architecture().unwrap()
        };
        named.iter().map(architecture).collect()
    };
    let registered: BTreeSet<_> = MODELS.iter().map(|entry| entry.architecture).collect();
    assert_eq!(families("nightly/families.toml"), registered);
    let registered: BTreeSet<_> = EMBEDDERS.iter().map(|entry| entry.architecture).collect();
    assert_eq!(families("nightly/families/embedders.toml"), registered);
}

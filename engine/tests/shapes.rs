//! What configurations imply, learnt without weights.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use insta::assert_snapshot;
use serde_json::{Value, json};
use windtunnel_engine::models::config::ConfigFile;
use windtunnel_engine::models::{Sketch, sketch};
use windtunnel_engine::weights::Preset;

/// The configuration of `preset` with the keys of `changes` replaced; null removes a key.
fn changed(preset: &str, changes: &Value) -> ConfigFile {
    let mut keys: Value = Preset::named(preset).unwrap().config().unwrap().keys().unwrap();
    let object = keys.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(object.remove(key)),
            value => drop(object.insert(key.clone(), value.clone())),
        }
    }
    ConfigFile::parse("config.json", &keys.to_string()).unwrap()
}

fn shape(preset: &str, changes: &Value) -> Sketch {
    sketch(&changed(preset, changes)).unwrap()
}

fn refusal(preset: &str, changes: &Value) -> String {
    sketch(&changed(preset, changes)).unwrap_err().to_string()
}

#[test]
fn a_key_with_two_names_may_have_both_if_they_agree() {
    let scaling = |new: &str, old: &str| {
        json!({ "rope_scaling": { "rope_type": new, "type": old, "factor": 2.0 } })
    };
    shape("tiny-llama", &scaling("linear", "linear"));
    assert_snapshot!(refusal("tiny-llama", &scaling("linear", "yarn")), @"`config.json`: the rope scaling has `rope_type` `linear` and `type` `yarn`; remove the wrong one");
    shape("tiny-llama", &json!({ "rms_norm_eps": 1e-5, "norm_epsilon": 1e-5 }));
    shape("tiny-llama", &json!({ "rms_norm_eps": null, "norm_epsilon": 1e-5 }));
    assert_snapshot!(refusal("tiny-llama", &json!({ "rms_norm_eps": 1e-5, "norm_epsilon": 1e-6 })), @"`config.json`: `rms_norm_eps` is 0.00001 and `norm_epsilon` 0.000001; remove the wrong one");
    assert_snapshot!(refusal("tiny-llama", &json!({ "rms_norm_eps": null })), @"`config.json`: missing field `rms_norm_eps`");
}

#[test]
fn only_qwen_2_has_a_shared_expert_and_it_has_one_unless_told_otherwise() {
    let shared = |preset, width: Value| {
        shape(preset, &json!({ "shared_expert_intermediate_size": width })).parameters
    };
    for width in [json!(0), json!(64), Value::Null] {
        assert_eq!(shared("tiny-qwen3-moe", width), shape("tiny-qwen3-moe", &json!({})).parameters);
    }
    let [none, one, usual] = [json!(0), json!(64), Value::Null].map(|w| shared("tiny-qwen2-moe", w));
    assert_eq!(usual, shared("tiny-qwen2-moe", json!(5632)));
    assert!(none < one && one < usual, "{none} {one} {usual}");
}

//! What configurations imply, found without weights.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use insta::assert_snapshot;
use serde_json::{Value, json};
use windtunnel_engine::attention::Mask;
use windtunnel_engine::models::config::ConfigFile;
use windtunnel_engine::models::{MODELS, Sketch, sketch};
use windtunnel_engine::weights::{Preset, presets};

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
    let scaling = |new: &str, old: &str| json!({ "rope_scaling": { "rope_type": new, "type": old, "factor": 2.0 } });
    shape("tiny-llama", &scaling("linear", "linear"));
    assert_snapshot!(refusal("tiny-llama", &scaling("linear", "yarn")), @"`config.json`: the rope scaling has `rope_type` `linear` and `type` `yarn`; remove the wrong one");
    shape("tiny-llama", &json!({ "rms_norm_eps": 1e-5, "norm_epsilon": 1e-5 }));
    shape("tiny-llama", &json!({ "rms_norm_eps": null, "norm_epsilon": 1e-5 }));
    assert_snapshot!(refusal("tiny-llama", &json!({ "rms_norm_eps": 1e-5, "norm_epsilon": 1e-6 })), @"`config.json`: `rms_norm_eps` is 0.00001 and `norm_epsilon` 0.000001; remove the wrong one");
    assert_snapshot!(refusal("tiny-llama", &json!({ "rms_norm_eps": null })), @"`config.json`: missing field `rms_norm_eps`");
    let qwen = shape("tiny-qwen3-moe", &json!({}));
    for old in [Value::Null, json!(8)] {
        let keys = json!({ "num_experts": old, "num_local_experts": 8 });
        assert_eq!(shape("tiny-qwen3-moe", &keys), qwen);
    }
    assert_snapshot!(refusal("tiny-qwen3-moe", &json!({ "num_local_experts": 6 })), @"`config.json`: `num_experts` is 8 and `num_local_experts` 6; remove the wrong one");
    assert_snapshot!(refusal("tiny-qwen3-moe", &json!({ "num_experts": null })), @"`config.json`: missing field `num_experts`");
}

#[test]
fn yarn_lengthens_the_longest_sequence() {
    let keys = |kind: &str, factor: f64, stated: u64| {
        let original = 32_768;
        json!({
            "rope_scaling": {
                "type": kind, "factor": factor, "original_max_position_embeddings": original,
            },
            "max_position_embeddings": stated,
        })
    };
    let positions =
        |kind, factor, stated| shape("tiny-qwen2", &keys(kind, factor, stated)).positions;
    assert_eq!(positions("yarn", 4.0, 32_768), 131_072);
    assert_eq!(positions("yarn", 4.0, 262_144), 262_144);
    assert_eq!(positions("linear", 4.0, 32_768), 32_768);
    let beside = json!({
        "rope_scaling": { "type": "yarn", "factor": 4.0 },
        "original_max_position_embeddings": 32_768,
        "max_position_embeddings": 32_768,
    });
    assert_eq!(shape("tiny-qwen2", &beside).positions, 131_072);
    assert_snapshot!(refusal("tiny-qwen2", &keys("yarn", 65_536.0, 32_768)), @"`config.json`: `factor` stretches the context to 2147483648 positions, but at most 1073741824 are accepted; check the file");
}

#[test]
fn only_qwen_2_has_a_shared_expert_and_it_has_one_unless_told_otherwise() {
    let shared = |preset, width: Value| {
        shape(preset, &json!({ "shared_expert_intermediate_size": width })).parameters
    };
    for width in [json!(0), json!(64), Value::Null] {
        assert_eq!(shared("tiny-qwen3-moe", width), shape("tiny-qwen3-moe", &json!({})).parameters);
    }
    let [none, one, usual] =
        [json!(0), json!(64), Value::Null].map(|w| shared("tiny-qwen2-moe", w));
    assert_eq!(usual, shared("tiny-qwen2-moe", json!(5632)));
    assert!(none < one && one < usual, "{none} {one} {usual}");
}

#[test]
fn sizes_beyond_all_reason_are_refused_in_every_family() {
    for entry in MODELS {
        let mut tiny = presets().iter().filter(|preset| preset.name.starts_with("tiny"));
        let preset = tiny.find(|preset| preset.architecture().unwrap() == entry.architecture);
        let preset = preset.unwrap();
        let keys: Value = preset.config().unwrap().keys().unwrap();
        let ids = ["bos_token_id", "eos_token_id", "pad_token_id"];
        for (key, value) in keys.as_object().unwrap() {
            let size = value.is_u64() || value[0].is_u64();
            if !size || ids.contains(&key.as_str()) {
                continue;
            }
            for extreme in [0, 1, 3, u64::from(u32::MAX), 1 << 40, u64::MAX - 1] {
                // It may be accepted, but must be answered at once.
                let one = changed(preset.name, &json!({ key: extreme }));
                let several = changed(preset.name, &json!({ key: [extreme] }));
                for config in [one, several] {
                    if let Err(error) = sketch(&config) {
                        assert!(error.to_string().starts_with("`config.json`: "), "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_size_may_be_is_said() {
    let layers = |layers: u64| refusal("tiny-llama", &json!({ "num_hidden_layers": layers }));
    assert_snapshot!(layers(1 << 40), @"`config.json`: `num_hidden_layers` is 1099511627776, but at most 4096 is accepted; check the file");
    assert_snapshot!(layers(0), @"`config.json`: `num_hidden_layers` is 0");
    assert_snapshot!(refusal("tiny-qwen2-moe", &json!({ "decoder_sparse_step": 0 })), @"`config.json`: `decoder_sparse_step` is 0");
    assert_snapshot!(refusal("tiny-qwen2-moe", &json!({ "moe_intermediate_size": 0 })), @"`config.json`: `moe_intermediate_size` is 0");
    assert_snapshot!(refusal("tiny-gemma3", &json!({ "sliding_window_pattern": 0 })), @"`config.json`: `sliding_window_pattern` is 0");
    assert_snapshot!(refusal("tiny-gemma3n", &json!({ "intermediate_size": [128, 0, 128, 128, 128] })), @"`config.json`: `intermediate_size` is 0");
}

#[test]
fn what_does_not_go_together_is_named() {
    let llama = |changes: Value| refusal("tiny-llama", &changes);
    assert_snapshot!(llama(json!({ "head_dim": null, "hidden_size": 130 })), @"`config.json`: `hidden_size` 130 is not a multiple of 8 heads and `head_dim` is not set");
    let types = ["full_attention", "sliding_attention", "full_attention", "full_attention"];
    assert_snapshot!(llama(json!({ "layer_types": types })), @"`config.json`: `layer_types` has `sliding_attention` for layer 1, but no `sliding_window` is set");
    assert_snapshot!(refusal("tiny-smollm3", &json!({ "no_rope_layers": [1, 0] })), @"`config.json`: `no_rope_layers` has 2 entries for 4 layers");
    assert_snapshot!(llama(json!({ "rope_scaling": { "rope_type": "linear", "factor": "two" } })), @r#"`config.json`: the rope scaling cannot be read: invalid type: string "two", expected f64"#);
    assert_snapshot!(llama(json!({ "rope_scaling": { "rope_type": "linear", "factor": 0.0 } })), @"`config.json`: `factor` is 0, but must be above 0");
}

#[test]
fn biases_are_where_the_configuration_puts_them() {
    let more = |preset, changes: Value| {
        shape(preset, &changes).parameters as i64 - shape(preset, &json!({})).parameters as i64
    };
    for preset in ["tiny-gemma2", "tiny-gemma3"] {
        let Sketch { heads, .. } = shape(preset, &json!({}));
        // Queries, keys and values; then the rows that return to the stream.
        let each = (heads.heads + 2 * heads.kv_heads) * heads.dim + 64;
        let found = more(preset, json!({ "attention_bias": true }));
        assert_eq!(found, (heads.masks.len() * each) as i64, "{preset}");
    }
    assert_eq!(more("tiny-qwen2-moe", json!({ "qkv_bias": false })), -3 * (4 + 2 + 2) * 16);
    assert_eq!(more("tiny-glm4", json!({ "attention_bias": false })), -4 * (4 + 2 + 2) * 24);
    assert_eq!(more("tiny-glm4", json!({ "attention_bias": null })), 0);
    assert_snapshot!(refusal("tiny-gemma3n", &json!({ "attention_bias": true })), @"`config.json`: `attention_bias` is set, which is not implemented here");
    assert_snapshot!(refusal("tiny-starcoder2", &json!({ "mlp_type": "gated" })), @"`config.json`: `mlp_type` is `gated`; only `default` is implemented");
    assert_snapshot!(refusal("tiny-starcoder2", &json!({ "norm_type": "rms_norm" })), @"`config.json`: `norm_type` is `rms_norm`; only `layer_norm` is implemented");
}

#[test]
fn a_model_with_more_than_text_is_refused_with_a_way_out() {
    let whole = json!({
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": { "hidden_size": 64 },
    });
    assert_snapshot!(refusal("tiny-gemma3", &whole), @"`config.json`: `Gemma3ForConditionalGeneration` is multimodal, with its language model in `text_config`; export the language model alone and load the export");
}

#[test]
fn missing_keys_of_gemma_3n_mean_what_they_mean_in_the_reference() {
    let heads = shape("tiny-gemma3n", &json!({ "sliding_window": null })).heads;
    assert_eq!(heads.masks[0], Mask::SlidingWindow(512));
}

#[test]
fn the_qwens_have_their_windows_where_the_reference_has_them() {
    const FAR: Mask = Mask::Causal;
    const NEAR: Mask = Mask::SlidingWindow(4096);
    let masks = |preset, lower: usize| {
        // Null removes a key here: layers with a window get the default one.
        let keys = json!({
            "use_sliding_window": true, "sliding_window": null, "max_window_layers": lower,
        });
        shape(preset, &keys).heads.masks
    };
    assert_eq!(masks("tiny-qwen2", 2), [FAR, FAR, NEAR, NEAR]);
    assert_eq!(masks("tiny-qwen3", 3), [FAR, FAR, FAR, NEAR]);
    assert_eq!(masks("tiny-qwen2-moe", 2), [NEAR, FAR, FAR]);
    assert_eq!(masks("tiny-qwen2-moe", 3), [NEAR, FAR, NEAR]);
    assert_eq!(masks("tiny-qwen3-moe", 2), [NEAR; 3]);
    let off = json!({ "use_sliding_window": null });
    assert_eq!(shape("tiny-qwen2", &off).heads.masks, [FAR; 4]);
}

//! Frequencies and angles against those of transformers (`tests/golden/rope.json`).

use std::collections::BTreeMap;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::*;

fn cases() -> (Value, Vec<Value>) {
    let golden: Value =
        serde_json::from_str(include_str!("../../../tests/golden/rope.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap().clone();
    (golden, cases)
}

/// The case's parameters in both spellings.
fn spellings(case: &Value) -> [RopeKeys; 2] {
    let longest = &case["max_position_embeddings"];
    let theta = &case["rope_theta"];
    let mut inside = case["params"].clone();
    inside["rope_type"] = case["rope_type"].clone();
    let old = json!({
        "rope_theta": theta, "rope_scaling": inside, "max_position_embeddings": longest
    });
    inside["rope_theta"] = theta.clone();
    let new = json!({ "rope_parameters": inside, "max_position_embeddings": longest });
    [old, new].map(|keys| serde_json::from_value(keys).unwrap())
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn check(case: &Value, golden: &Value) {
    let dim = case["head_dim"].as_u64().unwrap() as usize;
    let length = case["seq_len"].as_u64().unwrap_or(1) as u32;
    let positions = numbers(&case["positions"]).into_iter();
    let positions: Vec<_> = positions.map(|at| Position { at: at as u32, length }).collect();
    for keys in spellings(case) {
        let rope = Rope::from_config(&keys, dim, 1.0).unwrap();
        let rtol = golden["rtol_inv_freq"].as_f64().unwrap() as f32;
        assert_eq!(rope.magnitude, case["attention_factor"].as_f64().unwrap() as f32, "{keys:?}");
        for (found, expected) in rope.frequencies(length).iter().zip(numbers(&case["inv_freq"])) {
            assert!((found / expected - 1.0).abs() <= rtol, "{keys:?}: {found}, {expected}");
        }
        let angles = rope.angles(&positions, DType::F32, &Device::Cpu).unwrap();
        let atol = golden["atol_cos_sin"].as_f64().unwrap() as f32;
        for (found, expected) in [(angles.cos, &case["cos"]), (angles.sin, &case["sin"])] {
            let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(found.len(), numbers(expected).len());
            for (found, expected) in found.iter().zip(numbers(expected)) {
                assert!((found - expected).abs() <= atol, "{keys:?}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn implemented_scalings_agree_with_transformers_and_others_are_refused() {
    let (golden, cases) = cases();
    let mut checked = BTreeMap::new();
    for case in &cases {
        let kind = case["rope_type"].as_str().unwrap();
        if ["default", "linear", "llama3", "yarn", "longrope"].contains(&kind) {
            check(case, &golden);
            *checked.entry(kind).or_insert(0) += 1;
        } else {
            let dim = case["head_dim"].as_u64().unwrap() as usize;
            let refusal = Rope::from_config(&spellings(case)[0], dim, 1.0).unwrap_err();
            assert!(refusal.contains(&format!("`{kind}` is not implemented")), "{refusal}");
        }
    }
    let counts = [("default", 1), ("linear", 1), ("llama3", 1), ("longrope", 2), ("yarn", 4)];
    assert_eq!(checked, BTreeMap::from(counts));
}

#[test]
fn a_key_that_a_scaling_needs_is_asked_for() {
    let refusal = |scaling: Value| {
        let keys = json!({ "rope_scaling": scaling, "max_position_embeddings": 100 });
        Rope::from_config(&serde_json::from_value(keys).unwrap(), 8, 1e4).unwrap_err()
    };
    assert_snapshot!(refusal(json!({ "type": "llama3", "factor": 8 })), @"rope scaling `llama3` needs the key `low_freq_factor`");
    assert_snapshot!(refusal(json!({ "type": "longrope" })), @"rope scaling `longrope` needs the key `short_factor`");
    assert_snapshot!(refusal(json!({ "type": "longrope", "short_factor": [1, 2] })), @"`short_factor` has 2 numbers for 4 frequencies");
    assert_snapshot!(refusal(json!({ "partial_rotary_factor": 0.4 })), @"3 of 8 dims cannot be rotated; the number must be even and fit a head");
}

#[test]
fn numbers_that_rotate_nothing_or_backwards_are_refused() {
    let refusal = |keys: Value| {
        Rope::from_config(&serde_json::from_value(keys).unwrap(), 8, 1e4).unwrap_err()
    };
    let scaled = |scaling: Value| refusal(json!({ "rope_scaling": scaling }));
    assert_snapshot!(scaled(json!({ "type": "linear", "factor": 0 })), @"`factor` is 0, but must be above 0");
    assert_snapshot!(scaled(json!({ "type": "linear", "factor": -2.5 })), @"`factor` is -2.5, but must be above 0");
    let yarn = |key: &str| {
        let mut scaling =
            json!({ "rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32 });
        scaling[key] = 0.into();
        scaled(scaling)
    };
    assert_snapshot!(yarn("original_max_position_embeddings"), @"`original_max_position_embeddings` is 0, but must be above 0");
    assert_snapshot!(yarn("attention_factor"), @"`attention_factor` is 0, but must be above 0");
    assert_snapshot!(refusal(json!({ "rope_theta": 0 })), @"`rope_theta` is 0, but must be above 0");
    assert_snapshot!(refusal(json!({ "rope_parameters": { "rope_theta": -1e4 } })), @"`rope_theta` is -10000, but must be above 0");
    assert_snapshot!(scaled(json!({ "factor": 2.0 })), @"the rope scaling has a `factor` but no `rope_type`; name the type");
    assert_snapshot!(scaled(json!({ "type": "linear", "factor": "two" })), @r#"the rope scaling cannot be read: invalid type: string "two", expected f64"#);
}

#[test]
fn divisors_of_single_frequencies_and_a_factor_of_all_are_both_applied() {
    let keys = json!({ "rope_scaling": { "type": "divided", "divisors": [1, 4], "factor": 2 } });
    let rope = Rope::from_config(&serde_json::from_value(keys).unwrap(), 4, 1e4).unwrap();
    assert_eq!(rope.frequencies, [0.5, 1e-2 / 8.0]);
}

#[test]
fn each_kind_of_layers_may_have_its_own_parameters() {
    let keys: RopeKeys = serde_json::from_value(json!({ "rope_parameters": {
        "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 },
    }}))
    .unwrap();
    let of_kind = |kind| Rope::from_config(&keys.of_kind(kind).unwrap(), 4, 1.0).unwrap();
    assert_eq!(of_kind("full_attention").frequencies, [0.125, 1.25e-4]);
    assert_eq!(of_kind("sliding_attention").frequencies, [1.0, 1e-2]);
    assert!(keys.of_kind("chunked_attention").is_none());
}

#[test]
fn rotation_turns_a_dim_with_its_partner_half_a_head_away() {
    let rope = Rope::from_config(&RopeKeys::default(), 4, 1e4).unwrap();
    let y = rotated(&rope, &[1.0, 0.0, 0.0, 0.0]);
    assert!((y[0] - 3f32.cos()).abs() < 1e-6 && (y[2] - 3f32.sin()).abs() < 1e-6, "{y:?}");
}

#[test]
fn neighbours_turn_together_and_come_out_sorted_into_halves() {
    let rope = Rope::from_config(&RopeKeys::default(), 4, 1e4).unwrap();
    let neighbours = rope.clone().with_pairing(Pairing::Neighbours);
    let turned = rotated(&neighbours, &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(turned, rotated(&rope, &[1.0, 3.0, 2.0, 4.0]));
}

#[test]
fn dims_beyond_the_rotated_part_stay() {
    let keys = RopeKeys::default().with_part(0.5);
    let rope = Rope::from_config(&keys, 8, 1e4).unwrap();
    let whole = Rope::from_config(&RopeKeys::default(), 4, 1e4).unwrap();
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let expected = [rotated(&whole, &x[..4]), x[4..].to_vec()].concat();
    assert_eq!(rotated(&rope, &x), expected);
}

/// A head at position 3.
fn rotated(rope: &Rope, head: &[f32]) -> Vec<f32> {
    let position = Position { at: 3, length: 4 };
    let angles = rope.angles(&[position], DType::F32, &Device::Cpu).unwrap();
    let x = Tensor::new(head, &Device::Cpu).unwrap().reshape((1, 1, head.len())).unwrap();
    angles.rotate(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// With a GPU: `cargo test --workspace --features windtunnel-engine/cuda -- --ignored on_a_gpu`.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU"]
fn angles_on_a_gpu_are_those_that_the_host_computes() {
    let device = crate::cuda::driver::open(0).expect("a GPU");
    let (_, cases) = cases();
    let mut compared = 0;
    for case in cases {
        let dim = case["head_dim"].as_u64().unwrap() as usize;
        let Ok(rope) = Rope::from_config(&spellings(&case)[0], dim, 1.0) else { continue };
        for length in [1, 100, 200_000] {
            let at = [0u32, 1, 77, 4095, 100_000];
            let positions = at.map(|at| Position { at, length });
            let there = Tensor::new(&[at, [length; 5]], &device).unwrap();
            let host = rope.angles(&positions, DType::F32, &Device::Cpu).unwrap();
            let gpu = rope.angles_there(&there, DType::F32).unwrap();
            for (host, gpu) in [(host.cos, gpu.cos), (host.sin, gpu.sin)] {
                let numbers =
                    |x: Tensor| -> Vec<f32> { x.flatten_all().unwrap().to_vec1().unwrap() };
                let (host, gpu) = (numbers(host), numbers(gpu));
                assert_eq!(host.len(), gpu.len());
                compared += host.len();
                for (host, gpu) in host.iter().zip(&gpu) {
                    assert!((host - gpu).abs() <= 1e-6, "{case}: {gpu} instead of {host}");
                }
            }
        }
    }
    assert!(compared > 0);
}

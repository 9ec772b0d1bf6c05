//! Frequencies and angles against those of transformers (`tests/golden/rope.json`).

use serde_json::json;

use super::*;

fn cases() -> (Value, Vec<Value>) {
    let golden: Value =
        serde_json::from_str(include_str!("../../../tests/golden/rope.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap().clone();
    (golden, cases)
}

/// The case's parameters in both spellings.
fn spellings(case: &Value) -> [RopeKeys; 2] {
    let mut inside = case["params"].clone();
    inside["rope_type"] = case["rope_type"].clone();
    let old = json!({ "rope_theta": case["rope_theta"], "rope_scaling": inside });
    inside["rope_theta"] = case["rope_theta"].clone();
    let new = json!({ "rope_parameters": inside });
    [old, new].map(|keys| serde_json::from_value(keys).unwrap())
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn check(case: &Value, golden: &Value) {
    let dim = case["head_dim"].as_u64().unwrap() as usize;
    let positions: Vec<u32> = numbers(&case["positions"]).iter().map(|p| *p as u32).collect();
    for keys in spellings(case) {
        let rope = Rope::from_config(&keys, dim, 1.0).unwrap();
        let rtol = golden["rtol_inv_freq"].as_f64().unwrap() as f32;
        for (found, expected) in rope.frequencies.iter().zip(numbers(&case["inv_freq"])) {
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
    let mut checked = Vec::new();
    for case in &cases {
        let kind = case["rope_type"].as_str().unwrap();
        if ["default", "linear", "llama3"].contains(&kind) {
            check(case, &golden);
            checked.push(kind);
        } else {
            let dim = case["head_dim"].as_u64().unwrap() as usize;
            let refusal = Rope::from_config(&spellings(case)[0], dim, 1.0).unwrap_err();
            assert!(refusal.contains(&format!("`{kind}` is not implemented")), "{refusal}");
        }
    }
    assert_eq!(checked, ["default", "linear", "llama3"]);
}

#[test]
fn a_key_that_a_scaling_needs_is_asked_for() {
    let keys = serde_json::from_value(json!({ "rope_scaling": { "type": "llama3", "factor": 8 } }));
    let refusal = Rope::from_config(&keys.unwrap(), 64, 1e4).unwrap_err();
    insta::assert_snapshot!(refusal, @"rope scaling `llama3` needs the key `low_freq_factor`");
}

#[test]
fn rotation_turns_a_dim_with_its_partner_half_a_head_away() {
    let rope = Rope::from_config(&RopeKeys::default(), 4, 1e4).unwrap();
    let angles = rope.angles(&[3], DType::F32, &Device::Cpu).unwrap();
    let x = Tensor::new(&[[[1f32, 0.0, 0.0, 0.0]]], &Device::Cpu).unwrap();
    let y: Vec<f32> = angles.rotate(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert!((y[0] - 3f32.cos()).abs() < 1e-6 && (y[2] - 3f32.sin()).abs() < 1e-6, "{y:?}");
}

use insta::assert_snapshot;

use super::*;

/// Two tensors in each of `layers` layers, and one outside them.
fn tensors(layers: usize) -> Vec<(Spot, String)> {
    let names = |layer| ["q_proj", "down_proj"].map(|name| format!("model.layers.{layer}.{name}"));
    let of_layer = |layer| names(layer).map(|name| (Spot::Layer(layer), name));
    let fixed = [(Spot::Fixed, "model.embed_tokens".to_owned())];
    fixed.into_iter().chain((0..layers).flat_map(of_layer)).collect()
}

fn parsed(text: &str) -> Topology {
    Topology::parse("t.yaml", text).unwrap()
}

/// The ordinal of each layer's device, or 0 if no rule sets one.
fn devices(text: &str, layers: usize) -> Result<String, PlacementError> {
    let pins = parsed(text).pins(layers, &tensors(layers))?;
    let ordinal = |pin: Option<DeviceName>| {
        pin.map_or("0".to_owned(), |device| device.to_string().replace("cpu:", ""))
    };
    Ok(pins.into_iter().map(ordinal).collect())
}

/// The quantisation of each layer's two tensors.
fn isq(text: &str, layers: usize) -> String {
    let topology = parsed(text);
    let tensors = tensors(layers);
    let word = |quant: Option<Quant>| quant.map_or("-".to_owned(), |quant| quant.to_string());
    let words = tensors.iter().map(|(spot, name)| word(topology.quant(*spot, name)));
    words.collect::<Vec<_>>().join(" ")
}

fn refusal(text: &str) -> String {
    match Topology::parse("t.yaml", text) {
        Err(refusal) => refusal.to_string(),
        Ok(_) => devices(text, 4).unwrap_err().to_string(),
    }
}

#[test]
fn ranges_leave_out_their_end_and_gaps_keep_their_own_defaults() {
    let text = "0-8: { device: \"cpu:1\" }\n28-32: { device: \"cpu:2\" }\n";
    let expected = format!("{}{}{}", "1".repeat(8), "0".repeat(20), "2".repeat(4));
    assert_eq!(devices(text, 32).unwrap(), expected);
    assert_eq!(devices("2:\n  device: cpu[3]", 4).unwrap(), "0030");
}

#[test]
fn of_ranges_that_overlap_the_higher_end_wins_and_then_the_later_one() {
    assert_eq!(devices("0-4: {device: cpu:1}\n2-6: {device: cpu:2}", 8).unwrap(), "11222200");
    assert_eq!(devices("2-6: {device: cpu:2}\n0-4: {device: cpu:1}", 8).unwrap(), "11222200");
    assert_eq!(devices("2-6: {device: cpu:2}\n0-6: {device: cpu:1}", 8).unwrap(), "11111100");
    assert_eq!(devices("0-6: {device: cpu:1}\n2-6: {device: cpu:2}", 8).unwrap(), "11222200");
    assert_eq!(devices("0-6: {device: cpu:1}\n3: {device: cpu:2}", 8).unwrap(), "11111100");
}

#[test]
fn each_key_is_decided_by_itself() {
    let text = "0-2: { isq: Q4K }\n0-3: { device: \"cpu:1\" }";
    assert_eq!(devices(text, 4).unwrap(), "1110");
    assert_eq!(isq(text, 4), "- q4k q4k q4k q4k - - - -");
}

#[test]
fn patterns_win_over_ranges_and_the_last_pattern_over_the_others() {
    let text = "/q_proj/: { isq: Q6K }\n0-2: { isq: Q4K }\n/layers.1.q/: { isq: 8 }\n/embed/: { isq: Q8_0 }";
    assert_eq!(isq(text, 3), "q8_0 q6k q4k q8_0 q4k q6k -");
    let text = "/layers.[12]\\./: { device: \"cpu:1\" }\n/layers.2/: { device: \"cpu:2\" }\n0-4: { device: \"cpu:3\" }";
    assert_eq!(devices(text, 5).unwrap(), "31230");
}

#[test]
fn a_hundred_readings_of_a_file_are_one() {
    let text = "0-4: {device: cpu:1}\n2-4: {isq: Q4K, device: cpu:2}\n1-4: {isq: Q5K}\n/down/: {isq: Q6K}\n/q_/: {isq: 2}";
    for _ in 0..100 {
        assert_eq!(devices(text, 5).unwrap(), "11220");
        assert_eq!(isq(text, 4), "- q2k q6k q2k q6k q2k q6k q2k q6k");
    }
}

#[test]
fn a_topology_survives_serde() {
    for topology in [Topology::NONE, parsed("0-4: {device: cpu:1}")] {
        let json = serde_json::to_string(&topology).unwrap();
        assert_eq!(serde_json::from_str::<Topology>(&json).unwrap(), topology);
    }
}

#[test]
fn a_file_that_makes_no_sense_is_told_where_and_why() {
    assert_snapshot!(refusal(""), @r#"`t.yaml`, line 1: it has no selectors; write them with their keys, as in `0-8: { device: "cpu:1" }`"#);
    assert_snapshot!(refusal("- 0-8"), @r#"`t.yaml`, line 1: it has no selectors; write them with their keys, as in `0-8: { device: "cpu:1" }`"#);
    assert_snapshot!(refusal("0-8: {device: cpu:1\n"), @"`t.yaml`, line 2: this is not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'");
    assert_snapshot!(refusal("0-8:\n  isq: Q4K\n\nlayers: {device: cpu:1}"), @"`t.yaml`, line 4: `layers` is not a selector; write a layer, as in `3`, a range with an exclusive end, as in `0-8`, or a pattern of tensor names, as in `/q_proj/`");
    assert_snapshot!(refusal("0-2: {isq: Q4K}\n4-2: {isq: Q4K}"), @"`t.yaml`, line 2: `4-2` selects nothing; the second number comes after the last layer, as in `2-4`");
    assert_snapshot!(refusal(&format!("{0}-{0}: {{isq: Q4K}}", usize::MAX)), @"`t.yaml`, line 1: `18446744073709551615-18446744073709551615` is not a selector; write a layer, as in `3`, a range with an exclusive end, as in `0-8`, or a pattern of tensor names, as in `/q_proj/`");
    assert_snapshot!(refusal("3-3: {isq: Q4K}"), @"`t.yaml`, line 1: `3-3` selects nothing; the second number comes after the last layer, as in `3-4`");
    assert_snapshot!(refusal("0-2:\n  isq: Q4K\n  divice: cpu:1"), @"`t.yaml`, line 3: unknown key `divice`, did you mean `device`?");
    assert_snapshot!(refusal("0-2: {quantization: Q4K}"), @"`t.yaml`, line 1: unknown key `quantization`; the keys are `isq` and `device`");
    assert_snapshot!(refusal("0-2:\n  device: gpu[0]"), @"`t.yaml`, line 2: `gpu[0]` is not a device, did you mean `cuda:0`?");
    assert_snapshot!(refusal("0-2: {device: [cpu]}"), @"`t.yaml`, line 1: `device` of `0-2` takes one word");
    assert_snapshot!(refusal("0-2: {isq: Q4K, isq: Q5K}"), @"`t.yaml`, line 1: `0-2` has `isq` twice");
    assert_snapshot!(refusal("0-2: {isq: Q4K}\n0-2: {device: cpu}"), @"`t.yaml`, line 2: `0-2` is already on line 1");
    assert_snapshot!(refusal("0-2: {isq: Q9}"), @"`t.yaml`, line 1: `Q9` is not a quantisation; write `none`, one of `q4_0`, `q4_1`, `q5_0`, `q5_1`, `q8_0`, `q2k`, `q3k`, `q4k`, `q5k`, `q6k`, or bits: `2`, `3`, `4`, `5`, `6` or `8`");
    assert_snapshot!(refusal("0-2: {}"), @r#"`t.yaml`, line 1: `0-2` sets nothing; write `isq`, `device` or both, as in `0-2: { device: "cpu:1" }`"#);
    assert_snapshot!(refusal("0-2: Q4K"), @r#"`t.yaml`, line 1: `0-2` sets nothing; write `isq`, `device` or both, as in `0-2: { device: "cpu:1" }`"#);
    assert_snapshot!(refusal("/q_(proj/: {isq: Q4K}"), @"`t.yaml`, line 1: `/q_(proj/` is not a valid pattern: unclosed group");
    assert_snapshot!(refusal("0-2: {isq: Q4K}\n---\n2-4: {isq: Q4K}"), @"`t.yaml`, line 3: a second document begins here, but a topology is a single document");
}

#[test]
fn rules_that_do_not_fit_the_model_are_told_why() {
    assert_snapshot!(refusal("0-2: {isq: Q4K}\n2-5: {isq: Q4K}"), @"`t.yaml`, line 2: it selects layer 4, but the model has 4 layers, counted from 0");
    assert_snapshot!(refusal("4294967294: {isq: Q4K}"), @"`t.yaml`, line 1: it selects layer 4294967294, but the model has 4 layers, counted from 0");
    assert_snapshot!(refusal("/k_proj/: {isq: Q4K}"), @"`t.yaml`, line 1: `/k_proj/` matches no tensor of this model, whose names are like `model.layers.3.down_proj`");
    assert_snapshot!(refusal("/q_proj/: {device: cpu:1}"), @"`t.yaml`, line 1: `/q_proj/` would move `model.layers.0.q_proj` but not `model.layers.0.down_proj`; a layer lives whole on one device: match all of it, or select layers by their numbers");
    assert_snapshot!(refusal("/./: {device: cpu:1}"), @"`t.yaml`, line 1: `/./` would move `model.embed_tokens`, which belongs to no layer and lives on the first device of the device map");
}

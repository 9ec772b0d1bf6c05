//! Which device holds what, and what moves between them. `equalities.rs` tests that outputs stay
//! the same, `footprint.rs` that the sizes are real.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use insta::assert_snapshot;
use windtunnel_engine::weights::presets;
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Error, Event, Footprint, ModelSource,
    PrefixCache, QuantPlan, Request, Topology, Transfers,
};

fn config(preset: &str, devices: &str) -> EngineConfig {
    EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 3 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: devices.parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 256,
        max_step_tokens: 64,
        max_sequences: 4,
        max_sequence_length: Some(64),
    }
}

fn load(preset: &str, devices: &str) -> Engine {
    Engine::load(&config(preset, devices)).unwrap()
}

fn refusal(preset: &str, devices: &str) -> Error {
    match Engine::load(&config(preset, devices)) {
        Ok(_) => panic!("{devices} was meant to be refused"),
        Err(refusal) => refusal,
    }
}

/// Device and layers of each holding: `cpu:0 2, cpu:1 1`.
fn layers(engine: &Engine) -> String {
    let holdings = engine.holdings().iter();
    let shown = holdings.map(|holding| format!("{} {}", holding.device, holding.layers));
    shown.collect::<Vec<_>>().join(", ")
}

fn tiny() -> impl Iterator<Item = &'static str> {
    presets().iter().map(|preset| preset.name).filter(|name| name.starts_with("tiny"))
}

/// What moves between devices in a step of `tokens` tokens.
fn moved(preset: &str, devices: &str, tokens: u32) -> Transfers {
    let mut engine = load(preset, devices);
    engine.submit(Request::exactly((0..tokens).collect(), 1)).unwrap();
    engine.step().report.transfers
}

#[test]
fn one_device_moves_nothing_whatever_its_name() {
    for preset in tiny() {
        for devices in ["cpu:0", "cpu:3", "auto"] {
            assert_eq!(moved(preset, devices, 5), Transfers::default(), "{preset} on {devices}");
        }
    }
}

#[test]
fn what_moves_is_counted_tensor_by_tensor() {
    // To the last layer go the stream of 128 numbers and the angles of a head of 16, cosines and
    // sines; the stream also comes back.
    let there_and_back = |tokens| 4 * tokens * (128 + 2 * 8 + 128);
    for tokens in [1, 5] {
        let found = moved("tiny-llama", "cpu:0,cpu:1=1", tokens);
        assert_eq!(found, Transfers { count: 4, bytes: there_and_back(u64::from(tokens)) });
    }
    // Angles go once to each device, however many of its layers use them.
    assert_eq!(moved("tiny-qwen3", "cpu:0=1,cpu:1", 5).count, 4);
    assert_eq!(moved("tiny-qwen3", "cpu:0=1,cpu:1=1,cpu:2", 5).count, 7);
    // Also the layer's own embedding of a token, and queries to the keys of another layer and back.
    assert_eq!(moved("tiny-gemma3n", "cpu:0,cpu:1=1", 5).count, 7);
}

#[test]
fn devices_hold_together_what_one_of_them_would() {
    for preset in tiny() {
        let whole = load(preset, "cpu:0").footprint();
        for devices in ["cpu:0=1,cpu:1", "cpu:0=0,cpu:1,cpu:2=1"] {
            let engine = load(preset, devices);
            assert_eq!(engine.footprint(), whole, "{preset} on {devices}");
            for holding in engine.holdings() {
                assert_eq!(holding.held, holding.estimated, "{preset} on {devices}");
                assert!(holding.held.weights > 0, "{preset} on {devices}: {holding:?}");
            }
        }
    }
}

#[test]
fn a_tied_embedding_is_held_once() {
    let held = |devices| load("tiny-qwen2", devices).holdings()[0].held.weights;
    // 1000 tokens and the final norm, of 112 numbers each; no head.
    assert_eq!(held("cpu:0=0,cpu:1"), 4 * (1000 + 1) * 112);
}

#[test]
fn an_automatic_map_fills_one_device_and_then_the_next() {
    let whole = load("tiny-llama", "auto");
    assert_eq!(layers(&whole), "cpu:0 4");
    let Footprint { weights, kv } = whole.footprint();
    // Room for what is held permanently and for the activations of 64 tokens; the same without the
    // activations; hardly any room.
    let split = |bytes: u64| layers(&load("tiny-llama", &format!("auto:cpu:0={bytes}B,cpu:1")));
    assert_eq!(split(weights + kv + (2 << 20)), "cpu:0 4");
    assert_eq!(split(weights + kv), "cpu:0 3, cpu:1 1");
    assert_eq!(split(1024), "cpu:1 4");
}

#[test]
fn what_cannot_be_placed_is_refused_before_a_weight_is_read() {
    // Models that would take minutes and more memory than the machine has.
    let cuda = refusal("mixtral-8x7b", "cuda:0");
    assert!(matches!(cuda, Error::Unsupported(_)), "{cuda:?}");
    assert_snapshot!(cuda, @"this build of the engine, which has no CUDA, cannot run anything on `cuda:0`; choose `cpu:0`, or build with `--features cuda`");
    assert_snapshot!(refusal("mixtral-8x7b", "auto:cuda:0,cpu:0"), @"this build of the engine, which has no CUDA, cannot run anything on `cuda:0`; choose `cpu:0`, or build with `--features cuda`");
    assert_snapshot!(refusal("mixtral-8x7b", "cpu:0=30,cpu:1=1"), @"device map `cpu:0=30,cpu:1=1`: it places 31 of the model's 32 layers; give 1 more to a device, or leave out the number of the one that takes the rest");
    assert_snapshot!(refusal("mixtral-8x7b", "auto:cpu:0=40GiB,cpu:1=60GiB"), @"
    14 of 32 layers fit on no device; name another device, such as `cpu:0`, which has no limit, or make the cache or the weights smaller
    device         free MiB   usable MiB   needed MiB   layers
    cpu:0           40960.0      40960.0     178252.0        7
    cpu:1           61440.0      61440.0     138484.9       11
    ");
}

/// As [`config`], with the rules of `topology`.
fn ruled(preset: &str, devices: &str, topology: &str) -> EngineConfig {
    let topology = Topology::parse("t.yaml", topology).unwrap();
    EngineConfig { topology, ..config(preset, devices) }
}

#[test]
fn a_topology_takes_layers_from_the_map() {
    let split = |topology: &str| {
        layers(&Engine::load(&ruled("tiny-llama", "cpu:0=3,cpu:1", topology)).unwrap())
    };
    assert_eq!(split("1-3: { device: \"cpu:2\" }"), "cpu:0 1, cpu:2 2, cpu:1 1");
    assert_eq!(split("/layers.[03]/: { device: cpu:4 }"), "cpu:0 2, cpu:4 2");
    assert_snapshot!(Engine::load(&ruled("mixtral-8x7b", "cpu:0", "0-40: { device: cpu:1 }")).err().unwrap(), @"`t.yaml`, line 1: it selects layer 39, but the model has 32 layers, counted from 0");
    assert_snapshot!(Engine::load(&ruled("mixtral-8x7b", "cpu:0", "/q_proj/: { device: cpu:1 }")).err().unwrap(), @"`t.yaml`, line 1: `/q_proj/` would move `model.layers.0.self_attn.q_proj.weight` but not `model.layers.0.input_layernorm.weight`; a layer lives whole on one device: match all of it, or select layers by their numbers");
}

#[test]
fn an_automatic_map_weighs_what_a_topology_leaves_it_beside_what_that_gives() {
    let Footprint { weights, kv } = load("tiny-llama", "auto").footprint();
    // Room for all but one layer, as activations also take some.
    let budget = weights + kv;
    let split = |devices: String, topology: &str| {
        Engine::load(&ruled("tiny-llama", &devices, topology)).map(|engine| layers(&engine))
    };
    let alone = format!("auto:cpu:0={budget}B");
    assert!(split(alone.clone(), "3: { isq: none }").is_err());
    assert_eq!(split(alone, "3: { device: \"cpu:1\" }").unwrap(), "cpu:0 3, cpu:1 1");
    let spilling = format!("auto:cpu:0={budget}B,cpu:1");
    assert_eq!(split(spilling, "3: { device: \"cpu:0\" }").unwrap(), "cpu:0 3, cpu:1 1");
    assert_eq!(
        split("auto:cpu:0=1B".into(), "0-4: { device: cpu:2 }").unwrap(),
        "cpu:0 0, cpu:2 4"
    );
}

#[test]
fn a_topology_quantises_what_it_covers_and_its_estimate_holds() {
    let held = |topology: &str| {
        let engine = Engine::load(&ruled("tiny-llama", "cpu:0=2,cpu:1", topology)).unwrap();
        for holding in engine.holdings() {
            assert_eq!(holding.held, holding.estimated, "{topology}");
        }
        engine.holdings().iter().map(|holding| holding.held.weights).collect::<Vec<_>>()
    };
    let [plain_0, plain_1] = held("3: { device: \"cpu:1\" }")[..] else { panic!() };
    let [first, second] = held("2-4: { isq: 8 }")[..] else { panic!() };
    assert_eq!(first, plain_0);
    // 34 bytes instead of 128 per 32 numbers, and the norms stay.
    assert!((26..30).contains(&(second * 100 / plain_1)), "{second} of {plain_1}");
    let [first, second] = held("0-4: { isq: 8 }\n/proj/: { isq: none }")[..] else { panic!() };
    assert_eq!((first, second), (plain_0, plain_1));
    let [first, _] = held("/embed_tokens/: { isq: q8_0 }")[..] else { panic!() };
    assert!(first < plain_0);
}

#[test]
fn a_topology_changes_no_output_by_where_layers_are() {
    let text = |devices, topology| {
        let mut engine = Engine::load(&ruled("tiny-gemma3n", devices, topology)).unwrap();
        engine.submit(Request::exactly((0..9).collect(), 12)).unwrap();
        let steps = std::iter::from_fn(|| (!engine.is_idle()).then(|| engine.step().events));
        let tokens = steps.flatten().filter_map(|event| match event {
            Event::Token { token, .. } => Some(token),
            _ => None,
        });
        tokens.collect::<Vec<_>>()
    };
    let one = text("cpu:0", "0: { device: cpu }");
    let alternating = "/layers.\\d*[13579]\\./: { device: \"cpu:1\" }";
    assert_eq!((text("cpu:0", alternating), one.len()), (one, 12));
}

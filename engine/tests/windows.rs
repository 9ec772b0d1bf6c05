//! Layers with a sliding window keep what their next token sees and release the rest. What that
//! must not change is in `tests/equalities.rs` and `tests/prefix.rs`, whose prompts exceed the
//! windows of all families; here is what it saves, and what else can go wrong.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;

use windtunnel_engine::attention::Mask;
use windtunnel_engine::blocks::Reach;
use windtunnel_engine::weights::{Preset, presets};
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Event, ModelSource, PoolStats, PrefixCache,
    QuantPlan, Request, Topology,
};

const LONGEST: usize = 512;
const SEQUENCES: usize = 2;
const STEP_TOKENS: usize = 32;
const BLOCK: usize = 8;

fn config(model: ModelSource, kv: &str) -> EngineConfig {
    EngineConfig {
        model,
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: kv.parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: SEQUENCES * LONGEST,
        max_step_tokens: STEP_TOKENS,
        max_sequences: SEQUENCES,
        max_sequence_length: Some(LONGEST),
    }
}

fn preset(name: &str) -> ModelSource {
    ModelSource::Preset { name: name.into(), seed: 3 }
}

fn prompt(text: usize, length: usize) -> Vec<u32> {
    (0..length).map(|at| ((at * 37 + text * 411) % 250) as u32).collect()
}

/// The tokens of `requests`, run together, and the peak use of each pool.
fn run(engine: &mut Engine, requests: &[(Vec<u32>, usize)]) -> (Vec<Vec<u32>>, Vec<PoolStats>) {
    let ids: Vec<_> = requests
        .iter()
        .map(|(prompt, new)| {
            let request = Request::exactly(prompt.clone(), *new);
            engine.submit(Request { prefix_cache: PrefixCache::On, ..request }).unwrap()
        })
        .collect();
    let mut outputs = vec![Vec::new(); ids.len()];
    while !engine.is_idle() {
        for event in engine.step().events {
            if let Event::Token { request, token, .. } = event {
                outputs[ids.iter().position(|id| *id == request).unwrap()].push(token);
            }
        }
        engine.check_integrity().unwrap();
    }
    assert_eq!(engine.stats().blocks_used, 0);
    (outputs, engine.pools().collect())
}

/// The presets that have layers with a window, and their windows.
fn windowed() -> Vec<(&'static str, usize)> {
    let window = |preset: &Preset| {
        preset.sketch().unwrap().heads.masks.iter().find_map(|mask| match mask {
            Mask::SlidingWindow(window) => Some(*window),
            _ => None,
        })
    };
    let tiny = presets().iter().filter(|preset| preset.name.starts_with("tiny"));
    tiny.filter_map(|preset| Some((preset.name, window(preset)?))).collect()
}

#[test]
fn a_text_that_grows_needs_no_more_blocks_behind_a_window() {
    let families = windowed();
    assert!(families.len() >= 5, "{families:?}");
    for (name, window) in families {
        let peaks = [300, 420].map(|length| {
            let mut engine = Engine::load(&config(preset(name), "paged-8")).unwrap();
            let texts = [(prompt(1, length / 2), length / 2), (prompt(2, length - 90), 90)];
            run(&mut engine, &texts).1
        });
        for (short, long) in peaks[0].iter().zip(&peaks[1]) {
            match long.reach {
                Reach::Everything => assert!(long.peak > short.peak, "{name}"),
                Reach::Window(found) => {
                    assert_eq!((found, long.peak), (window, short.peak), "{name}");
                    // The windows of both, and the chunk of one.
                    let tokens = SEQUENCES * (window + 2 * BLOCK) + STEP_TOKENS;
                    assert!(long.peak <= tokens.div_ceil(BLOCK), "{name}: {long:?}");
                }
            }
        }
    }
}

#[test]
fn a_long_context_costs_windowed_layers_no_memory() {
    for (name, window) in windowed() {
        let heads = Preset::named(name).unwrap().sketch().unwrap().heads;
        let token = 2 * heads.kv_heads * heads.dim * 4;
        let engine = |kv| Engine::load(&config(preset(name), kv)).unwrap();
        // With contiguous KV, every layer keeps everything.
        let everything = (heads.cached * SEQUENCES * LONGEST * token) as u64;
        assert_eq!(engine("contiguous").footprint().kv, everything, "{name}");
        assert_eq!(engine("contiguous").pools().len(), 1, "{name}");
        let paged = engine("paged-8");
        let windowed = heads.masks[..heads.cached].iter();
        let windowed = windowed.filter(|mask| **mask == Mask::SlidingWindow(window)).count();
        let blocks = SEQUENCES * (window / BLOCK + 3) + STEP_TOKENS / BLOCK;
        let saved = windowed * (SEQUENCES * LONGEST - blocks * BLOCK) * token;
        assert_eq!(paged.footprint().kv, everything - saved as u64, "{name}");
        for pool in paged.pools().filter(|pool| pool.reach == Reach::Window(window)) {
            assert_eq!((pool.layers, pool.free), (windowed, blocks), "{name}");
        }
        assert!(saved > 0, "{name}");
    }
}

#[test]
fn a_window_that_no_sequence_exceeds_saves_nothing_and_costs_nothing() {
    let short =
        EngineConfig { max_sequence_length: Some(24), ..config(preset("tiny-gemma3"), "paged-8") };
    let pools: Vec<_> = Engine::load(&short).unwrap().pools().collect();
    assert_eq!(pools.len(), 1);
    assert_eq!((pools[0].reach, pools[0].layers), (Reach::Everything, 4));
}

#[test]
fn a_prefix_cache_has_room_behind_windows_too() {
    for (name, window) in windowed() {
        let shared =
            EngineConfig { prefix_cache: PrefixCache::On, ..config(preset(name), "paged-8") };
        let mut engine = Engine::load(&shared).unwrap();
        let blocks = SEQUENCES * LONGEST / BLOCK;
        assert!(engine.pools().all(|pool| pool.free == blocks), "{name}");
        let long = prompt(1, 300);
        let (first, _) = run(&mut engine, &[(long.clone(), 60)]);
        // What was computed long before the last token's window is also found.
        for length in [window, 150, 297] {
            let before = engine.stats().prefix.tokens;
            run(&mut engine, &[(long[..length].to_vec(), 1)]);
            let found = engine.stats().prefix.tokens - before;
            assert_eq!(found as usize, (length - 1) / BLOCK * BLOCK, "{name}");
        }
        let (again, _) = run(&mut engine, &[(long, 60)]);
        assert_eq!(again, first, "{name}");
    }
}

#[test]
fn requests_end_in_a_pool_that_is_short_of_blocks_behind_windows() {
    for (name, window) in windowed() {
        let texts: Vec<_> = (0..4).map(|text| (prompt(text, 90 + 10 * text), 60)).collect();
        let (expected, _) =
            run(&mut Engine::load(&config(preset(name), "contiguous")).unwrap(), &texts);
        // Enough for each of them alone.
        let tokens = (window + STEP_TOKENS).max(180) + 2 * BLOCK;
        let cramped =
            EngineConfig { kv_tokens: tokens, max_sequences: 4, ..config(preset(name), "paged-8") };
        let mut engine = Engine::load(&cramped).unwrap();
        assert_eq!(run(&mut engine, &texts).0, expected, "{name}");
    }
}

#[test]
fn a_sequence_that_crosses_the_border_computes_its_windows_anew() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/phi3_longrope");
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let keys = fs::read_to_string(golden.join("config.json")).unwrap();
    let narrow = keys.replace("\"sliding_window\": null", "\"sliding_window\": 7");
    assert_ne!(narrow, keys);
    fs::write(folder.path().join("config.json"), narrow).unwrap();
    let model = ModelSource::Folder { path: folder.path().into() };
    // The border is at 32: the prompts are on either side of it, and at it.
    let texts: Vec<_> = [20, 31, 32, 40].map(|length| (prompt(length, length), 30)).into();
    let outputs = ["contiguous", "paged-4", "paged-16"].map(|kv| {
        let config = EngineConfig {
            max_step_tokens: 11,
            max_sequence_length: Some(100),
            ..config(model.clone(), kv)
        };
        run(&mut Engine::load(&config).unwrap(), &texts).0
    });
    assert_eq!(outputs[1], outputs[0]);
    assert_eq!(outputs[2], outputs[0]);
}

//! What must not change the output: the rest of the batch, the layout of the cache, how a prompt is
//! chunked, the backend, and whether a sequence was preempted on the way.
//!
//! Each test runs the same requests in two ways, for every family and every backend, and compares
//! token for token in f32.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;

use candle_core::Device;
use windtunnel_engine::attention::backends_for;
use windtunnel_engine::models::MODELS;
use windtunnel_engine::weights::presets;
use windtunnel_engine::{
    Choice, CudaGraphs, Dry, Dtype, Engine, EngineConfig, Eos, Event, Finish, ModelSource,
    PrefixCache, QuantPlan, Request, RequestId, Sampling, Stats, Topology, Truncation,
};

const BLOCK: usize = 16;
/// Prompt lengths around block boundaries.
const LENGTHS: [usize; 6] = [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 5];
const NEW: usize = 20;

/// How the requests are run.
#[derive(Clone, Copy)]
struct Way {
    backend: &'static str,
    devices: &'static str,
    kv: &'static str,
    kv_tokens: usize,
    step_tokens: usize,
    sequences: usize,
    temperature: f32,
}

const PLAIN: Way = Way {
    backend: "cpu-flash",
    devices: "cpu:0",
    kv: "paged-16",
    kv_tokens: 2048,
    step_tokens: 1024,
    sequences: LENGTHS.len(),
    temperature: 0.0,
};

fn config(preset: &str, way: Way) -> EngineConfig {
    EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 11 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: way.devices.parse().unwrap(),
        topology: Topology::NONE,
        kv: way.kv.parse().unwrap(),
        attention: Choice::Named(way.backend.into()),
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: way.kv_tokens,
        max_step_tokens: way.step_tokens,
        max_sequences: way.sequences,
        max_sequence_length: Some(128),
    }
}

/// Greedy at temperature 0, otherwise with every part of the chain.
fn sampling(temperature: f32, seed: u64) -> Sampling {
    if temperature == 0.0 {
        return Sampling::GREEDY;
    }
    Sampling {
        temperature,
        top_k: Some(200),
        top_p: 0.95,
        min_p: 0.001,
        frequency_penalty: 0.3,
        presence_penalty: 0.2,
        repetition_penalty: 1.2,
        dry: Dry { multiplier: 0.8, ..Dry::OFF },
        logit_bias: vec![(5, 1.0)],
        logprobs: None,
        seed,
    }
}

fn request(length: usize, temperature: f32) -> Request {
    Request {
        prompt: (0..length).map(|i| ((i * 37 + length * 11) % 1000) as u32).collect(),
        max_tokens: Some(NEW),
        sampling: sampling(temperature, length as u64),
        stop: Vec::new(),
        eos: Eos::Ignore,
        truncation: Truncation::Refuse,
        choices: 1,
        prefix_cache: PrefixCache::Off,
    }
}

/// The tokens of each request, and the statistics.
fn run(preset: &str, way: Way) -> (Vec<Vec<u32>>, Stats) {
    let mut engine = Engine::load(&config(preset, way)).unwrap();
    let ids: Vec<_> =
        LENGTHS.map(|length| engine.submit(request(length, way.temperature)).unwrap()).into();
    let mut tokens: HashMap<RequestId, Vec<u32>> = HashMap::new();
    while !engine.is_idle() {
        for event in engine.step().events {
            match event {
                Event::Token { request, token, .. } => {
                    tokens.entry(request).or_default().push(token);
                }
                Event::Finished { finish, .. } => assert_eq!(finish, Finish::Length),
                Event::Queued { .. } | Event::PromptDone { .. } => {}
            }
        }
        engine.check_integrity().unwrap();
    }
    let stats = engine.stats();
    assert_eq!((stats.blocks_used, stats.finished), (0, LENGTHS.len() as u64));
    (ids.iter().map(|id| tokens.remove(id).unwrap()).collect(), stats)
}

/// Runs every family with every backend in both ways. Returns the statistics of the second.
fn check(a: Way, b: Way) -> Vec<Stats> {
    let mut all = Vec::new();
    for preset in presets().iter().filter(|preset| preset.name.starts_with("tiny")) {
        for backend in backends_for(&Device::Cpu).map(|backend| backend.name()) {
            let (expected, _) = run(preset.name, Way { backend, ..a });
            let (found, stats) = run(preset.name, Way { backend, ..b });
            for ((length, expected), found) in LENGTHS.iter().zip(&expected).zip(&found) {
                assert_eq!(expected, found, "{} {backend}, prompt of {length}", preset.name);
                assert_eq!(found.len(), NEW);
            }
            all.push(stats);
        }
    }
    assert_eq!(all.len(), MODELS.len() * backends_for(&Device::Cpu).count());
    all
}

#[test]
fn a_batch_gives_what_its_requests_give_one_by_one() {
    check(PLAIN, Way { sequences: 1, ..PLAIN });
}

#[test]
fn a_paged_cache_gives_what_a_contiguous_one_gives() {
    let contiguous = Way { kv: "contiguous", ..PLAIN };
    for kv in ["paged-1", "paged-16", "paged-31"] {
        check(contiguous, Way { kv, ..PLAIN });
    }
}

#[test]
fn layers_on_several_devices_give_what_one_device_gives() {
    // The last layer on its own device, which in some families reads the keys of a lower one; a
    // first device without a layer; three devices.
    for devices in ["cpu:0,cpu:1=1", "cpu:0=0,cpu:1", "cpu:0=1,cpu:1,cpu:2=1"] {
        for stats in check(PLAIN, Way { devices, ..PLAIN }) {
            assert!(stats.transfers.count > 0, "{devices}: {stats:?}");
        }
    }
}

#[test]
fn a_prompt_in_chunks_gives_what_the_whole_gives() {
    check(PLAIN, Way { step_tokens: 7, ..PLAIN });
}

#[test]
fn a_preempted_sequence_gives_what_an_undisturbed_one_gives() {
    for temperature in [0.0, 1.0] {
        let plain = Way { temperature, ..PLAIN };
        let cramped = Way { kv_tokens: 9 * BLOCK, ..plain };
        for stats in check(plain, cramped) {
            assert!(stats.preemptions > 0, "the pool was meant to be too small: {stats:?}");
            assert!(stats.prefilled > stats.prompt_tokens, "nothing was computed again: {stats:?}");
        }
    }
}

#[test]
fn ample_memory_computes_every_prompt_token_once() {
    for stats in check(PLAIN, PLAIN) {
        assert_eq!((stats.prefilled, stats.preemptions), (stats.prompt_tokens, 0));
        assert_eq!(stats.decoded, (LENGTHS.len() * (NEW - 1)) as u64);
    }
}

#[test]
fn every_backend_gives_what_naive_gives() {
    for preset in presets().iter().filter(|preset| preset.name.starts_with("tiny")) {
        let (expected, _) = run(preset.name, Way { backend: "naive", ..PLAIN });
        for backend in backends_for(&Device::Cpu).map(|backend| backend.name()) {
            assert_eq!(run(preset.name, Way { backend, ..PLAIN }).0, expected, "{}", preset.name);
        }
    }
}

#[test]
fn random_weights_give_texts_that_are_not_degenerate() {
    for preset in presets().iter().filter(|preset| preset.name.starts_with("tiny")) {
        let (texts, _) = run(preset.name, PLAIN);
        let mut distinct: Vec<u32> = texts.concat();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 20, "{}: {} distinct tokens", preset.name, distinct.len());
        assert!(texts[1..].iter().all(|text| *text != texts[0]), "{}", preset.name);
    }
}

#[test]
fn cancelled_companions_change_nothing_for_those_who_stay() {
    for preset in presets().iter().filter(|preset| preset.name.starts_with("tiny")) {
        let (expected, _) = run(preset.name, PLAIN);
        // A few steps with everybody, then one companion less after each step.
        for (patience, kv_tokens) in [(0, PLAIN.kv_tokens), (3, PLAIN.kv_tokens), (5, 9 * BLOCK)] {
            let way = Way { kv_tokens, step_tokens: 40, ..PLAIN };
            let mut engine = Engine::load(&config(preset.name, way)).unwrap();
            let ids = LENGTHS.map(|length| engine.submit(request(length, 0.0)).unwrap());
            let mut leaving = ids.iter().copied().step_by(2).collect::<Vec<_>>();
            let mut tokens: HashMap<RequestId, Vec<u32>> = HashMap::new();
            let mut steps = 0;
            while !engine.is_idle() {
                for event in engine.step().events {
                    if let Event::Token { request, token, .. } = event {
                        tokens.entry(request).or_default().push(token);
                    }
                }
                steps += 1;
                if steps > patience
                    && let Some(id) = leaving.pop()
                {
                    assert_eq!(engine.cancel(id).len(), 1);
                }
                engine.check_integrity().unwrap();
            }
            for (id, expected) in ids.iter().zip(&expected).skip(1).step_by(2) {
                assert_eq!(&tokens[id], expected, "{}, {patience} steps", preset.name);
            }
            assert_eq!(engine.stats().blocks_used, 0);
        }
    }
}

#[test]
fn as_many_sequences_run_as_there_are_slots() {
    for slots in [1, 2, 5] {
        let mut engine =
            Engine::load(&config("tiny-llama", Way { sequences: slots, ..PLAIN })).unwrap();
        for length in LENGTHS {
            engine.submit(request(length, 0.0)).unwrap();
        }
        let report = engine.step().report;
        assert_eq!((report.running, report.waiting), (slots, LENGTHS.len() - slots));
        // All of them draw in the next step, and in every step after it.
        let report = engine.step().report;
        assert_eq!((report.decoded, report.prefilled), (slots, 0));
    }
}

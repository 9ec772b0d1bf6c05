//! Logits at every position: the same however the steps are cut, and those that tokens are drawn
//! from.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;

use windtunnel_engine::pass::Place;
use windtunnel_engine::weights::presets;
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Eos, Error, KvLayout, ModelSource,
    PrefixCache, QuantPlan, Request, Sampling, Topology, Truncation, score, score_at,
};

fn engine(preset: &str, step_tokens: usize) -> Engine {
    engine_on("cpu:0", preset, step_tokens)
}

fn engine_on(device: &str, preset: &str, step_tokens: usize) -> Engine {
    Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 1 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: device.parse().unwrap(),
        topology: Topology::NONE,
        kv: KvLayout::Paged { block: 16.try_into().unwrap() },
        attention: Choice::Auto,
        prefix_cache: PrefixCache::On,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: step_tokens,
        max_sequences: 2,
        max_sequence_length: Some(64),
    })
    .unwrap()
}

fn request(prompt: Vec<u32>) -> Request {
    Request {
        prompt,
        max_tokens: Some(4),
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        eos: Eos::Ignore,
        truncation: Truncation::Refuse,
        choices: 1,
        prefix_cache: PrefixCache::Off,
    }
}

/// Tokens and rows of a text of 20 tokens and a continuation of 5.
fn scored(engine: &mut Engine) -> (Vec<u32>, Vec<Vec<f32>>) {
    let mut rows = Vec::new();
    let prompt: Vec<u32> = (0..20).map(|i| i * 7 % 50).collect();
    let tokens = score(engine, prompt, 5, &mut |position, row| {
        assert_eq!(position, rows.len(), "every position comes once and in order");
        rows.push(row.to_vec());
    });
    (tokens.unwrap(), rows)
}

#[test]
fn every_position_is_shown_and_tokens_are_the_likeliest_of_their_rows() {
    for preset in presets().iter().filter(|preset| preset.name.starts_with("tiny")) {
        let mut engine = engine(preset.name, 64);
        let (tokens, rows) = scored(&mut engine);
        assert_eq!((tokens.len(), rows.len()), (5, 24), "{}", preset.name);
        for (token, row) in tokens.iter().zip(&rows[19..]) {
            assert_eq!(row.len(), engine.vocabulary());
            assert!(row.iter().all(|logit| *logit <= row[*token as usize]), "{}", preset.name);
        }
        // The second time nothing may come from the cache: its logits would be missing.
        assert_eq!(scored(&mut engine), (tokens, rows), "{}", preset.name);
    }
}

#[test]
fn a_prompt_cut_into_chunks_has_the_logits_of_a_whole_one() {
    chunks_have_the_logits_of_the_whole("cpu:0");
}

/// With a GPU: `cargo test --workspace --features windtunnel-engine/cuda -- --ignored on_a_gpu`.
#[cfg(feature = "cuda")]
mod on_a_gpu {
    #[test]
    #[ignore = "needs a GPU"]
    fn a_prompt_cut_into_chunks_has_the_logits_of_a_whole_one() {
        super::chunks_have_the_logits_of_the_whole("cuda:0");
    }
}

fn chunks_have_the_logits_of_the_whole(device: &str) {
    let (tokens, rows) = scored(&mut engine_on(device, "tiny-llama", 64));
    let (cut_tokens, cut_rows) = scored(&mut engine_on(device, "tiny-llama", 3));
    assert_eq!(tokens, cut_tokens);
    for (row, cut) in rows.iter().flatten().zip(cut_rows.iter().flatten()) {
        assert!((row - cut).abs() < 1e-4);
    }
}

#[test]
fn other_places_are_shown_where_they_are_asked_for() {
    let mut engine = engine("tiny-llama", 64);
    let (_, logits) = scored(&mut engine);
    let places = [Place::Embedding, Place::Layer(0), Place::Norm, Place::Logits, Place::Pooled];
    let mut seen: HashMap<Place, Vec<Vec<f32>>> = HashMap::new();
    let prompt: Vec<u32> = (0..20).map(|i| i * 7 % 50).collect();
    score_at(&mut engine, prompt, 5, &places, &mut |place, position, row| {
        let rows = seen.entry(place).or_default();
        assert_eq!(position, rows.len(), "{place:?}");
        rows.push(row.to_vec());
    })
    .unwrap();
    assert_eq!(seen[&Place::Logits], logits);
    for place in [Place::Embedding, Place::Layer(0), Place::Norm] {
        assert_eq!(seen[&place].len(), 24, "{place:?}");
    }
    assert!(!seen.contains_key(&Place::Pooled), "a model that continues texts pools nothing");
    assert!(!seen.contains_key(&Place::Layer(1)), "nobody asked for it");
}

#[test]
fn what_cannot_be_submitted_cannot_be_scored() {
    let mut engine = engine("tiny-llama", 64);
    let refused = score(&mut engine, Vec::new(), 1, &mut |_, _| {});
    assert!(matches!(refused, Err(Error::EmptyPrompt)));
    assert!(engine.is_idle());
}

#[test]
fn a_continuation_without_end_fills_the_longest_sequence() {
    let mut engine = engine("tiny-llama", 64);
    let tokens = score(&mut engine, vec![1, 2], usize::MAX, &mut |_, _| {}).unwrap();
    assert_eq!(tokens.len(), 64 - 2);
}

#[test]
fn a_text_is_scored_by_an_idle_engine_alone() {
    let mut engine = engine("tiny-llama", 64);
    let waiting = engine.submit(request(vec![5, 6, 7])).unwrap();
    let refused = score(&mut engine, vec![1, 2], 1, &mut |_, _| panic!("nothing is computed"));
    assert!(matches!(refused, Err(Error::Busy)));
    assert_eq!(engine.cancel(waiting).len(), 1);
    score(&mut engine, vec![1, 2], 1, &mut |_, _| {}).unwrap();
}

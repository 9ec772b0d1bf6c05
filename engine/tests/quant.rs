//! Quantised weights against the same numbers as floats: a model whose matrices are quantised while
//! loading computes the same as one whose files hold the rounded numbers.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::{DType, Device, Tensor};
use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;
use windtunnel_engine::models::config::ConfigFile;
use windtunnel_engine::models::{MODELS, find};
use windtunnel_engine::placement::Placement;
use windtunnel_engine::quant::Quantised;
use windtunnel_engine::weights::{Formats, Random, Source, Tally};
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Event, Format, LayerQuant, ModelSource,
    PrefixCache, Quant, QuantPlan, QuantType, Request, RequestId, Topology, score,
};

/// Families that store their matrices differently: separate, fused, as experts, tied.
const FAMILIES: [&str; 4] =
    ["LlamaForCausalLM", "Phi3ForCausalLM", "Qwen3MoeForCausalLM", "Gemma2ForCausalLM"];

/// A small model whose rows are whole blocks of every format.
fn config(family: &str) -> Value {
    json!({
        "architectures": [family],
        "hidden_act": "silu",
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 256,
        "norm_topk_prob": true,
        "query_pre_attn_scalar": 64,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 64,
        "tie_word_embeddings": family.starts_with("Gemma"),
        "vocab_size": 320,
        "max_position_embeddings": 128,
    })
}

/// Hands out random numbers and records them; if there is a `kind`, matrices that may be quantised
/// are rounded to it.
struct Scribe {
    random: Random,
    kind: Option<QuantType>,
    written: Mutex<HashMap<String, Tensor>>,
}

impl Source for Scribe {
    fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> windtunnel_engine::Result<Tensor> {
        let tensor = self.random.tensor(name, shape, dtype, device)?;
        self.written.lock().unwrap().insert(name.into(), tensor.clone());
        Ok(tensor)
    }

    fn has(&self, _: &str) -> bool {
        true
    }

    fn quantised(
        &self,
        name: &str,
        shape: [usize; 2],
        kind: QuantType,
        device: &Device,
    ) -> windtunnel_engine::Result<Quantised> {
        let tensor = self.random.tensor(name, &shape, DType::F32, device)?;
        let blocks = Quantised::of(kind, &tensor, device)?;
        let written = match self.kind {
            Some(_) => blocks.dequantised()?,
            None => tensor,
        };
        self.written.lock().unwrap().insert(name.into(), written);
        Ok(blocks)
    }
}

/// A folder with a model of `family`, its matrices rounded to `kind` if there is one.
fn folder(family: &str, kind: Option<QuantType>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = config(family).to_string();
    std::fs::write(folder.path().join("config.json"), &text).unwrap();
    let file = ConfigFile::parse("config.json", &text).unwrap();
    let scribe = Scribe { random: Random::new(5), kind, written: Mutex::default() };
    let (placement, tally) = (Placement::cpu(), Tally::default());
    let plan = QuantPlan::uniform(Quant::Blocks(kind.unwrap_or(QuantType::Q8_0)));
    let formats = Formats { quant: &plan, ..Formats::plain(DType::F32) };
    let weights = formats.of(&scribe, &placement, &tally);
    (find(MODELS, &file).unwrap().load)(&file, &weights).unwrap();
    let written = scribe.written.into_inner().unwrap();
    candle_core::safetensors::save(&written, folder.path().join("model.safetensors")).unwrap();
    folder
}

fn engine_config(path: &Path, quant: QuantPlan) -> EngineConfig {
    EngineConfig {
        model: ModelSource::Folder { path: PathBuf::from(path) },
        dtype: Dtype::F32,
        quant,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 512,
        max_step_tokens: 64,
        max_sequences: 8,
        max_sequence_length: Some(64),
    }
}

fn engine(path: &Path, quant: QuantPlan) -> Engine {
    Engine::load(&engine_config(path, quant)).unwrap()
}

fn uniform(kind: QuantType) -> QuantPlan {
    QuantPlan::uniform(Quant::Blocks(kind))
}

/// Logits of a text of 30 tokens and a continuation of 4.
fn logits(engine: &mut Engine) -> Vec<f32> {
    let prompt = (0..30).map(|i| i * 11 % 320).collect();
    let mut rows = Vec::new();
    score(engine, prompt, 4, &mut |_, row| rows.extend_from_slice(row)).unwrap();
    rows
}

/// Root mean square of the differences, relative to that of the truth.
fn error(found: &[f32], truth: &[f32]) -> f32 {
    let square = |x: f32| x * x;
    let difference: f32 = found.iter().zip(truth).map(|(a, b)| square(a - b)).sum();
    (difference / truth.iter().copied().map(square).sum::<f32>()).sqrt()
}

#[test]
fn a_model_of_blocks_computes_what_its_numbers_in_floats_do() {
    for family in FAMILIES {
        let plain = folder(family, None);
        let exact = logits(&mut engine(plain.path(), QuantPlan::DENSE));
        let mut losses = Vec::new();
        for kind in QuantType::ALL {
            let rounded = folder(family, Some(kind));
            let expected = logits(&mut engine(rounded.path(), QuantPlan::DENSE));
            let found = logits(&mut engine(plain.path(), uniform(kind)));
            let off = error(&found, &expected);
            assert!(off < 1e-5, "{family} in {kind}: {off:e} off its own numbers");
            let lost = error(&found, &exact);
            assert!(lost > 1e-4, "{family} in {kind}: {lost} off the model");
            losses.push((kind, lost));
        }
        // How much a format loses depends on the weights; that more bits lose less does not.
        let lost = |wanted| losses.iter().find(|(kind, _)| *kind == wanted).unwrap().1;
        for (more, fewer) in [
            (QuantType::Q8_0, QuantType::Q4_0),
            (QuantType::Q6K, QuantType::Q2K),
            (QuantType::Q6K, QuantType::Q3K),
        ] {
            assert!(lost(more) < lost(fewer), "{family}: {more} loses more than {fewer}");
        }
    }
}

/// The tokens of some requests, in order, with at most `at_once` running.
fn tokens(mut config: EngineConfig, kv: &str, at_once: usize) -> Vec<Vec<u32>> {
    config.kv = kv.parse().unwrap();
    config.max_sequences = at_once;
    let mut engine = Engine::load(&config).unwrap();
    let requests = (0..6u32).map(|request| {
        let prompt = (0..5 + 4 * request).map(|i| (i * 17 + request * 3) % 320).collect();
        Request::exactly(prompt, 8)
    });
    let ids: Vec<RequestId> = requests.map(|request| engine.submit(request).unwrap()).collect();
    let mut tokens = vec![Vec::new(); ids.len()];
    while !engine.is_idle() {
        for event in engine.step().events {
            if let Event::Token { request, token, .. } = event {
                tokens[ids.iter().position(|id| *id == request).unwrap()].push(token);
            }
        }
    }
    tokens
}

#[test]
fn paged_is_contiguous_and_a_batch_is_one_after_the_other() {
    for family in FAMILIES {
        let plain = folder(family, None);
        for kind in QuantType::ALL {
            let config = engine_config(plain.path(), uniform(kind));
            let expected = tokens(config.clone(), "contiguous", 1);
            assert!(expected.iter().all(|tokens| tokens.len() == 8));
            for (kv, at_once) in [("contiguous", 6), ("paged-16", 1), ("paged-16", 6)] {
                let found = tokens(config.clone(), kv, at_once);
                assert_eq!(found, expected, "{family} in {kind}: {kv}, {at_once} at once");
            }
        }
    }
}

/// Formats of the model in `plan`, as text: format, format asked for, tensors.
fn formats(path: &Path, plan: QuantPlan) -> Vec<String> {
    let engine = engine(path, plan);
    let formats = &engine.loaded().formats;
    assert_eq!(formats.iter().map(|held| held.bytes).sum::<u64>(), engine.footprint().weights);
    let text = formats.iter().map(|held| {
        let instead = held.instead_of.map_or(String::new(), |kind| format!(" for {kind}"));
        format!("{}{instead}: {}", held.format, held.tensors)
    });
    text.collect()
}

#[test]
fn a_plan_treats_layers_embedding_and_head_apart() {
    let plain = folder("LlamaForCausalLM", None);
    let q4k = Quant::Blocks(QuantType::Q4K);
    let of = |plan| formats(plain.path(), plan);
    // Seven matrices per layer, embedding, head; five norms.
    assert_eq!(of(QuantPlan::DENSE), ["f32: 21"]);
    assert_eq!(of(uniform(QuantType::Q4K)), ["q4k: 16", "f32: 5"]);
    let apart = QuantPlan {
        embedding: Some(Quant::Dense),
        head: Some(Quant::Blocks(QuantType::Q8_0)),
        ..QuantPlan::uniform(q4k)
    };
    assert_eq!(of(apart), ["q4k: 14", "f32: 6", "q8_0: 1"]);
    let second = LayerQuant { layers: 1..2, quant: q4k };
    assert_eq!(of(QuantPlan { layers: vec![second], ..QuantPlan::DENSE }), ["f32: 14", "q4k: 7"]);
}

#[test]
fn routers_stay_dense_and_a_tied_matrix_is_one() {
    let moe = folder("Qwen3MoeForCausalLM", None);
    // Four matrices of attention and twelve of experts per layer, embedding and head; nine norms
    // and two routers.
    assert_eq!(formats(moe.path(), uniform(QuantType::Q6K)), ["q6k: 34", "f32: 11"]);
    let tied = folder("Gemma2ForCausalLM", None);
    let head = QuantPlan { head: Some(Quant::Blocks(QuantType::Q8_0)), ..QuantPlan::DENSE };
    assert_eq!(formats(tied.path(), head), ["f32: 23", "q8_0: 1"]);
}

#[test]
fn what_does_not_fit_is_told() {
    let preset = ModelSource::Preset { name: "tiny-llama".into(), seed: 1 };
    let config =
        EngineConfig { model: preset, ..engine_config(Path::new(""), uniform(QuantType::Q4K)) };
    // Rows of 128 or 352 do not fit blocks of 256.
    let engine = Engine::load(&config).unwrap();
    let formats = &engine.loaded().formats;
    assert_eq!(formats[0].format, Format::Blocks(QuantType::Q4_1));
    assert_eq!(formats[0].instead_of, Some(QuantType::Q4K));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/qwen3_tied");
    // Rows of 48 fit no blocks at all.
    let engine = Engine::load(&engine_config(Path::new(golden), uniform(QuantType::Q8_0))).unwrap();
    let dense = engine.loaded().formats.iter().find(|held| held.instead_of.is_some()).unwrap();
    assert_eq!(dense.format, Format::Floats(DType::F32));
    assert_eq!(dense.instead_of, Some(QuantType::Q8_0));
}

/// Stored in blocks, as in a GGUF file.
struct Blocks(Random);

impl Source for Blocks {
    fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> windtunnel_engine::Result<Tensor> {
        self.0.tensor(name, shape, dtype, device)
    }

    fn has(&self, _: &str) -> bool {
        true
    }

    fn quant(&self, name: &str) -> Option<QuantType> {
        name.contains("proj").then_some(QuantType::Q5_0)
    }
}

#[test]
fn blocks_are_kept_as_they_are_stored_and_not_quantised_twice() {
    let text = config("LlamaForCausalLM").to_string();
    let file = ConfigFile::parse("config.json", &text).unwrap();
    let source = Blocks(Random::new(5));
    let load = |quant: &QuantPlan, topology: &Topology| {
        let (placement, tally) = (Placement::cpu(), Tally::default());
        let formats = Formats { dtype: DType::F32, quant, topology };
        let weights = formats.of(&source, &placement, &tally);
        let loaded = (find(MODELS, &file).unwrap().load)(&file, &weights).map(|_| ());
        loaded.map(|()| tally.formats())
    };
    let formats = load(&QuantPlan::DENSE, &Topology::NONE).unwrap();
    let blocks = formats.iter().find(|held| held.format == Format::Blocks(QuantType::Q5_0));
    assert_eq!(blocks.unwrap().tensors, 14);
    assert_snapshot!(load(&uniform(QuantType::Q4K), &Topology::NONE).unwrap_err(), @"tensor `model.layers.0.self_attn.q_proj.weight` is already stored in q5_0 and cannot be quantised again to q4k; leave out `quant`, or load unquantised weights");
    let second = Topology::parse("mine.yaml", "1: { isq: Q8_0 }").unwrap();
    assert_snapshot!(load(&QuantPlan::DENSE, &second).unwrap_err(), @"tensor `model.layers.1.self_attn.q_proj.weight` is already stored in q5_0 and cannot be quantised again to q8_0; leave out its `isq` in the topology, or load unquantised weights");
}

#[test]
fn a_quantisation_survives_the_configuration_and_a_wrong_one_is_named() {
    let plan = QuantPlan {
        embedding: Some(Quant::Dense),
        layers: vec![LayerQuant { layers: 1..2, quant: Quant::Blocks(QuantType::Q8_0) }],
        ..uniform(QuantType::Q4K)
    };
    let config = engine_config(Path::new("somewhere"), plan);
    let mut json = serde_json::to_value(&config).unwrap();
    assert_eq!(serde_json::from_value::<EngineConfig>(json.clone()).unwrap(), config);
    json["quant"]["weights"] = "q4j".into();
    assert_snapshot!(serde_json::from_value::<EngineConfig>(json).unwrap_err(), @"`q4j` is not a quantisation; write `none`, one of `q4_0`, `q4_1`, `q5_0`, `q5_1`, `q8_0`, `q2k`, `q3k`, `q4k`, `q5k`, `q6k`, or bits: `2`, `3`, `4`, `5`, `6` or `8`");
}

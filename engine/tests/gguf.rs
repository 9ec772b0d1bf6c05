//! GGUF files against the references that their models come from.
//!
//! `tests/gguf/*.gguf` were written with the Python package (`tools/make_gguf.py`), which others
//! wrote. As floats they must give the reference's numbers within its tolerance, and in blocks
//! within what the format loses.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use windtunnel_engine::attention::{Mask, backends_for};
use windtunnel_engine::models::{Sketch, sketch};
use windtunnel_engine::weights::Gguf;
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Error, ModelSource, PrefixCache, QuantPlan,
    Topology, score,
};

/// Each file of floats, with the folder of its reference.
const CASES: &[(&str, &str)] = &[
    ("gemma2_bf16weights", "golden/gemma2_bf16weights"),
    ("gemma3_text", "golden/gemma3_text"),
    ("llama_rope_llama3", "golden/llama_rope_llama3"),
    ("mixtral", "references/mixtral"),
    ("phi3_longrope", "golden/phi3_longrope"),
    ("qwen2_tied_window8", "golden/qwen2_tied_window8"),
    ("qwen3_moe", "golden/qwen3_moe"),
    ("qwen3_yarn_v5config", "golden/qwen3_yarn_v5config"),
    ("starcoder2", "references/starcoder2"),
];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn file(name: &str) -> PathBuf {
    tests().join("gguf").join(format!("{name}.gguf"))
}

fn config(path: &Path) -> EngineConfig {
    EngineConfig {
        model: ModelSource::Gguf { path: path.into() },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: 7,
        max_sequences: 1,
        max_sequence_length: Some(64),
    }
}

/// Prompt, logits at each of its positions, and greedy continuation.
struct Reference {
    prompt: Vec<u32>,
    logits: Vec<Vec<f32>>,
    greedy: Vec<u32>,
    tolerance: f32,
}

impl Reference {
    fn read(folder: &str) -> Self {
        let folder = tests().join(folder);
        let tensors: HashMap<String, Tensor> =
            candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu)
                .unwrap();
        let ids = |name: &str| {
            let ids: Vec<i64> = tensors[name].flatten_all().unwrap().to_vec1().unwrap();
            ids.into_iter().map(|id| id as u32).collect()
        };
        let about = std::fs::read_to_string(folder.join("golden.json")).ok();
        let about: Option<serde_json::Value> =
            about.map(|text| serde_json::from_str(&text).unwrap());
        let logits = tensors["logits"].squeeze(0).unwrap().to_vec2().unwrap();
        // Those made with our own tool state no tolerance: it is 1e-5 of the largest.
        let stated = about.map(|about| about["tensors"]["logits"]["atol"].as_f64().unwrap() as f32);
        let tolerance = stated.unwrap_or_else(|| largest(&logits) * 1e-5);
        Self { prompt: ids("input_ids"), logits, greedy: ids("greedy_ids"), tolerance }
    }

    /// The largest error of a logit, and the continuation.
    fn hold(&self, config: &EngineConfig) -> (f32, Vec<u32>) {
        let mut engine = Engine::load(config).unwrap();
        let mut worst = 0.0f32;
        let mut seen = 0;
        let tokens = score(&mut engine, self.prompt.clone(), self.greedy.len(), &mut |at, row| {
            let Some(expected) = self.logits.get(at) else { return };
            assert_eq!(row.len(), expected.len());
            seen += 1;
            for (found, expected) in row.iter().zip(expected) {
                let error = (found - expected).abs();
                worst = if error.is_nan() { f32::INFINITY } else { worst.max(error) };
            }
        });
        assert!(seen >= self.logits.len(), "every position is seen");
        (worst, tokens.unwrap())
    }
}

fn largest(rows: &[Vec<f32>]) -> f32 {
    rows.iter().flatten().fold(0.0, |largest, x| largest.max(x.abs()))
}

#[test]
fn in_floats_every_architecture_gives_the_numbers_of_its_reference_on_every_backend() {
    for (name, folder) in CASES {
        let reference = Reference::read(folder);
        for backend in backends_for(&Device::Cpu) {
            let attention = Choice::Named(backend.name().into());
            let (worst, tokens) =
                reference.hold(&EngineConfig { attention, ..config(&file(name)) });
            let (allowed, backend) = (reference.tolerance, backend.name());
            assert!(worst <= allowed, "{name} {backend}: off by {worst:e}, allowed {allowed:e}");
            assert_eq!(tokens, reference.greedy, "{name} {backend}: continuation");
        }
    }
}

#[test]
fn every_known_architecture_has_a_case() {
    let mut found: Vec<String> = CASES.iter().map(|(name, _)| architecture(&file(name))).collect();
    found.sort();
    found.dedup();
    let known = ["gemma2", "gemma3", "llama", "phi3", "qwen2", "qwen3", "qwen3moe", "starcoder2"];
    assert_eq!(found, known);
}

fn architecture(path: &Path) -> String {
    let content = gguf_file::Content::read(&mut File::open(path).unwrap()).unwrap();
    content.metadata["general.architecture"].to_string().unwrap().clone()
}

/// New values of keys; `None` removes a key.
type Changes<'a> = &'a [(&'a str, Option<gguf_file::Value>)];

/// What the file `name` implies with `changes` to its metadata.
fn changed(name: &str, changes: Changes<'_>) -> Sketch {
    sketch(opened(name, changes).unwrap().config()).unwrap()
}

/// The configuration derived from the file `name` with `changes` to its metadata.
fn configuration(name: &str, changes: Changes<'_>) -> serde_json::Value {
    opened(name, changes).unwrap().config().keys().unwrap()
}

fn opened(name: &str, changes: Changes<'_>) -> Result<Gguf, Error> {
    let mut from = File::open(file(name)).unwrap();
    let mut content = gguf_file::Content::read(&mut from).unwrap();
    for (key, value) in changes {
        content.metadata.remove(*key);
        content.metadata.extend(value.clone().map(|value| ((*key).to_owned(), value)));
    }
    let tensor = |name: &String| content.tensor(&mut from, name, &Device::Cpu).unwrap();
    let tensors: Vec<QTensor> = content.tensor_infos.keys().map(tensor).collect();
    let tensors: Vec<(&str, &QTensor)> =
        content.tensor_infos.keys().map(|name| &name[..]).zip(&tensors).collect();
    let metadata: Vec<_> = content.metadata.iter().map(|(key, value)| (&key[..], value)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    gguf_file::write(&mut File::create(&path).unwrap(), &metadata, &tensors).unwrap();
    Gguf::open(&path)
}

#[test]
fn yarn_lengthens_the_longest_sequence_of_a_file() {
    let context = |length| ("qwen3.context_length", Some(gguf_file::Value::U32(length)));
    assert_eq!(changed("qwen3_yarn_v5config", &[context(32)]).positions, 128);
    assert_eq!(changed("qwen3_yarn_v5config", &[context(256)]).positions, 256);
}

#[test]
fn gemma_3_has_no_window_that_its_file_does_not_state() {
    for window in [None, Some(gguf_file::Value::U32(0))] {
        let heads = changed("gemma3_text", &[("gemma3.attention.sliding_window", window)]).heads;
        assert_eq!(heads.masks, [Mask::Causal; 4]);
    }
    let heads = changed("gemma2_bf16weights", &[("gemma2.attention.sliding_window", None)]).heads;
    assert_eq!(heads.masks[0], Mask::SlidingWindow(4096));
}

#[test]
fn gemma_3_turns_by_the_bases_of_its_file_whoever_wrote_it() {
    let float = |value| Some(gguf_file::Value::F32(value));
    let bases = |changes: Changes<'_>| {
        let config = configuration("gemma3_text", changes);
        (config["rope_theta"].as_f64(), config["rope_local_base_freq"].as_f64())
    };
    let usual: (&str, Option<gguf_file::Value>) = ("gemma3.rope.freq_base", None);
    let global = ("gemma3.rope.global.freq_base", float(5e5));
    let local = ("gemma3.rope.local.freq_base", float(2e4));
    assert_eq!(bases(&[]), (Some(1e6), None));
    assert_eq!(bases(&[usual.clone(), global.clone()]), (Some(5e5), None));
    assert_eq!(bases(&[usual.clone(), global.clone(), local.clone()]), (Some(5e5), Some(2e4)));
    let swa = ("gemma3.rope.freq_base_swa", float(3e4));
    assert_eq!(bases(&[global, local, swa]), (Some(1e6), Some(3e4)));
    let message = opened("gemma3_text", &[usual]).err().unwrap().to_string();
    assert!(message.contains("has no key `gemma3.rope.global.freq_base`"), "{message}");
}

#[test]
fn positions_are_stretched_as_llama_cpp_stretches_them() {
    let scaling = |name: &str, keys: &[(&str, f32)], kind: Option<&str>| {
        let architecture = architecture(&file(name));
        let named = |(key, value): &(&str, f32)| {
            (format!("{architecture}.rope.{key}"), Some(gguf_file::Value::F32(*value)))
        };
        let mut changes: Vec<_> = keys.iter().map(named).collect();
        let kind = kind.map(|kind| gguf_file::Value::String(kind.into()));
        changes.push((format!("{architecture}.rope.scaling.type"), kind));
        let changes: Vec<_> = changes.iter().map(|(key, v)| (&key[..], v.clone())).collect();
        configuration(name, &changes)["rope_scaling"].clone()
    };
    let plain = |keys: &[(&str, f32)], kind| scaling("qwen2_tied_window8", keys, kind);
    let none = serde_json::Value::Null;
    let linear = serde_json::json!({ "rope_type": "linear", "factor": 8.0 });
    let (new, old) = (("scaling.factor", 8.0), ("scale_linear", 8.0));
    for kind in [None, Some("linear")] {
        assert_eq!(plain(&[new], kind), linear);
        assert_eq!(plain(&[old], kind), linear);
        assert_eq!(plain(&[new, ("scale_linear", 2.0)], kind), linear);
        for whole in [0.0, 1.0] {
            assert_eq!(plain(&[("scaling.factor", whole)], kind), none);
        }
        assert_eq!(plain(&[], kind), none);
    }
    assert_eq!(plain(&[new, old], Some("none")), none);
    assert_eq!(plain(&[("scaling.factor", 0.0)], Some("yarn"))["factor"], 1.0);
    assert_eq!(plain(&[new], Some("yarn"))["factor"], 8.0);
    let original = plain(&[new, ("scaling.original_context_length", 0.0)], Some("yarn"));
    assert_eq!(original["original_max_position_embeddings"], none);
    // All of these also have divisors of single frequencies.
    let divided = |keys: &[(&str, f32)], kind| {
        let scaling = scaling("llama_rope_llama3", keys, kind);
        assert_eq!(scaling["rope_type"], "divided");
        scaling["factor"].as_f64()
    };
    assert_eq!(divided(&[], None), Some(1.0));
    assert_eq!(divided(&[new], None), Some(8.0));
    assert_eq!(divided(&[new], Some("none")), Some(1.0));
}

/// The file `name` with every matrix whose rows fit quantised as `kind`, written by candle.
fn requantised(name: &str, kind: GgmlDType, to: &Path) {
    let mut from = File::open(file(name)).unwrap();
    let content = gguf_file::Content::read(&mut from).unwrap();
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    let tensors: Vec<(&str, QTensor)> = names
        .into_iter()
        .map(|name| {
            let tensor = content.tensor(&mut from, name, &Device::Cpu).unwrap();
            let dims = tensor.shape().dims().to_vec();
            let fits = dims[dims.len() - 1].is_multiple_of(kind.block_size());
            let small = dims.len() == 1 || name.contains("ffn_gate_inp");
            let tensor = match fits && !small {
                true => QTensor::quantize(&tensor.dequantize(&Device::Cpu).unwrap(), kind).unwrap(),
                false => tensor,
            };
            (&name[..], tensor)
        })
        .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, t)| (*name, t)).collect();
    let metadata: Vec<_> = content.metadata.iter().map(|(key, value)| (&key[..], value)).collect();
    gguf_file::write(&mut File::create(to).unwrap(), &metadata, &tensors).unwrap();
}

/// What each format may lose, as a fraction of the largest logit: somewhat more than the worst of
/// these models, which are tiny and random and forgive little (bf16 loses up to a tenth on them).
/// That blocks are read correctly is tested elsewhere, exactly; this catches a matrix in the wrong
/// place.
const LOSSES: &[(GgmlDType, f32)] = &[
    (GgmlDType::Q8_0, 0.1),
    (GgmlDType::Q5_1, 0.5),
    (GgmlDType::Q5_0, 0.5),
    (GgmlDType::Q4_1, 1.5),
    (GgmlDType::Q4_0, 1.5),
];

/// Whether a model routes to experts. Near ties, any rounding makes it choose others.
fn routed(name: &str) -> bool {
    name.contains("moe") || name == "mixtral"
}

#[test]
fn in_blocks_every_architecture_stays_within_what_the_format_loses() {
    let folder = tempfile::tempdir().unwrap();
    for (name, reference) in CASES.iter().filter(|(name, _)| !routed(name)) {
        let reference = Reference::read(reference);
        for (kind, loss) in LOSSES {
            let path = folder.path().join("model.gguf");
            requantised(name, *kind, &path);
            let share = reference.hold(&config(&path)).0 / largest(&reference.logits);
            assert!(share <= *loss, "{name} in {kind:?}: off by {share}, allowed {loss}");
        }
    }
}

#[test]
fn a_file_of_blocks_in_two_parts_stays_in_blocks() {
    let reference = Reference::read("golden/llama_gqa");
    // Either part opens both.
    for part in ["llama_gqa-00001-of-00002", "llama_gqa-00002-of-00002"] {
        let config = config(&file(part));
        let share = reference.hold(&config).0 / largest(&reference.logits);
        assert!(share > 0.0 && share <= 0.1, "off by {share}");
        // 34 bytes per 32 numbers, except for the norms.
        let weights = Engine::load(&config).unwrap().footprint().weights;
        assert_eq!(weights, (94_528 - 320) * 34 / 32 + 320 * 4);
    }
}

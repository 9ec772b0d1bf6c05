//! The memory that loading takes, beyond that of the loaded weights.
//!
//! The only test of this file, so that nothing else allocates meanwhile: the kernel counts the
//! whole process.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use tempfile::TempDir;
use windtunnel_engine::models::config::ConfigFile;
use windtunnel_engine::models::{MODELS, find};
use windtunnel_engine::placement::Placement;
use windtunnel_engine::weights::{Outline, Source, Tally, Weights};
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, ModelSource, PrefixCache, Quant, QuantPlan,
    QuantType, Topology,
};

const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 1024,
    "intermediate_size": 2816, "num_hidden_layers": 3, "num_attention_heads": 16,
    "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "tie_word_embeddings": true, "vocab_size": 32000, "max_position_embeddings": 64
}"#;

/// Records names and shapes.
#[derive(Default)]
struct Names(Mutex<Vec<(String, Vec<usize>)>>);

impl Source for Names {
    fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> windtunnel_engine::Result<Tensor> {
        self.0.lock().unwrap().push((name.into(), shape.into()));
        Outline::default().tensor(name, shape, dtype, device)
    }

    fn has(&self, _: &str) -> bool {
        true
    }
}

/// A folder with a model whose numbers are all 0 and take no space on disk.
fn folder(stored: &str, width: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    let file = ConfigFile::parse("config.json", CONFIG).unwrap();
    let (names, placement, tally) = (Names::default(), Placement::cpu(), Tally::default());
    let weights = Weights::new(&names, &placement, DType::F32, &tally);
    (find(MODELS, &file).unwrap().load)(&file, &weights).unwrap();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in names.0.into_inner().unwrap() {
        let start = end;
        end += shape.iter().product::<usize>() * width;
        let entry = json!({"dtype": stored, "shape": shape, "data_offsets": [start, end]});
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(folder.path().join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    folder
}

/// The bytes under this key of `/proc/self/status`.
fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>().unwrap() * 1024
}

/// How far the peak resident set exceeded `before` while the model was loaded, relative to the
/// bytes of its weights.
fn overhead(folder: &TempDir, dtype: Dtype, quant: QuantPlan, before: u64) -> f64 {
    // Resets the kernel's peak.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let engine = Engine::load(&EngineConfig {
        model: ModelSource::Folder { path: folder.path().into() },
        dtype,
        quant,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: 64,
        max_sequences: 1,
        max_sequence_length: Some(64),
    })
    .unwrap();
    let grown = status("VmHWM").saturating_sub(before);
    grown as f64 / engine.footprint().weights as f64
}

#[test]
fn files_do_not_lie_in_memory_beside_the_weights() {
    let (wide, narrow) = (folder("F32", 4), folder("BF16", 2));
    let blocks = QuantPlan::uniform(Quant::Blocks(QuantType::Q8_0));
    let before = status("VmRSS");
    // Small ones first: what the allocator keeps from one is reused by the next.
    for (what, folder, dtype, quant, allowed) in [
        // The weights are a quarter as large, so the piece that is in floats counts.
        ("f32 as q8_0", &wide, Dtype::F32, blocks, 1.5),
        ("f32 as bf16", &wide, Dtype::Bf16, QuantPlan::DENSE, 1.35),
        ("bf16 as f32", &narrow, Dtype::F32, QuantPlan::DENSE, 1.1),
        ("f32 as f32", &wide, Dtype::F32, QuantPlan::DENSE, 1.1),
    ] {
        let overhead = overhead(folder, dtype, quant, before);
        assert!(overhead > 0.95 && overhead < allowed, "{what}: {overhead:.3} × the weights");
    }
}

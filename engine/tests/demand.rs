//! What a step asks of the machine, against what the checkpoint's own tensors imply.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use windtunnel_engine::{
    Choice, CudaGraphs, Demand, Dtype, Engine, EngineConfig, ModelSource, PrefixCache, QuantPlan,
    Request, Topology,
};

const PROMPT: usize = 11;
const OUTPUT: usize = 4;

/// Folders of models, dense and MoE, tied and untied, with a window and without.
const FOLDERS: [&str; 5] =
    ["llama_gqa", "mistral_window8", "qwen2_untied_sharded", "qwen3_moe", "qwen3_tied"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A model's configuration and the sizes of its matrices.
struct Model {
    config: Value,
    matrices: HashMap<String, usize>,
}

impl Model {
    fn read(name: &str) -> Self {
        let config = std::fs::read_to_string(folder(name).join("config.json")).unwrap();
        let mut matrices = HashMap::new();
        for entry in std::fs::read_dir(folder(name)).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            if file.starts_with("model") && file.ends_with(".safetensors") {
                let tensors: HashMap<String, Tensor> =
                    candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
                let two = tensors.into_iter().filter(|(_, tensor)| tensor.rank() == 2);
                matrices.extend(two.map(|(name, tensor)| (name, tensor.elem_count())));
            }
        }
        Self { config: serde_json::from_str(&config).unwrap(), matrices }
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.config[key].as_u64().map(|number| number as usize)
    }

    /// Numbers in the matrices that one token passes through.
    fn met(&self) -> usize {
        let tied = self.config["tie_word_embeddings"] == true;
        let experts = self.number("num_experts").unwrap_or(1);
        let asked = self.number("num_experts_per_tok").unwrap_or(1);
        let numbers = |(name, numbers): (&String, &usize)| match &name[..] {
            name if name.contains(".experts.") => numbers * asked / experts,
            // It is looked up, and multiplied only if it is also the head.
            name if name.contains("embed_tokens") && !tied => 0,
            "lm_head.weight" if tied => 0,
            _ => *numbers,
        };
        self.matrices.iter().map(numbers).sum()
    }

    /// Keys that a decode sees with `keys` in the cache, over all layers.
    fn keys(&self, keys: usize) -> usize {
        let window = self.number("sliding_window");
        let window = window.filter(|_| self.config["use_sliding_window"] != false);
        let seen = window.map_or(keys, |window| keys.min(window));
        seen * self.number("num_hidden_layers").unwrap()
    }

    fn dim(&self) -> usize {
        let heads = self.number("num_attention_heads").unwrap();
        self.number("head_dim").unwrap_or_else(|| self.number("hidden_size").unwrap() / heads)
    }

    /// The demand of one request's decodes, with `bytes` for the matrices that a token passes
    /// through.
    fn decodes(&self, bytes: u64) -> Demand {
        let heads = self.number("num_attention_heads").unwrap();
        let kv_heads = self.number("num_key_value_heads").unwrap();
        let mut all = Demand::default();
        for keys in PROMPT + 1..PROMPT + OUTPUT {
            let cache = 2 * self.keys(keys) * kv_heads * self.dim() * size_of::<f32>();
            all.bytes += bytes + cache as u64;
            all.flops += (2 * self.met() + 4 * self.keys(keys) * heads * self.dim()) as u64;
        }
        all
    }
}

fn measured(name: &str, quant: QuantPlan) -> (u64, Demand) {
    let mut engine = Engine::load(&EngineConfig {
        model: ModelSource::Folder { path: folder(name) },
        dtype: Dtype::F32,
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
        max_sequence_length: Some(32),
    })
    .unwrap();
    engine.submit(Request::exactly((4..4 + PROMPT as u32).collect(), OUTPUT)).unwrap();
    while !engine.is_idle() {
        engine.step();
    }
    let stats = engine.stats();
    assert_eq!(stats.prefills.tokens, PROMPT as u64);
    assert!(stats.prefills.demand.flops > stats.decodes.demand.flops, "{name}");
    (stats.decodes.tokens, stats.decodes.demand)
}

#[test]
fn a_decode_asks_for_the_matrices_that_it_meets_and_the_keys_that_it_sees() {
    for name in FOLDERS {
        let model = Model::read(name);
        let expected = model.decodes((model.met() * size_of::<f32>()) as u64);
        assert_eq!(measured(name, QuantPlan::DENSE), (OUTPUT as u64 - 1, expected), "{name}");
    }
}

#[test]
fn blocks_are_read_as_they_are_stored() {
    let model = Model::read("llama_gqa");
    // 34 bytes for 32 numbers.
    let expected = model.decodes((model.met() * 34 / 32) as u64);
    let (_, demand) = measured("llama_gqa", QuantPlan::uniform("q8_0".parse().unwrap()));
    assert_eq!(demand, expected);
}

//! The model architectures that GGUF files hold, and what each states beyond what all do.

use serde_json::{Map, Value, json};

use super::GgufError;
use super::config::Keys;

/// A model architecture.
#[derive(Debug)]
pub(super) struct Architecture {
    /// Its name in `general.architecture`.
    pub(super) name: &'static str,
    /// Its norms.
    pub(super) norms: Norms,
    /// The rows of its query and key matrices.
    pub(super) rows: Rows,
    /// Writes the keys that its family on the hub has beyond those of all decoders, and returns the
    /// family's name.
    pub(super) own: fn(&Keys<'_>, &mut Map<String, Value>) -> Result<&'static str, GgufError>,
}

/// The norms of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    /// One before each block.
    Before,
    /// One before and one after each block, all stored with 1 added.
    AroundPlusOne,
}

/// The order of the rows of query and key matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// As on the hub.
    Kept,
    /// Rows that rotate together are neighbours, because llama.cpp rotates neighbours in these
    /// models. Loading puts them back: rows are whole blocks of bytes however they are quantised,
    /// so that costs one copy, while rotating neighbours would cost every step.
    Interleaved,
}

/// Every architecture that can be loaded.
pub(super) const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "gemma2", norms: Norms::AroundPlusOne, rows: Rows::Kept, own: gemma2 },
    Architecture { name: "gemma3", norms: Norms::AroundPlusOne, rows: Rows::Kept, own: gemma3 },
    Architecture { name: "llama", norms: Norms::Before, rows: Rows::Interleaved, own: llama },
    Architecture { name: "phi3", norms: Norms::Before, rows: Rows::Kept, own: phi3 },
    Architecture { name: "qwen2", norms: Norms::Before, rows: Rows::Kept, own: qwen2 },
    Architecture { name: "qwen3", norms: Norms::Before, rows: Rows::Kept, own: qwen3 },
    Architecture { name: "qwen3moe", norms: Norms::Before, rows: Rows::Kept, own: qwen3_moe },
    Architecture { name: "starcoder2", norms: Norms::Before, rows: Rows::Kept, own: starcoder2 },
];

/// Llama and models built like it: Mistral, Mixtral.
fn llama(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<&'static str, GgufError> {
    keys.whole_heads_turn()?;
    let windowed = config.get("sliding_window").is_some_and(|window| !window.is_null());
    if keys.get::<u64>("expert_count")?.is_some_and(|experts| experts > 0) {
        set(config, "num_local_experts", keys.need::<u64>("expert_count")?);
        set(config, "num_experts_per_tok", keys.need::<u64>("expert_used_count")?);
        return Ok("MixtralForCausalLM");
    }
    set(config, "attention_bias", keys.has("blk.0.attn_q.bias"));
    set(config, "mlp_bias", keys.has("blk.0.ffn_up.bias"));
    Ok(if windowed { "MistralForCausalLM" } else { "LlamaForCausalLM" })
}

fn qwen2(_: &Keys<'_>, config: &mut Map<String, Value>) -> Result<&'static str, GgufError> {
    every_layer_windowed(config);
    Ok("Qwen2ForCausalLM")
}

fn qwen3(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<&'static str, GgufError> {
    every_layer_windowed(config);
    set(config, "attention_bias", keys.has("blk.0.attn_q.bias"));
    Ok("Qwen3ForCausalLM")
}

fn qwen3_moe(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<&'static str, GgufError> {
    qwen3(keys, config)?;
    set(config, "num_experts", keys.need::<u64>("expert_count")?);
    set(config, "num_experts_per_tok", keys.need::<u64>("expert_used_count")?);
    set(config, "moe_intermediate_size", keys.need::<u64>("expert_feed_forward_length")?);
    set(config, "norm_topk_prob", keys.get("expert_weights_norm")?.unwrap_or(true));
    let dense = |layer: &u64| keys.has(&format!("blk.{layer}.ffn_gate.weight"));
    set(config, "mlp_only_layers", keys.layers()?.filter(dense).collect::<Vec<_>>());
    Ok("Qwen3MoeForCausalLM")
}

fn gemma2(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<&'static str, GgufError> {
    gemma(keys, config, 46)?;
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = keys.get::<f64>(key)? {
            set(config, key, cap);
        }
    }
    Ok("Gemma2ForCausalLM")
}

fn gemma3(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<&'static str, GgufError> {
    gemma(keys, config, 62)?;
    // A missing key means no window in GGUF, but the default one on the hub.
    config.entry("sliding_window").or_insert(Value::Null);
    // Ollama's files have separate bases for the layers without a window and with it.
    if keys.get::<f64>("rope.freq_base")?.is_none() {
        set(config, "rope_theta", keys.need::<f64>("rope.global.freq_base")?);
    }
    let local = match keys.get::<f64>("rope.freq_base_swa")? {
        None => keys.get("rope.local.freq_base")?,
        stated => stated,
    };
    if let Some(base) = local {
        set(config, "rope_local_base_freq", base);
    }
    if let Some(cap) = keys.get::<f64>("final_logit_softcapping")? {
        set(config, "final_logit_softcapping", cap);
    }
    Ok("Gemma3ForCausalLM")
}

/// What all Gemmas share. Files do not state the divisor of the scores: it is the head dim, except
/// in the largest models, which have `layers` layers.
fn gemma(keys: &Keys<'_>, config: &mut Map<String, Value>, layers: u64) -> Result<(), GgufError> {
    let scalar = match keys.get::<f64>("attention.scale")? {
        Some(scale) => scale.powi(-2),
        None if keys.need::<u64>("block_count")? == layers => {
            let heads: u64 = keys.need("attention.head_count")?;
            keys.need::<u64>("embedding_length")? as f64 / heads as f64
        }
        None => keys.head_dim()? as f64,
    };
    set(config, "query_pre_attn_scalar", scalar);
    set(config, "attention_bias", keys.has("blk.0.attn_q.bias"));
    Ok(())
}

fn phi3(_: &Keys<'_>, _: &mut Map<String, Value>) -> Result<&'static str, GgufError> {
    Ok("Phi3ForCausalLM")
}

fn starcoder2(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<&'static str, GgufError> {
    set(config, "use_bias", keys.has("blk.0.attn_q.bias"));
    Ok("Starcoder2ForCausalLM")
}

/// In GGUF a window applies to all layers unless the file says otherwise; the Qwens need to be
/// told.
fn every_layer_windowed(config: &mut Map<String, Value>) {
    let windowed = config.get("sliding_window").is_some_and(|window| !window.is_null());
    set(config, "use_sliding_window", windowed);
    set(config, "max_window_layers", 0);
}

fn set(config: &mut Map<String, Value>, key: &str, value: impl serde::Serialize) {
    config.insert(key.into(), json!(value));
}

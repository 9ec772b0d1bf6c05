//! Qwen 1.5 and 2 MoE: Qwen 2's attention, with experts in most layers, and one that all tokens
//! share.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use super::qwen2::{self, WindowKeys};
use crate::attention::Mask;
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Decoder, DecoderConfig, FeedForwardConfig};
use crate::layers::mlp::{MlpConfig, MlpForm};
use crate::layers::moe::{MoeConfig, Shares};
use crate::layers::self_attention::Projections;
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    num_experts: Option<usize>,
    /// Name of `num_experts` in the Qwen 3 files that transformers 5 saves.
    num_local_experts: Option<usize>,
    num_experts_per_tok: usize,
    moe_intermediate_size: usize,
    #[serde(default)]
    norm_topk_prob: bool,
    /// One layer in this many has experts.
    decoder_sparse_step: Option<usize>,
    #[serde(default)]
    mlp_only_layers: Vec<usize>,
}

impl Keys {
    /// Number of experts, under either of its keys.
    fn experts(&self) -> Result<usize, String> {
        match (self.num_experts, self.num_local_experts) {
            (Some(one), Some(other)) if one != other => Err(format!(
                "`num_experts` is {one} and `num_local_experts` {other}; remove the wrong one"
            )),
            (one, other) => one.or(other).ok_or_else(|| "missing field `num_experts`".into()),
        }
    }
}

/// Keys that Qwen 3 dropped. Missing keys mean the reference's defaults.
#[derive(Deserialize)]
#[serde(default)]
struct OldKeys {
    /// Width of the shared expert; 0 if there is none.
    shared_expert_intermediate_size: usize,
    qkv_bias: bool,
}

impl Default for OldKeys {
    fn default() -> Self {
        Self { shared_expert_intermediate_size: 5632, qkv_bias: true }
    }
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let keys: DecoderKeys = file.keys()?;
    let old: OldKeys = file.keys()?;
    let shared = Some(old.shared_expert_intermediate_size).filter(|width| *width > 0);
    let plain = qwen2::decoder(file, &keys, masks(file, &keys)?)?;
    let qkv_bias = Bias::from_key(old.qkv_bias);
    let projections = Projections { qkv_bias, ..plain.projections };
    let config = with_experts(file, &keys, DecoderConfig { projections, ..plain }, shared)?;
    Ok(Box::new(Decoder::load(config, weights)?))
}

/// Unlike in Qwen 2, every other layer *below* `max_window_layers` has the window.
fn masks(file: &ConfigFile, keys: &DecoderKeys) -> Result<Vec<Mask>> {
    let own: WindowKeys = file.keys()?;
    keys.masks(file, own.window(), |layer| layer.is_multiple_of(2) && layer < own.lower_layers())
}

/// `config` with experts in the layers that have them, beside a shared one of width `shared`.
pub(super) fn with_experts(
    file: &ConfigFile,
    keys: &DecoderKeys,
    mut config: DecoderConfig,
    shared: Option<usize>,
) -> Result<DecoderConfig> {
    let own: Keys = file.keys()?;
    let activation = keys.activation(file, Activation::Silu)?;
    let mlp = |intermediate| MlpConfig {
        form: MlpForm::GATED,
        intermediate,
        activation,
        bias: Bias::Absent,
    };
    let moe = MoeConfig {
        experts: own.experts().map_err(|e| file.error(e))?,
        asked: own.num_experts_per_tok,
        shares: if own.norm_topk_prob { Shares::OfAsked } else { Shares::OfAll },
        expert: mlp(own.moe_intermediate_size),
        shared: shared.map(mlp),
    };
    moe.check().map_err(|e| file.error(e))?;
    let step = own.decoder_sparse_step.unwrap_or(1);
    for (layer, block) in config.feed_forward.iter_mut().enumerate() {
        if (layer + 1).is_multiple_of(step) && !own.mlp_only_layers.contains(&layer) {
            *block = FeedForwardConfig::Experts("mlp", moe);
        }
    }
    Ok(config)
}

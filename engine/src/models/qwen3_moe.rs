//! Qwen 3 with experts: the attention of Qwen 3, and in most layers experts to feed forward.

use serde::Deserialize;

use super::config::{ConfigFile, DecoderKeys};
use super::{Model, qwen3};
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Decoder, FeedForwardConfig};
use crate::layers::mlp::{MlpConfig, MlpForm};
use crate::layers::moe::{MoeConfig, Shares};
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
    num_experts: usize,
    num_experts_per_tok: usize,
    moe_intermediate_size: usize,
    #[serde(default)]
    norm_topk_prob: bool,
    /// Every layer of this number has experts.
    decoder_sparse_step: Option<usize>,
    #[serde(default)]
    mlp_only_layers: Vec<usize>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let window = own.sliding_window.filter(|_| own.use_sliding_window);
    let mut config = qwen3::decoder(file, &keys, keys.masks(file, window, |_| true)?)?;
    let moe = MoeConfig {
        experts: own.num_experts,
        asked: own.num_experts_per_tok,
        shares: if own.norm_topk_prob { Shares::OfAsked } else { Shares::OfAll },
        expert: MlpConfig {
            form: MlpForm::GATED,
            intermediate: own.moe_intermediate_size,
            activation: keys.activation(file, Activation::Silu)?,
            bias: Bias::Absent,
        },
    };
    moe.check().map_err(|e| file.error(e))?;
    let step = own.decoder_sparse_step.unwrap_or(1).max(1);
    for (layer, block) in config.feed_forward.iter_mut().enumerate() {
        if (layer + 1).is_multiple_of(step) && !own.mlp_only_layers.contains(&layer) {
            *block = FeedForwardConfig::Experts("mlp", moe);
        }
    }
    Ok(Box::new(Decoder::load(config, weights)?))
}

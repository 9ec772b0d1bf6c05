//! Mixtral: Mistral's attention, with a mixture of experts in every layer.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Decoder, DecoderConfig, FeedForwardConfig};
use crate::layers::mlp::{MlpConfig, MlpForm};
use crate::layers::moe::{MoeConfig, Shares};
use crate::layers::rope::Ropes;
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    sliding_window: Option<usize>,
    num_local_experts: usize,
    num_experts_per_tok: usize,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let masks = keys.masks(file, own.sliding_window, |_| true)?;
    let plain = keys.decoder(file, masks)?;
    let moe = MoeConfig {
        experts: own.num_local_experts,
        asked: own.num_experts_per_tok,
        shares: Shares::OfAsked,
        expert: MlpConfig {
            form: MlpForm::Gated { gate: "w1", up: "w3", down: "w2" },
            intermediate: keys.intermediate(file, 0)?,
            activation: keys.activation(file, Activation::Silu)?,
            bias: Bias::Absent,
        },
        shared: None,
    };
    moe.check().map_err(|e| file.error(e))?;
    let layers = keys.num_hidden_layers;
    let config = DecoderConfig {
        ropes: Ropes::everywhere(keys.rope(file, plain.heads.dim, 1e6)?, layers),
        feed_forward: vec![FeedForwardConfig::Experts("block_sparse_moe", moe); layers],
        ..plain
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

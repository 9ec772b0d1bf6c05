//! Qwen 3: norms on queries and keys instead of biases. Qwen 3 Embedding is the same stack.

use serde::Deserialize;

use super::config::{ConfigFile, DecoderKeys};
use super::{Body, Model, qwen2};
use crate::attention::Mask;
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig, Stack};
use crate::layers::self_attention::{Projections, QkNorm};
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    attention_bias: bool,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let keys: DecoderKeys = file.keys()?;
    let masks = qwen2::masks(file, &keys)?;
    Ok(Box::new(Decoder::load(decoder(file, &keys, masks)?, weights)?))
}

/// The stack without a head.
pub(super) fn body(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Body>> {
    let keys: DecoderKeys = file.keys()?;
    let masks = qwen2::masks(file, &keys)?;
    Ok(Box::new(Stack::load(decoder(file, &keys, masks)?, &weights.stack())?))
}

/// The stack of Qwen 3, with a dense block in every layer.
pub(super) fn decoder(
    file: &ConfigFile,
    keys: &DecoderKeys,
    masks: Vec<Mask>,
) -> Result<DecoderConfig> {
    let own: Keys = file.keys()?;
    let bias = Bias::from_key(own.attention_bias);
    let plain = keys.decoder(file, masks)?;
    let projections = Projections {
        qkv_bias: bias,
        output_bias: bias,
        qk_norm: QkNorm::PerHead(plain.norm),
        ..plain.projections
    };
    Ok(DecoderConfig { projections, ..plain })
}

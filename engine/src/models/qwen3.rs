//! Qwen 3: norms on queries and keys instead of biases.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use super::qwen2;
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig, QkNorm};
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    attention_bias: bool,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let masks = qwen2::masks(file, &keys)?;
    let config = DecoderConfig {
        qkv_bias: Bias::from_key(own.attention_bias),
        output_bias: Bias::from_key(own.attention_bias),
        qk_norm: QkNorm::PerHead,
        ..keys.decoder(file, masks)?
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

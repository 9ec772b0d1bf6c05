//! Llama 2 and 3: the plain stack; biases where the configuration asks for them.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig};
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let masks = keys.masks(file, None, |_| false)?;
    let config = DecoderConfig {
        qkv_bias: Bias::from_key(own.attention_bias),
        output_bias: Bias::from_key(own.attention_bias),
        mlp_bias: Bias::from_key(own.mlp_bias),
        ..keys.decoder(file, masks)?
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

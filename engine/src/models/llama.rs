//! Llama 2 and 3: the plain stack; biases where the configuration asks for them.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Decoder, DecoderConfig};
use crate::layers::mlp::MlpForm;
use crate::layers::self_attention::Projections;
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let keys: DecoderKeys = file.keys()?;
    let masks = keys.masks(file, None, |_| false)?;
    let plain = keys.decoder(file, masks)?;
    Ok(Box::new(Decoder::load(with_biases(file, &keys, plain)?, weights)?))
}

/// `config` with the biases that `attention_bias` and `mlp_bias` ask for.
pub(super) fn with_biases(
    file: &ConfigFile,
    keys: &DecoderKeys,
    config: DecoderConfig,
) -> Result<DecoderConfig> {
    let own: Keys = file.keys()?;
    let bias = Bias::from_key(own.attention_bias);
    let mlp_bias = Bias::from_key(own.mlp_bias);
    Ok(DecoderConfig {
        projections: Projections { qkv_bias: bias, output_bias: bias, ..config.projections },
        feed_forward: keys.dense(file, MlpForm::GATED, Activation::Silu, mlp_bias)?,
        ..config
    })
}

//! OLMo 2: norms after each block instead of before it, and on all queries and keys of a token
//! together.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig, LayerNorms};
use crate::layers::self_attention::{Projections, QkNorm};
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    attention_bias: bool,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let plain = keys.decoder(file, keys.masks(file, None, |_| false)?)?;
    let bias = Bias::from_key(own.attention_bias);
    let config = DecoderConfig {
        norms: LayerNorms {
            before_attention: None,
            after_attention: Some("post_attention_layernorm"),
            before_feed_forward: None,
            after_feed_forward: Some("post_feedforward_layernorm"),
        },
        projections: Projections {
            qkv_bias: bias,
            output_bias: bias,
            qk_norm: QkNorm::Whole(plain.norm),
            ..plain.projections
        },
        ..plain
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

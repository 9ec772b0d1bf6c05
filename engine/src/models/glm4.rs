//! GLM 4: half of each head rotates, in pairs of neighbouring dims; a norm before and after each
//! block; one fused matrix for gate and up.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Decoder, DecoderConfig, LayerNorms};
use crate::layers::mlp::MlpForm;
use crate::layers::rope::{Pairing, Rope, RopeKeys, Ropes};
use crate::layers::self_attention::Projections;
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    /// True if missing.
    attention_bias: Option<bool>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let plain = keys.decoder(file, keys.masks(file, None, |_| false)?)?;
    let rope_keys = file.keys::<RopeKeys>()?.with_part(0.5);
    let rope = Rope::from_config(&rope_keys, plain.heads.dim, 10_000.0)
        .map_err(|e| file.error(e))?
        .with_pairing(Pairing::Neighbours);
    let config = DecoderConfig {
        norms: LayerNorms {
            before_attention: Some("input_layernorm"),
            after_attention: Some("post_self_attn_layernorm"),
            before_feed_forward: Some("post_attention_layernorm"),
            after_feed_forward: Some("post_mlp_layernorm"),
        },
        ropes: Ropes::everywhere(rope, keys.num_hidden_layers),
        projections: Projections {
            qkv_bias: Bias::from_key(own.attention_bias.unwrap_or(true)),
            ..plain.projections
        },
        feed_forward: keys.dense(file, MlpForm::FUSED, Activation::Silu, Bias::Absent)?,
        ..plain
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

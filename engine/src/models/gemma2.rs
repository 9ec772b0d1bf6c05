//! Gemma 2: soft caps on scores and logits, a sliding window in every other layer, a norm before
//! and after each block, and norms that store their weight minus 1.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::attention::Heads;
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Decoder, DecoderConfig, Head, LayerNorms, Scales};
use crate::layers::mlp::MlpForm;
use crate::layers::norm::NormKind;
use crate::layers::self_attention::Projections;
use crate::weights::{Bias, Weights};

/// Missing keys mean the reference's defaults; `null` turns a feature off.
#[derive(Deserialize)]
#[serde(default)]
struct Keys {
    sliding_window: Option<usize>,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f64>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            sliding_window: Some(4096),
            attn_logit_softcapping: Some(50.0),
            final_logit_softcapping: Some(30.0),
        }
    }
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let masks = keys.masks(file, own.sliding_window, |layer| layer.is_multiple_of(2))?;
    let plain = decoder(file, &keys, keys.decoder(file, masks)?)?;
    let config = DecoderConfig {
        heads: Heads { softcap: own.attn_logit_softcapping, ..plain.heads },
        softcap: own.final_logit_softcapping,
        ..plain
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

/// What all Gemmas share: `plain` with scaled embeddings, a score scale stated apart from the
/// heads, GELU, and four norms per layer.
pub(super) fn decoder(
    file: &ConfigFile,
    keys: &DecoderKeys,
    plain: DecoderConfig,
) -> Result<DecoderConfig> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default = "usual")]
        query_pre_attn_scalar: f64,
        #[serde(default)]
        attention_bias: bool,
    }
    fn usual() -> f64 {
        256.0
    }
    let own: Keys = file.keys()?;
    let bias = Bias::from_key(own.attention_bias);
    Ok(DecoderConfig {
        heads: Heads { scale: own.query_pre_attn_scalar.powf(-0.5) as f32, ..plain.heads },
        projections: Projections { qkv_bias: bias, output_bias: bias, ..plain.projections },
        norm: NormKind::RmsPlusOne(keys.eps()),
        norms: LayerNorms {
            before_attention: Some("input_layernorm"),
            after_attention: Some("post_attention_layernorm"),
            before_feed_forward: Some("pre_feedforward_layernorm"),
            after_feed_forward: Some("post_feedforward_layernorm"),
        },
        scales: Scales { embedding: (plain.hidden as f64).sqrt(), ..Scales::NONE },
        feed_forward: keys.dense(file, MlpForm::GATED, Activation::GeluTanh, Bias::Absent)?,
        head: keys.head(Head::Tied),
        ..plain
    })
}

//! Granite 3: Llama's stack with constant factors on embeddings, scores, residuals and logits.

use serde::Deserialize;

use super::config::{ConfigFile, DecoderKeys};
use super::{Model, llama};
use crate::attention::Heads;
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig, Scales};
use crate::weights::Weights;

#[derive(Deserialize)]
#[serde(default)]
struct Keys {
    embedding_multiplier: f64,
    attention_multiplier: f32,
    residual_multiplier: f64,
    logits_scaling: f64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            embedding_multiplier: 1.0,
            attention_multiplier: 1.0,
            residual_multiplier: 1.0,
            logits_scaling: 1.0,
        }
    }
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let masks = keys.masks(file, None, |_| false)?;
    let llama = llama::with_biases(file, &keys, keys.decoder(file, masks)?)?;
    let config = DecoderConfig {
        heads: Heads { scale: own.attention_multiplier, ..llama.heads },
        scales: Scales {
            embedding: own.embedding_multiplier,
            residual: own.residual_multiplier,
            // The key is a divisor.
            logits: 1.0 / own.logits_scaling,
        },
        ..llama
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

//! Phi 3 and 4: one matrix for queries, keys and values, and one for gate and up.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Decoder, DecoderConfig};
use crate::layers::mlp::MlpForm;
use crate::layers::self_attention::{Projections, Qkv};
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    sliding_window: Option<usize>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let masks = keys.masks(file, own.sliding_window, |_| true)?;
    let plain = keys.decoder(file, masks)?;
    let config = DecoderConfig {
        projections: Projections { qkv: Qkv::Fused, ..plain.projections },
        feed_forward: keys.dense(file, MlpForm::FUSED, Activation::Silu, Bias::Absent)?,
        ..plain
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

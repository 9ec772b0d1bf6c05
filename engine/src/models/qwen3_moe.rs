//! Qwen 3 MoE: Qwen 3's attention, with experts in most layers.

use super::config::{ConfigFile, DecoderKeys};
use super::qwen2::WindowKeys;
use super::{Model, qwen2_moe, qwen3};
use crate::error::Result;
use crate::layers::decoder::Decoder;
use crate::weights::Weights;

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, WindowKeys) = (file.keys()?, file.keys()?);
    let masks = keys.masks(file, own.window(), |_| true)?;
    let dense = qwen3::decoder(file, &keys, masks)?;
    // Some of these models state the width of a shared expert, but none has one.
    let config = qwen2_moe::with_experts(file, &keys, dense, None)?;
    Ok(Box::new(Decoder::load(config, weights)?))
}

//! Qwen 3 with experts: the attention of Qwen 3, and in most layers experts to feed forward.

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
    // Some of these models publish a width of a shared expert, but none has one.
    let config = qwen2_moe::with_experts(file, &keys, dense, None)?;
    Ok(Box::new(Decoder::load(config, weights)?))
}

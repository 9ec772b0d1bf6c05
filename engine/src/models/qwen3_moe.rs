//! Qwen 3 with experts: the attention of Qwen 3, and in most layers experts to feed forward.

use serde::Deserialize;

use super::config::{ConfigFile, DecoderKeys};
use super::{Model, qwen2_moe, qwen3};
use crate::error::Result;
use crate::layers::decoder::Decoder;
use crate::weights::Weights;

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let window = own.sliding_window.filter(|_| own.use_sliding_window);
    let dense = qwen3::decoder(file, &keys, keys.masks(file, window, |_| true)?)?;
    // Some of these models publish a width of a shared expert, but none has one.
    let config = qwen2_moe::with_experts(file, &keys, dense, None)?;
    Ok(Box::new(Decoder::load(config, weights)?))
}

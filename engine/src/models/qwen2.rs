//! Qwen 2 and 2.5: biases on queries, keys and values; a window on the upper layers if asked for.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::attention::Mask;
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig};
use crate::layers::self_attention::Projections;
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let keys: DecoderKeys = file.keys()?;
    Ok(Box::new(Decoder::load(decoder(file, &keys)?, weights)?))
}

/// The stack of Qwen 2, with a dense block in every layer.
pub(super) fn decoder(file: &ConfigFile, keys: &DecoderKeys) -> Result<DecoderConfig> {
    let plain = keys.decoder(file, masks(file, keys)?)?;
    let projections = Projections { qkv_bias: Bias::Present, ..plain.projections };
    Ok(DecoderConfig { projections, ..plain })
}

/// The rule of Qwen 2 and 3. Despite its name, `max_window_layers` is the number of lower layers
/// *without* a window.
pub(super) fn masks(file: &ConfigFile, keys: &DecoderKeys) -> Result<Vec<Mask>> {
    let own: Keys = file.keys()?;
    let window = own.sliding_window.filter(|_| own.use_sliding_window);
    let first = own.max_window_layers.unwrap_or(28);
    keys.masks(file, window, |layer| layer >= first)
}

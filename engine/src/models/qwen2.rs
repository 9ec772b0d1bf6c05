//! Qwen 2 and 2.5: biases on queries, keys and values; an optional window on the upper layers.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::attention::Mask;
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig};
use crate::layers::self_attention::Projections;
use crate::weights::{Bias, Weights};

/// The window keys of the Qwens. Missing keys mean the reference's defaults; `null` turns the
/// window off.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct WindowKeys {
    use_sliding_window: bool,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
}

impl Default for WindowKeys {
    fn default() -> Self {
        Self { use_sliding_window: false, sliding_window: Some(4096), max_window_layers: None }
    }
}

impl WindowKeys {
    /// The window of the layers that have one, if any do.
    pub(super) fn window(&self) -> Option<usize> {
        self.sliding_window.filter(|_| self.use_sliding_window)
    }

    /// Number of lower layers; how they differ depends on the family.
    pub(super) fn lower_layers(&self) -> usize {
        self.max_window_layers.unwrap_or(28)
    }
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let keys: DecoderKeys = file.keys()?;
    let masks = masks(file, &keys)?;
    Ok(Box::new(Decoder::load(decoder(file, &keys, masks)?, weights)?))
}

/// The stack of Qwen 2, with a dense block in every layer.
pub(super) fn decoder(
    file: &ConfigFile,
    keys: &DecoderKeys,
    masks: Vec<Mask>,
) -> Result<DecoderConfig> {
    let plain = keys.decoder(file, masks)?;
    let projections = Projections { qkv_bias: Bias::Present, ..plain.projections };
    Ok(DecoderConfig { projections, ..plain })
}

/// The rule of Qwen 2 and 3. Despite its name, `max_window_layers` is the number of lower layers
/// *without* a window.
pub(super) fn masks(file: &ConfigFile, keys: &DecoderKeys) -> Result<Vec<Mask>> {
    let own: WindowKeys = file.keys()?;
    keys.masks(file, own.window(), |layer| layer >= own.lower_layers())
}

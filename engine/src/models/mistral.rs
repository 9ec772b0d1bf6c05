//! Mistral: the plain stack with a sliding window in every layer.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::error::Result;
use crate::layers::decoder::Decoder;
use crate::weights::Weights;

#[derive(Deserialize)]
struct Keys {
    sliding_window: Option<usize>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    // Null means no window (version 0.2 and later), but a file without the key means 4096.
    let window = if file.has("sliding_window") { own.sliding_window } else { Some(4096) };
    let masks = keys.masks(file, window, |_| true)?;
    Ok(Box::new(Decoder::load(keys.decoder(file, masks)?, weights)?))
}

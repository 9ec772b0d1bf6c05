//! SmolLM 3: Llama's stack, with some layers that use no positions.

use serde::Deserialize;

use super::config::{ConfigFile, DecoderKeys};
use super::{Model, llama};
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig, Head};
use crate::layers::rope::Ropes;
use crate::weights::Weights;

#[derive(Deserialize)]
struct Keys {
    /// 1 for a layer *with* positions, 0 for one without.
    no_rope_layers: Option<Vec<u8>>,
    no_rope_layer_interval: Option<usize>,
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let layers = keys.num_hidden_layers;
    let rotates: Vec<bool> = match &own.no_rope_layers {
        Some(marks) if marks.len() != layers => {
            return Err(file.error(format!(
                "`no_rope_layers` has {} entries for {layers} layers",
                marks.len()
            )));
        }
        Some(marks) => marks.iter().map(|mark| *mark != 0).collect(),
        None => {
            let interval = own.no_rope_layer_interval.unwrap_or(4);
            (1..=layers).map(|layer| !layer.is_multiple_of(interval)).collect()
        }
    };
    let window = own.sliding_window.filter(|_| own.use_sliding_window);
    let masks = keys.masks(file, window, |layer| !rotates[layer])?;
    let llama = llama::with_biases(file, &keys, keys.decoder(file, masks)?)?;
    let rope = keys.rope(file, llama.heads.dim, 2e6)?;
    let config = DecoderConfig {
        ropes: Ropes::new(vec![rope], rotates.iter().map(|rotates| rotates.then_some(0)).collect()),
        head: keys.head(Head::Tied),
        ..llama
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}

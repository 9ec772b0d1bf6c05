//! [`Estimate`]: the memory that a model needs, known before any weight is read.
//!
//! Weights and cache are exact: they are counted on a model loaded from an
//! [`Outline`](crate::weights::Outline), and from the shape of the cache. Activations are the
//! tensors at the widest point of a pass by their shapes, without what kernels allocate for
//! themselves.

use candle_core::DType;

use super::Spot;
use crate::attention::Heads;
use crate::config::EngineConfig;
use crate::kv::{KvShape, KvStore};
use crate::weights::Tally;

/// The memory that a model needs where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of the weights outside the layers; a tied matrix counts once.
    pub fixed: u64,
    /// Permanent memory of each layer.
    pub layers: Vec<LayerBytes>,
    /// Temporary memory of a step.
    pub activations: Activations,
}

/// Permanent memory of a layer, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBytes {
    /// Its weights.
    pub weights: u64,
    /// Its keys and values.
    pub kv: u64,
}

/// Temporary memory of the largest step, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activations {
    /// Inside a layer.
    pub layer: u64,
    /// Outside the layers.
    pub fixed: u64,
}

/// Elements per token that are alive at the widest point of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// Inside a layer.
    pub layer: usize,
    /// Outside the layers, without logits.
    pub fixed: usize,
    /// Logits, for rows from which a token is sampled.
    pub logits: usize,
}

impl Estimate {
    /// For a model counted by `tally`, with a cache of `shape`.
    pub(crate) fn of(
        tally: &Tally,
        heads: &Heads,
        widths: Widths,
        shape: &KvShape,
        dtype: DType,
        config: &EngineConfig,
    ) -> Self {
        let layer = |layer| LayerBytes {
            weights: tally.bytes_at(Spot::Layer(layer)),
            kv: KvStore::layer_bytes(heads, layer, shape, dtype),
        };
        let bytes = |numbers: usize, width: usize, size: usize| -> u64 {
            (numbers as u64).saturating_mul((width as u64).saturating_mul(size as u64))
        };
        let size = dtype.size_in_bytes();
        let tokens = config.max_step_tokens;
        // Sampling reads them as f32.
        let logits = bytes(config.max_sequences, widths.logits, size + DType::F32.size_in_bytes());
        Self {
            fixed: tally.bytes_at(Spot::Fixed),
            layers: (0..heads.masks.len()).map(layer).collect(),
            activations: Activations {
                layer: bytes(tokens, widths.layer, size),
                fixed: bytes(tokens, widths.fixed, size).saturating_add(logits),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{self, MODELS};
    use crate::weights::{Formats, Outline, presets};

    /// Estimates of loaded models are checked in `tests/footprint.rs`, for the models that fit in a
    /// test; this covers all of them.
    #[test]
    fn every_preset_is_estimated_at_its_published_size() {
        for preset in presets() {
            for dtype in [DType::F32, DType::BF16] {
                let (config, formats) = (preset.config().unwrap(), Formats::plain(dtype));
                let entry = models::find(MODELS, &config).unwrap();
                let outline = models::outline(entry, &config, Outline::default(), formats);
                let (model, tally) = outline.unwrap();
                let layers = 0..model.heads().masks.len();
                let layers = layers.map(|layer| tally.bytes_at(Spot::Layer(layer)));
                let (layers, fixed) = (layers.sum::<u64>(), tally.bytes_at(Spot::Fixed));
                assert_eq!(layers + fixed, tally.bytes(), "{}", preset.name);
                let published = preset.sketch().unwrap().parameters * dtype.size_in_bytes() as u64;
                // The norms of some families are in f32 whatever the dtype.
                let error = (layers + fixed) as f64 / published as f64 - 1.0;
                assert!((0.0..0.02).contains(&error), "{} {dtype:?}: {error}", preset.name);
                assert!(fixed > 0 && layers > 0);
            }
        }
    }
}

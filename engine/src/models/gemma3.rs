//! Gemma 3, text only: Gemma 2 with norms on queries and keys, and separate rotary embeddings for
//! layers with a window and without. EmbeddingGemma is the same stack with bidirectional attention.

use serde::Deserialize;

use super::config::{ConfigFile, DecoderKeys};
use super::{Body, Model, gemma2};
use crate::attention::{Heads, Mask};
use crate::error::Result;
use crate::layers::decoder::{Decoder, DecoderConfig, Stack};
use crate::layers::rope::{Rope, RopeKeys, Ropes};
use crate::layers::self_attention::{Projections, QkNorm};
use crate::weights::Weights;

#[derive(Deserialize)]
#[serde(default)]
struct Keys {
    sliding_window: Option<usize>,
    /// One layer in this many has no window.
    sliding_window_pattern: usize,
    rope_local_base_freq: f64,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f64>,
    use_bidirectional_attention: Option<bool>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            sliding_window: Some(4096),
            sliding_window_pattern: 6,
            rope_local_base_freq: 10_000.0,
            attn_logit_softcapping: None,
            final_logit_softcapping: None,
            use_bidirectional_attention: None,
        }
    }
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let own: Keys = file.keys()?;
    if own.use_bidirectional_attention == Some(true) {
        return Err(file.error(
            "`use_bidirectional_attention` is set: this model embeds text and cannot generate it",
        ));
    }
    Ok(Box::new(Decoder::load(decoder(file)?, weights)?))
}

/// The stack without a head.
pub(super) fn body(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Body>> {
    let own: Keys = file.keys()?;
    let mut config = decoder(file)?;
    if own.use_bidirectional_attention == Some(true) {
        config.heads.masks.iter_mut().for_each(|mask| *mask = both_ways(*mask));
    }
    Ok(Box::new(Stack::load(config, &weights.stack())?))
}

/// `mask` mirrored, so that a token also sees ahead: half of a window lies on each side.
const fn both_ways(mask: Mask) -> Mask {
    match mask {
        Mask::Causal => Mask::Bidirectional,
        Mask::SlidingWindow(window) => Mask::BidirectionalWindow(window / 2 + 1),
        symmetric => symmetric,
    }
}

/// The stack of Gemma 3, causal.
fn decoder(file: &ConfigFile) -> Result<DecoderConfig> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    let pattern = own.sliding_window_pattern;
    let masks =
        keys.masks(file, own.sliding_window, |layer| !(layer + 1).is_multiple_of(pattern))?;
    let gemma = gemma2::decoder(file, &keys, keys.decoder(file, masks)?)?;
    Ok(DecoderConfig {
        ropes: ropes(file, &gemma.heads)?,
        projections: Projections { qk_norm: QkNorm::PerHead(gemma.norm), ..gemma.projections },
        heads: Heads { softcap: own.attn_logit_softcapping, ..gemma.heads },
        softcap: own.final_logit_softcapping,
        ..gemma
    })
}

/// One rotary embedding for the layers without a window, which `rope_scaling` applies to, and one
/// for those with it.
pub(super) fn ropes(file: &ConfigFile, heads: &Heads) -> Result<Ropes> {
    let own: Keys = file.keys()?;
    if own.rope_local_base_freq <= 0.0 {
        return Err(file.error(format!(
            "`rope_local_base_freq` is {}, but must be above 0",
            own.rope_local_base_freq
        )));
    }
    let rope_keys: RopeKeys = file.keys()?;
    let local = rope_keys.of_kind("sliding_attention");
    let local = local.unwrap_or_else(|| RopeKeys::plain(own.rope_local_base_freq));
    let global = rope_keys.of_kind("full_attention").unwrap_or(rope_keys);
    let rope = |rope_keys, theta| {
        Rope::from_config(rope_keys, heads.dim, theta).map_err(|e| file.error(e))
    };
    let kinds = vec![rope(&global, 1e6)?, rope(&local, own.rope_local_base_freq)?];
    let layers = heads.masks.iter().map(|mask| Some(usize::from(*mask != Mask::Causal)));
    Ok(Ropes::new(kinds, layers.collect()))
}

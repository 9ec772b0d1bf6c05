//! How many numbers per token are alive at once on the way through a stack, counted by the tensors
//! that coexist in the code of the layers.

use super::{DecoderConfig, FeedForwardConfig};
use crate::attention::Heads;
use crate::placement::Widths;

/// For a layer's attention, besides the stream: queries and keys before, during and after rotation,
/// and the attention output.
pub(crate) const fn attention(heads: &Heads) -> usize {
    3 * (heads.heads + heads.kv_heads) * heads.dim
}

/// For a dense feed-forward block of width `intermediate`: gate, up and their product.
pub(crate) const fn dense(intermediate: usize) -> usize {
    3 * intermediate
}

impl DecoderConfig {
    pub(super) fn widths(&self) -> Widths {
        let Self { hidden, vocabulary, heads, feed_forward, .. } = self;
        // The stream on entry, between the blocks and on exit, the normed input of each block, and
        // the output of a block.
        let stream = 6 * hidden;
        let blocks = feed_forward.iter().map(|block| block.width(*hidden));
        Widths {
            layer: stream + blocks.fold(attention(heads), usize::max),
            // Embedding, output of the last layer, and its norm.
            fixed: 3 * hidden,
            logits: *vocabulary,
        }
    }
}

impl FeedForwardConfig {
    fn width(&self, hidden: usize) -> usize {
        match self {
            Self::Dense(mlp) => dense(mlp.intermediate),
            Self::Experts(_, moe) => {
                // The gathered input rows of a token; then either the inside of the experts with
                // their outputs, or the outputs sorted, weighted and summed.
                let inside = dense(moe.expert.intermediate) + hidden;
                let routed = moe.asked * (hidden + inside.max(4 * hidden));
                let shared = moe.shared.map_or(0, |shared| dense(shared.intermediate) + hidden);
                routed + moe.experts + shared
            }
        }
    }
}

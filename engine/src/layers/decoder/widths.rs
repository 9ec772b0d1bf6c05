//! How many numbers a token has at once on its way through a stack, by the tensors that are alive
//! together in the code of the layers.

use super::{DecoderConfig, FeedForwardConfig};
use crate::attention::Heads;
use crate::placement::Widths;

/// Of a layer's attention, beside the stream: queries and keys before, during and after their
/// rotation, and what comes of them.
pub(crate) const fn attention(heads: &Heads) -> usize {
    3 * (heads.heads + heads.kv_heads) * heads.dim
}

/// Of a dense feed-forward block of `intermediate`: gate, up and their product.
pub(crate) const fn dense(intermediate: usize) -> usize {
    3 * intermediate
}

impl DecoderConfig {
    pub(super) fn widths(&self) -> Widths {
        let Self { hidden, vocabulary, heads, feed_forward, .. } = self;
        // The stream as it enters, between the blocks and as it leaves, each block's normed input,
        // and what a block adds.
        let stream = 6 * hidden;
        let blocks = feed_forward.iter().map(|block| block.width(*hidden));
        Widths {
            layer: stream + blocks.fold(attention(heads), usize::max),
            // Embedding, what the last layer left, and its norm.
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
                // A token's rows on their way in; then inside the experts with their results, or
                // these results sorted, weighed and summed.
                let inside = dense(moe.expert.intermediate) + hidden;
                let routed = moe.asked * (hidden + inside.max(4 * hidden));
                let shared = moe.shared.map_or(0, |shared| dense(shared.intermediate) + hidden);
                routed + moe.experts + shared
            }
        }
    }
}

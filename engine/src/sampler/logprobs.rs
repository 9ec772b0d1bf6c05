//! [`Logprobs`]: how likely the model itself found the tokens.

use super::cut::{self, Candidate};
use super::{Scratch, candidates};

/// Natural logarithms of the softmax of the model's own logits: at temperature 1, before penalties,
/// bias and filters. The same for greedy decoding.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// That of the chosen token.
    pub chosen: f32,
    /// Those of the most likely tokens, in descending order, equals by id; as many as were asked
    /// for and exist. The chosen token is included only if it is one of the most likely.
    pub top: Vec<(u32, f32)>,
}

impl Logprobs {
    pub(super) fn of(
        chosen: u32,
        top: usize,
        logits: &[f32],
        highest: f32,
        scratch: &mut Scratch,
    ) -> Self {
        let total = candidates::weigh(logits, highest, 1.0, &mut scratch.weights);
        let all = f64::from(highest) + total.ln();
        let logprob = |logit: f32| (f64::from(logit) - all) as f32;
        let pool = &mut scratch.pool;
        pool.clear();
        if top > 0 {
            cut::largest(logits, top, pool);
            pool.sort_unstable_by(Candidate::order);
        }
        Self {
            chosen: logits.get(chosen as usize).map_or(f32::NEG_INFINITY, |&l| logprob(l)),
            top: pool.iter().map(|&Candidate { value, id }| (id, logprob(value))).collect(),
        }
    }
}

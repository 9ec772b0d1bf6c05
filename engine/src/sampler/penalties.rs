//! Frequency, presence and repetition penalty: tokens in the context become less likely.

use std::collections::HashMap;

use super::Sampling;

/// How often each token occurs in a context that only grows.
#[derive(Debug, Default)]
pub(super) struct Counts {
    counts: HashMap<u32, u32>,
    absorbed: usize,
}

/// Whether any of the penalties is on.
pub(super) fn any(sampling: &Sampling) -> bool {
    let &Sampling { frequency_penalty, presence_penalty, repetition_penalty, .. } = sampling;
    frequency_penalty != 0.0 || presence_penalty != 0.0 || repetition_penalty != 1.0
}

impl Counts {
    /// Counts the tokens that `context` has gained since the last call.
    pub(super) fn absorb(&mut self, context: &[u32]) {
        for &token in context.get(self.absorbed..).unwrap_or_default() {
            *self.counts.entry(token).or_default() += 1;
        }
        self.absorbed = context.len();
    }

    pub(super) fn apply(&self, sampling: &Sampling, logits: &mut [f32]) {
        let &Sampling { frequency_penalty, presence_penalty, repetition_penalty, .. } = sampling;
        for (&token, &count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            *logit -= count as f32 * frequency_penalty + presence_penalty;
            if *logit > 0.0 {
                *logit /= repetition_penalty;
            } else {
                *logit *= repetition_penalty;
            }
        }
    }
}

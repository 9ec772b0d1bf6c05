//! From a row of logits to one token id.
//!
//! The chain, in this order: DRY, frequency and presence penalty, repetition penalty and logit bias
//! shape the logits; temperature, top-k, top-p and min-p choose candidates; then the draw. Each
//! sequence owns its random numbers, so its draws do not depend on the rest of the batch. Nothing
//! here sorts the vocabulary: a filter returns a cutoff, and everything at or above it stays, in
//! the order of the ids.

mod candidates;
mod cut;
mod dry;
mod limits;
mod logprobs;
mod penalties;
mod rng;

pub use dry::Dry;
pub use logprobs::Logprobs;
pub use rng::Rng;
pub(crate) use rng::mix;

use crate::faults;
use cut::Candidate;
use penalties::Counts;

/// How the next token is chosen. Every part is off in [`GREEDY`](Self::GREEDY).
///
/// All penalties look at the whole context, prompt and output alike. For the repetition penalty
/// this is Hugging Face's definition; the frequency and presence penalties use OpenAI's formula,
/// with the prompt counted as existing text.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits: 0 takes the most likely token (of equals, the lowest id), larger values
    /// flatten the distribution.
    pub temperature: f32,
    /// Only the `k` most likely tokens stay; of equals at the cutoff, those with the lowest ids.
    pub top_k: Option<usize>,
    /// Only the smallest set of most likely tokens stays whose total probability, among those that
    /// top-k kept, is at least this. In (0, 1]; 1 is off.
    pub top_p: f32,
    /// Only tokens whose probability is at least this fraction of the most likely one's stay. In
    /// [0, 1]; 0 is off.
    pub min_p: f32,
    /// Subtracted from a token's logit for each time that it occurs in the context; 0 is off.
    pub frequency_penalty: f32,
    /// Subtracted from the logit of each token that occurs in the context; 0 is off.
    pub presence_penalty: f32,
    /// Divides the logit of a token that occurs in the context if it is positive, and multiplies
    /// it otherwise; above 0; 1 is off.
    pub repetition_penalty: f32,
    /// Penalty for continuing a repeat.
    pub dry: Dry,
    /// Added to the logits of these tokens; −∞ bans a token.
    pub logit_bias: Vec<(u32, f32)>,
    /// Whether each token comes with log probabilities, and with how many of the most likely
    /// tokens' (0: none).
    pub logprobs: Option<usize>,
    /// Seed of the sequence's random numbers.
    pub seed: u64,
}

impl Sampling {
    /// Always the most likely token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: None,
        top_p: 1.0,
        min_p: 0.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        repetition_penalty: 1.0,
        dry: Dry::OFF,
        logit_bias: Vec::new(),
        logprobs: None,
        seed: 0,
    };
}

/// Why no token could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// The logits contain NaN or +∞, or only −∞.
    #[error(
        "the model produced logits that are not finite; choose a dtype of wider range (`f32` or `bf16`), or check its weights"
    )]
    NotFinite,
    /// Penalties and bias left no token, or pushed one beyond the largest float.
    #[error("penalties and bias leave no token to choose; weaken them")]
    NoneLeft,
}

/// A token with its log probabilities.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// Its id.
    pub token: u32,
    /// Its log probability and those of the most likely tokens, if [`Sampling::logprobs`] asks for
    /// them.
    pub logprobs: Option<Logprobs>,
}

/// The chain of one sequence, with its state between two tokens.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: Rng,
    counts: Counts,
}

/// Buffers of vocabulary size, shared by all sequences.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    weights: Vec<f32>,
    kept: Vec<Candidate>,
    pool: Vec<Candidate>,
}

impl Sampler {
    /// The chain that `sampling` describes, at the start of its random numbers.
    pub fn new(sampling: Sampling) -> Self {
        let rng = Rng::new(sampling.seed);
        Self { sampling, rng, counts: Counts::default() }
    }

    /// Chooses a token from `logits` (`[vocabulary]`) to follow `context`: all tokens so far, which
    /// may only grow between two calls.
    ///
    /// # Errors
    ///
    /// [`NoToken`] when the logits, before or after penalties and bias, allow none.
    pub fn sample(
        &mut self,
        logits: &[f32],
        context: &[u32],
        scratch: &mut Scratch,
    ) -> Result<Drawn, NoToken> {
        let highest = cut::highest(logits).ok_or(NoToken::NotFinite)?;
        let token = if self.shape(logits, context, scratch) {
            let shaped = std::mem::take(&mut scratch.logits);
            let token = match cut::highest(&shaped) {
                Some(highest) => Ok(self.choose(&shaped, highest, scratch)),
                None => Err(NoToken::NoneLeft),
            };
            scratch.logits = shaped;
            token?
        } else {
            self.choose(logits, highest, scratch)
        };
        faults::print(token);
        let logprobs =
            self.sampling.logprobs.map(|top| Logprobs::of(token, top, logits, highest, scratch));
        Ok(Drawn { token, logprobs })
    }

    /// Whether it takes the most likely token of the unmodified logits, without log probabilities:
    /// then the owner of the logits may choose it.
    pub(crate) fn takes_the_likeliest(&self) -> bool {
        let Sampling { temperature, dry, logit_bias, logprobs, .. } = &self.sampling;
        let as_they_are = dry.is_off() && logit_bias.is_empty() && !penalties::any(&self.sampling);
        *temperature == 0.0 && as_they_are && logprobs.is_none()
    }

    /// Writes the logits after penalties and bias to `scratch.logits`; returns `false`, without
    /// writing anything, if all of them are off.
    fn shape(&mut self, logits: &[f32], context: &[u32], scratch: &mut Scratch) -> bool {
        let Sampling { dry, logit_bias, .. } = &self.sampling;
        let penalised = penalties::any(&self.sampling);
        if !penalised && dry.is_off() && logit_bias.is_empty() {
            return false;
        }
        let shaped = &mut scratch.logits;
        shaped.clear();
        shaped.extend_from_slice(logits);
        dry.apply(context, shaped);
        if penalised {
            self.counts.absorb(context);
            self.counts.apply(&self.sampling, shaped);
        }
        for &(id, bias) in logit_bias {
            if let Some(logit) = shaped.get_mut(id as usize) {
                *logit += bias;
            }
        }
        true
    }

    fn choose(&mut self, logits: &[f32], highest: f32, scratch: &mut Scratch) -> u32 {
        let best = || faults::by_sorting(logits).unwrap_or_else(|| cut::first(logits, highest));
        if self.sampling.temperature == 0.0 {
            return best();
        }
        let chance = self.rng.uniform();
        // Rounding can leave a remainder after the last token; the most likely one takes it.
        candidates::draw(&self.sampling, logits, highest, chance, scratch).unwrap_or_else(best)
    }
}

#[cfg(test)]
mod tests;

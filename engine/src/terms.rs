//! [`Terms`]: what a request must satisfy, and how its prompt is cut.
//!
//! Everything that can be refused is refused here, from a few numbers that never change: before the
//! request reaches the engine, on whatever thread it comes from.

use crate::blocks::Capacity;
use crate::config::PrefixCache;
use crate::error::{Error, Result};
use crate::request::{Eos, Request, RequestId, Truncation};
use crate::sampler::{Sampler, Sampling, mix};
use crate::sequence::Sequence;

/// Most choices of one request: each is a separate sequence from the start, with the whole prompt.
const MAX_CHOICES: usize = 128;

/// What a request to one engine must satisfy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    /// Number of token ids.
    pub(crate) vocabulary: usize,
    /// Most tokens of one sequence, prompt and generated together; at least 2.
    pub(crate) longest: usize,
    /// Length beyond which a sequence is recomputed, if any can get there.
    pub(crate) border: Option<usize>,
    /// Size of the key-value cache.
    pub(crate) capacity: Capacity,
    /// End-of-sequence ids from the model's files.
    pub(crate) eos: Vec<u32>,
    /// Whether sequences can share blocks at all.
    pub(crate) prefix_cache: PrefixCache,
}

/// A request that can be served.
#[derive(Debug)]
pub(crate) struct Accepted {
    prompt: Vec<u32>,
    limit: usize,
    stop: Vec<u32>,
    sampling: Sampling,
    prefix_cache: PrefixCache,
    choices: usize,
}

impl Terms {
    /// Accepts `request` with its prompt cut as it asks, or says why it can never be served.
    pub(crate) fn accept(&self, request: Request) -> Result<Accepted> {
        let Request {
            mut prompt,
            max_tokens,
            sampling,
            mut stop,
            eos,
            truncation,
            choices,
            prefix_cache,
        } = request;
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if max_tokens == Some(0) {
            return Err(Error::NothingAsked);
        }
        if choices == 0 {
            return Err(Error::NoChoices);
        }
        if choices > MAX_CHOICES {
            return Err(Error::TooManyChoices { choices, limit: MAX_CHOICES });
        }
        let vocabulary = self.vocabulary;
        sampling.check(vocabulary)?;
        if let Some(&token) = prompt.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::UnknownToken { token, vocabulary });
        }
        let longest = self.longest;
        match truncation {
            Truncation::Refuse if prompt.len() >= longest => {
                return Err(Error::TooLong { tokens: prompt.len(), limit: longest - 1 });
            }
            Truncation::Refuse => {}
            Truncation::KeepTail => {
                let reserve = max_tokens.unwrap_or(1).min(longest - 1);
                prompt.drain(..prompt.len().saturating_sub(longest - reserve));
            }
        }
        if eos == Eos::Stop {
            stop.extend(&self.eos);
        }
        let limit = max_tokens.map_or(longest, |new| longest.min(prompt.len().saturating_add(new)));
        // The last token drawn is never computed.
        self.capacity.check(limit - 1)?;
        let prefix_cache = match self.prefix_cache {
            PrefixCache::On => prefix_cache,
            PrefixCache::Off => PrefixCache::Off,
        };
        Ok(Accepted { prompt, limit, stop, sampling, prefix_cache, choices })
    }
}

impl Accepted {
    /// Tokens of the prompt.
    pub(crate) const fn prompt(&self) -> usize {
        self.prompt.len()
    }

    /// Number of sequences that answer it.
    pub(crate) const fn choices(&self) -> usize {
        self.choices
    }

    /// The sequences that answer it, one for each choice.
    pub(crate) fn sequences(
        self,
        id: RequestId,
        border: Option<usize>,
    ) -> impl Iterator<Item = Sequence> {
        let Self { prompt, limit, stop, sampling, prefix_cache, choices } = self;
        (0..choices).map(move |choice| Sequence {
            id,
            choice,
            tokens: prompt.clone(),
            prompt: prompt.len(),
            computed: 0,
            held: Vec::new(),
            names: Vec::new(),
            prefix_cache,
            cached: None,
            limit,
            border,
            stop: stop.clone(),
            // `mix(0)` is 0: the first choice has the seed itself.
            sampler: Sampler::new(Sampling {
                seed: sampling.seed ^ mix(choice as u64),
                ..sampling.clone()
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::{PoolSize, Reach};
    use crate::sampler::Scratch;

    const LONGEST: usize = 24;

    fn terms() -> Terms {
        Terms {
            vocabulary: 1000,
            longest: LONGEST,
            border: None,
            capacity: Capacity {
                block: 4,
                step_tokens: LONGEST,
                pools: vec![PoolSize { reach: Reach::Everything, blocks: 6 }],
            },
            eos: vec![2],
            prefix_cache: PrefixCache::On,
        }
    }

    fn request(prompt: usize, max_tokens: Option<usize>) -> Request {
        Request {
            prompt: (0..prompt as u32).collect(),
            max_tokens,
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            eos: Eos::Stop,
            truncation: Truncation::KeepTail,
            choices: 1,
            prefix_cache: PrefixCache::On,
        }
    }

    #[test]
    fn truncation_keeps_the_tail_and_prompt_and_answer_never_exceed_the_longest_sequence() {
        let asked = [None, Some(1), Some(LONGEST - 1), Some(LONGEST), Some(10 * LONGEST)];
        for prompt in [LONGEST - 1, LONGEST, LONGEST + 1, 10 * LONGEST] {
            for max_tokens in asked {
                let place = format!("prompt {prompt}, max_tokens {max_tokens:?}");
                let whole = request(prompt, max_tokens);
                let Accepted { prompt: kept, limit, .. } = terms().accept(whole.clone()).unwrap();
                let room = LONGEST - max_tokens.unwrap_or(1).min(LONGEST - 1);
                assert_eq!(kept, whole.prompt[prompt - room.min(prompt)..], "{place}");
                assert!(!kept.is_empty() && kept.len() < limit && limit <= LONGEST, "{place}");
                let new = max_tokens.unwrap_or(LONGEST).min(LONGEST - kept.len());
                assert_eq!(limit - kept.len(), new, "{place}");
            }
        }
    }

    #[test]
    fn what_fits_is_not_cut() {
        let accepted = terms().accept(request(4, Some(5))).unwrap();
        assert_eq!((accepted.prompt(), accepted.limit), (4, 9));
    }

    #[test]
    fn a_prefix_cache_needs_the_consent_of_engine_and_request() {
        let off = Terms { prefix_cache: PrefixCache::Off, ..terms() };
        assert_eq!(off.accept(request(4, None)).unwrap().prefix_cache, PrefixCache::Off);
        let declined = Request { prefix_cache: PrefixCache::Off, ..request(4, None) };
        assert_eq!(terms().accept(declined).unwrap().prefix_cache, PrefixCache::Off);
        assert_eq!(terms().accept(request(4, None)).unwrap().prefix_cache, PrefixCache::On);
    }

    #[test]
    fn choices_draw_from_streams_of_their_own() {
        let sampling = Sampling { temperature: 1.0, seed: 5, ..Sampling::GREEDY };
        let draw = |mut sampler: Sampler| {
            sampler.sample(&[0.0; 1000], &[1], &mut Scratch::default()).unwrap().token
        };
        let request = Request { choices: 3, sampling: sampling.clone(), ..request(4, None) };
        let sequences = terms().accept(request).unwrap().sequences(RequestId(0), None);
        let drawn: Vec<_> = sequences.map(|sequence| draw(sequence.sampler)).collect();
        assert_eq!(drawn[0], draw(Sampler::new(sampling)));
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2], "{drawn:?}");
    }
}

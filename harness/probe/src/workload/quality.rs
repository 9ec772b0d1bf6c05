//! Predicts a text token by token: its perplexity, and how far the predictions are from those of
//! the same weights in f32.
//!
//! The text is read in windows that start half a window apart, so that every token is predicted
//! once, and all but those of the first window from at least half a window of context. Each window
//! begins with the tokens that the tokenizer puts before a text.
//!
//! A model with a tokenizer reads `scenarios/quality.txt`. For one without, the tokens are drawn
//! from the seed. This includes models with random weights, whose perplexity says something about
//! kernels only.

use anyhow::{Context, Result, ensure};
use windtunnel_engine::text::{Text, TextError};
use windtunnel_engine::{Engine, Error, ModelSource, score};
use windtunnel_ledger::case::{Against, Case, Dtype, KvLayout};
use windtunnel_ledger::fidelity::{Fidelity, Surprise};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::{Metric, Tokens};

use crate::traffic;

const TEXT: &str = include_str!("../../../../scenarios/quality.txt");

/// The text to predict.
pub struct Reading {
    words: Words,
    window: usize,
    windows: usize,
}

/// Where the tokens come from.
enum Words {
    /// This project's text, encoded by the model's tokenizer.
    Written {
        /// The tokens that the tokenizer puts before a text.
        lead: Vec<u32>,
        tokens: Vec<u32>,
    },
    /// Drawn uniformly.
    Drawn,
}

impl Reading {
    /// The text that `model` is to predict: `windows` windows of `window` tokens.
    ///
    /// # Errors
    ///
    /// When its tokenizer is damaged, windows are too long or too short, or the text is too short.
    pub fn of(model: &ModelSource, window: Tokens, windows: u32) -> Result<Reading> {
        let words = match Text::open(model) {
            Ok(text) => Words::written(&text)?,
            Err(Error::Text(TextError::NoTokenizer { .. })) => Words::Drawn,
            Err(error) => return Err(error.into()),
        };
        let window = usize::try_from(window.0).context("windows are too long")?;
        ensure!(window > 1, "a window of {window} token predicts nothing: raise `prompt`");
        let reading = Reading { words, window, windows: windows as usize };
        if let Words::Written { tokens, .. } = &reading.words {
            let (there, needed) = (tokens.len(), reading.length());
            ensure!(
                there >= needed,
                "the text has {there} tokens for this model, {windows} windows of {window} need \
                 {needed}: lower `requests` or `prompt`"
            );
        }
        Ok(reading)
    }

    /// Tokens of the longest request: those that it computes, and the one that it generates.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.lead().len() + self.window + 1
    }

    /// The tokens put before every window.
    fn lead(&self) -> &[u32] {
        match &self.words {
            Words::Written { lead, .. } => lead,
            Words::Drawn => &[],
        }
    }

    /// Tokens from the beginning of one window to that of the next.
    const fn stride(&self) -> usize {
        self.window / 2
    }

    /// Number of tokens of the text.
    const fn length(&self) -> usize {
        self.window + self.windows.saturating_sub(1) * self.stride()
    }

    /// The tokens of the text.
    fn tokens(&self, seed: u64, vocabulary: usize) -> Vec<u32> {
        match &self.words {
            Words::Written { tokens, .. } => tokens[..self.length()].to_vec(),
            Words::Drawn => traffic::words(seed, 0, 0, self.length(), vocabulary),
        }
    }

    /// Lets `engine` read `tokens`, and passes each predicted token to `look`, with the logits that
    /// predict it.
    fn read(
        &self,
        engine: &mut Engine,
        tokens: &[u32],
        look: &mut (dyn FnMut(&[f32], u32) + Send),
    ) -> Result<()> {
        let lead = self.lead();
        for index in 0..self.windows {
            let window = tokens.iter().skip(index * self.stride()).take(self.window);
            let window: Vec<u32> = window.copied().collect();
            // Tokens that earlier windows have predicted.
            let known = if index == 0 { 1 } else { self.window - self.stride() };
            let mut next = known;
            score(engine, [lead, &window].concat(), 1, &mut |position, logits| {
                // The engine shows recomputed positions again.
                if position + 1 == lead.len() + next
                    && let Some(token) = window.get(next)
                {
                    look(logits, *token);
                    next += 1;
                }
            })?;
            ensure!(next == window.len(), "the engine showed {next} of {} tokens", window.len());
        }
        Ok(())
    }
}

impl Words {
    fn written(text: &Text) -> Result<Words> {
        let tokenizer = text.tokenizer();
        let (whole, tokens) = (tokenizer.encode(TEXT)?, tokenizer.encode_bare(TEXT)?);
        let lead = (0..whole.len()).find(|at| whole[*at..].starts_with(&tokens)).unwrap_or(0);
        Ok(Words::Written { lead: whole[..lead].to_vec(), tokens })
    }
}

/// Lets `engine` predict `reading`, and compares the predictions with those of `reference`, which
/// loads the same weights in f32, if `against` asks for it. Returns the text's tokens and the
/// values.
///
/// The two models are never in memory at once: only the logits of the first are kept, 4 bytes for
/// each predicted token and each entry of the vocabulary.
///
/// # Errors
///
/// When an engine fails, or a value is not finite.
pub fn iteration(
    mut engine: Engine,
    reading: &Reading,
    (seed, against): (u64, Against),
    reference: impl FnOnce() -> Result<Engine>,
) -> Result<(Vec<u32>, Values)> {
    let tokens = reading.tokens(seed, engine.vocabulary());
    let mut surprise = Surprise::default();
    let mut kept: Vec<Vec<f32>> = Vec::new();
    reading.read(&mut engine, &tokens, &mut |logits, token| {
        surprise.add(logits, token);
        if against == Against::F32 {
            kept.push(logits.to_vec());
        }
    })?;
    drop(engine);
    let perplexity = surprise.perplexity().context("no token was predicted")?;
    ensure!(
        perplexity.is_finite(),
        "the perplexity is {perplexity}: a logit is not a number, or a token of the text has probability 0"
    );
    let mut values = Values::from([(Metric::Perplexity, vec![perplexity])]);
    if against == Against::F32 {
        let mut reference = reference().context("cannot load the same weights in f32")?;
        let (mut fidelity, mut found) = (Fidelity::default(), kept.iter());
        reading.read(&mut reference, &tokens, &mut |expected, _| {
            fidelity.add(found.next().map_or(&[], Vec::as_slice), expected);
        })?;
        values.extend(fidelity.values());
    }
    ensure!(
        values.values().flatten().all(|value| value.is_finite()),
        "the predictions are infinitely far from those in f32"
    );
    Ok((tokens, values))
}

/// The case that `case` is compared with: f32, on the backend that all others are compared with.
#[must_use]
pub fn in_f32(case: &Case) -> Case {
    Case { dtype: Dtype::F32, kv: KvLayout::Contiguous, attention: "naive".into(), ..case.clone() }
}

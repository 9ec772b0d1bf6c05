//! [`Stream`]: the text of one answer, as far as it is certain.

use std::sync::Arc;

use super::detokenizer::Detokenizer;
use super::stop::Stops;
use super::{TextError, Tokenizer};
use crate::error::Result;

/// While no more ids than this are held back, each is checked for a stop string.
const LOOKED_AT: usize = 64;

/// Turns ids into text, one by one, and watches for stop strings.
///
/// The parts add up to exactly what [`Tokenizer::decode`] returns for all ids, or to the text
/// before the stop string. A part never ends inside a character, and never contains anything that
/// could still become a stop string.
#[derive(Clone)]
pub struct Stream {
    tokenizer: Arc<Tokenizer>,
    detokenizer: Detokenizer,
    stops: Stops,
}

/// What one id made certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// More text; often empty.
    pub text: String,
    /// Index of the stop string that ended the text, if one did. The choice may be cancelled: no
    /// more text will come.
    pub stop: Option<usize>,
}

impl Stream {
    pub(super) fn new(tokenizer: Arc<Tokenizer>, stop: &[String]) -> Result<Self> {
        if stop.iter().any(String::is_empty) {
            return Err(TextError::EmptyStop.into());
        }
        Ok(Self { tokenizer, detokenizer: Detokenizer::default(), stops: Stops::new(stop) })
    }

    /// Takes the next id of the answer.
    ///
    /// # Errors
    ///
    /// [`TextError::Tokenizer`] when it cannot be decoded.
    pub fn push(&mut self, token: u32) -> Result<Delta> {
        let part = self.detokenizer.push(token, &self.tokenizer)?;
        let ended = if part.is_empty() { self.stops_if_over()? } else { None };
        let text = match ended {
            Some((text, stops)) => {
                self.stops = stops;
                text
            }
            None => self.stops.push(&part),
        };
        Ok(Delta { text, stop: self.stops.hit() })
    }

    /// The text that may be shown and the stop strings after it, if the held-back text completes
    /// one. Tokens of single bytes are held back until something else follows, though they may have
    /// formed whole characters long before.
    fn stops_if_over(&self) -> Result<Option<(String, Stops)>> {
        let held = self.detokenizer.held();
        // Each check decodes everything that is held, so on a long run it is done ever more rarely.
        if !self.stops.is_watching() || held > LOOKED_AT && !held.is_power_of_two() {
            return Ok(None);
        }
        let text = self.detokenizer.clone().finish(&self.tokenizer)?;
        // Half a character is not text yet.
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        let mut stops = self.stops.clone();
        let text = stops.push(&text);
        Ok(stops.hit().map(|_| (text, stops)))
    }

    /// Ends the answer: what was held back is now certain.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn finish(mut self) -> Result<Delta> {
        let part = self.detokenizer.finish(&self.tokenizer)?;
        let mut text = self.stops.push(&part);
        text += &self.stops.finish();
        Ok(Delta { text, stop: self.stops.hit() })
    }
}

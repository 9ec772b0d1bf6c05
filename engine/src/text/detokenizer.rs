//! [`Detokenizer`]: the text of ids that arrive one by one.
//!
//! What a token adds depends on its neighbours: a character may be spread over several tokens,
//! and a leading space is dropped at the start of a text only. So the last tokens that produced
//! text stay in a window, and what a new token adds is the difference between the window's text
//! with and without it:
//!
//! ```text
//! ids    … |  ▁Zü   rich  |  ▁is        window: everything after the first bar
//! text     |  Zürich      |   is        shown: up to the second bar; new: " is"
//! ```
//!
//! The window moves on only when its text cannot change any more, so the parts add up to the
//! decode of the whole, also where that holds bytes which are no UTF-8. It is cut where it grows long
//! without such a moment: a model that has lost its way may write bad bytes without an end. A run of
//! byte tokens is never cut: a bad byte later in it changes the text of all of it.

use super::Tokenizer;
use crate::error::Result;

/// Most ids that wait for a character to be whole before the window is cut.
const LONG: usize = 16;
/// How many of them are left then: no character has more bytes.
const LEFT: usize = 4;

/// What is known of one text.
#[derive(Debug, Clone, Default)]
pub(super) struct Detokenizer {
    window: Vec<u32>,
    /// How many ids of the window are shown.
    shown: usize,
    /// Their text.
    text: String,
}

impl Detokenizer {
    /// What `id` adds for certain; empty as long as a character is incomplete.
    pub(super) fn push(&mut self, id: u32, tokenizer: &Tokenizer) -> Result<String> {
        let Some(piece) = tokenizer.piece(id) else { return Ok(String::new()) };
        self.window.push(id);
        // A run of byte tokens is decoded as a whole: one bad byte at its end spoils all of it.
        if is_byte(&piece) {
            return Ok(String::new());
        }
        let text = tokenizer.decode(&self.window)?;
        // Either half a character, or one that is really meant: the next token will tell.
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return self.cut(&text, tokenizer);
        }
        let Some(new) = text.strip_prefix(&self.text).filter(|new| !new.is_empty()) else {
            return Ok(String::new());
        };
        let new = new.to_owned();
        // Without a text of its own, the new part could be mistaken for the start of a text.
        let own = tokenizer.decode(&self.window[self.shown..])?;
        if own.is_empty() {
            self.text = text;
        } else {
            self.window.drain(..self.shown);
            self.text = own;
        }
        self.shown = self.window.len();
        Ok(new)
    }

    /// What the front of a long window adds to what is shown, if both sides of the cut make the same
    /// `text` apart: then no character lies across it, whatever follows.
    fn cut(&mut self, text: &str, tokenizer: &Tokenizer) -> Result<String> {
        if self.window.len() - self.shown <= LONG {
            return Ok(String::new());
        }
        let at = self.window.len() - LEFT;
        let front = tokenizer.decode(&self.window[..at])?;
        let back = tokenizer.decode(&self.window[at..])?;
        match front.strip_prefix(&self.text) {
            // Without a text of its own, what is left could be mistaken for the start of a text.
            Some(new) if !back.is_empty() && text.strip_prefix(&front) == Some(back.as_str()) => {
                let new = new.to_owned();
                self.window.drain(..at);
                self.shown = 0;
                self.text.clear();
                Ok(new)
            }
            _ => Ok(String::new()),
        }
    }

    /// How many ids are held back.
    pub(super) fn held(&self) -> usize {
        self.window.len() - self.shown
    }

    /// What was held back, now that nothing follows.
    pub(super) fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        let text = tokenizer.decode(&self.window)?;
        let rest = text.strip_prefix(&self.text).unwrap_or_default().to_owned();
        *self = Self::default();
        Ok(rest)
    }
}

/// Whether a token stands for one byte, as `<0x0A>` does.
fn is_byte(piece: &str) -> bool {
    let digits = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2)
}

//! [`Detokenizer`]: the text of ids that arrive one at a time.
//!
//! What a token adds depends on its neighbours: a character may span several tokens, and a leading
//! space is dropped only at the start of a text. So the last tokens that produced text stay in a
//! window, and what a new token adds is the difference between the window's text with and without
//! it:
//!
//! ```text
//! ids    … |  ▁Zü   rich  |  ▁is        window: everything after the first bar
//! text     |  Zürich      |   is        shown: up to the second bar; new: " is"
//! ```
//!
//! The window advances only when its text can no longer change, so the parts add up to the decode
//! of the whole, even if that contains bytes that are not UTF-8. If such a moment does not come, a
//! long window is cut: a model that has gone astray may write bad bytes forever. A run of byte
//! tokens is never cut, as a bad byte later in it changes the text of the whole run.

use super::Tokenizer;
use crate::error::Result;

/// Most ids that wait for a complete character before the window is cut.
const LONG: usize = 16;
/// How many of them remain then: no character has more bytes.
const LEFT: usize = 4;

/// The state of one text.
#[derive(Debug, Clone, Default)]
pub(super) struct Detokenizer {
    window: Vec<u32>,
    /// Number of ids in the window that are shown.
    shown: usize,
    /// Their text.
    text: String,
}

impl Detokenizer {
    /// What `id` adds for certain; empty while a character is incomplete.
    pub(super) fn push(&mut self, id: u32, tokenizer: &Tokenizer) -> Result<String> {
        let Some(piece) = tokenizer.piece(id) else { return Ok(String::new()) };
        self.window.push(id);
        // A run of byte tokens is decoded as a whole: one bad byte at its end spoils all of it.
        if is_byte(&piece) {
            return Ok(String::new());
        }
        let text = tokenizer.decode(&self.window)?;
        // Either half a character, or a literal one: the next token will tell.
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return self.cut(&text, tokenizer);
        }
        let Some(new) = text.strip_prefix(&self.text).filter(|new| !new.is_empty()) else {
            return Ok(String::new());
        };
        let new = new.to_owned();
        // If the rest decodes to nothing, the new part could be mistaken for the start of a text.
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

    /// What the front of a long window adds to what is shown, if both sides of the cut decode
    /// separately to the same `text`: then no character spans it, whatever follows.
    fn cut(&mut self, text: &str, tokenizer: &Tokenizer) -> Result<String> {
        if self.window.len() - self.shown <= LONG {
            return Ok(String::new());
        }
        let at = self.window.len() - LEFT;
        let front = tokenizer.decode(&self.window[..at])?;
        let back = tokenizer.decode(&self.window[at..])?;
        match front.strip_prefix(&self.text) {
            // If the rest decodes to nothing, it could be mistaken for the start of a text.
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

    /// Number of ids held back.
    pub(super) fn held(&self) -> usize {
        self.window.len() - self.shown
    }

    /// The text that was held back, now that nothing follows.
    pub(super) fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        let text = tokenizer.decode(&self.window)?;
        let rest = text.strip_prefix(&self.text).unwrap_or_default().to_owned();
        *self = Self::default();
        Ok(rest)
    }
}

/// Whether a token stands for a single byte, as `<0x0A>` does.
fn is_byte(piece: &str) -> bool {
    let digits = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2)
}

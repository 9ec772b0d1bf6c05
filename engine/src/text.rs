//! Text beside the engine: what lies between an application's words and token ids.
//!
//! The engine takes and returns ids. A [`Text`] is opened from the same model: it turns a
//! [`Prompt`] into ids, and opens a [`Stream`] for each choice of an answer, which turns the ids
//! that come back into text and watches for stop strings. Nothing here knows tensors or requests,
//! and the engine does not know this module; a [`TextClient`](crate::TextClient) joins the two, on
//! the caller's thread.

use std::path::Path;
use std::sync::Arc;

use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::weights;

pub mod chat;
mod detokenizer;
mod error;
mod gguf;
mod json;
mod stop;
mod stream;
mod template;
mod tokenizer;

pub use chat::Chat;
pub use error::TextError;
pub use json::Json;
pub use stream::{Delta, Stream};
pub use tokenizer::Tokenizer;

use template::Templates;

/// What a request starts from.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Token ids, taken as they are.
    Ids(Vec<u32>),
    /// Text to be continued. The special tokens that the model expects are added around it.
    Text(String),
    /// A conversation, rendered by the model's template.
    Chat(Chat),
}

/// A model's tokenizer, chat templates and end-of-sequence ids.
pub struct Text {
    tokenizer: Arc<Tokenizer>,
    /// A model without a usable template can still encode and decode text.
    templates: Result<Templates, TextError>,
    eos: Vec<u32>,
}

impl Text {
    /// Reads the tokenizer, the chat templates and the end-of-sequence ids of `model`.
    ///
    /// # Errors
    ///
    /// [`TextError::NoTokenizer`] for presets and for folders without `tokenizer.json`, and
    /// [`Error::Load`], [`Error::ModelConfig`] or [`Error::Gguf`] when a file is damaged. A missing
    /// or bad chat template is not an error until it is needed.
    pub fn open(model: &ModelSource) -> Result<Self> {
        let folder = match model {
            ModelSource::Preset { name, .. } => {
                return Err(TextError::NoTokenizer { model: format!("preset {name}") }.into());
            }
            ModelSource::Gguf { path } => {
                let (tokenizer, templates, eos) = gguf::open(path)?;
                return Ok(Self::new(tokenizer, templates, eos));
            }
            ModelSource::Folder { path } => path,
        };
        let tokenizer = Tokenizer::open(folder)?;
        let templates = match Templates::open(folder, tokenizer.special_tokens()) {
            Err(Error::Text(refusal)) => Err(refusal),
            other => Ok(other?),
        };
        Ok(Self::new(tokenizer, templates, weights::eos(folder)?))
    }

    fn new(
        tokenizer: Tokenizer,
        templates: Result<Templates, TextError>,
        mut eos: Vec<u32>,
    ) -> Self {
        if let Some(id) = tokenizer.eos().filter(|id| !eos.contains(id)) {
            eos.push(id);
        }
        Self { tokenizer: Arc::new(tokenizer), templates, eos }
    }

    /// Converts between text and ids.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Ids that end an answer: those of `generation_config.json`, `config.json` and the tokenizer
    /// together; or those that a GGUF file names, and its end-of-turn tokens. The engine knows only
    /// the named ones; a [`TextClient`](crate::TextClient) passes it all of them.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// `chat` as text, rendered by the model's template.
    ///
    /// # Errors
    ///
    /// [`TextError`] when there is no template, when it cannot be parsed, when it fails on or
    /// refuses these messages, and when there are none or they hold anything but text.
    pub fn render(&self, chat: &Chat) -> Result<String> {
        chat.check()?;
        match &self.templates {
            Ok(templates) => Ok(templates.render(chat)?),
            Err(refusal) => Err(refusal.clone().into()),
        }
    }

    /// The ids of `prompt`. For a chat they are those of the rendered text and nothing else:
    /// templates write the beginning-of-sequence token themselves.
    ///
    /// # Errors
    ///
    /// [`TextError::EmptyText`], when the tokenizer fails, and as [`render`](Self::render) for a
    /// chat.
    pub fn encode(&self, prompt: Prompt) -> Result<Vec<u32>> {
        match prompt {
            Prompt::Ids(ids) => Ok(ids),
            Prompt::Text(text) if text.is_empty() => Err(TextError::EmptyText.into()),
            Prompt::Text(text) => self.tokenizer.encode(&text),
            Prompt::Chat(chat) => self.tokenizer.encode_bare(&self.render(&chat)?),
        }
    }

    /// The special tokens among the `stop` strings. Decoding leaves them out, so a [`Stream`] cannot
    /// find them: only their ids can end an answer.
    pub fn stop_tokens(&self, stop: &[String]) -> Vec<u32> {
        stop.iter().filter_map(|text| self.tokenizer.special(text)).collect()
    }

    /// Turns the ids of one answer into text, up to the first of the `stop` strings.
    ///
    /// # Errors
    ///
    /// [`TextError::EmptyStop`] when one of them is empty.
    pub fn stream(&self, stop: &[String]) -> Result<Stream> {
        Stream::new(Arc::clone(&self.tokenizer), stop)
    }
}

/// The text of a file, or `None` when there is no such file.
fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(load(path, e)),
    }
}

fn load(path: &Path, problem: impl ToString) -> Error {
    Error::Load { path: path.into(), problem: problem.to_string() }
}

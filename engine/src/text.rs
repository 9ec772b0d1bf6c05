//! Text beside the engine: what stands between an application's words and token ids.
//!
//! The engine takes and gives ids. A caller that wants text opens a [`Text`] from the same model:
//! it encodes a prompt or a [`Chat`], and opens a [`Stream`] for each request, which turns the
//! ids that come back into text and watches for stop strings. Nothing here knows a tensor or a
//! request, and the engine does not know this module.
//!
//! ```no_run
//! use windtunnel_engine::ModelSource;
//! use windtunnel_engine::text::Text;
//!
//! # fn main() -> windtunnel_engine::Result<()> {
//! let text = Text::open(&ModelSource::Folder { path: "models/qwen3".into() })?;
//! let prompt = text.tokenizer().encode("Once upon a time")?;
//! let mut stream = text.stream(&["\n\n".into()])?;
//! for token in [11, 12] { // out of `Event::Token`
//!     let delta = stream.push(token)?;
//!     // Show `delta.text`; with `delta.stop`, cancel the request.
//! }
//! let rest = stream.finish()?;
//! # Ok(()) }
//! ```

use std::path::Path;
use std::sync::Arc;

use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::weights;

pub mod chat;
mod detokenizer;
mod error;
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

/// What a model's folder says about text.
pub struct Text {
    tokenizer: Arc<Tokenizer>,
    /// A model without a usable template can still read and write text.
    templates: Result<Templates, TextError>,
    eos: Vec<u32>,
}

impl Text {
    /// Reads the tokenizer, the chat templates and the end-of-sequence ids of `model`.
    ///
    /// # Errors
    ///
    /// [`TextError::NoTokenizer`] for presets and for folders without `tokenizer.json`, and
    /// [`Error::Load`] or [`Error::ModelConfig`] when a file is damaged. A missing or bad chat
    /// template is no error before it is needed.
    pub fn open(model: &ModelSource) -> Result<Self> {
        let folder = match model {
            ModelSource::Preset { name, .. } => {
                return Err(TextError::NoTokenizer { model: format!("preset {name}") }.into());
            }
            ModelSource::Folder { path } => path,
        };
        let tokenizer = Tokenizer::open(folder)?;
        let templates = match Templates::open(folder, tokenizer.special_tokens()) {
            Err(Error::Text(refusal)) => Err(refusal),
            other => Ok(other?),
        };
        let mut eos = weights::eos(folder)?;
        if let Some(id) = tokenizer.eos().filter(|id| !eos.contains(id)) {
            eos.push(id);
        }
        Ok(Self { tokenizer: Arc::new(tokenizer), templates, eos })
    }

    /// Between text and ids.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Ids that end an answer: those of `generation_config.json`, `config.json` and the
    /// tokenizer together. The engine knows the first two; give all of them as
    /// [`Request::stop`](crate::Request::stop).
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// The text that the model's template makes of `chat`.
    ///
    /// # Errors
    ///
    /// [`TextError`] when there is no template, when it cannot be understood, or when it fails on
    /// or refuses these messages.
    pub fn render(&self, chat: &Chat) -> Result<String> {
        match &self.templates {
            Ok(templates) => Ok(templates.render(chat)?),
            Err(refusal) => Err(refusal.clone().into()),
        }
    }

    /// The ids of `chat`: of what its template wrote, and nothing else. Templates write the
    /// beginning-of-sequence token themselves.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render), and when the tokenizer fails.
    pub fn prompt(&self, chat: &Chat) -> Result<Vec<u32>> {
        self.tokenizer.encode_bare(&self.render(chat)?)
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

//! [`Purpose`]: what a model was made for.
//!
//! The same architecture may generate text or embed it (`Qwen3ForCausalLM` does both). The files of
//! sentence-transformers beside the configuration decide.

use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::weights::Preset;

/// Files that mark a folder as an embedding model.
const SIGNS: [&str; 2] = ["modules.json", "config_sentence_transformers.json"];

/// What a model was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It generates text; an [`Engine`](crate::Engine) runs it.
    Continuing,
    /// It turns text into vectors; an [`Embedder`](crate::Embedder) runs it.
    Embedding,
}

impl Purpose {
    /// What `model` was made for. A folder that does not exist counts as [`Purpose::Continuing`].
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPreset`].
    pub fn of(model: &ModelSource) -> Result<Self> {
        let embeds = match model {
            ModelSource::Preset { name, .. } => Preset::named(name)?.recipe().is_some(),
            // GGUF files hold models that generate text; others are refused when they are opened.
            ModelSource::Gguf { .. } => false,
            ModelSource::Folder { path } => SIGNS.iter().any(|sign| path.join(sign).exists()),
        };
        Ok(if embeds { Self::Embedding } else { Self::Continuing })
    }

    /// Refuses a `model` that was made for something else.
    pub(crate) fn require(self, model: &ModelSource) -> Result<()> {
        match (self, Self::of(model)?) {
            (Self::Continuing, Self::Embedding) => Err(Error::Embeds { model: model.to_string() }),
            (Self::Embedding, Self::Continuing) => {
                Err(Error::Continues { model: model.to_string() })
            }
            _ => Ok(()),
        }
    }
}

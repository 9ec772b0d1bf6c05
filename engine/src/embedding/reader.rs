//! [`Reader`]: turns texts into requests, with the prompts that an embedding model was trained on.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{EmbedRequest, Overlong};
use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::text::{TextError, Tokenizer};
use crate::weights;

/// The tokenizer and prompts in a model's folder.
pub struct Reader {
    tokenizer: Tokenizer,
    prompts: Prompts,
    longest: usize,
}

/// What is prepended to a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt<'a> {
    /// The default prompt of the model's files; most have none.
    Default,
    /// The prompt with this name in the model's files.
    Named(&'a str),
    /// This text.
    Written(&'a str),
}

/// `config_sentence_transformers.json`.
#[derive(Debug, Clone, Default, Deserialize)]
struct Prompts {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

impl Reader {
    /// Reads the prompts of `model` and the tokenizer in its part `body`, for sequences of up to
    /// `longest` tokens.
    pub(super) fn open(model: &ModelSource, body: &ModelSource, longest: usize) -> Result<Self> {
        let (ModelSource::Folder { path: model }, ModelSource::Folder { path: body }) =
            (model, body)
        else {
            return Err(TextError::NoTokenizer { model: model.to_string() }.into());
        };
        Ok(Self { tokenizer: Tokenizer::open(body)?, prompts: Prompts::read(model)?, longest })
    }

    /// The request for `text` preceded by `prompt`, with the special tokens that the model expects
    /// around them.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPrompt`], or when the tokenizer fails.
    pub fn read(&self, text: &str, prompt: Prompt<'_>, overlong: Overlong) -> Result<EmbedRequest> {
        let text = self.prompts.text(prompt)?.to_owned() + text;
        let tokens = match overlong {
            Overlong::Refuse => self.tokenizer.encode(&text)?,
            Overlong::KeepHead => self.tokenizer.encode_head(&text, self.longest)?,
        };
        Ok(EmbedRequest { tokens, overlong })
    }

    /// The named prompts, with their texts.
    pub fn prompts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prompts.prompts.iter().map(|(name, text)| (&name[..], &text[..]))
    }
}

impl Prompts {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config_sentence_transformers.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let file = weights::config(&path)?;
        let read: Self = file.keys()?;
        match &read.default_prompt_name {
            Some(name) if !read.prompts.contains_key(name) => {
                Err(file
                    .error(format!("`default_prompt_name` is `{name}`, which is not in `prompts`")))
            }
            _ => Ok(read),
        }
    }

    fn text<'a>(&'a self, prompt: Prompt<'a>) -> Result<&'a str> {
        let name = match prompt {
            Prompt::Written(text) => return Ok(text),
            Prompt::Named(name) => name,
            Prompt::Default => match &self.default_prompt_name {
                Some(name) => name,
                None => return Ok(""),
            },
        };
        self.prompts.get(name).map(String::as_str).ok_or_else(|| Error::UnknownPrompt {
            name: name.into(),
            known: self.prompts.keys().cloned().collect(),
        })
    }
}

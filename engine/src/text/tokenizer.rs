//! [`Tokenizer`]: `tokenizer.json`, with the token names of `tokenizer_config.json`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use tokenizers::{Encoding, PostProcessor, TruncationDirection};

use super::{TextError, load, read};
use crate::error::Result;
use crate::telemetry::Stage;

/// The names by which templates refer to special tokens.
const SPECIAL: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Converts between text and token ids.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special_ids: HashSet<u32>,
    /// Text of a special token by its name in [`SPECIAL`].
    special_tokens: BTreeMap<&'static str, String>,
}

/// A special token as files write it: just its text, or with flags.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Flagged { content: String },
}

impl Tokenizer {
    /// Strings that interrupt a repeat, for [`breakers`](Self::breakers).
    pub const BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

    /// Reads `tokenizer.json` and, if it exists, `tokenizer_config.json` in `folder`.
    ///
    /// # Errors
    ///
    /// [`TextError::NoTokenizer`] when the first is missing, [`Error::Load`](crate::Error::Load)
    /// when one of them is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let Some(json) = read(&path)? else {
            let model = format!("`{}`", folder.display());
            return Err(TextError::NoTokenizer { model }.into());
        };
        // The library panics on some inconsistent files.
        let read = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(json.as_bytes()));
        let mut inner = read
            .unwrap_or_else(|_| Err("it contradicts itself; check the file".into()))
            .map_err(|e| load(&path, e))?;
        // Settings from training, which would silently truncate or pad prompts.
        inner.with_truncation(None).map_err(|e| load(&path, e))?;
        inner.with_padding(None);
        Ok(Self::new(inner, names(folder)?))
    }

    /// From `inner`, with the texts of special tokens by their names in [`SPECIAL`].
    pub(super) fn new(
        inner: tokenizers::Tokenizer,
        special_tokens: BTreeMap<&'static str, String>,
    ) -> Self {
        let added = inner.get_added_tokens_decoder();
        let special_ids = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id);
        Self { special_ids: special_ids.collect(), special_tokens, inner }
    }

    /// The ids of `text`, with the special tokens that the model expects around it. A
    /// beginning-of-sequence token that the text spells out itself is not doubled.
    ///
    /// # Errors
    ///
    /// [`TextError::Tokenizer`] when the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Stage::Tokenise.of(|| {
            let encoding = self.inner.encode_fast(text, true).map_err(failed)?;
            Ok(self.with_one_bos(&encoding))
        })
    }

    /// As [`encode`](Self::encode), with the end of `text` cut so that there are at most `limit`
    /// ids. The special tokens around it stay if there is room for them.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_head(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
        let special = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(false));
        let mut encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        encoding.truncate(limit.saturating_sub(special), 0, TruncationDirection::Right);
        // The overflow would be post-processed too.
        encoding.take_overflowing();
        let encoding = self.inner.post_process(encoding, None, true).map_err(failed)?;
        let mut ids = self.with_one_bos(&encoding);
        ids.truncate(limit);
        Ok(ids)
    }

    fn with_one_bos(&self, encoding: &Encoding) -> Vec<u32> {
        match (encoding.get_ids(), self.id_of("bos_token")) {
            ([first, rest @ ..], Some(bos)) if *first == bos && rest.first() == Some(&bos) => {
                rest.to_vec()
            }
            (ids, _) => ids.to_vec(),
        }
    }

    /// The ids of `text` alone. Special tokens that the text spells out are recognised.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_bare(&self, text: &str) -> Result<Vec<u32>> {
        Stage::Tokenise
            .of(|| Ok(self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec()))
    }

    /// The text of `ids`, without special tokens. Bytes that are not UTF-8 become `�`.
    ///
    /// # Errors
    ///
    /// [`TextError::Tokenizer`] when the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        Stage::Detokenise.of(|| Ok(self.inner.decode(ids, true).map_err(failed)?))
    }

    /// The ids of strings that break a repeat, for [`Dry::breakers`](crate::Dry::breakers): for
    /// each, its last id when it follows a letter; none if it encodes to nothing.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn breakers(&self, strings: &[&str]) -> Result<Vec<u32>> {
        let alone = self.encode_bare("a")?;
        let mut breakers = Vec::new();
        for string in strings {
            let ids = self.encode_bare(&format!("a{string}"))?;
            breakers.extend(ids.last().filter(|_| ids != alone).copied());
        }
        breakers.sort_unstable();
        breakers.dedup();
        Ok(breakers)
    }

    /// The vocabulary entry of `id`; `None` if decoding leaves it out.
    pub(super) fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id).filter(|_| !self.special_ids.contains(&id))
    }

    /// The end-of-sequence id that the files name.
    pub(super) fn eos(&self) -> Option<u32> {
        self.id_of("eos_token")
    }

    pub(super) const fn special_tokens(&self) -> &BTreeMap<&'static str, String> {
        &self.special_tokens
    }

    fn id_of(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(self.special_tokens.get(name)?)
    }
}

/// The special tokens that `tokenizer_config.json` names.
fn names(folder: &Path) -> Result<BTreeMap<&'static str, String>> {
    let path = folder.join("tokenizer_config.json");
    let Some(json) = read(&path)? else { return Ok(BTreeMap::new()) };
    let file: serde_json::Value = serde_json::from_str(&json).map_err(|e| load(&path, e))?;
    let mut tokens = BTreeMap::new();
    for name in SPECIAL {
        let Some(value) = file.get(name).filter(|value| !value.is_null()) else { continue };
        let Ok(Token::Text(text) | Token::Flagged { content: text }) = Token::deserialize(value)
        else {
            return Err(load(&path, format!("`{name}` is not a token")));
        };
        tokens.insert(name, text);
    }
    Ok(tokens)
}

fn failed(e: tokenizers::Error) -> TextError {
    TextError::Tokenizer(e.to_string())
}

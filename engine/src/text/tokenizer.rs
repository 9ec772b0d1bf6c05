//! [`Tokenizer`]: `tokenizer.json`, with the special tokens that the files beside it name.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, TruncationDirection};

use super::{TextError, load, read};
use crate::error::Result;
use crate::telemetry::Stage;

/// Says what its special tokens are called, and which of them belong around texts.
const CONFIG: &str = "tokenizer_config.json";
/// An older file with the names of special tokens.
const MAP: &str = "special_tokens_map.json";

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

    /// Reads `tokenizer.json` and, if they exist, `tokenizer_config.json` and
    /// `special_tokens_map.json` in `folder`.
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
        let config = read_json(folder, CONFIG)?;
        let special_tokens = names(folder, &config)?;
        if let Some(Marks { begins, ends }) = marks(&config) {
            let known = |name: &str| {
                let text = special_tokens.get(name)?;
                Some((inner.token_to_id(text)?, text.as_str()))
            };
            let (bos, eos) = (known("bos_token"), known("eos_token"));
            let marked = around(bos.filter(|_| begins), eos.filter(|_| ends));
            inner.with_post_processor(marked.map_err(|e| load(&path, e))?);
        }
        Ok(Self::new(inner, special_tokens))
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

    /// The special token that `text` is, if it is exactly one.
    pub(super) fn special(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text).filter(|id| self.special_ids.contains(id))
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

/// Which special tokens belong around a text.
struct Marks {
    begins: bool,
    ends: bool,
}

/// The marks that `config` asks for. In transformers, its keys count more than `tokenizer.json` for
/// the tokenizers of Llama: some models of that kind add the beginning-of-sequence token only here.
fn marks(config: &Value) -> Option<Marks> {
    let class = config.get("tokenizer_class")?.as_str()?;
    if !matches!(class, "LlamaTokenizer" | "LlamaTokenizerFast") {
        return None;
    }
    let stated = |key: &str| config.get(key).and_then(Value::as_bool);
    match (stated("add_bos_token"), stated("add_eos_token")) {
        (None, None) => None,
        (bos, eos) => Some(Marks { begins: bos.unwrap_or(true), ends: eos.unwrap_or(false) }),
    }
}

/// A post-processor that puts `bos` before a text and `eos` after it; none if there is neither.
pub(super) fn around(
    bos: Option<(u32, &str)>,
    eos: Option<(u32, &str)>,
) -> tokenizers::Result<Option<PostProcessorWrapper>> {
    if bos.is_none() && eos.is_none() {
        return Ok(None);
    }
    let mark = |(_, text): (u32, &str)| json!({"SpecialToken": {"id": text, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<_> =
        bos.map(mark).into_iter().chain([text.clone()]).chain(eos.map(mark)).collect();
    let tokens: Map<_, _> = bos
        .into_iter()
        .chain(eos)
        .map(|(id, text)| (text.into(), json!({"id": text, "ids": [id], "tokens": [text]})))
        .collect();
    let pair = json!([text, {"Sequence": {"id": "B", "type_id": 1}}]);
    let template = json!({
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens,
    });
    Ok(Some(serde_json::from_value(template)?))
}

/// The special tokens that the files of `folder` name. As in transformers, the older file has the
/// last word, but is not read beside a `config` that lists the added tokens.
fn names(folder: &Path, config: &Value) -> Result<BTreeMap<&'static str, String>> {
    let mut tokens = named_in(&folder.join(CONFIG), config)?;
    if config.get("added_tokens_decoder").is_none() {
        tokens.extend(named_in(&folder.join(MAP), &read_json(folder, MAP)?)?);
    }
    Ok(tokens)
}

/// The special tokens that `file`, the content of `path`, names.
fn named_in(path: &Path, file: &Value) -> Result<BTreeMap<&'static str, String>> {
    let mut tokens = BTreeMap::new();
    for name in SPECIAL {
        let Some(value) = file.get(name).filter(|value| !value.is_null()) else { continue };
        let Ok(Token::Text(text) | Token::Flagged { content: text }) = Token::deserialize(value)
        else {
            return Err(load(path, format!("`{name}` is not a token")));
        };
        tokens.insert(name, text);
    }
    Ok(tokens)
}

/// The content of the file `name` in `folder`; null if there is none.
fn read_json(folder: &Path, name: &str) -> Result<Value> {
    let path = folder.join(name);
    let Some(json) = read(&path)? else { return Ok(Value::Null) };
    serde_json::from_str(&json).map_err(|e| load(&path, e))
}

fn failed(e: tokenizers::Error) -> TextError {
    TextError::Tokenizer(e.to_string())
}

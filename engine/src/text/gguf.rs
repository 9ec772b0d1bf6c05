//! The tokenizer and the chat templates of a GGUF file.
//!
//! Files state what a vocabulary is, not how `tokenizer.json` would put it. Two kinds are
//! supported:
//!
//! - `gpt2`: byte-level BPE with its merges, after a pattern that splits the text; the file gives
//!   only the pattern's name (see `gguf/pattern.rs`);
//! - `llama`: SentencePiece pieces with their scores. Those of language models were trained as BPE,
//!   and a score is the rank of a merge: neighbours merge in the order of the scores, as in
//!   SentencePiece and llama.cpp. Read as probabilities of a unigram model they would split
//!   differently.
//!
//! All added tokens are passed at once, because each call rebuilds the automaton that finds them.

use std::collections::BTreeMap;
use std::path::Path;

use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

use super::Tokenizer;
use super::template::{DEFAULT, Templates};
use super::tokenizer::around;
use crate::error::Result;
use crate::faults;
use crate::text::TextError;
use crate::weights::gguf::{File, GgufError, Parts, eos};

mod pairs;
mod pattern;
mod pieces;

/// The supported kinds of tokenizers.
const KINDS: &str = "`gpt2` and `llama`";

/// Tokens that end a turn, whatever else a file names: many files name only one of several. They
/// are those of llama.cpp except for fill-in-the-middle tokens, and only where the file does not
/// call them parts of words. `</s>` is not among them, and ends a turn only where it is named.
const ENDS: [&str; 12] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "<end_of_utterance>",
    "<eos>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];

/// Added tokens that never absorb the whitespace after them.
const KEEPING: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A part of words.
    Normal,
    /// The unknown token.
    Unknown,
    /// A control token, which is not text.
    Control,
    /// Text that is never split.
    Added,
    /// A slot without a meaning.
    Unused,
    /// A byte.
    Byte,
}

/// What all kinds of tokenizers share.
struct Vocabulary<'a> {
    file: &'a File,
    tokens: Vec<String>,
    kinds: Vec<Kind>,
    /// Whether the file states the kinds; if not, all tokens are taken for normal.
    has_kinds: bool,
}

/// A tokenizer built from a vocabulary.
struct Made {
    inner: tokenizers::Tokenizer,
    /// Whether texts begin with the beginning-of-sequence token if the file does not say.
    begins: bool,
    /// Whether added tokens absorb the whitespace after them, except for [`KEEPING`].
    strips: bool,
}

/// The tokenizer and the templates of the model at `path`, and the ids in its file that end
/// answers. The file need not hold anything else.
pub(super) fn open(path: &Path) -> Result<(Tokenizer, Result<Templates, TextError>, Vec<u32>)> {
    let parts = Parts::open(path)?;
    let file = parts.head();
    let vocabulary = Vocabulary::read(file)?;
    let tokenizer = tokenizer(&vocabulary)?;
    let templates = templates(file)?;
    let templates = match templates.is_empty() {
        true => Err(TextError::NoTemplateInFile { file: file.name().into() }),
        false => Templates::new(templates, tokenizer.special_tokens().clone()),
    };
    let mut eos = eos(file)?;
    for id in vocabulary.ends() {
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    Ok((tokenizer, templates, eos))
}

/// The tokenizer of `vocabulary`.
fn tokenizer(vocabulary: &Vocabulary<'_>) -> Result<Tokenizer> {
    let kind: String = vocabulary.file.need("tokenizer.ggml.model")?;
    let made = match &kind[..] {
        "gpt2" => pairs::make(vocabulary)?,
        "llama" => pieces::make(vocabulary)?,
        other => {
            let problem =
                format!("its tokenizer is of kind `{other}`, but only {KINDS} are supported");
            return Err(vocabulary.error(problem).into());
        }
    };
    Ok(finished(vocabulary, made)?)
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a File) -> Result<Self, GgufError> {
        let (list, types) = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type");
        let tokens: Vec<String> = file.list(list)?.ok_or_else(|| file.missing(list))?;
        let numbers = file.list::<u64>(types)?;
        let has_kinds = numbers.is_some();
        let kinds = match numbers {
            None => vec![Kind::Normal; tokens.len()],
            Some(numbers) => numbers.into_iter().map(Kind::numbered).collect(),
        };
        let vocabulary = Self { file, tokens, kinds, has_kinds };
        vocabulary.check_length(types, vocabulary.kinds.len())?;
        Ok(vocabulary)
    }

    /// Makes sure that the list `key` has one entry per token.
    fn check_length(&self, key: &str, found: usize) -> Result<(), GgufError> {
        match self.tokens.len() {
            tokens if tokens == found => Ok(()),
            tokens => {
                let found = format!("a list of {found}");
                Err(self.file.wrong(key, found, &format!("as long as the {tokens} tokens")))
            }
        }
    }

    fn error(&self, problem: impl Into<String>) -> GgufError {
        GgufError::Tokenizer { file: self.file.name().into(), problem: problem.into() }
    }

    /// An error of the library about this vocabulary.
    fn failed(&self, e: tokenizers::Error) -> GgufError {
        self.error(format!("its tokenizer cannot be built: {e}"))
    }

    /// The id of each text; the first if several tokens have the same text.
    fn ids(&self) -> Vocab {
        let mut ids = Vocab::with_capacity(self.tokens.len());
        for (text, id) in self.tokens.iter().zip(0..) {
            ids.entry(text.clone()).or_insert(id);
        }
        ids
    }

    /// The ids of [`ENDS`].
    fn ends(&self) -> impl Iterator<Item = u32> {
        let tokens = self.tokens.iter().zip(&self.kinds).zip(0..);
        tokens.filter(|((text, kind), _)| ends_turn(text, **kind)).map(|(_, id)| id)
    }

    /// The text of the token that `key` names, with its id.
    fn named(&self, key: &str) -> Result<Option<(u32, &str)>, GgufError> {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let Some(id) = self.file.get::<u32>(&key)? else { return Ok(None) };
        match self.tokens.get(id as usize) {
            Some(text) => Ok(Some((id, text))),
            // Some files name an absent token with this id.
            None if id == u32::MAX => Ok(None),
            None => {
                let expected = format!("below {}, the number of tokens", self.tokens.len());
                Err(self.file.wrong(&key, id, &expected))
            }
        }
    }
}

impl Kind {
    const fn numbered(number: u64) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::Added,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// Whether a token is one of [`ENDS`], and not just a part of words.
fn ends_turn(text: &str, kind: Kind) -> bool {
    matches!(kind, Kind::Control | Kind::Added) && ENDS.contains(&text)
}

/// The tokenizer with its added tokens, and with those that it puts around texts.
fn finished(vocabulary: &Vocabulary<'_>, made: Made) -> Result<Tokenizer, GgufError> {
    let Made { mut inner, begins, strips } = made;
    let failed = |e| vocabulary.failed(e);
    let mut special_tokens = BTreeMap::new();
    let mut special = std::collections::HashSet::new();
    for (name, key) in [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        // Files spell it this way.
        ("sep_token", "seperator"),
        ("pad_token", "padding"),
        ("cls_token", "cls"),
        ("mask_token", "mask"),
    ] {
        if let Some((id, text)) = vocabulary.named(key)? {
            special_tokens.insert(name, text.to_owned());
            // If the file has kinds, they are right for all but these two: padding may be an
            // ordinary piece, which text must not lose.
            if !vocabulary.has_kinds || matches!(key, "bos" | "eos") {
                special.insert(id);
            }
        }
    }
    let added = vocabulary.tokens.iter().zip(&vocabulary.kinds).zip(0..);
    let added = added.filter_map(|((text, kind), id)| {
        let special = match kind {
            Kind::Control | Kind::Unknown => true,
            Kind::Added => ends_turn(text, *kind),
            Kind::Normal | Kind::Unused | Kind::Byte if special.contains(&id) => true,
            Kind::Normal | Kind::Unused | Kind::Byte => return None,
        };
        let strips = strips && !KEEPING.contains(&text.as_str());
        Some(AddedToken::from(text.clone(), special).normalized(false).rstrip(strips))
    });
    let added: Vec<AddedToken> = added.collect();
    faults::add_one_by_one(&mut inner, &added).map_err(failed)?;
    inner.add_tokens(added).map_err(failed)?;

    let wants = |key: &str, usual| -> Result<bool, GgufError> {
        Ok(vocabulary.file.get(&format!("tokenizer.ggml.add_{key}_token"))?.unwrap_or(usual))
    };
    let bos = vocabulary.named("bos")?.filter(|_| special_tokens.contains_key("bos_token"));
    let bos = if wants("bos", begins)? { bos } else { None };
    let eos = if wants("eos", false)? { vocabulary.named("eos")? } else { None };
    inner.with_post_processor(around(bos, eos).map_err(failed)?);
    Ok(Tokenizer::new(inner, special_tokens))
}

/// The chat templates in `file`, by name.
fn templates(file: &File) -> Result<Vec<(String, String)>, GgufError> {
    const KEY: &str = "tokenizer.chat_template";
    let mut templates = Vec::new();
    if let Some(source) = file.get::<String>(KEY)? {
        templates.push((DEFAULT.to_owned(), source));
    }
    for name in file.list::<String>("tokenizer.chat_templates")?.unwrap_or_default() {
        let source = file.need(&format!("{KEY}.{name}"))?;
        templates.push((name, source));
    }
    Ok(templates)
}

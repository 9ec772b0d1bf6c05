//! How text is split before merging: a file states only the name of a model.
//!
//! A wrong pattern gives ids that look right but that no model was trained on, so an unknown name
//! is an error, as is a missing one. `default` is not in the table: it is llama.cpp's name for its
//! own guess when there is none.

use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

/// The pre-tokenizer behind a name.
pub(super) struct Pattern {
    /// Its names in `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// Each splits what the one before it left.
    cuts: &'static [&'static str],
    /// What is done to the text first.
    text: Text,
    /// How words of the vocabulary are treated.
    pub(super) words: Words,
    /// Whether texts begin with the beginning-of-sequence token if the file does not say.
    pub(super) begins: bool,
}

/// What is done to text before it is split.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Kept,
    /// Characters are composed (NFC).
    Composed,
}

/// How a word is treated that is in the vocabulary as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// It is merged from its bytes like any other.
    Merged,
    /// It is taken whole, whether or not merges lead to it.
    Whole,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Numbers in groups of three.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same, digit by digit.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words are split where capitals begin.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Every known name.
pub(super) const PATTERNS: &[Pattern] = &[
    Pattern {
        names: &["gpt-2", "phi-2", "olmo", "mpt"],
        cuts: &[GPT2],
        text: Text::Kept,
        words: Words::Merged,
        begins: false,
    },
    Pattern {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"],
        cuts: &[LLAMA3],
        text: Text::Kept,
        words: Words::Whole,
        begins: true,
    },
    // Phi 4 calls itself `dbrx`.
    Pattern {
        names: &["dbrx", "smaug-bpe"],
        cuts: &[LLAMA3],
        text: Text::Kept,
        words: Words::Merged,
        begins: false,
    },
    Pattern {
        names: &["qwen2", "deepseek-r1-qwen"],
        cuts: &[QWEN2],
        text: Text::Composed,
        words: Words::Merged,
        begins: false,
    },
    Pattern {
        names: &["starcoder", "refact", "smollm", "codeshell", "command-r"],
        cuts: &[r"\p{N}", GPT2],
        text: Text::Kept,
        words: Words::Merged,
        begins: false,
    },
    Pattern {
        names: &["tekken"],
        cuts: &[TEKKEN],
        text: Text::Kept,
        words: Words::Whole,
        begins: true,
    },
    Pattern {
        names: &["gpt-4o"],
        cuts: &[GPT4O],
        text: Text::Kept,
        words: Words::Merged,
        begins: false,
    },
];

impl Pattern {
    /// The pattern called `name`, or the problem as a sentence.
    pub(super) fn named(name: &str) -> Result<&'static Self, String> {
        let known = || PATTERNS.iter().flat_map(|pattern| pattern.names);
        PATTERNS.iter().find(|pattern| pattern.names.contains(&name)).ok_or_else(|| {
            let known: Vec<_> = known().map(|name| format!("`{name}`")).collect();
            format!(
                "its tokenizer splits text as `{name}` does, which is not implemented (supported: {})",
                known.join(", ")
            )
        })
    }

    /// Splits text and maps its bytes to letters.
    pub(super) fn pre_tokenizer(&self) -> tokenizers::Result<PreTokenizerWrapper> {
        let cut = |cut: &&str| {
            let pattern = SplitPattern::Regex((*cut).into());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map(Into::into)
        };
        let mut steps: Vec<_> = self.cuts.iter().map(cut).collect::<tokenizers::Result<_>>()?;
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps).into())
    }

    /// What is done to the text first.
    pub(super) fn normalizer(&self) -> Option<NormalizerWrapper> {
        (self.text == Text::Composed).then(|| NFC.into())
    }
}

//! Byte-level BPE, whose merges the file lists.

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::pattern::{Pattern, Words};
use super::{Made, Vocabulary};
use crate::weights::gguf::GgufError;

const PATTERN: &str = "tokenizer.ggml.pre";
const MERGES: &str = "tokenizer.ggml.merges";

/// The tokenizer of `vocabulary`.
pub(super) fn make(vocabulary: &Vocabulary<'_>) -> Result<Made, GgufError> {
    let file = vocabulary.file;
    let name: Option<String> = file.get(PATTERN)?;
    // llama.cpp guesses here, and warns. This engine prints nothing, so a guess would be silent.
    let name = name.ok_or_else(|| {
        let problem =
            format!("it has no key `{PATTERN}`, which says how its tokenizer splits text");
        vocabulary.error(problem)
    })?;
    let pattern = Pattern::named(&name).map_err(|problem| vocabulary.error(problem))?;
    let merges: Vec<String> = file.list(MERGES)?.ok_or_else(|| file.missing(MERGES))?;
    let pair = |merge: &String| {
        // The first character may itself be a space.
        let space = merge.char_indices().skip(1).find(|(_, letter)| *letter == ' ');
        let (left, right) = space.map(|(at, _)| (&merge[..at], &merge[at + 1..])).unzip();
        left.zip(right.filter(|right| !right.is_empty()))
            .map(|(left, right)| (left.to_owned(), right.to_owned()))
            .ok_or_else(|| file.wrong(MERGES, format!("a list with {merge:?}"), "a list of pairs"))
    };
    let merges = merges.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let ids = vocabulary.ids();
    let has = |token: &str| ids.contains_key(token);
    let goes_nowhere = |(left, right): &&(String, String)| {
        has(left) && has(right) && !has(&format!("{left}{right}"))
    };
    // The library indexes past the end of its longest token on such a merge.
    if let Some((left, right)) = merges.iter().find(goes_nowhere) {
        let problem =
            format!("its merge of {left:?} and {right:?} makes a token that it does not have");
        return Err(vocabulary.error(problem));
    }
    let failed = |e| vocabulary.failed(e);
    let bpe = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(pattern.words == Words::Whole)
        .build()
        .map_err(failed)?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_normalizer(pattern.normalizer()).map_err(failed)?;
    inner.with_pre_tokenizer(Some(pattern.pre_tokenizer().map_err(failed)?));
    inner.with_decoder(Some(ByteLevel::default()));
    Ok(Made { inner, begins: pattern.begins, strips: false })
}

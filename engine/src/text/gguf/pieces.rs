//! SentencePiece pieces, whose merges follow from their scores.

use std::cmp::Reverse;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::prepend::Prepend;
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::utils::Sequence as Normalizers;

use super::{Kind, Made, Vocabulary};
use crate::weights::gguf::GgufError;

const SCORES: &str = "tokenizer.ggml.scores";
/// Stands for a space.
const SPACE: &str = "\u{2581}";

/// The tokenizer of `vocabulary`.
pub(super) fn make(vocabulary: &Vocabulary<'_>) -> Result<Made, GgufError> {
    let file = vocabulary.file;
    let scores: Vec<f64> = file.list(SCORES)?.ok_or_else(|| file.missing(SCORES))?;
    vocabulary.check_length(SCORES, scores.len())?;
    let failed = |e| vocabulary.failed(e);
    let ids = vocabulary.ids();
    let merges = merges(vocabulary, &scores, &ids);
    let mut bpe = BPE::builder()
        .vocab_and_merges(ids, merges)
        .byte_fallback(vocabulary.kinds.contains(&Kind::Byte))
        .fuse_unk(true);
    if let Some((_, unknown)) = vocabulary.named("unknown")? {
        bpe = bpe.unk_token(unknown.into());
    }
    let mut inner = tokenizers::Tokenizer::new(bpe.build().map_err(failed)?);

    // A text begins with a space, and so does the text after a special token.
    let spaced = file.get("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let space = Replace::new(" ", SPACE).map_err(failed)?;
    let prepend = spaced.then(|| Prepend::new(SPACE.into()).into());
    let steps = prepend.into_iter().chain([space.into()]).collect();
    inner.with_normalizer(Some(Normalizers::new(steps))).map_err(failed)?;
    let back = Replace::new(SPACE, " ").map_err(failed)?;
    let strip = spaced.then(|| Strip::new(' ', 1, 0).into());
    let steps = [back.into(), ByteFallback::new().into(), Fuse::new().into()];
    inner.with_decoder(Some(Decoders::new(steps.into_iter().chain(strip).collect())));
    // Files do not state this per token; the hub's own files for this architecture do.
    let strips = file.get::<String>("general.architecture")?.as_deref() == Some("phi3");
    Ok(Made { inner, begins: true, strips })
}

/// The pairs that form each piece: pieces with better scores first, and for one piece, pairs of
/// better parts first.
fn merges(vocabulary: &Vocabulary<'_>, scores: &[f64], ids: &Vocab) -> Vec<(String, String)> {
    let mut ranked = Vec::new();
    for (id, (piece, kind)) in (0..).zip(vocabulary.tokens.iter().zip(&vocabulary.kinds)) {
        // Control tokens are matched literally, and bytes are not characters.
        if !matches!(kind, Kind::Normal | Kind::Added) {
            continue;
        }
        for (cut, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(cut);
            if let (Some(&left_id), Some(&right_id)) = (ids.get(left), ids.get(right)) {
                ranked.push((id, left_id, right_id, (left, right)));
            }
        }
    }
    let score = |id: u32| Reverse(Ordered(scores.get(id as usize).copied().unwrap_or_default()));
    ranked.sort_by_key(|&(id, left, right, _)| (score(id), id, left, right));
    ranked.into_iter().map(|(.., (left, right))| (left.to_owned(), right.to_owned())).collect()
}

/// A score, in the total order of floats.
struct Ordered(f64);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

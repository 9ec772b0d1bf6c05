//! The vectors of a reference, recomputed by an embedder.
//!
//! The reference is a batch padded on the right: `input_ids` and `attention_mask` `[texts,
//! tokens]`, the resulting vectors as `embedding` `[texts, width]`, and, optionally, the
//! intermediate steps: `last_hidden_state` `[texts, tokens, hidden]`, `pooled` `[texts, hidden]`,
//! and the output of each dense head, `dense1`, `dense2`, … `[texts, width]`.

use anyhow::{Context, Result, ensure};
use windtunnel_engine::pass::{Place, Rows};
use windtunnel_engine::{EmbedRequest, Embedder, Overlong};
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::{Source, Tolerance};
use windtunnel_ledger::fidelity::{Errors, cosine_distance};
use windtunnel_ledger::record::Digest;
use windtunnel_ledger::timeline::Values;

use super::golden::Golden;
use super::hold;

/// The results of another implementation for some texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Its file, for messages.
    place: String,
    texts: Vec<Vec<u32>>,
    /// One for each text.
    vectors: Vec<Vec<f32>>,
    /// The intermediate results, as far as they are known.
    steps: Vec<Step>,
}

/// The output of one step: a row for each token or text.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    name: String,
    place: Place,
    rows: Vec<Vec<f32>>,
}

/// Embeds the texts of `reference` again, and returns how close the vectors and the steps before
/// them are.
///
/// # Errors
///
/// When the embedder fails on them, and when a number is off by more than `tolerance`.
pub fn iteration(
    embedder: &Embedder,
    reference: &Reference,
    tolerance: Tolerance,
) -> Result<(Digest, Values)> {
    let Reference { place, texts, vectors, steps } = reference;
    let request =
        |tokens: &Vec<u32>| EmbedRequest { tokens: tokens.clone(), overlong: Overlong::Refuse };
    let requests: Vec<EmbedRequest> = texts.iter().map(request).collect();
    let mut rows = Rows::at(steps.iter().map(|step| step.place));
    let found = embedder.embed_observed(&requests, &mut rows)?.vectors;
    let rows = rows.finish()?;

    let mut worst = 0.0_f64;
    for step in steps {
        let found = rows.get(&step.place).map_or(&[][..], Vec::as_slice);
        let errors = errors(found, &step.rows);
        hold(&errors, step.rows.len(), &step.name, place, tolerance)?;
        worst = worst.max(errors.share());
    }
    let errors = errors(&found, vectors);
    hold(&errors, vectors.len(), "embedding", place, tolerance)?;
    let distances = found.iter().zip(vectors).map(|(f, e)| cosine_distance(f, e));
    let distance = distances.fold(0.0, f64::max);
    ensure!(distance.is_finite(), "a vector of `{place}` has no direction");
    let mut values = Values::from([
        (Metric::VectorError, vec![errors.share()]),
        (Metric::LargestError, vec![errors.largest()]),
        (Metric::CosineDistance, vec![distance]),
    ]);
    if !steps.is_empty() {
        values.insert(Metric::HiddenError, vec![worst]);
    }
    Ok((Digest::of_vectors(found.iter().map(Vec::as_slice)), values))
}

/// The errors of the rows that both sides have.
fn errors(found: &[Vec<f32>], expected: &[Vec<f32>]) -> Errors {
    let mut errors = Errors::default();
    found.iter().zip(expected).for_each(|(found, expected)| errors.add(found, expected));
    errors
}

impl Reference {
    /// The reference in the folder of `model`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is malformed.
    pub fn of(model: &Source) -> Result<Reference> {
        let golden = Golden::of(model)?;
        Reference::read(&golden)
            .with_context(|| format!("`{}` is not a reference", golden.path().display()))
    }

    fn read(golden: &Golden) -> Result<Reference> {
        let (ids, mask) = (golden.texts("input_ids")?, golden.texts("attention_mask")?);
        let lengths: Vec<usize> = mask.iter().map(|row| real(row)).collect::<Result<_>>()?;
        ensure!(ids.len() == lengths.len(), "`input_ids` and `attention_mask` differ in shape");
        let texts: Vec<Vec<u32>> = ids
            .into_iter()
            .zip(&lengths)
            .map(|(ids, length)| ids.into_iter().take(*length).collect())
            .collect();
        let mut steps = Vec::new();
        let mut add = |name: &str, place, rows: Result<Vec<Vec<f32>>>| -> Result<()> {
            steps.push(Step { name: name.to_owned(), place, rows: rows? });
            Ok(())
        };
        if golden.has("last_hidden_state") {
            let rows = golden.of_padded("last_hidden_state", &lengths);
            add("last_hidden_state", Place::Norm, rows)?;
        }
        if golden.has("pooled") {
            add("pooled", Place::Pooled, golden.of_texts("pooled", texts.len()))?;
        }
        for module in 0.. {
            let name = format!("dense{}", module + 1);
            if !golden.has(&name) {
                break;
            }
            add(&name, Place::Module(module), golden.of_texts(&name, texts.len()))?;
        }
        let vectors = golden.of_texts("embedding", texts.len())?;
        Ok(Reference { place: golden.path().display().to_string(), texts, vectors, steps })
    }
}

/// How many tokens of a text are not padding, which is on the right.
fn real(mask: &[u32]) -> Result<usize> {
    let length = mask.iter().take_while(|real| **real == 1).count();
    let padded = mask.iter().skip(length).all(|real| *real == 0);
    padded.then_some(length).context("`attention_mask` has padding that is not on the right")
}

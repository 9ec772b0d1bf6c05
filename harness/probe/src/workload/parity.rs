//! The numbers of a reference, recomputed by the engine.
//!
//! A reference is a folder with a model and `golden.safetensors`. For a generating model this file
//! recomputes logits, hidden states and the continuation; for an embedding model [`vectors`]
//! recomputes the vectors. [`golden`] reads the file, and `tools/dump_reference.py` makes such
//! folders.

use anyhow::{Context, Result, ensure};
use windtunnel_engine::pass::Place;
use windtunnel_engine::{Engine, score_at};
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::{Source, Tolerance};
use windtunnel_ledger::fidelity::{Errors, Fidelity, likeliest};
use windtunnel_ledger::timeline::Values;

mod golden;
pub mod vectors;

use golden::Golden;

/// Tensors that a reference may have besides the logits, and their places in the engine.
const HIDDEN: [(&str, Place); 4] = [
    ("hidden_embed", Place::Embedding),
    ("hidden_layer0", Place::Layer(0)),
    ("hidden_last", Place::BeforeNorm),
    ("hidden_norm", Place::Norm),
];

/// The results of another implementation.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Its file, for messages.
    place: String,
    prompt: Vec<u32>,
    /// One row for each token of the prompt.
    logits: Vec<Vec<f32>>,
    /// The intermediate results, as far as they are known.
    hidden: Vec<Hidden>,
    /// Its greedy continuation; empty if it is not known.
    continuation: Vec<u32>,
}

/// Hidden states of the prompt at one place.
#[derive(Clone, Debug, PartialEq)]
struct Hidden {
    name: &'static str,
    place: Place,
    /// One row for each token of the prompt.
    rows: Vec<Vec<f32>>,
}

/// Recomputes the logits and hidden states of `reference`, and returns the continuation and how
/// close everything is.
///
/// # Errors
///
/// When the engine fails on it, when a number is off by more than `tolerance`, and when the
/// continuation departs from the reference's for a token that is likelier by more than the
/// tolerance explains.
pub fn iteration(
    engine: &mut Engine,
    reference: &Reference,
    tolerance: Tolerance,
) -> Result<(Vec<u32>, Values)> {
    let Reference { place, prompt, logits, hidden, continuation } = reference;
    let mut fidelity = Fidelity::default();
    let mut errors = vec![Errors::default(); hidden.len()];
    // Where the continuation first departs: the logit of the engine's token minus that of the
    // reference's.
    let mut parting = None;
    let output = continuation.len().max(1);
    let places: Vec<Place> =
        hidden.iter().map(|hidden| hidden.place).chain([Place::Logits]).collect();
    let tokens = score_at(engine, prompt.clone(), output, &places, &mut |at, position, found| {
        if let Some(index) = hidden.iter().position(|hidden| hidden.place == at) {
            let (errors, rows) = (&mut errors[index], &hidden[index].rows);
            compare(errors.rows(), position, rows, |expected| errors.add(found, expected));
            return;
        }
        let known = fidelity.errors().rows();
        compare(known, position, logits, |expected| fidelity.add(found, expected));
        let theirs = (position + 1).checked_sub(prompt.len()).and_then(|at| continuation.get(at));
        if let (Some(theirs), Some(ours), None) = (theirs, likeliest(found), parting)
            && ours != *theirs as usize
        {
            let logit = |token: usize| found.get(token).copied().unwrap_or(f32::NAN);
            parting = Some(f64::from(logit(ours) - logit(*theirs as usize)));
        }
    })?;
    let same = tokens.iter().zip(continuation).take_while(|(ours, theirs)| ours == theirs).count();

    let mut worst = 0.0_f64;
    for (Hidden { name, rows, .. }, errors) in hidden.iter().zip(&errors) {
        hold(errors, rows.len(), name, place, tolerance)?;
        worst = worst.max(errors.share());
    }
    hold(fidelity.errors(), logits.len(), "logits", place, tolerance)?;
    ensure!(
        tokens.len() == output,
        "the engine gave {} of the {output} tokens after `{place}`",
        tokens.len()
    );
    // Each of the two logits may be off by the tolerance.
    let tie = 2.0 * tolerance.share() * fidelity.errors().scale();
    ensure!(
        parting.is_none_or(|gap| gap <= tie),
        "the continuation departs from that of `{place}` at token {same}, for one that is likelier by \
         more than the tolerance explains"
    );
    let mut values = fidelity.values();
    if !hidden.is_empty() {
        values.insert(Metric::HiddenError, vec![worst]);
    }
    if !continuation.is_empty() {
        values.insert(Metric::SameTokens, vec![same as f64]);
    }
    Ok((tokens, values))
}

/// Hands the expected row of `position` to `add` if it is the next one: the engine shows recomputed
/// positions again, and the continuation has no expected rows.
fn compare(known: usize, position: usize, rows: &[Vec<f32>], add: impl FnOnce(&[f32])) {
    if let (true, Some(expected)) = (position == known, rows.get(position)) {
        add(expected);
    }
}

/// Fails if rows of the tensor `name` of the reference `place` are missing, or off by more than
/// `tolerance`.
fn hold(errors: &Errors, rows: usize, name: &str, place: &str, tolerance: Tolerance) -> Result<()> {
    ensure!(
        errors.rows() == rows,
        "the engine showed {} of the {rows} rows of `{name}` in `{place}`",
        errors.rows()
    );
    // Written so that a NaN fails.
    ensure!(
        errors.share() <= tolerance.share(),
        "`{name}` of `{place}` is off by {} of its largest number, in row {}; {} is allowed",
        Metric::LogitError.show(errors.share()),
        errors.row(),
        Metric::LogitError.show(tolerance.share()),
    );
    Ok(())
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

    /// Tokens of the prompt and the continuation, which counts as at least one.
    #[must_use]
    pub fn length(&self) -> usize {
        self.prompt.len() + self.continuation.len().max(1)
    }

    fn read(golden: &Golden) -> Result<Reference> {
        let prompt = golden.text("input_ids")?;
        let rows = |name| golden.of_tokens(name, prompt.len());
        let hidden = |(name, place): (&'static str, Place)| {
            let present = golden.has(name);
            present.then(|| Ok(Hidden { name, place, rows: rows(name)? }))
        };
        let continuation = match golden.has("greedy_ids") {
            true => golden.text("greedy_ids")?,
            false => Vec::new(),
        };
        Ok(Reference {
            place: golden.path().display().to_string(),
            logits: rows("logits")?,
            hidden: HIDDEN.into_iter().filter_map(hidden).collect::<Result<_>>()?,
            continuation,
            prompt,
        })
    }
}

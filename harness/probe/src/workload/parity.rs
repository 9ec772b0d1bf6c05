//! The numbers of a reference, computed again by the engine.
//!
//! A folder with a model and `golden.safetensors` is a reference: `input_ids` `[1, tokens]`, the
//! `logits` `[1, tokens, vocabulary]` that another implementation had for them, and, if it has them,
//! `greedy_ids` `[new]`, its likeliest continuation. `tools/dump_reference.py` makes such folders.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use windtunnel_engine::{Engine, score};
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::{Source, Tolerance};
use windtunnel_ledger::fidelity::{Fidelity, likeliest};
use windtunnel_ledger::timeline::Values;

/// The name of the file in the model's folder.
const FILE: &str = "golden.safetensors";

/// What another implementation computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    path: PathBuf,
    prompt: Vec<u32>,
    /// One row for each token of the prompt.
    logits: Vec<Vec<f32>>,
    /// Its likeliest continuation; empty if it is not known.
    continuation: Vec<u32>,
}

/// Computes the logits of `reference` again, gives the continuation, and says how near all that is.
///
/// # Errors
///
/// When the engine fails on it, when a logit is wronger than `tolerance`, and when the continuation
/// takes another token than the reference's that was not as likely within the tolerance.
pub fn iteration(
    engine: &mut Engine,
    reference: &Reference,
    tolerance: Tolerance,
) -> Result<(Vec<u32>, Values)> {
    let Reference { path, prompt, logits, continuation } = reference;
    let place = path.display();
    let mut fidelity = Fidelity::default();
    // By how much the engine held another token for likelier where it first left the reference.
    let mut parting = None;
    let output = continuation.len().max(1);
    let tokens = score(engine, prompt.clone(), output, &mut |position, found| {
        // What is computed anew is shown again.
        if position == fidelity.positions()
            && let Some(expected) = logits.get(position)
        {
            fidelity.add(found, expected);
        }
        let theirs = (position + 1).checked_sub(prompt.len()).and_then(|at| continuation.get(at));
        if let (Some(theirs), Some(ours), None) = (theirs, likeliest(found), parting)
            && ours != *theirs as usize
        {
            let logit = |token: usize| found.get(token).copied().unwrap_or(f32::NAN);
            parting = Some(f64::from(logit(ours) - logit(*theirs as usize)));
        }
    })?;
    let same = tokens.iter().zip(continuation).take_while(|(ours, theirs)| ours == theirs).count();

    let (error, position) = fidelity.worst();
    ensure!(
        fidelity.positions() == logits.len() && tokens.len() == output,
        "the engine showed {} of {} positions of `{place}` and gave {} of {output} tokens",
        fidelity.positions(),
        logits.len(),
        tokens.len(),
    );
    // Written so that an error that is no number fails.
    ensure!(
        error <= tolerance.share(),
        "a logit at position {position} of `{place}` is off by {} of the largest one, {} is \
         allowed; {same} of {} tokens of the continuation are the same",
        Metric::LogitError.show(error),
        Metric::LogitError.show(tolerance.share()),
        continuation.len(),
    );
    // Each of two logits may be off by the tolerance.
    let tie = 2.0 * tolerance.share() * fidelity.scale();
    ensure!(
        parting.is_none_or(|gap| gap <= tie),
        "the continuation leaves that of `{place}` at token {same}, for one that is likelier by more \
         than both may be off"
    );
    let mut values = fidelity.values();
    if !continuation.is_empty() {
        values.insert(Metric::SameTokens, vec![same as f64]);
    }
    Ok((tokens, values))
}

impl Reference {
    /// The reference in the folder of `model`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not what a reference is.
    pub fn of(model: &Source) -> Result<Reference> {
        match model {
            Source::Folder(folder) => Reference::read(Path::new(folder)),
            Source::Gguf(file) => bail!(
                "`{file}` has no reference beside it: name the folder that it was made of, which `tools/dump_reference.py` fills"
            ),
            Source::Preset(name) => bail!(
                "`{name}` has random weights, which no other implementation has run: name a model with a folder"
            ),
        }
    }

    /// Tokens of prompt and continuation.
    #[must_use]
    pub fn length(&self) -> usize {
        self.prompt.len() + self.continuation.len().max(1)
    }

    fn read(folder: &Path) -> Result<Reference> {
        let path = folder.join(FILE);
        let bytes = std::fs::read(&path).with_context(|| {
            format!(
                "cannot read the reference `{}`; `tools/dump_reference.py` makes one",
                path.display()
            )
        })?;
        let place = || format!("`{}` is no reference", path.display());
        let file = SafeTensors::deserialize(&bytes).with_context(place)?;
        let prompt =
            ids(&file.tensor("input_ids").with_context(place)?, "input_ids").with_context(place)?;
        let logits =
            rows(&file.tensor("logits").with_context(place)?, prompt.len()).with_context(place)?;
        let continuation = match file.tensor("greedy_ids") {
            Ok(tensor) => ids(&tensor, "greedy_ids").with_context(place)?,
            Err(_) => Vec::new(),
        };
        Ok(Reference { path, prompt, logits, continuation })
    }
}

/// The token ids of a tensor `[n]` or `[1, n]`.
fn ids(tensor: &TensorView<'_>, name: &str) -> Result<Vec<u32>> {
    let shape = tensor.shape();
    let Some((&length, [] | [1])) = shape.split_last() else {
        bail!("`{name}` has shape {shape:?}, expected [n] or [1, n]");
    };
    let bytes = tensor.data();
    let ids: Option<Vec<u32>> = match tensor.dtype() {
        Dtype::I64 => {
            let (words, _) = bytes.as_chunks();
            words.iter().map(|word| u32::try_from(i64::from_le_bytes(*word)).ok()).collect()
        }
        Dtype::I32 | Dtype::U32 => {
            let (words, _) = bytes.as_chunks();
            Some(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
        }
        other => bail!("`{name}` has dtype {other:?}, expected I64, I32 or U32"),
    };
    let ids = ids.with_context(|| format!("`{name}` holds a number that is no token id"))?;
    ensure!(ids.len() == length, "`{name}` is cut short");
    Ok(ids)
}

/// The rows of a tensor `[tokens, width]` or `[1, tokens, width]`.
fn rows(tensor: &TensorView<'_>, tokens: usize) -> Result<Vec<Vec<f32>>> {
    let shape = tensor.shape();
    let width = match *shape {
        [n, width] | [1, n, width] if n == tokens && width > 0 => width,
        _ => bail!("`logits` has shape {shape:?}, expected [1, {tokens}, vocabulary]"),
    };
    ensure!(tensor.dtype() == Dtype::F32, "`logits` has dtype {:?}, expected F32", tensor.dtype());
    let (words, _) = tensor.data().as_chunks();
    let logits: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    Ok(logits.chunks(width).map(<[f32]>::to_vec).collect())
}

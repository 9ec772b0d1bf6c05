//! How positions are scaled, as the hub's `rope_scaling`.

use serde_json::{Value, json};

use super::config::Keys;
use super::parts::Parts;
use super::{GgufError, numbers};
use crate::error::Result;

/// A divisor for each frequency.
const DIVISORS: &str = "rope_freqs.weight";
/// The same for sequences within the original context, and for longer ones.
const SHORT: &str = "rope_factors_short.weight";
const LONG: &str = "rope_factors_long.weight";

/// The `rope_scaling` of the model in `parts`, if it has one. As in llama.cpp, scaling without a
/// type is linear, and a factor or original context of 0 means none.
pub(super) fn scaling(keys: &Keys<'_>, parts: &Parts) -> Result<Option<Value>> {
    const TYPE: &str = "rope.scaling.type";
    let number = |key: &str| keys.get::<f64>(&format!("rope.scaling.{key}"));
    let stated = number("factor")?;
    let original = number("original_context_length")?.filter(|tokens| *tokens != 0.0);
    if parts.has(SHORT) || parts.has(LONG) {
        return Ok(Some(json!({
            "rope_type": "longrope",
            "short_factor": divisors(parts, SHORT)?,
            "long_factor": divisors(parts, LONG)?,
            "original_max_position_embeddings": original,
            "factor": stated.filter(|factor| *factor != 0.0),
            "attention_factor": number("attn_factor")?,
        })));
    }
    let factor = match stated {
        // The older name of the key.
        None => keys.get("rope.scale_linear")?,
        stated => stated,
    };
    let kind: Option<String> = keys.get(TYPE)?;
    let kind = kind.as_deref().unwrap_or("linear");
    let factor = factor.filter(|factor| *factor != 0.0 && kind != "none").unwrap_or(1.0);
    let divided = parts.has(DIVISORS);
    Ok(match kind {
        "none" | "linear" if divided => Some(json!({
            "rope_type": "divided",
            "divisors": divisors(parts, DIVISORS)?,
            "factor": factor,
        })),
        "none" | "linear" if factor == 1.0 => None,
        "linear" => Some(json!({ "rope_type": "linear", "factor": factor })),
        "yarn" if !divided => Some(json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
            "attention_factor": yarn_magnitude(factor, number("attn_factor")?),
            "beta_fast": number("yarn_beta_fast")?,
            "beta_slow": number("yarn_beta_slow")?,
        })),
        other => {
            let expected = match divided {
                true => "`none` or `linear` beside the tensor `rope_freqs.weight`",
                false => "`none`, `linear`, `yarn` or, with its tensors, `longrope`",
            };
            return Err(keys.wrong(TYPE, format!("`{other}`"), expected).into());
        }
    })
}

/// The factor on cosines and sines: the file's own multiplies the one that YaRN prescribes.
fn yarn_magnitude(factor: f64, given: Option<f64>) -> Option<f64> {
    let usual = if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 };
    given.map(|given| given * usual)
}

fn divisors(parts: &Parts, name: &str) -> Result<Vec<f32>> {
    let Some((file, tensor)) = parts.tensor(name) else {
        return Err(GgufError::MissingTensor {
            file: parts.head().name().into(),
            tensor: name.into(),
            wanted: "rope_scaling".into(),
            expected: Vec::new(),
        }
        .into());
    };
    Ok(numbers::dense(file.bytes(tensor), tensor.kind, &tensor.shape)?.flatten_all()?.to_vec1()?)
}

//! Rotary frequencies as configured.
//!
//! Both spellings are read: `rope_theta` beside `rope_scaling`, and the newer `rope_parameters`
//! with everything inside, possibly once per kind of layer. An unimplemented scaling type is an
//! error; ignored, it would produce text that goes wrong only far into a context.

use std::f64::consts::PI;

use serde::Deserialize;
use serde_json::Value;

use super::{Long, Pairing, Rope};

/// The keys of `config.json` that configure rotary embeddings.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RopeKeys {
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    partial_rotary_factor: Option<f64>,
    max_position_embeddings: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

/// The content of `rope_scaling` or `rope_parameters`.
#[derive(Debug, Default, Deserialize)]
struct Scaling {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    /// The older name of `rope_type`; transformers writes both.
    #[serde(rename = "type")]
    old_type: Option<String>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    attention_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    divisors: Option<Vec<f64>>,
}

impl Scaling {
    /// The type of scaling, from whichever key has it.
    fn kind(&self) -> Result<Option<&str>, String> {
        match (kind(&self.rope_type), kind(&self.old_type)) {
            (Some(new), Some(old)) if new != old => Err(format!(
                "the rope scaling has `rope_type` `{new}` and `type` `{old}`; remove the wrong one"
            )),
            (new, old) => Ok(new.or(old)),
        }
    }

    /// Makes sure that nothing is divided by 0 or rotates backwards.
    fn check(&self, keys: &RopeKeys) -> Result<(), String> {
        let original = self.original_max_position_embeddings;
        let numbers = [
            ("factor", self.factor),
            ("attention_factor", self.attention_factor),
            ("rope_theta", self.rope_theta.or(keys.rope_theta)),
            (
                "original_max_position_embeddings",
                original.or(keys.original_max_position_embeddings),
            ),
        ];
        for (key, number) in numbers {
            if let Some(number) = number.filter(|number| *number <= 0.0) {
                return Err(format!("`{key}` is {number}, but must be above 0"));
            }
        }
        Ok(())
    }
}

/// The current name of a scaling type.
fn kind(name: &Option<String>) -> Option<&str> {
    match name.as_deref() {
        Some("su") => Some("longrope"),
        other => other,
    }
}

impl RopeKeys {
    /// Only a base.
    pub fn plain(theta: f64) -> Self {
        Self { rope_theta: Some(theta), ..Self::default() }
    }

    /// The same, with `part` of each head rotated unless already specified.
    pub fn with_part(self, part: f64) -> Self {
        Self { partial_rotary_factor: self.partial_rotary_factor.or(Some(part)), ..self }
    }

    /// The keys for layers of `kind` (`full_attention`, …), if each kind has its own.
    pub fn of_kind(&self, kind: &str) -> Option<Self> {
        let own = self.rope_parameters.as_ref()?.get(kind)?;
        Some(Self { rope_parameters: Some(own.clone()), ..self.clone() })
    }
}

impl Rope {
    /// From the configuration, for heads of `dim`; `theta` is the default base.
    ///
    /// # Errors
    ///
    /// Names the key that is missing or makes no sense, or the type that is unknown.
    pub fn from_config(keys: &RopeKeys, dim: usize, theta: f64) -> Result<Self, String> {
        let place = keys.rope_parameters.as_ref().or(keys.rope_scaling.as_ref());
        let scaling: Scaling = place
            .map(|value| serde_json::from_value(value.clone()))
            .transpose()
            .map_err(|e| format!("the rope scaling cannot be read: {e}"))?
            .unwrap_or_default();
        scaling.check(keys)?;
        let theta = scaling.rope_theta.or(keys.rope_theta).unwrap_or(theta);
        let part = scaling.partial_rotary_factor.or(keys.partial_rotary_factor).unwrap_or(1.0);
        let rotated = (dim as f64 * part) as usize;
        if rotated > dim || rotated < 2 || !rotated.is_multiple_of(2) {
            return Err(format!(
                "{rotated} of {dim} dims cannot be rotated; the number must be even and fit a head"
            ));
        }
        let plain = Plain { theta, frequencies: plain(rotated, theta) };
        match scaling.kind()? {
            None if scaling.factor.is_some() => {
                Err("the rope scaling has a `factor` but no `rope_type`; name the type".into())
            }
            None | Some("default") => Ok(Self::of(plain.frequencies, 1.0)),
            Some("linear") => {
                let factor = require(scaling.factor, "linear", "factor")?;
                Ok(Self::of(plain.frequencies.into_iter().map(|f| f / factor).collect(), 1.0))
            }
            // What GGUF files have instead of `llama3`, possibly with a factor; Hugging Face
            // configurations do not have it.
            Some("divided") => {
                let factor = scaling.factor.unwrap_or(1.0);
                let frequencies =
                    plain.divided(scaling.divisors.as_ref(), "divided", "divisors")?;
                Ok(Self::of(frequencies.into_iter().map(|f| f / factor).collect(), 1.0))
            }
            Some("llama3") => llama3(plain, &scaling),
            Some("yarn") => yarn(plain, &scaling, keys),
            Some("longrope") => longrope(plain, &scaling, keys),
            Some(other) => Err(format!(
                "rope scaling `{other}` is not implemented (default, linear, llama3, yarn and longrope are); without it long contexts would be wrong"
            )),
        }
    }

    fn of(frequencies: Vec<f64>, magnitude: f64) -> Self {
        let frequencies = rounded(frequencies);
        Self { frequencies, long: None, magnitude: magnitude as f32, pairing: Pairing::Halves }
    }
}

/// Frequencies without any scaling.
struct Plain {
    theta: f64,
    frequencies: Vec<f64>,
}

impl Plain {
    /// Each frequency divided by its entry in `divisors`, which are from `key` of scaling type
    /// `kind`.
    fn divided(
        &self,
        divisors: Option<&Vec<f64>>,
        kind: &str,
        key: &str,
    ) -> Result<Vec<f64>, String> {
        let divisors = require(divisors, kind, key)?;
        if divisors.len() != self.frequencies.len() {
            return Err(format!(
                "`{key}` has {} numbers for {} frequencies",
                divisors.len(),
                self.frequencies.len()
            ));
        }
        Ok(self.frequencies.iter().zip(divisors).map(|(f, divisor)| f / divisor).collect())
    }
}

/// `theta^(−2i / dim)`.
fn plain(dim: usize, theta: f64) -> Vec<f64> {
    (0..dim / 2).map(|i| theta.powf(-2.0 * i as f64 / dim as f64)).collect()
}

fn rounded(frequencies: Vec<f64>) -> Vec<f32> {
    frequencies.into_iter().map(|f| f as f32).collect()
}

/// Divides low frequencies by the factor, keeps high ones, and blends between.
fn llama3(plain: Plain, scaling: &Scaling) -> Result<Rope, String> {
    let factor = require(scaling.factor, "llama3", "factor")?;
    let low = require(scaling.low_freq_factor, "llama3", "low_freq_factor")?;
    let high = require(scaling.high_freq_factor, "llama3", "high_freq_factor")?;
    let context = scaling.original_max_position_embeddings;
    let context = require(context, "llama3", "original_max_position_embeddings")?;
    let scaled = plain.frequencies.into_iter().map(|frequency| {
        let turns = context * frequency / (2.0 * PI);
        let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        frequency * (keep + (1.0 - keep) / factor)
    });
    Ok(Rope::of(scaled.collect(), 1.0))
}

/// YaRN (Peng et al. 2023, arXiv 2309.00071): as llama3, but blended over the index of the
/// frequency, and with a factor on cosines and sines that preserves the entropy of the scores.
fn yarn(plain: Plain, scaling: &Scaling, keys: &RopeKeys) -> Result<Rope, String> {
    let stretch = Stretch::of(scaling, keys, "yarn")?;
    let Plain { theta, frequencies } = plain;
    let half = frequencies.len() as f64;
    // Index of the frequency that makes this many turns within the original context.
    let index = |turns: f64| half * (stretch.original / (turns * 2.0 * PI)).ln() / theta.ln();
    let low = index(scaling.beta_fast.unwrap_or(32.0));
    let high = index(scaling.beta_slow.unwrap_or(1.0));
    let (low, high) = match scaling.truncate {
        Some(false) => (low, high),
        _ => (low.floor(), high.ceil()),
    };
    let (low, high) = (low.max(0.0), high.min(2.0 * half - 1.0));
    let width = if high == low { 1e-3 } else { high - low };
    let scaled = frequencies.into_iter().enumerate().map(|(i, frequency)| {
        let keep = 1.0 - ((i as f64 - low) / width).clamp(0.0, 1.0);
        frequency * (keep + (1.0 - keep) / stretch.factor)
    });
    let entropy = |weight: f64| match stretch.factor > 1.0 {
        true => 0.1 * weight * stretch.factor.ln() + 1.0,
        false => 1.0,
    };
    let magnitude = match (scaling.attention_factor, scaling.mscale, scaling.mscale_all_dim) {
        (Some(given), ..) => given,
        (None, Some(one), Some(all)) if one != 0.0 && all != 0.0 => entropy(one) / entropy(all),
        _ => entropy(1.0),
    };
    Ok(Rope::of(scaled.collect(), magnitude))
}

/// LongRoPE (Ding et al. 2024, arXiv 2402.13753): one divisor per frequency, with one list for
/// sequences within the original context and one for longer ones.
fn longrope(plain: Plain, scaling: &Scaling, keys: &RopeKeys) -> Result<Rope, String> {
    let stretch = Stretch::of(scaling, keys, "longrope")?;
    let short = plain.divided(scaling.short_factor.as_ref(), "longrope", "short_factor")?;
    let long = plain.divided(scaling.long_factor.as_ref(), "longrope", "long_factor")?;
    let magnitude = scaling.attention_factor.unwrap_or(match stretch.factor > 1.0 {
        true => (1.0 + stretch.factor.ln() / stretch.original.ln()).sqrt(),
        false => 1.0,
    });
    let long = Long { border: stretch.original as u32, frequencies: rounded(long) };
    Ok(Rope { long: Some(long), ..Rope::of(short, magnitude) })
}

/// How far a model's context was extended.
struct Stretch {
    /// Context length, in tokens, that the model was first trained on.
    original: f64,
    factor: f64,
}

impl Stretch {
    fn of(scaling: &Scaling, keys: &RopeKeys, kind: &str) -> Result<Self, String> {
        let longest = keys.max_position_embeddings;
        let original = scaling
            .original_max_position_embeddings
            .or(keys.original_max_position_embeddings)
            .or(longest);
        let original = require(original, kind, "original_max_position_embeddings")?;
        let factor = scaling.factor.or(longest.map(|longest| longest / original));
        Ok(Self { original, factor: require(factor, kind, "factor")? })
    }
}

fn require<T>(value: Option<T>, kind: &str, key: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("rope scaling `{kind}` needs the key `{key}`"))
}

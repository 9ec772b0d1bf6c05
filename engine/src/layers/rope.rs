//! Rotary position embeddings: frequencies from the configuration, angles once a step.
//!
//! Both spellings of the configuration are read: `rope_theta` beside `rope_scaling`, and the
//! newer `rope_parameters` with everything inside. A scaling type that is not implemented is an
//! error; ignored, it would give text that is wrong only far into a context.

use std::f64::consts::PI;

use candle_core::{DType, Device, Result as TensorResult, Tensor};
use serde::Deserialize;
use serde_json::Value;

/// Frequencies of a rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Angle per position, `[dim / 2]`.
    frequencies: Vec<f32>,
}

/// Cosines and sines of a step's positions.
#[derive(Debug, Clone)]
pub struct Angles {
    /// `[tokens, dim / 2]`.
    pub cos: Tensor,
    /// `[tokens, dim / 2]`.
    pub sin: Tensor,
}

/// The keys of `config.json` that say how positions rotate.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RopeKeys {
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
}

/// What stands in `rope_scaling` or `rope_parameters`.
#[derive(Debug, Deserialize)]
struct Scaling {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

impl Rope {
    /// Plain frequencies, `theta^(−2i / dim)`.
    fn plain(dim: usize, theta: f64) -> Vec<f64> {
        (0..dim / 2).map(|i| theta.powf(-2.0 * i as f64 / dim as f64)).collect()
    }

    /// From the configuration, for heads of `dim`; `theta` where it names none.
    ///
    /// # Errors
    ///
    /// A sentence on the key that is missing, or on the type that is unknown.
    pub fn from_config(keys: &RopeKeys, dim: usize, theta: f64) -> Result<Self, String> {
        let place = keys.rope_parameters.as_ref().or(keys.rope_scaling.as_ref());
        let scaling: Option<Scaling> = place
            .map(|value| serde_json::from_value(value.clone()))
            .transpose()
            .map_err(|e| format!("the rope scaling cannot be read: {e}"))?;
        let theta =
            scaling.as_ref().and_then(|s| s.rope_theta).or(keys.rope_theta).unwrap_or(theta);
        let plain = Self::plain(dim, theta);
        let frequencies = match &scaling {
            None => plain,
            Some(scaling) => match scaling.rope_type.as_deref() {
                None | Some("default") => plain,
                Some("linear") => {
                    let factor = require(scaling.factor, "linear", "factor")?;
                    plain.into_iter().map(|f| f / factor).collect()
                }
                Some("llama3") => llama3(plain, scaling)?,
                Some(other) => {
                    return Err(format!(
                        "rope scaling `{other}` is not implemented (default, linear and llama3 are); without it long contexts would be wrong"
                    ));
                }
            },
        };
        Ok(Self { frequencies: frequencies.into_iter().map(|f| f as f32).collect() })
    }

    /// Cosines and sines at `positions`.
    ///
    /// # Errors
    ///
    /// When they cannot be brought to `device`.
    pub fn angles(&self, positions: &[u32], dtype: DType, device: &Device) -> TensorResult<Angles> {
        // In f64: at position 100,000 an f32 angle is off by a hundredth.
        let angles = positions.iter().flat_map(|&position| {
            self.frequencies.iter().map(move |&f| f64::from(position) * f64::from(f))
        });
        let (sin, cos): (Vec<f32>, Vec<f32>) =
            angles.map(|angle| (angle.sin() as f32, angle.cos() as f32)).unzip();
        let shape = (positions.len(), self.frequencies.len());
        let tensor = |numbers| Tensor::from_vec(numbers, shape, device)?.to_dtype(dtype);
        Ok(Angles { cos: tensor(cos)?, sin: tensor(sin)? })
    }
}

impl Angles {
    /// Rotates the heads of `x`, `[tokens, heads, dim]`: dim `i` with dim `i + dim / 2`.
    ///
    /// # Errors
    ///
    /// When `x` has another dtype, another number of tokens, or heads of another length.
    pub fn rotate(&self, x: &Tensor) -> TensorResult<Tensor> {
        let x = x.contiguous()?.unsqueeze(0)?;
        candle_nn::rotary_emb::rope_thd(&x, &self.cos, &self.sin)?.squeeze(0)
    }
}

/// Low frequencies are divided by the factor, high ones kept, those between blended.
fn llama3(plain: Vec<f64>, scaling: &Scaling) -> Result<Vec<f64>, String> {
    let factor = require(scaling.factor, "llama3", "factor")?;
    let low = require(scaling.low_freq_factor, "llama3", "low_freq_factor")?;
    let high = require(scaling.high_freq_factor, "llama3", "high_freq_factor")?;
    let context = scaling.original_max_position_embeddings;
    let context = require(context, "llama3", "original_max_position_embeddings")?;
    Ok(plain
        .into_iter()
        .map(|frequency| {
            let turns = context * frequency / (2.0 * PI);
            let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            frequency * (keep + (1.0 - keep) / factor)
        })
        .collect())
}

fn require(value: Option<f64>, kind: &str, key: &str) -> Result<f64, String> {
    value.ok_or_else(|| format!("rope scaling `{kind}` needs the key `{key}`"))
}

#[cfg(test)]
mod tests;

//! Several residual streams (AltUp, Baykal et al. 2023, arXiv 2301.13310): a layer computes one of
//! them; all are predicted before it and corrected after it. Streams are `[tokens, streams,
//! hidden]`.

use candle_core::{D, DType, Result as TensorResult, Tensor};

use super::Config;
use crate::error::Result;
use crate::layers::decoder::scaled;
use crate::layers::linear::Linear;
use crate::layers::norm::Norm;
use crate::weights::{Bias, Weights};

/// Expands embeddings into streams, and merges streams into one row.
pub(super) struct Streams {
    /// For each stream but the first, `[hidden]` to `[hidden]`.
    spread: Vec<Linear>,
    /// The same, for merging.
    merge: Vec<Linear>,
}

impl Streams {
    pub(super) fn load(config: &Config, model: &Weights<'_>) -> Result<Self> {
        let projections = |name| {
            let at: Weights<'_> = model.pp(name);
            let square = |stream: usize| {
                at.linear(&stream.to_string(), config.hidden, config.hidden, Bias::Absent)
            };
            (0..config.streams - 1).map(square).collect::<Result<_>>()
        };
        Ok(Self {
            spread: projections("altup_projections")?,
            merge: projections("altup_unembed_projections")?,
        })
    }

    /// `x`: `[tokens, hidden]`; returns `[tokens, streams, hidden]`.
    pub(super) fn spread(&self, x: &Tensor) -> TensorResult<Tensor> {
        let size = root_mean_square(x)?;
        let mut streams = vec![x.clone()];
        for projection in &self.spread {
            streams.push(resized(&projection.forward(x)?, &size)?);
        }
        Tensor::stack(&streams, 1)
    }

    /// `x`: `[tokens, streams, hidden]`; returns the mean of the streams, `[tokens, hidden]`.
    pub(super) fn merge(&self, x: &Tensor) -> TensorResult<Tensor> {
        let first = stream(x, 0)?;
        let size = root_mean_square(&first)?;
        let mut streams = vec![first];
        for (projection, index) in self.merge.iter().zip(1..) {
            streams.push(resized(&projection.forward(&stream(x, index)?)?, &size)?);
        }
        Tensor::stack(&streams, 1)?.mean(1)
    }
}

/// Stream `index` of `x`, `[tokens, hidden]`.
pub(super) fn stream(x: &Tensor, index: usize) -> TensorResult<Tensor> {
    x.narrow(1, index, 1)?.squeeze(1)?.contiguous()
}

/// Root mean square of each row of `x`, `[tokens, 1]`, f32.
fn root_mean_square(x: &Tensor) -> TensorResult<Tensor> {
    x.to_dtype(DType::F32)?.sqr()?.mean_keepdim(D::Minus1)?.sqrt()
}

/// `x`, `[tokens, hidden]`, rescaled so that its rows have the root mean square `size`, `[tokens,
/// 1]`.
fn resized(x: &Tensor, size: &Tensor) -> TensorResult<Tensor> {
    // The reference clamps the mean square to at least 1e-5.
    let factor = (size / root_mean_square(x)?.maximum(1e-5f64.sqrt())?)?;
    x.to_dtype(DType::F32)?.broadcast_mul(&factor)?.to_dtype(x.dtype())
}

/// Whether the input of the passive streams is scaled, dim by dim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Correction {
    Plain,
    Scaled,
}

/// A layer's prediction and correction of the streams.
pub(super) struct AltUp {
    active: usize,
    router_norm: Norm,
    /// `[hidden]` to `[streams]`.
    router: Linear,
    /// `[streams]` to `[streams · streams]`: for each stream, its weight of each stream.
    prediction: Linear,
    /// `[streams]` to `[streams]`.
    correction: Linear,
    /// `[hidden]`.
    scale: Option<Tensor>,
}

impl AltUp {
    pub(super) fn load(config: &Config, weights: &Weights<'_>) -> Result<Self> {
        let Config { hidden, streams, active, norm, .. } = *config;
        Ok(Self {
            active,
            router_norm: weights.norm("router_norm", hidden, norm)?,
            router: weights.router("modality_router", hidden, streams)?,
            prediction: weights.router("prediction_coefs", streams, streams * streams)?,
            correction: weights.router("correction_coefs", streams, streams)?,
            scale: match config.correction {
                Correction::Plain => None,
                Correction::Scaled => Some(weights.tensor("correct_output_scale", &[hidden])?),
            },
        })
    }

    /// The expected value of each stream after the layer. `x`: `[tokens, streams, hidden]`, same
    /// shape out.
    pub(super) fn predict(&self, x: &Tensor) -> TensorResult<Tensor> {
        let (tokens, streams, _) = x.dims3()?;
        let parts = self.prediction.forward(&self.modalities(&self.active(x)?)?)?;
        let parts = parts.to_dtype(DType::F32)?.reshape((tokens, streams, streams))?;
        let mixed = parts.matmul(&x.to_dtype(DType::F32)?.contiguous()?)?;
        mixed.to_dtype(x.dtype())? + x
    }

    /// Corrects all `predicted` streams by the layer's output for the active one. `predicted`:
    /// `[tokens, streams, hidden]`, same shape out; `computed`: `[tokens, hidden]`.
    pub(super) fn correct(&self, predicted: &Tensor, computed: &Tensor) -> TensorResult<Tensor> {
        let surprise = (computed - self.active(predicted)?)?.unsqueeze(1)?;
        let parts = self.correction.forward(&self.modalities(computed)?)?;
        let parts = (parts + 1.0)?.unsqueeze(2)?;
        parts.broadcast_mul(&surprise)? + predicted
    }

    /// The active stream of `x`, `[tokens, hidden]`.
    pub(super) fn active(&self, x: &Tensor) -> TensorResult<Tensor> {
        stream(x, self.active)
    }

    /// The active stream as it goes to the passive ones, `[tokens, hidden]`.
    pub(super) fn outgoing(&self, x: &Tensor) -> TensorResult<Tensor> {
        let active = self.active(x)?;
        self.scale.as_ref().map_or(Ok(active.clone()), |scale| active.broadcast_mul(scale))
    }

    /// The router's mix of modalities for each row, `[tokens, streams]`.
    fn modalities(&self, x: &Tensor) -> TensorResult<Tensor> {
        let normed = scaled(&self.router_norm.forward(x)?, 1.0 / x.dim(1)? as f64)?;
        self.router.forward(&normed)?.tanh()
    }
}

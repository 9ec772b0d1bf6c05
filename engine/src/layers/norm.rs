//! [`RmsNorm`]: each row divided by its root mean square, times a weight.

use candle_core::{Result, Tensor};

/// Root-mean-square norm over the last axis.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// `[dim]`.
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// From `weight`, `[dim]`.
    pub const fn new(weight: Tensor, eps: f32) -> Self {
        Self { weight, eps }
    }

    /// `x`: `[…, dim]`, same shape and dtype out; sums are f32.
    ///
    /// # Errors
    ///
    /// When the last axis of `x` has another length than the weight.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, self.eps)
    }
}

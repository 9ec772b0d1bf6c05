//! [`Norm`]: brings each row to unit size.

use candle_core::{Result, Tensor};

use crate::faults;
use crate::telemetry::Stage;

mod cpu;

/// A norm over the last axis.
#[derive(Debug, Clone)]
pub struct Norm {
    /// `[dim]`. In f32 where a sum went into it, so that nothing is lost by rounding.
    weight: Tensor,
    /// `[dim]`; a norm that has one also takes the mean away.
    bias: Option<Tensor>,
    eps: f32,
}

/// How a family normalises; the number is the epsilon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// `x / rms(x) · w`.
    Rms(f32),
    /// `x / rms(x) · (1 + w)`.
    RmsPlusOne(f32),
    /// `(x − mean(x)) / deviation(x) · w + b`.
    Layer(f32),
}

impl Norm {
    /// Root-mean-square norm of `weight`, `[dim]`.
    pub const fn rms(weight: Tensor, eps: f32) -> Self {
        Self { weight, bias: None, eps }
    }

    /// Norm around the mean, of `weight` and `bias`, both `[dim]`.
    pub const fn layer(weight: Tensor, bias: Tensor, eps: f32) -> Self {
        Self { weight, bias: Some(bias), eps }
    }

    /// The same without a weight.
    ///
    /// # Errors
    ///
    /// When the device has no room.
    pub fn unweighted(&self) -> Result<Self> {
        Ok(Self::rms(self.weight.ones_like()?, self.eps))
    }

    /// Length of a row.
    pub fn dim(&self) -> usize {
        self.weight.elem_count()
    }

    /// `x`: `[…, dim]`, same shape and dtype out; sums are f32. On the CPU what an RMS norm made of
    /// unit size is rounded to the dtype of the weight, as most references do.
    ///
    /// # Errors
    ///
    /// When the last axis of `x` has another length than the weight.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Stage::Norm.of(|| self.normed(x))
    }

    fn normed(&self, x: &Tensor) -> Result<Tensor> {
        let Self { weight, bias, eps } = self;
        let x = x.contiguous()?;
        if bias.is_none()
            && let Some(slow) = faults::slow_norm(&x, weight, *eps)
        {
            return slow;
        }
        if x.device().is_cpu() {
            return cpu::norm(&x, weight, bias.as_ref(), *eps);
        }
        let wide = x.to_dtype(weight.dtype())?;
        let normed = match bias {
            None => candle_nn::ops::rms_norm(&wide, weight, *eps)?,
            Some(bias) => candle_nn::ops::layer_norm(&wide, weight, bias, *eps)?,
        };
        normed.to_dtype(x.dtype())
    }
}

#[cfg(test)]
mod tests;

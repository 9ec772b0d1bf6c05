//! [`Norm`]: normalises each row.

use candle_core::{Result, Tensor};

use crate::faults;
use crate::telemetry::Stage;

mod cpu;

/// A norm over the last axis.
#[derive(Debug, Clone)]
pub struct Norm {
    /// `[dim]`. In f32 for `1 + w`, so that nothing is lost by rounding.
    weight: Tensor,
    /// `[dim]`; a norm with a bias also subtracts the mean.
    bias: Option<Tensor>,
    eps: f32,
}

/// How a family normalises, with the epsilon.
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
    /// RMS norm with `weight`, `[dim]`.
    pub const fn rms(weight: Tensor, eps: f32) -> Self {
        Self { weight, bias: None, eps }
    }

    /// Layer norm with `weight` and `bias`, both `[dim]`.
    pub const fn layer(weight: Tensor, bias: Tensor, eps: f32) -> Self {
        Self { weight, bias: Some(bias), eps }
    }

    /// The same without a weight.
    ///
    /// # Errors
    ///
    /// When the device does not have enough memory.
    pub fn unweighted(&self) -> Result<Self> {
        Ok(Self::rms(self.weight.ones_like()?, self.eps))
    }

    /// Row length.
    pub fn dim(&self) -> usize {
        self.weight.elem_count()
    }

    /// `x`: `[…, dim]`, same shape and dtype out; sums accumulate in f32. On the CPU the normalised
    /// row of an RMS norm is rounded to the dtype of the weight before it is multiplied, as most
    /// references do.
    ///
    /// # Errors
    ///
    /// When the last axis of `x` does not match the weight.
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

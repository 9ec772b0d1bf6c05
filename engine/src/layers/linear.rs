//! [`Linear`]: `y = x · wᵀ + b`.
//!
//! The only place that knows how a matrix is stored and which kernel multiplies it.

use candle_core::{Device, Result, Tensor};

mod cpu;

/// A matrix, perhaps with a bias.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    weight: Tensor,
    /// `[out]`.
    bias: Option<Tensor>,
}

impl Linear {
    /// From `weight`, `[out, in]`, and `bias`, `[out]`.
    pub const fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// The layers of `outputs` that lie one below the other in this one. They share its memory.
    ///
    /// # Errors
    ///
    /// When this one has fewer outputs.
    pub fn split<const N: usize>(&self, outputs: [usize; N]) -> Result<[Self; N]> {
        let mut parts = std::array::from_fn(|_| self.clone());
        let mut first = 0;
        for (part, rows) in parts.iter_mut().zip(outputs) {
            part.weight = self.weight.narrow(0, first, rows)?;
            part.bias = self.bias.as_ref().map(|bias| bias.narrow(0, first, rows)).transpose()?;
            first += rows;
        }
        Ok(parts)
    }

    /// `x`: `[tokens, in]` to `[tokens, out]`, in the dtype of `x`.
    ///
    /// # Errors
    ///
    /// When shapes, dtypes or devices of `x` and the weight differ.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match self.weight.device() {
            Device::Cpu => cpu::matmul(x, &self.weight)?,
            _ => x.matmul(&self.weight.t()?)?,
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

#[cfg(test)]
mod tests;

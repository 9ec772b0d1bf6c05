//! [`Linear`]: `y = x · wᵀ + b`.
//!
//! The only place that knows how a matrix is stored and which kernel multiplies it.

use candle_core::{DType, Device, Result, Tensor};

use crate::quant::Quantised;
use crate::telemetry::{Demand, Stage};

mod cpu;

/// A matrix `[out, in]`, however it is stored.
#[derive(Debug, Clone)]
pub enum Matrix {
    /// Unquantised.
    Dense(Tensor),
    /// Quantised, in blocks.
    Quantised(Quantised),
}

impl Matrix {
    /// The `rows` rows from `first` on. On the CPU they share its memory.
    ///
    /// # Errors
    ///
    /// When it has too few rows.
    pub fn narrow(&self, first: usize, rows: usize) -> Result<Self> {
        Ok(match self {
            Self::Dense(weight) => Self::Dense(weight.narrow(0, first, rows)?),
            Self::Quantised(weight) => Self::Quantised(weight.narrow(first..first + rows)?),
        })
    }

    /// The demand of multiplying `rows` rows by this matrix.
    fn demand(&self, rows: usize) -> Demand {
        let (numbers, bytes) = match self {
            Self::Dense(weight) => {
                let numbers = weight.elem_count();
                (numbers, (numbers * weight.dtype().size_in_bytes()) as u64)
            }
            Self::Quantised(weight) => {
                let (rows, inputs) = (weight.rows(), weight.inputs());
                (rows * inputs, weight.kind().bytes(rows, inputs))
            }
        };
        Demand::of_product(rows, numbers, bytes)
    }

    /// `x · wᵀ`.
    fn times(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => match weight.device() {
                Device::Cpu => cpu::matmul(x, weight),
                _ => x.matmul(&weight.t()?),
            },
            Self::Quantised(weight) => match weight.device() {
                Device::Cpu => cpu::matmul_quantised(x, weight),
                // Candle's kernels accept half precision too, but only f32 was checked against
                // references.
                _ => x.to_dtype(DType::F32)?.apply_op1_no_bwd(weight.whole())?.to_dtype(x.dtype()),
            },
        }
    }
}

/// A matrix with an optional bias.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Matrix,
    /// `[out]`.
    bias: Option<Tensor>,
}

impl Linear {
    /// From `weight`, `[out, in]`, and `bias`, `[out]`.
    pub const fn new(weight: Matrix, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// Splits it into layers of `outputs` outputs each, stacked in this order. On the CPU they
    /// share its memory.
    ///
    /// # Errors
    ///
    /// When it has too few outputs.
    pub fn split<const N: usize>(&self, outputs: [usize; N]) -> Result<[Self; N]> {
        let mut parts = std::array::from_fn(|_| self.clone());
        let mut first = 0;
        for (part, rows) in parts.iter_mut().zip(outputs) {
            part.weight = self.weight.narrow(first, rows)?;
            part.bias = self.bias.as_ref().map(|bias| bias.narrow(0, first, rows)).transpose()?;
            first += rows;
        }
        Ok(parts)
    }

    /// `x`: `[tokens, in]` to `[tokens, out]`, in the dtype of `x`.
    ///
    /// # Errors
    ///
    /// When shapes, dtypes or devices of `x` and the weight do not match.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Stage::Linear.of(|| self.multiplied(x))
    }

    fn multiplied(&self, x: &Tensor) -> Result<Tensor> {
        self.weight.demand(x.dim(0)?).note();
        let y = self.weight.times(x)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

#[cfg(test)]
mod tests;

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
    /// In floats.
    Dense(Tensor),
    /// In blocks.
    Quantised(Quantised),
}

impl Matrix {
    /// Its rows from `first` on, `rows` of them. On the CPU they share its memory.
    ///
    /// # Errors
    ///
    /// When it has fewer rows.
    pub fn narrow(&self, first: usize, rows: usize) -> Result<Self> {
        Ok(match self {
            Self::Dense(weight) => Self::Dense(weight.narrow(0, first, rows)?),
            Self::Quantised(weight) => Self::Quantised(weight.narrow(first..first + rows)?),
        })
    }

    /// Of `rows` rows times this matrix.
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
                // The kernels of candle take half precision too; in f32 they were held to references.
                _ => x.to_dtype(DType::F32)?.apply_op1_no_bwd(weight.whole())?.to_dtype(x.dtype()),
            },
        }
    }
}

/// A matrix, perhaps with a bias.
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

    /// The layers of `outputs` that lie one below the other in this one. On the CPU they share its
    /// memory.
    ///
    /// # Errors
    ///
    /// When this one has fewer outputs.
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
    /// When shapes, dtypes or devices of `x` and the weight differ.
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

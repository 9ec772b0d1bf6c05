//! [`Outline`]: a source without values.

use candle_core::{DType, Device, Tensor};

use super::Source;
use crate::error::Result;
use crate::quant::{QuantType, Quantised};

/// Returns tensors of the right shape that share a single zero and take no memory: a model loaded
/// from it knows its geometry and its size.
#[derive(Clone, Copy, Default)]
pub struct Outline<'a> {
    /// The source whose names and block formats it has; without one it has every name, and nothing
    /// is stored in blocks.
    pub of: Option<&'a dyn Source>,
}

impl Source for Outline<'_> {
    fn tensor(&self, _: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(Tensor::zeros((), dtype, device)?.broadcast_as(shape)?)
    }

    fn has(&self, name: &str) -> bool {
        self.of.is_none_or(|source| source.has(name))
    }

    fn quant(&self, name: &str) -> Option<QuantType> {
        self.of?.quant(name)
    }

    fn quantised(
        &self,
        _: &str,
        shape: [usize; 2],
        kind: QuantType,
        _: &Device,
    ) -> Result<Quantised> {
        Ok(Quantised::outline(kind, shape)?)
    }
}

//! [`Table`]: an embedding table.

use candle_core::{DType, Result, Tensor};

use crate::layers::linear::{Linear, Matrix};
use crate::telemetry::Stage;

/// One vector per token id, `[vocabulary, width]`.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Matrix,
    /// The dtype of looked-up rows.
    dtype: DType,
}

impl Table {
    /// From `rows`, which are looked up as `dtype`.
    pub const fn new(rows: Matrix, dtype: DType) -> Self {
        Self { rows, dtype }
    }

    /// The rows of `ids` (`[n]`, u32), `[n, width]`. Quantised rows are dequantised one by one: the
    /// whole table never exists in floats.
    ///
    /// # Errors
    ///
    /// When an id is out of range.
    pub fn look_up(&self, ids: &Tensor) -> Result<Tensor> {
        Stage::Embedding.of(|| match &self.rows {
            Matrix::Dense(rows) => rows.index_select(ids, 0),
            Matrix::Quantised(rows) => rows.select(ids)?.to_dtype(self.dtype),
        })
    }

    /// The same matrix, shared, as the output layer that computes logits.
    pub fn tied(&self) -> Linear {
        Linear::new(self.rows.clone(), None)
    }
}

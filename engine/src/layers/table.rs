//! [`Table`]: rows that are looked up by token.

use candle_core::{DType, Result, Tensor};

use crate::layers::linear::{Linear, Matrix};

/// A vector for each token, `[tokens, width]`.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Matrix,
    /// What they are looked up as.
    dtype: DType,
}

impl Table {
    /// From `rows`, which are looked up as `dtype`.
    pub const fn new(rows: Matrix, dtype: DType) -> Self {
        Self { rows, dtype }
    }

    /// The rows that `ids` (`[n]`, u32) name, `[n, width]`. Quantised ones are made floats row by
    /// row: nobody ever sees the whole table in floats.
    ///
    /// # Errors
    ///
    /// When an id is not below the number of rows.
    pub fn look_up(&self, ids: &Tensor) -> Result<Tensor> {
        match &self.rows {
            Matrix::Dense(rows) => rows.index_select(ids, 0),
            Matrix::Quantised(rows) => rows.select(ids)?.to_dtype(self.dtype),
        }
    }

    /// The same matrix, shared, as the layer that turns hidden states into logits.
    pub fn tied(&self) -> Linear {
        Linear::new(self.rows.clone(), None)
    }
}

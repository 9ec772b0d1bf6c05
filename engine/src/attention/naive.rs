//! The oracle: attention written out as defined, on any device.
//!
//! Every score of a sequence is computed and masked, in f32 whatever the dtype, as the reference
//! for other kernels. Quadratic in memory: not meant for long prompts.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::{Attention, Heads, Mask};
use crate::config::KvLayout;
use crate::error::Unsupported;
use crate::kv::{KvView, Table};

/// See the module documentation.
#[derive(Debug)]
pub struct Naive;

impl Attention for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn is_for(&self, _: &Device) -> bool {
        true
    }

    /// Supports everything: whatever the dtype, scores and sums are f32, and the result is rounded
    /// once.
    fn supports(
        &self,
        _: &Heads,
        _: KvLayout,
        _: &Device,
        _: DType,
    ) -> std::result::Result<(), Unsupported> {
        Ok(())
    }

    fn attend(&self, q: &Tensor, kv: &KvView<'_>, mask: Mask) -> Result<Tensor> {
        let (keys, values) = kv.packed()?;
        let mut first_key = 0;
        let mut outputs = Vec::with_capacity(kv.tables.sequences.len());
        for table in &kv.tables.sequences {
            let rows = q.narrow(0, table.row, table.queries)?;
            let present = kv.tables.present(table);
            let keys = keys.narrow(0, first_key, present.len())?;
            let values = values.narrow(0, first_key, present.len())?;
            let mask = mask_tensor(table, &present, mask, q.device())?;
            outputs.push(one_sequence(&rows, &keys, &values, kv.heads, &mask)?);
            first_key += present.len();
        }
        Tensor::cat(&outputs, 0)
    }
}

/// `q`: `[queries, heads, dim]`, `keys` and `values`: `[keys, kv_heads, dim]`, `mask`:
/// `[queries, keys]`.
fn one_sequence(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    heads: &Heads,
    mask: &Tensor,
) -> Result<Tensor> {
    let count = keys.dim(0)?;
    // [tokens, n, dim] to [heads, tokens, dim]; key heads are repeated for their group.
    let by_head = |x: &Tensor| x.to_dtype(DType::F32)?.transpose(0, 1)?.contiguous();
    let repeated = |x: &Tensor| -> Result<Tensor> {
        let x = by_head(x)?.unsqueeze(1)?;
        x.broadcast_as((heads.kv_heads, heads.group(), count, heads.dim))?.reshape((
            heads.heads,
            count,
            heads.dim,
        ))
    };
    let scores = (by_head(q)?.matmul(&repeated(keys)?.transpose(1, 2)?.contiguous()?)?
        * f64::from(heads.scale))?;
    let scores = match heads.softcap {
        Some(cap) => ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?,
        None => scores,
    };
    let scores = scores.broadcast_add(mask)?;
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
    weights.matmul(&repeated(values)?)?.transpose(0, 1)?.contiguous()?.to_dtype(q.dtype())
}

/// `[queries, keys]` for the `present` keys: 0 where the query sees the key, −∞ elsewhere.
fn mask_tensor(
    table: &Table,
    present: &Range<usize>,
    mask: Mask,
    device: &Device,
) -> Result<Tensor> {
    let mut rows = vec![f32::NEG_INFINITY; table.queries * present.len()];
    for (query, row) in rows.chunks_mut(present.len()).enumerate() {
        let visible = mask.visible(table.first_position() + query, table.keys);
        row[visible.start - present.start..visible.end - present.start].fill(0.0);
    }
    Tensor::from_vec(rows, (table.queries, present.len()), device)
}

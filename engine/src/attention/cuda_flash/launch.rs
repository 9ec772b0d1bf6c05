//! Calls the kernels.

use candle_core::{Result, Tensor, bail};
use candle_flash_attn::{
    flash_attn_varlen_alibi_windowed_softcap, flash_attn_varlen_paged_windowed,
    flash_attn_varlen_windowed,
};

use super::read_in_place;
use crate::attention::Mask;
use crate::cuda::paged_decode;
use crate::kv::{DeviceTables, KvView};

/// `q`: `[tokens, heads, dim]`; same shape and dtype out.
pub(super) fn attend(q: &Tensor, kv: &KvView<'_>, mask: Mask) -> Result<Tensor> {
    let Some(tables) = kv.on_device else {
        bail!("cuda-flash needs the tables of the step on its device")
    };
    let DeviceTables { query_ends, key_ends, blocks, most_queries, most_keys, .. } = tables;
    let (queries, keys) = (*most_queries, *most_keys);
    let (scale, softcap) = (kv.heads.scale, kv.heads.softcap);
    let [left, right] = mask.reach();
    // In decodes the flash kernels leave most of the GPU idle.
    let is_paged = read_in_place(kv.tables.block);
    let is_decode = queries == 1 && q.dim(0)? == blocks.dim(0)?;
    if is_paged && is_decode && paged_decode::takes_heads_of(kv.heads.dim) {
        return paged_decode::attend(q, kv, tables, mask);
    }
    let q = q.contiguous()?;
    if is_paged {
        return flash_attn_varlen_paged_windowed(
            &q,
            kv.keys,
            kv.values,
            query_ends,
            key_ends,
            blocks,
            None,
            queries,
            keys,
            scale,
            left,
            right,
            kv.tables.block,
            softcap,
        );
    }
    let (k, v) = kv.packed()?;
    match softcap {
        None => flash_attn_varlen_windowed(
            &q, &k, &v, query_ends, key_ends, queries, keys, scale, left, right,
        ),
        Some(cap) => flash_attn_varlen_alibi_windowed_softcap(
            &q, &k, &v, None, query_ends, key_ends, queries, keys, scale, left, right, cap,
        ),
    }
}

//! [`SelfAttention`]: the projections around the attention kernel.

use candle_core::{Result as TensorResult, Tensor};

use crate::attention::Heads;
use crate::error::Result;
use crate::layers::linear::Linear;
use crate::layers::norm::{Norm, NormKind};
use crate::layers::rope::Angles;
use crate::pass::Pass;
use crate::weights::{Bias, Weights};

/// Everything about the projections that differs between families.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projections {
    /// How the matrices of queries, keys and values are stored.
    pub qkv: Qkv,
    /// Bias of the query, key and value projections.
    pub qkv_bias: Bias,
    /// Bias of the output projection.
    pub output_bias: Bias,
    /// Norms on queries and keys.
    pub qk_norm: QkNorm,
}

/// How the matrices of queries, keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qkv {
    /// `q_proj`, `k_proj` and `v_proj`.
    Split,
    /// `qkv_proj`, stacked in one matrix.
    Fused,
}

/// Norms on queries and keys before rotation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QkNorm {
    /// None.
    Absent,
    /// Per head: one weight per layer for all query heads, one for all key heads.
    PerHead(NormKind),
    /// Over all heads of a token together.
    Whole(NormKind),
}

/// The projections of a layer with their weights.
#[derive(Debug)]
pub struct SelfAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    qk_norm: Option<(Norm, Norm)>,
    output: Linear,
}

impl SelfAttention {
    /// Reads the weights that `projections` imply, for rows of width `hidden`.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or has the wrong shape.
    pub fn load(
        projections: &Projections,
        heads: &Heads,
        hidden: usize,
        weights: &Weights<'_>,
    ) -> Result<Self> {
        let Projections { qkv, qkv_bias, output_bias, qk_norm } = *projections;
        let (wide, narrow) = (heads.heads * heads.dim, heads.kv_heads * heads.dim);
        let [q, k, v] = match qkv {
            Qkv::Fused => weights.fused("qkv_proj", hidden, [wide, narrow, narrow], qkv_bias)?,
            Qkv::Split => [
                weights.linear("q_proj", hidden, wide, qkv_bias)?,
                weights.linear("k_proj", hidden, narrow, qkv_bias)?,
                weights.linear("v_proj", hidden, narrow, qkv_bias)?,
            ],
        };
        let norms = |q, k, kind| -> Result<_> {
            Ok(Some((weights.norm("q_norm", q, kind)?, weights.norm("k_norm", k, kind)?)))
        };
        let qk_norm = match qk_norm {
            QkNorm::Absent => None,
            QkNorm::PerHead(kind) => norms(heads.dim, heads.dim, kind)?,
            QkNorm::Whole(kind) => norms(wide, narrow, kind)?,
        };
        let output = weights.linear("o_proj", wide, hidden, output_bias)?;
        Ok(Self { q, k, v, qk_norm, output })
    }

    /// `x`: `[tokens, hidden]`, same shape out. Without `angles`, positions have no effect.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not match the weights, or the kernel fails.
    pub fn forward(
        &self,
        layer: usize,
        x: &Tensor,
        angles: Option<&Angles>,
        pass: &mut Pass<'_>,
    ) -> TensorResult<Tensor> {
        let Heads { heads, kv_heads, dim, .. } = *pass.heads;
        let tokens = x.dim(0)?;
        let (mut q, mut k) = (self.q.forward(x)?, self.k.forward(x)?);
        let v = self.v.forward(x)?.reshape((tokens, kv_heads, dim))?;
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            q = q_norm.forward(&q.reshape(((), q_norm.dim()))?)?;
            k = k_norm.forward(&k.reshape(((), k_norm.dim()))?)?;
        }
        let (mut q, mut k) =
            (q.reshape((tokens, heads, dim))?, k.reshape((tokens, kv_heads, dim))?);
        if let Some(angles) = angles {
            q = angles.rotate(&q)?;
            k = angles.rotate(&k)?;
        }
        let attended = pass.attend(layer, &q, &k, &v)?;
        self.output.forward(&attended.reshape((tokens, heads * dim))?)
    }
}

//! [`Decoder`]: the decoder stack that llama, mistral, qwen2 and qwen3 share.
//!
//! Families differ in a few fields of [`DecoderConfig`]; reading those out of `config.json` is
//! the business of the family's file.

use candle_core::{DType, Tensor};

use crate::attention::Heads;
use crate::error::Result;
use crate::layers::linear::Linear;
use crate::layers::mlp::Mlp;
use crate::layers::norm::RmsNorm;
use crate::layers::rope::{Angles, Rope};
use crate::models::Model;
use crate::pass::{Pass, Place};
use crate::weights::{Bias, Weights};

/// A decoder stack, fully described.
#[derive(Debug, Clone)]
pub struct DecoderConfig {
    /// Heads, and the mask of each layer.
    pub heads: Heads,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward block.
    pub intermediate: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest sequence that the model was made for.
    pub positions: usize,
    /// Epsilon of the norms.
    pub eps: f32,
    /// Position embedding.
    pub rope: Rope,
    /// Bias of the query, key and value projections.
    pub qkv_bias: Bias,
    /// Bias of the output projection.
    pub output_bias: Bias,
    /// Bias of the feed-forward projections.
    pub mlp_bias: Bias,
    /// Norms on queries and keys, head by head.
    pub qk_norm: QkNorm,
    /// Where the output matrix comes from.
    pub head: Head,
}

/// Norms on queries and keys before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    Absent,
    /// One weight a layer for all query heads, one for all key heads.
    PerHead,
}

/// Where the output matrix comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The embedding, used again.
    Tied,
    /// A matrix of its own.
    Own,
}

/// A decoder stack with its weights.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    dtype: DType,
    /// `[vocabulary, hidden]`.
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Linear,
}

#[derive(Debug)]
struct Layer {
    attention_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    qk_norm: Option<(RmsNorm, RmsNorm)>,
    output: Linear,
    mlp_norm: RmsNorm,
    mlp: Mlp,
}

impl Decoder {
    /// Reads the weights that `config` implies, under the names of the hub's checkpoints.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or has another shape.
    pub fn load(config: DecoderConfig, weights: &Weights<'_>) -> Result<Self> {
        let model = weights.pp("model");
        let shape = [config.vocabulary, config.hidden];
        let embedding = model.pp("embed_tokens").tensor("weight", &shape)?;
        let layers = (0..config.heads.masks.len())
            .map(|i| Layer::load(&config, &model.layer(i)))
            .collect::<Result<_>>()?;
        let norm = model.norm("norm", config.hidden, config.eps)?;
        let head = match config.head {
            Head::Tied => Linear::new(embedding.clone(), None),
            Head::Own => {
                weights.linear("lm_head", config.hidden, config.vocabulary, Bias::Absent)?
            }
        };
        Ok(Self { config, dtype: weights.dtype(), embedding, layers, norm, head })
    }
}

impl Layer {
    fn load(config: &DecoderConfig, weights: &Weights<'_>) -> Result<Self> {
        let DecoderConfig { hidden, intermediate, eps, qkv_bias, mlp_bias, .. } = *config;
        let Heads { heads, kv_heads, dim, .. } = config.heads;
        let attention = weights.pp("self_attn");
        let mlp = weights.pp("mlp");
        let qk_norm = match config.qk_norm {
            QkNorm::Absent => None,
            QkNorm::PerHead => {
                Some((attention.norm("q_norm", dim, eps)?, attention.norm("k_norm", dim, eps)?))
            }
        };
        Ok(Self {
            attention_norm: weights.norm("input_layernorm", hidden, eps)?,
            q: attention.linear("q_proj", hidden, heads * dim, qkv_bias)?,
            k: attention.linear("k_proj", hidden, kv_heads * dim, qkv_bias)?,
            v: attention.linear("v_proj", hidden, kv_heads * dim, qkv_bias)?,
            qk_norm,
            output: attention.linear("o_proj", heads * dim, hidden, config.output_bias)?,
            mlp_norm: weights.norm("post_attention_layernorm", hidden, eps)?,
            mlp: Mlp {
                gate: mlp.linear("gate_proj", hidden, intermediate, mlp_bias)?,
                up: mlp.linear("up_proj", hidden, intermediate, mlp_bias)?,
                down: mlp.linear("down_proj", intermediate, hidden, mlp_bias)?,
            },
        })
    }

    /// `x`: `[tokens, hidden]`, same shape out.
    fn forward(
        &self,
        index: usize,
        x: &Tensor,
        angles: &Angles,
        heads: &Heads,
        pass: &mut Pass<'_>,
    ) -> candle_core::Result<Tensor> {
        let tokens = x.dim(0)?;
        let normed = self.attention_norm.forward(x)?;
        let mut q = self.q.forward(&normed)?.reshape((tokens, heads.heads, heads.dim))?;
        let mut k = self.k.forward(&normed)?.reshape((tokens, heads.kv_heads, heads.dim))?;
        let v = self.v.forward(&normed)?.reshape((tokens, heads.kv_heads, heads.dim))?;
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            q = q_norm.forward(&q)?;
            k = k_norm.forward(&k)?;
        }
        let attended = pass.attend(index, &angles.rotate(&q)?, &angles.rotate(&k)?, &v)?;
        let attended = attended.reshape((tokens, heads.heads * heads.dim))?;
        let x = (x + self.output.forward(&attended)?)?;
        let normed = self.mlp_norm.forward(&x)?;
        &x + self.mlp.forward(&normed)?
    }
}

impl Model for Decoder {
    fn heads(&self) -> &Heads {
        &self.config.heads
    }

    fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    fn positions(&self) -> usize {
        self.config.positions
    }

    fn forward(&self, pass: &mut Pass<'_>) -> candle_core::Result<Tensor> {
        let mut x = self.embedding.index_select(pass.tokens(), 0)?;
        pass.show(Place::Embedding, &x);
        let mut angles = self.config.rope.angles(pass.positions(), self.dtype, x.device())?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = pass.at(index, &x)?;
            angles =
                Angles { cos: pass.at(index, &angles.cos)?, sin: pass.at(index, &angles.sin)? };
            x = layer.forward(index, &x, &angles, &self.config.heads, pass)?;
            pass.show(Place::Layer(index), &x);
        }
        let x = self.norm.forward(&pass.last(&x)?)?;
        pass.show(Place::Norm, &x);
        let logits = self.head.forward(&x)?;
        pass.show(Place::Logits, &logits);
        Ok(logits)
    }
}

//! [`Decoder`]: the decoder that most families share, a [`Stack`] with a head.
//!
//! Families differ in the fields of [`DecoderConfig`], which each family's file reads from
//! `config.json`.

use candle_core::{DType, Result as TensorResult, Tensor};

use crate::attention::Heads;
use crate::cpu::mapped;
use crate::error::Result;
use crate::layers::linear::Linear;
use crate::layers::mlp::{Mlp, MlpConfig};
use crate::layers::moe::{Moe, MoeConfig};
use crate::layers::norm::{Norm, NormKind};
use crate::layers::rope::{Angles, Ropes};
use crate::layers::self_attention::{Projections, SelfAttention};
use crate::layers::table::Table;
use crate::models::{Body, Model};
use crate::pass::{Pass, Place};
use crate::placement::Widths;
use crate::telemetry::Stage;
use crate::weights::{Ties, Weights};

pub(crate) mod widths;

/// The full description of a decoder.
#[derive(Debug, Clone)]
pub struct DecoderConfig {
    /// Heads, and the mask of each layer.
    pub heads: Heads,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest sequence that the model supports.
    pub positions: usize,
    /// How the residual stream is normalised.
    pub norm: NormKind,
    /// Where each layer normalises.
    pub norms: LayerNorms,
    /// Position embedding of each layer.
    pub ropes: Ropes,
    /// The attention projections of every layer.
    pub projections: Projections,
    /// The feed-forward block of each layer.
    pub feed_forward: Vec<FeedForwardConfig>,
    /// Constant factors.
    pub scales: Scales,
    /// Logits become `softcap · tanh(logit / softcap)`.
    pub softcap: Option<f64>,
    /// Where the output matrix comes from.
    pub head: Head,
}

/// The norms of a layer by tensor name; `None` means that there is no such norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNorms {
    /// On the input of attention.
    pub before_attention: Option<&'static str>,
    /// On the output of attention, before it is added to the stream.
    pub after_attention: Option<&'static str>,
    /// On the input of the feed-forward block.
    pub before_feed_forward: Option<&'static str>,
    /// On the output of the feed-forward block, before it is added to the stream.
    pub after_feed_forward: Option<&'static str>,
}

impl LayerNorms {
    /// As in most families: one norm before each block.
    pub const BEFORE: Self = Self {
        before_attention: Some("input_layernorm"),
        after_attention: None,
        before_feed_forward: Some("post_attention_layernorm"),
        after_feed_forward: None,
    };
}

/// The full description of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardConfig {
    /// Dense: all weights for every token, under `mlp`.
    Dense(MlpConfig),
    /// MoE: a few experts for each token, under the given name.
    Experts(&'static str, MoeConfig),
}

/// Constant factors; 1 where a family has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// On the embeddings.
    pub embedding: f64,
    /// On the output of each block, before it is added to the stream.
    pub residual: f64,
    /// On the logits.
    pub logits: f64,
}

impl Scales {
    /// No scaling.
    pub const NONE: Self = Self { embedding: 1.0, residual: 1.0, logits: 1.0 };
}

/// Where the output matrix comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Shared with the embedding.
    Tied,
    /// A matrix of its own.
    Own,
}

/// A decoder with its weights.
#[derive(Debug)]
pub struct Decoder {
    stack: Stack,
    head: Linear,
}

/// A decoder with its weights, up to the final norm.
#[derive(Debug)]
pub struct Stack {
    config: DecoderConfig,
    dtype: DType,
    /// `[vocabulary, hidden]`.
    embedding: Table,
    layers: Vec<Layer>,
    norm: Norm,
}

#[derive(Debug)]
struct Layer {
    before_attention: Option<Norm>,
    attention: SelfAttention,
    after_attention: Option<Norm>,
    before_feed_forward: Option<Norm>,
    feed_forward: FeedForward,
    after_feed_forward: Option<Norm>,
    residual_scale: f64,
}

#[derive(Debug)]
enum FeedForward {
    Dense(Mlp),
    Experts(Moe),
}

impl Decoder {
    /// Reads the weights that `config` implies, under the names used by Hugging Face checkpoints.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or has the wrong shape.
    pub fn load(config: DecoderConfig, weights: &Weights<'_>) -> Result<Self> {
        let DecoderConfig { hidden, vocabulary, head, .. } = config;
        let stack = Stack::load(config, &weights.pp("model"))?;
        let head = match head {
            Head::Tied => stack.embedding.tied(),
            Head::Own => weights.head("lm_head", hidden, vocabulary)?,
        };
        Ok(Self { stack, head })
    }
}

impl Stack {
    /// Reads the weights that `config` implies, except those of the head, which a stack does not
    /// have.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or has the wrong shape.
    pub fn load(config: DecoderConfig, weights: &Weights<'_>) -> Result<Self> {
        let DecoderConfig { hidden, vocabulary, norm, .. } = config;
        let ties = match config.head {
            Head::Tied => Ties::Head,
            Head::Own => Ties::None,
        };
        let embedding = weights.table("embed_tokens", vocabulary, hidden, ties)?;
        let layers = (0..config.heads.masks.len())
            .map(|index| Layer::load(index, &config, &weights.layer(index)))
            .collect::<Result<_>>()?;
        let norm = weights.norm("norm", hidden, norm)?;
        Ok(Self { config, dtype: weights.dtype(), embedding, layers, norm })
    }

    /// Output of the last layer, `[tokens, hidden]`.
    fn stream(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor> {
        let factor = self.config.scales.embedding;
        let mut x = scaled(&self.embedding.look_up(pass.tokens())?, factor)?;
        pass.show(Place::Embedding, &x);
        let mut angles = self.config.ropes.angles(pass, self.dtype)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = pass.at(index, &x)?;
            x = layer.forward(index, &x, angles.at(index, pass)?, pass)?;
            pass.show(Place::Layer(index), &x);
        }
        Ok(x)
    }

    /// Applies the final norm to `x`, `[rows, hidden]`; same shape out.
    fn normed(&self, x: &Tensor, pass: &mut Pass<'_>) -> TensorResult<Tensor> {
        pass.show(Place::BeforeNorm, x);
        let x = self.norm.forward(x)?;
        pass.show(Place::Norm, &x);
        Ok(x)
    }
}

impl Layer {
    fn load(index: usize, config: &DecoderConfig, weights: &Weights<'_>) -> Result<Self> {
        let DecoderConfig { heads, hidden, norms, projections, .. } = config;
        let norm = |name: Option<&str>| {
            name.map(|name| weights.norm(name, *hidden, config.norm)).transpose()
        };
        Ok(Self {
            before_attention: norm(norms.before_attention)?,
            attention: SelfAttention::load(projections, heads, *hidden, &weights.pp("self_attn"))?,
            after_attention: norm(norms.after_attention)?,
            before_feed_forward: norm(norms.before_feed_forward)?,
            feed_forward: FeedForward::load(&config.feed_forward[index], *hidden, weights)?,
            after_feed_forward: norm(norms.after_feed_forward)?,
            residual_scale: config.scales.residual,
        })
    }

    /// `x`: `[tokens, hidden]`, same shape out.
    fn forward(
        &self,
        index: usize,
        x: &Tensor,
        angles: Option<&Angles>,
        pass: &mut Pass<'_>,
    ) -> TensorResult<Tensor> {
        let normed = apply(&self.before_attention, x)?;
        let attended = self.attention.forward(index, &normed, angles, pass)?;
        let x = self.add(x, &apply(&self.after_attention, &attended)?)?;
        let normed = apply(&self.before_feed_forward, &x)?;
        let fed = self.feed_forward.forward(&normed)?;
        self.add(&x, &apply(&self.after_feed_forward, &fed)?)
    }

    fn add(&self, stream: &Tensor, block: &Tensor) -> TensorResult<Tensor> {
        Stage::Elementwise.of(|| stream + scaled_in_f32(block, self.residual_scale)?)
    }
}

impl FeedForward {
    fn load(config: &FeedForwardConfig, hidden: usize, weights: &Weights<'_>) -> Result<Self> {
        Ok(match config {
            FeedForwardConfig::Dense(mlp) => {
                Self::Dense(Mlp::load(mlp, hidden, &weights.pp("mlp"))?)
            }
            FeedForwardConfig::Experts(name, moe) => {
                Self::Experts(Moe::load(moe, hidden, &weights.pp(name))?)
            }
        })
    }

    /// `x`: `[tokens, hidden]`, same shape out.
    fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Experts(moe) => moe.forward(x),
        }
    }
}

fn apply(norm: &Option<Norm>, x: &Tensor) -> TensorResult<Tensor> {
    norm.as_ref().map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
}

/// `factor · x`, with the factor rounded to the dtype of `x`, as the Gemma references do; free when
/// it is 1.
pub(crate) fn scaled(x: &Tensor, factor: f64) -> TensorResult<Tensor> {
    if factor == 1.0 { Ok(x.clone()) } else { x * factor }
}

/// `factor · x`, rounded once; free when the factor is 1.
fn scaled_in_f32(x: &Tensor, factor: f64) -> TensorResult<Tensor> {
    if factor == 1.0 { Ok(x.clone()) } else { in_f32(x, |x| factor as f32 * x, |x| x * factor) }
}

/// `cap · tanh(x / cap)`, rounded once; free without a cap.
pub(crate) fn softcapped(x: &Tensor, cap: Option<f64>) -> TensorResult<Tensor> {
    let Some(cap) = cap else { return Ok(x.clone()) };
    let narrow = cap as f32;
    in_f32(x, |x| narrow * (x / narrow).tanh(), |x| (x / cap)?.tanh()? * cap)
}

/// Applies one function in f32, given twice: `each` for a single element on the CPU, `whole` for a
/// tensor elsewhere.
fn in_f32(
    x: &Tensor,
    each: impl Fn(f32) -> f32 + Sync,
    whole: impl FnOnce(Tensor) -> TensorResult<Tensor>,
) -> TensorResult<Tensor> {
    match x.device().is_cpu() {
        true => mapped(x, each),
        false => whole(x.to_dtype(DType::F32)?)?.to_dtype(x.dtype()),
    }
}

impl Body for Stack {
    fn heads(&self) -> &Heads {
        &self.config.heads
    }

    fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    fn positions(&self) -> usize {
        self.config.positions
    }

    fn hidden(&self) -> usize {
        self.config.hidden
    }

    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor> {
        let x = self.stream(pass)?;
        self.normed(&pass.home(&x)?, pass)
    }
}

impl Model for Decoder {
    fn heads(&self) -> &Heads {
        &self.stack.config.heads
    }

    fn vocabulary(&self) -> usize {
        self.stack.config.vocabulary
    }

    fn positions(&self) -> usize {
        self.stack.config.positions
    }

    fn border(&self) -> Option<usize> {
        self.stack.config.ropes.border()
    }

    fn widths(&self) -> Widths {
        self.stack.config.widths()
    }

    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor> {
        let DecoderConfig { scales, softcap, .. } = &self.stack.config;
        let x = self.stack.stream(pass)?;
        let x = self.stack.normed(&pass.last(&x)?, pass)?;
        let logits = Stage::Head
            .of(|| softcapped(&scaled_in_f32(&self.head.forward(&x)?, scales.logits)?, *softcap))?;
        pass.show(Place::Logits, &logits);
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn factors_and_caps_are_not_rounded_to_halves() {
        let numbers: Vec<f32> = (-500..500).map(|i| i as f32 / 4.0).collect();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let x = Tensor::new(&numbers[..], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let wide = |x: &Tensor| x.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
            let check = |found: Tensor, define: &dyn Fn(f32) -> f32| {
                let truth: Vec<f32> = wide(&x).into_iter().map(define).collect();
                let truth = Tensor::new(truth, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                assert_eq!(found.dtype(), dtype);
                assert_eq!(wide(&found), wide(&truth), "{dtype:?}");
            };
            check(scaled_in_f32(&x, 0.22).unwrap(), &|x| 0.22 * x);
            check(softcapped(&x, Some(30.0)).unwrap(), &|x| 30.0 * (x / 30.0).tanh());
        }
    }
}

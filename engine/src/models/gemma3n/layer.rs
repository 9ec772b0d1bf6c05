//! A layer of Gemma 3n: attention and a low-rank path beside it (Laurel, Menghani et al. 2024,
//! arXiv 2411.07501), a feed-forward block that may be sparse, and the layer's own embedding of the
//! token.

use candle_core::cpu::erf::erf_inv;
use candle_core::{D, DType, Result as TensorResult, Tensor};

use super::Config;
use super::altup::AltUp;
use crate::attention::Heads;
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::linear::Linear;
use crate::layers::norm::Norm;
use crate::layers::rope::Angles;
use crate::pass::Pass;
use crate::telemetry::Stage;
use crate::weights::{Bias, Weights};

pub(super) struct Layer {
    altup: AltUp,
    before_attention: Norm,
    attention: Attention,
    after_attention: Norm,
    laurel: Laurel,
    before_feed_forward: Norm,
    feed_forward: FeedForward,
    after_feed_forward: Norm,
    own: Own,
}

impl Layer {
    pub(super) fn load(index: usize, config: &Config, weights: &Weights<'_>) -> Result<Self> {
        let norm = |name| weights.norm(name, config.hidden, config.norm);
        Ok(Self {
            altup: AltUp::load(config, &weights.pp("altup"))?,
            before_attention: norm("input_layernorm")?,
            attention: Attention::load(index, config, &weights.pp("self_attn"))?,
            after_attention: norm("post_attention_layernorm")?,
            laurel: Laurel::load(config, &weights.pp("laurel"))?,
            before_feed_forward: norm("pre_feedforward_layernorm")?,
            feed_forward: FeedForward::load(index, config, &weights.pp("mlp"))?,
            after_feed_forward: norm("post_feedforward_layernorm")?,
            own: Own::load(config, weights)?,
        })
    }

    /// `x`: `[tokens, streams, hidden]`, same shape out; `own`: `[tokens, per_layer]`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        own: &Tensor,
        angles: Option<&Angles>,
        pass: &mut Pass<'_>,
    ) -> TensorResult<Tensor> {
        let sums = Stage::Elementwise;
        let predicted = sums.of(|| self.altup.predict(x))?;
        let active = sums.of(|| self.altup.active(&predicted))?;
        let normed = self.before_attention.forward(&active)?;
        let attended = self.attention.forward(&normed, angles, pass)?;
        let attended = sums.of(|| active + self.after_attention.forward(&attended)?)?;
        let both = sums.of(|| (attended + self.laurel.forward(&normed)?)? * 0.5f64.sqrt())?;
        let fed = self.feed_forward.forward(&self.before_feed_forward.forward(&both)?)?;
        let computed = sums.of(|| both + self.after_feed_forward.forward(&fed)?)?;
        sums.of(|| {
            let corrected = self.altup.correct(&predicted, &computed)?;
            let own = self.own.forward(&self.altup.outgoing(&corrected)?, own)?;
            // The first stream passes unchanged, whichever is active.
            let first = corrected.narrow(1, 0, 1)?;
            let others = corrected.narrow(1, 1, corrected.dim(1)? - 1)?;
            Tensor::cat(&[first, others.broadcast_add(&own.unsqueeze(1)?)?], 1)
        })
    }
}

/// Attention with norms on queries, keys and values. Upper layers have only queries.
struct Attention {
    layer: usize,
    q: Linear,
    q_norm: Norm,
    keys: Keys,
    output: Linear,
}

enum Keys {
    Own { k: Linear, v: Linear, k_norm: Norm, v_norm: Norm },
    OfLayer(usize),
}

impl Attention {
    fn load(layer: usize, config: &Config, weights: &Weights<'_>) -> Result<Self> {
        let Heads { heads, kv_heads, dim, .. } = config.heads;
        let (hidden, kind) = (config.hidden, config.norm);
        let linear = |name, from, to| weights.linear(name, from, to, Bias::Absent);
        let q_norm = weights.norm("q_norm", dim, kind)?;
        let keys = match config.sources[layer] {
            source if source == layer => Keys::Own {
                k: linear("k_proj", hidden, kv_heads * dim)?,
                v: linear("v_proj", hidden, kv_heads * dim)?,
                k_norm: weights.norm("k_norm", dim, kind)?,
                v_norm: q_norm.unweighted()?,
            },
            source => Keys::OfLayer(source),
        };
        Ok(Self {
            layer,
            q: linear("q_proj", hidden, heads * dim)?,
            q_norm,
            keys,
            output: linear("o_proj", heads * dim, hidden)?,
        })
    }

    /// `x`: `[tokens, hidden]`, same shape out.
    fn forward(
        &self,
        x: &Tensor,
        angles: Option<&Angles>,
        pass: &mut Pass<'_>,
    ) -> TensorResult<Tensor> {
        let Heads { heads, kv_heads, dim, .. } = *pass.heads;
        let tokens = x.dim(0)?;
        let rotated = |x: Tensor| angles.map_or_else(|| Ok(x.clone()), |angles| angles.rotate(&x));
        let q = self.q.forward(x)?.reshape((tokens, heads, dim))?;
        let q = rotated(self.q_norm.forward(&q)?)?;
        let attended = match &self.keys {
            Keys::Own { k, v, k_norm, v_norm } => {
                let k = k.forward(x)?.reshape((tokens, kv_heads, dim))?;
                let v = v.forward(x)?.reshape((tokens, kv_heads, dim))?;
                let k = rotated(k_norm.forward(&k)?)?;
                pass.attend(self.layer, &q, &k, &v_norm.forward(&v)?)?
            }
            Keys::OfLayer(source) => pass.attend_to(*source, self.layer, &q)?,
        };
        self.output.forward(&attended.reshape((tokens, heads * dim))?)
    }
}

/// A low-rank path beside attention.
struct Laurel {
    left: Linear,
    right: Linear,
    norm: Norm,
}

impl Laurel {
    fn load(config: &Config, weights: &Weights<'_>) -> Result<Self> {
        let Config { hidden, laurel_rank, norm, .. } = *config;
        Ok(Self {
            left: weights.linear("linear_left", hidden, laurel_rank, Bias::Absent)?,
            right: weights.linear("linear_right", laurel_rank, hidden, Bias::Absent)?,
            norm: weights.norm("post_laurel_norm", hidden, norm)?,
        })
    }

    fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        x + self.norm.forward(&self.right.forward(&self.left.forward(x)?)?)?
    }
}

/// A gated block; where it is sparse, only gates far above their row's mean stay open.
struct FeedForward {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
    /// Standard deviations above the mean at which a gate opens.
    cut: Option<f64>,
}

impl FeedForward {
    fn load(index: usize, config: &Config, weights: &Weights<'_>) -> Result<Self> {
        let (hidden, intermediate) = (config.hidden, config.intermediate[index]);
        let sparsity = config.sparsity[index];
        Ok(Self {
            gate: weights.linear("gate_proj", hidden, intermediate, Bias::Absent)?,
            up: weights.linear("up_proj", hidden, intermediate, Bias::Absent)?,
            down: weights.linear("down_proj", intermediate, hidden, Bias::Absent)?,
            activation: config.activation,
            cut: (sparsity > 0.0).then(|| normal_quantile(sparsity)),
        })
    }

    fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let gate = self.gate.forward(x)?;
        let gate = Stage::Elementwise
            .of(|| self.cut.map_or_else(|| Ok(gate.clone()), |cut| above(&gate, cut)))?;
        self.down.forward(&self.activation.times(&gate, &self.up.forward(x)?)?)
    }
}

/// How far each value of `x` is above the point `cut` standard deviations over its row's mean; 0
/// where it is below.
fn above(x: &Tensor, cut: f64) -> TensorResult<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let mean = wide.mean_keepdim(D::Minus1)?;
    let deviation = wide.broadcast_sub(&mean)?.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
    let border = (mean + (deviation * cut)?)?;
    wide.broadcast_sub(&border)?.relu()?.to_dtype(x.dtype())
}

/// The value that a standard normal variable stays below with this probability.
fn normal_quantile(probability: f64) -> f64 {
    2f64.sqrt() * erf_inv(2.0 * probability - 1.0)
}

/// What the layer's own token embedding adds to the passive streams.
struct Own {
    /// `[hidden]` to `[per_layer]`.
    gate: Linear,
    /// `[per_layer]` to `[hidden]`.
    projection: Linear,
    norm: Norm,
    activation: Activation,
}

impl Own {
    fn load(config: &Config, weights: &Weights<'_>) -> Result<Self> {
        let Config { hidden, per_layer, norm, activation, .. } = *config;
        Ok(Self {
            gate: weights.linear("per_layer_input_gate", hidden, per_layer, Bias::Absent)?,
            projection: weights.linear("per_layer_projection", per_layer, hidden, Bias::Absent)?,
            norm: weights.norm("post_per_layer_input_norm", hidden, norm)?,
            activation,
        })
    }

    /// `x`: `[tokens, hidden]`, same shape out; `own`: `[tokens, per_layer]`.
    fn forward(&self, x: &Tensor, own: &Tensor) -> TensorResult<Tensor> {
        let gated = self.activation.times(&self.gate.forward(x)?, &own.contiguous()?)?;
        self.norm.forward(&self.projection.forward(&gated)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (probability, truth) in [
            (0.5, 0.0),
            (0.9, 1.281_551_565_545),
            (0.95, 1.644_853_626_951),
            (0.1, -1.281_551_565_545),
        ] {
            assert!((normal_quantile(probability) - truth).abs() < 1e-9, "{probability}");
        }
    }
}

//! Gemma 3n, text only: several residual streams side by side, an embedding of the token for each
//! layer, sparse feed-forward blocks, and upper layers that read the keys of lower ones.
//!
//! It differs too much for the shared stack. `gemma3n/altup.rs` has the streams, `gemma3n/layer.rs`
//! a layer.

use candle_core::{DType, Result as TensorResult, Tensor};
use serde::Deserialize;

use super::config::{ConfigFile, DecoderKeys};
use super::{Model, gemma3};
use crate::attention::{Heads, Mask};
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Head, scaled, softcapped, widths};
use crate::layers::linear::Linear;
use crate::layers::norm::{Norm, NormKind};
use crate::layers::rope::Ropes;
use crate::layers::table::Table;
use crate::pass::{Pass, Place};
use crate::placement::Widths;
use crate::telemetry::Stage;
use crate::weights::{Bias, Ties, Weights};

mod altup;
mod layer;

use altup::Streams;
use layer::Layer;

/// Missing keys mean the reference's defaults; `null` turns a feature off.
#[derive(Deserialize)]
struct Keys {
    #[serde(default = "usual_window")]
    sliding_window: Option<usize>,
    num_kv_shared_layers: usize,
    #[serde(default)]
    attention_bias: bool,
    altup_num_inputs: usize,
    altup_active_idx: usize,
    altup_correct_scale: bool,
    laurel_rank: usize,
    hidden_size_per_layer_input: usize,
    vocab_size_per_layer_input: usize,
    activation_sparsity_pattern: Option<Vec<f64>>,
    #[serde(default = "usual_softcap")]
    final_logit_softcapping: Option<f64>,
}

const fn usual_window() -> Option<usize> {
    Some(512)
}

const fn usual_softcap() -> Option<f64> {
    Some(30.0)
}

/// The complete configuration.
#[derive(Debug)]
struct Config {
    heads: Heads,
    ropes: Ropes,
    hidden: usize,
    vocabulary: usize,
    positions: usize,
    norm: NormKind,
    /// Number of residual streams.
    streams: usize,
    /// The stream that attention and feed-forward blocks work on.
    active: usize,
    correction: altup::Correction,
    laurel_rank: usize,
    /// Width of a layer's own token embedding.
    per_layer: usize,
    /// Ids from here on use the layers' embeddings of id 0.
    per_layer_vocabulary: usize,
    activation: Activation,
    /// Width inside the feed-forward block of each layer.
    intermediate: Vec<usize>,
    /// Fraction of each layer's gates that is cut away.
    sparsity: Vec<f64>,
    /// The layer whose keys each layer reads.
    sources: Vec<usize>,
    softcap: Option<f64>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    Ok(Box::new(Gemma3n::load(Config::read(file)?, weights)?))
}

impl Config {
    fn read(file: &ConfigFile) -> Result<Self> {
        let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
        let layers = keys.num_hidden_layers;
        if own.attention_bias {
            return Err(file.error("`attention_bias` is set, which is not implemented here"));
        }
        if keys.head(Head::Tied) == Head::Own {
            return Err(file.error("`tie_word_embeddings` is false, which is not implemented here"));
        }
        let masks = keys.masks(file, own.sliding_window, |layer| !(layer + 1).is_multiple_of(5))?;
        let sources = sources(&masks, own.num_kv_shared_layers).map_err(|e| file.error(e))?;
        let cached = layers - own.num_kv_shared_layers;
        let heads = Heads { scale: 1.0, cached, ..keys.heads(file, masks)? };
        let sparse = if layers > 10 { 10 } else { 0 };
        let sparsity = own.activation_sparsity_pattern.unwrap_or_else(|| {
            (0..layers).map(|layer| if layer < sparse { 0.95 } else { 0.0 }).collect()
        });
        if sparsity.len() != layers || !sparsity.iter().all(|part| (0.0..1.0).contains(part)) {
            return Err(file.error(format!(
                "`activation_sparsity_pattern` is {sparsity:?}; expected a fraction below 1 for each of {layers} layers"
            )));
        }
        if own.altup_active_idx >= own.altup_num_inputs {
            return Err(file.error(format!(
                "`altup_active_idx` is {}, but there are {} streams",
                own.altup_active_idx, own.altup_num_inputs
            )));
        }
        let intermediate = (0..layers).map(|layer| keys.intermediate(file, layer));
        Ok(Self {
            ropes: gemma3::ropes(file, &heads)?,
            heads,
            hidden: keys.hidden_size,
            vocabulary: keys.vocab_size,
            positions: keys.max_position_embeddings,
            norm: NormKind::Rms(keys.eps()),
            streams: own.altup_num_inputs,
            active: own.altup_active_idx,
            correction: match own.altup_correct_scale {
                true => altup::Correction::Scaled,
                false => altup::Correction::Plain,
            },
            laurel_rank: own.laurel_rank,
            per_layer: own.hidden_size_per_layer_input,
            per_layer_vocabulary: own.vocab_size_per_layer_input,
            activation: keys.activation(file, Activation::GeluTanh)?,
            intermediate: intermediate.collect::<Result<_>>()?,
            sparsity,
            sources,
            softcap: own.final_logit_softcapping,
        })
    }
}

/// The layer whose keys each layer reads: its own, except for the last `shared` layers, which read
/// those of the last layer below them with the same mask.
fn sources(masks: &[Mask], shared: usize) -> Result<Vec<usize>, String> {
    let cached = masks.len().checked_sub(shared).filter(|cached| *cached > 0);
    let cached = cached.ok_or_else(|| {
        format!("`num_kv_shared_layers` is {shared}, which leaves none of {} layers", masks.len())
    })?;
    let source = |(layer, mask): (usize, &Mask)| match layer < cached {
        true => Ok(layer),
        false => masks[..cached].iter().rposition(|below| below == mask).ok_or_else(|| {
            format!("layer {layer} reads the keys of a lower layer, but none has its mask")
        }),
    };
    masks.iter().enumerate().map(source).collect()
}

/// The model with its weights.
struct Gemma3n {
    config: Config,
    dtype: DType,
    /// `[vocabulary, hidden]`, also the output matrix.
    embedding: Table,
    per_layer: PerLayer,
    streams: Streams,
    layers: Vec<Layer>,
    norm: Norm,
    head: Linear,
}

impl Gemma3n {
    fn load(config: Config, weights: &Weights<'_>) -> Result<Self> {
        let model = weights.pp("model");
        let embedding =
            model.table("embed_tokens", config.vocabulary, config.hidden, Ties::Head)?;
        let layers = (0..config.heads.masks.len())
            .map(|index| Layer::load(index, &config, &model.layer(index)))
            .collect::<Result<_>>()?;
        Ok(Self {
            dtype: weights.dtype(),
            per_layer: PerLayer::load(&config, &model)?,
            streams: Streams::load(&config, &model)?,
            layers,
            norm: model.norm("norm", config.hidden, config.norm)?,
            head: embedding.tied(),
            embedding,
            config,
        })
    }
}

impl Model for Gemma3n {
    fn heads(&self) -> &Heads {
        &self.config.heads
    }

    fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    fn positions(&self) -> usize {
        self.config.positions
    }

    fn border(&self) -> Option<usize> {
        self.config.ropes.border()
    }

    fn widths(&self) -> Widths {
        let Config { heads, hidden, vocabulary, streams, per_layer, intermediate, .. } =
            &self.config;
        let blocks = intermediate.iter().map(|width| widths::dense(*width));
        Widths {
            // The streams on entry, predicted, corrected and on exit, and once more while they are
            // mixed; beside them the active one on its way through the blocks.
            layer: 5 * streams * hidden
                + 6 * hidden
                + blocks.fold(widths::attention(heads), usize::max),
            fixed: (2 * streams + 1) * hidden + 4 * heads.masks.len() * per_layer,
            logits: *vocabulary,
        }
    }

    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor> {
        let scale = (self.config.hidden as f64).sqrt();
        let embedded = scaled(&self.embedding.look_up(pass.tokens())?, scale)?;
        let sums = Stage::Elementwise;
        let per_layer = sums.of(|| self.per_layer.forward(pass.tokens(), &embedded))?;
        let mut x = sums.of(|| self.streams.spread(&embedded))?;
        pass.show(Place::Embedding, &x.flatten_from(1)?);
        let mut angles = self.config.ropes.angles(pass, self.dtype)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = pass.at(index, &x)?;
            let own = pass.lent(index, &per_layer.narrow(1, index, 1)?.squeeze(1)?)?;
            x = layer.forward(&x, &own, angles.at(index, pass)?, pass)?;
            pass.show(Place::Layer(index), &x.flatten_from(1)?);
        }
        let x = pass.last(&x)?;
        let x = Stage::Elementwise.of(|| self.streams.merge(&x))?;
        pass.show(Place::BeforeNorm, &x);
        let x = self.norm.forward(&x)?;
        pass.show(Place::Norm, &x);
        let logits = Stage::Head.of(|| softcapped(&self.head.forward(&x)?, self.config.softcap))?;
        pass.show(Place::Logits, &logits);
        Ok(logits)
    }
}

/// The input that each layer gets for a token, beside the streams.
struct PerLayer {
    /// `[per_layer_vocabulary, layers · per_layer]`.
    embedding: Table,
    /// Number of its rows.
    vocabulary: usize,
    /// `[hidden]` to `[layers · per_layer]`.
    projection: Linear,
    norm: Norm,
}

impl PerLayer {
    fn load(config: &Config, model: &Weights<'_>) -> Result<Self> {
        let Config { hidden, per_layer, per_layer_vocabulary, norm, .. } = *config;
        let width = config.heads.masks.len() * per_layer;
        let name = "embed_tokens_per_layer";
        Ok(Self {
            embedding: model.table(name, per_layer_vocabulary, width, Ties::None)?,
            vocabulary: per_layer_vocabulary,
            projection: model.linear("per_layer_model_projection", hidden, width, Bias::Absent)?,
            norm: model.norm("per_layer_projection_norm", per_layer, norm)?,
        })
    }

    /// `tokens`: `[tokens]`, `embedded`: `[tokens, hidden]`; returns `[tokens, layers, per_layer]`.
    fn forward(&self, tokens: &Tensor, embedded: &Tensor) -> TensorResult<Tensor> {
        let per_layer = self.norm.dim();
        let shape = (tokens.elem_count(), (), per_layer);
        let known = tokens.lt(self.vocabulary as u32)?.to_dtype(DType::U32)?;
        let table = self.embedding.look_up(&(tokens * known)?)?.reshape(shape)?;
        let projected = self.projection.forward(embedded)?.reshape(shape)?;
        let projected = scaled(&projected, (embedded.dim(1)? as f64).powf(-0.5))?;
        let sum = (self.norm.forward(&projected)? + (table * (per_layer as f64).sqrt())?)?;
        sum * 0.5f64.sqrt()
    }
}

//! `config.json` as found, and the keys that most decoders share.
//!
//! Unknown keys are normal in these files and are ignored; a key that changes what the model
//! computes and is not implemented must be an error.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::attention::{Heads, Mask};
use crate::error::{Error, Result};
use crate::layers::activation::Activation;
use crate::layers::decoder::{DecoderConfig, FeedForwardConfig, Head, LayerNorms, Scales};
use crate::layers::mlp::{MlpConfig, MlpForm};
use crate::layers::norm::NormKind;
use crate::layers::rope::{Rope, Ropes};
use crate::layers::self_attention::{Projections, QkNorm, Qkv};
use crate::weights::Bias;

/// Most positions that a model can have.
const MOST_POSITIONS: u64 = 1 << 30;

/// Largest accepted value of each key. Products of three of these fit a machine word, so code that
/// reads a size may calculate with it.
const MOST: &[(&str, u64)] = &[
    ("altup_num_inputs", 1 << 8),
    ("decoder_sparse_step", 1 << 12),
    ("head_dim", 1 << 16),
    ("hidden_size", 1 << 20),
    ("hidden_size_per_layer_input", 1 << 16),
    ("intermediate_size", 1 << 20),
    ("laurel_rank", 1 << 20),
    ("max_position_embeddings", MOST_POSITIONS),
    ("moe_intermediate_size", 1 << 20),
    ("no_rope_layer_interval", 1 << 12),
    ("num_attention_heads", 1 << 12),
    ("num_experts", 1 << 12),
    ("num_hidden_layers", 1 << 12),
    ("num_key_value_heads", 1 << 12),
    ("num_local_experts", 1 << 12),
    ("sliding_window_pattern", 1 << 12),
    ("vocab_size", 1 << 24),
    ("vocab_size_per_layer_input", 1 << 24),
];

/// As [`MOST`], for keys that may be 0.
const MOST_OR_NONE: &[(&str, u64)] = &[("shared_expert_intermediate_size", 1 << 20)];

/// A model's configuration in the layout of the hub.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    name: String,
    value: Value,
    /// Keys of the hub, with the file's own names for them where it has others.
    aliases: Vec<(&'static str, String)>,
}

impl ConfigFile {
    /// Parses `text`; `name` is the file's name in messages.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] when it is not JSON.
    pub fn parse(name: impl Into<String>, text: &str) -> Result<Self> {
        let name = name.into();
        match serde_json::from_str(text) {
            Ok(value) => Ok(Self { name, value, aliases: Vec::new() }),
            Err(e) => {
                Err(Error::ModelConfig { file: name, problem: format!("not valid JSON: {e}") })
            }
        }
    }

    /// The configuration in `value`, a JSON object; `name` is the file's name in messages, and
    /// `aliases` are its own names for keys of the hub.
    pub(crate) fn new(
        name: impl Into<String>,
        value: Value,
        aliases: Vec<(&'static str, String)>,
    ) -> Self {
        Self { name: name.into(), value, aliases }
    }

    /// The file's name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error about this file. Keys of the hub in backticks become the file's own names for them.
    pub fn error(&self, problem: impl Into<String>) -> Error {
        let mut problem = problem.into();
        for (key, alias) in &self.aliases {
            problem = problem.replace(&format!("`{key}`"), &format!("`{alias}`"));
        }
        Error::ModelConfig { file: self.name.clone(), problem }
    }

    /// Reads the keys of `T`.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] that names the key that is missing or has another type.
    pub fn keys<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.value).map_err(|e| {
            let problem = e.to_string();
            match self.culprit::<T>(&problem) {
                Some(key) => self.error(format!("`{key}` cannot be read: {problem}")),
                None => self.error(problem),
            }
        })
    }

    /// The key with the value that `problem` is about, which does not say so: without that key,
    /// reading `T` gets past it.
    fn culprit<T: DeserializeOwned>(&self, problem: &str) -> Option<&str> {
        let of_a_value = ["invalid ", "data did not match "];
        if !of_a_value.iter().any(|begin| problem.starts_with(begin)) {
            return None;
        }
        let all = self.value.as_object()?;
        let stops_it = |key: &&String| {
            let mut others = all.clone();
            others.remove(*key);
            T::deserialize(&Value::Object(others)).err().is_none_or(|e| e.to_string() != problem)
        };
        all.keys().find(stops_it).map(String::as_str)
    }

    /// The value of a boolean key; false if it is missing or null.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] when it is neither true nor false.
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.value.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => {
                Err(self.error(format!("`{key}` is {other}; expected `true` or `false`")))
            }
        }
    }

    /// Whether the file has this key, even as null.
    pub fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    /// Makes sure that no size is too small or unreasonably large. Values that are not numbers are
    /// left to the code that reads the key.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] that names the key.
    pub(super) fn check_sizes(&self) -> Result<()> {
        let some = MOST.iter().map(|&(key, most)| (key, 1, most));
        let none = MOST_OR_NONE.iter().map(|&(key, most)| (key, 0, most));
        for (key, least, most) in some.chain(none) {
            let value = self.value.get(key).unwrap_or(&Value::Null);
            let each = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for size in each.iter().filter_map(Value::as_u64) {
                if size < least {
                    return Err(self.error(format!("`{key}` is {size}")));
                }
                if size > most {
                    return Err(self.error(format!(
                        "`{key}` is {size}, but at most {most} is accepted; check the file"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Makes sure that the weights are floats. Libraries that quantise say so under one of two
    /// keys.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] that names the key.
    pub(super) fn check_floats(&self) -> Result<()> {
        for key in ["quantization_config", "quantization"] {
            let Some(how) = self.value.get(key).filter(|how| !how.is_null()) else { continue };
            let method = how.get("quant_method").and_then(Value::as_str);
            let by = method.map(|method| format!(" by `{method}`")).unwrap_or_default();
            return Err(self.error(format!(
                "`{key}`: the weights are quantised{by}, which is not implemented; \
                 load the model in floats (and ask for `quant`), or a GGUF file of it"
            )));
        }
        Ok(())
    }

    /// Makes sure that attention is causal, unless the file asks for bidirectional attention with
    /// the key of the one family that implements it.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] when the file says otherwise.
    pub(super) fn check_causal(&self) -> Result<()> {
        let says = self.value.get("is_causal").is_some_and(|value| !value.is_null());
        if says && !self.flag("is_causal")? && !self.flag("use_bidirectional_attention")? {
            return Err(self.error(
                "`is_causal` is false: bidirectional attention is not implemented for this family",
            ));
        }
        Ok(())
    }

    /// The same model with only its first `layers` layers. Lists with an entry per layer are
    /// truncated, and the share of layers that read the keys of others stays the same.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] when it has fewer layers than that, or would have none.
    pub fn cut(mut self, layers: usize) -> Result<Self> {
        const COUNT: &str = "num_hidden_layers";
        const SHARED: &str = "num_kv_shared_layers";
        let number = |key| self.value.get(key).and_then(Value::as_u64);
        let (all, shared) = (number(COUNT).unwrap_or(0) as usize, number(SHARED));
        if !(1..=all).contains(&layers) {
            return Err(self.error(format!("it has {all} layers and cannot be cut to {layers}")));
        }
        for list in self.value.as_object_mut().into_iter().flatten().map(|(_, value)| value) {
            if let Value::Array(entries) = list
                && entries.len() == all
            {
                entries.truncate(layers);
            }
        }
        self.value[COUNT] = layers.into();
        if let Some(shared) = shared {
            self.value[SHARED] = (shared as usize * layers / all).into();
        }
        Ok(self)
    }

    /// Its `architectures`.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] when the key is missing or not a list of strings.
    pub fn architectures(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Keys {
            architectures: Vec<String>,
        }
        Ok(self.keys::<Keys>()?.architectures)
    }

    /// End-of-sequence ids: none, one or several.
    ///
    /// # Errors
    ///
    /// [`Error::ModelConfig`] when the key holds something else.
    pub fn eos(&self) -> Result<Vec<u32>> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Eos {
            One(u32),
            Several(Vec<u32>),
        }
        #[derive(Deserialize)]
        struct Keys {
            eos_token_id: Option<Eos>,
        }
        let keys: Keys = self.keys().map_err(|_| {
            self.error("`eos_token_id` is neither a token id nor a list of token ids")
        })?;
        Ok(match keys.eos_token_id {
            None => Vec::new(),
            Some(Eos::One(id)) => vec![id],
            Some(Eos::Several(ids)) => ids,
        })
    }
}

/// The keys that most decoders share.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct DecoderKeys {
    pub(super) hidden_size: usize,
    intermediate_size: Widths,
    pub(super) num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    pub(super) vocab_size: usize,
    pub(super) max_position_embeddings: usize,
    #[serde(flatten)]
    epsilon: Epsilon,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    tie_word_embeddings: Option<bool>,
    pub(super) layer_types: Option<Vec<String>>,
}

/// Epsilon of the norms, under either of its keys.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "EpsilonKeys")]
struct Epsilon(f32);

#[derive(Deserialize)]
struct EpsilonKeys {
    rms_norm_eps: Option<f32>,
    norm_epsilon: Option<f32>,
}

impl TryFrom<EpsilonKeys> for Epsilon {
    type Error = String;

    fn try_from(keys: EpsilonKeys) -> Result<Self, String> {
        match (keys.rms_norm_eps, keys.norm_epsilon) {
            (Some(rms), Some(other)) if rms != other => Err(format!(
                "`rms_norm_eps` is {rms} and `norm_epsilon` {other}; remove the wrong one"
            )),
            (rms, other) => {
                rms.or(other).map(Self).ok_or_else(|| "missing field `rms_norm_eps`".into())
            }
        }
    }
}

/// Width inside the feed-forward blocks.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Widths {
    Same(usize),
    ByLayer(Vec<usize>),
}

impl DecoderKeys {
    /// Masks from `layer_types` if the file has them, else from `windowed`, which says whether
    /// layer `i` has the window.
    pub(super) fn masks(
        &self,
        file: &ConfigFile,
        window: Option<usize>,
        windowed: impl Fn(usize) -> bool,
    ) -> Result<Vec<Mask>> {
        if window == Some(0) {
            return Err(file.error("`sliding_window` is 0; a token must see at least itself"));
        }
        let sliding = |layer: usize| {
            let Some(types) = &self.layer_types else { return Ok(windowed(layer)) };
            match types.get(layer).map(String::as_str) {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") => Ok(true),
                Some(other) => Err(file.error(format!(
                    "`layer_types` has `{other}` for layer {layer}; \
                     expected `full_attention` or `sliding_attention`"
                ))),
                None => Err(file.error(format!(
                    "`layer_types` has {} entries for {} layers",
                    types.len(),
                    self.num_hidden_layers
                ))),
            }
        };
        let mask = |layer| match (sliding(layer)?, window) {
            (false, _) => Ok(Mask::Causal),
            (true, Some(window)) => Ok(Mask::SlidingWindow(window)),
            (true, None) if self.layer_types.is_some() => Err(file.error(format!(
                "`layer_types` has `sliding_attention` for layer {layer}, \
                 but no `sliding_window` is set"
            ))),
            (true, None) => Ok(Mask::Causal),
        };
        (0..self.num_hidden_layers).map(mask).collect()
    }

    /// The plain stack that these keys describe: one RMS norm before each block, gated feed-forward
    /// blocks with SiLU, no biases, no scaling. A family states only where it differs.
    pub(super) fn decoder(&self, file: &ConfigFile, masks: Vec<Mask>) -> Result<DecoderConfig> {
        let heads = self.heads(file, masks)?;
        Ok(DecoderConfig {
            hidden: self.hidden_size,
            vocabulary: self.vocab_size,
            positions: self.positions(file)?,
            norm: NormKind::Rms(self.eps()),
            norms: LayerNorms::BEFORE,
            ropes: Ropes::everywhere(self.rope(file, heads.dim, 10_000.0)?, self.num_hidden_layers),
            projections: Projections {
                qkv: Qkv::Split,
                qkv_bias: Bias::Absent,
                output_bias: Bias::Absent,
                qk_norm: QkNorm::Absent,
            },
            feed_forward: self.dense(file, MlpForm::GATED, Activation::Silu, Bias::Absent)?,
            scales: Scales::NONE,
            softcap: None,
            head: self.head(Head::Own),
            heads,
        })
    }

    /// Longest sequence: what the file states, or the context before YaRN times its factor if that
    /// is more. Files to which YaRN was added by hand still state the context before it. Scalings
    /// of single kinds of layers do not count.
    fn positions(&self, file: &ConfigFile) -> Result<usize> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        let scaling = ["rope_parameters", "rope_scaling"]
            .iter()
            .filter_map(|key| file.value.get(key))
            .find(|scaling| !scaling.is_null())
            .unwrap_or(&Value::Null);
        let is_yarn = |key: &&str| scaling.get(key).and_then(Value::as_str) == Some("yarn");
        let number = |key: &str| scaling.get(key).and_then(Value::as_f64);
        let original = number(ORIGINAL).or_else(|| file.value.get(ORIGINAL)?.as_f64());
        let stretched = match (original, number("factor")) {
            (Some(original), Some(factor)) if ["rope_type", "type"].iter().any(is_yarn) => {
                original * factor
            }
            _ => 0.0,
        };
        if stretched > MOST_POSITIONS as f64 {
            return Err(file.error(format!(
                "`factor` stretches the context to {stretched} positions, but at most {MOST_POSITIONS} \
                 are accepted; check the file"
            )));
        }
        Ok(self.max_position_embeddings.max(stretched as usize))
    }

    /// The head geometry, with scores divided by the square root of the head dim.
    pub(super) fn heads(&self, file: &ConfigFile, masks: Vec<Mask>) -> Result<Heads> {
        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(file.error(format!(
                "{heads} attention heads cannot share {kv_heads} key-value heads evenly"
            )));
        }
        let dim = match self.head_dim {
            Some(dim) => dim,
            None if self.hidden_size.is_multiple_of(heads) => self.hidden_size / heads,
            None => {
                return Err(file.error(format!(
                    "`hidden_size` {} is not a multiple of {heads} heads and `head_dim` is not set",
                    self.hidden_size
                )));
            }
        };
        let scale = (dim as f64).powf(-0.5) as f32;
        Ok(Heads { heads, kv_heads, dim, scale, softcap: None, cached: masks.len(), masks })
    }

    /// The rotary embedding of heads of `dim`, with base `theta` where the file states none.
    pub(super) fn rope(&self, file: &ConfigFile, dim: usize, theta: f64) -> Result<Rope> {
        Rope::from_config(&file.keys()?, dim, theta).map_err(|e| file.error(e))
    }

    /// A dense block in every layer, with `activation` where the file names none.
    pub(super) fn dense(
        &self,
        file: &ConfigFile,
        form: MlpForm,
        activation: Activation,
        bias: Bias,
    ) -> Result<Vec<FeedForwardConfig>> {
        let activation = self.activation(file, activation)?;
        let block = |layer| {
            let intermediate = self.intermediate(file, layer)?;
            Ok(FeedForwardConfig::Dense(MlpConfig { form, intermediate, activation, bias }))
        };
        (0..self.num_hidden_layers).map(block).collect()
    }

    /// The activation function of the feed-forward blocks; `default` where the file names none.
    pub(super) fn activation(&self, file: &ConfigFile, default: Activation) -> Result<Activation> {
        let named = |(key, name): (&str, &String)| {
            Activation::named(name).map_err(|e| file.error(format!("`{key}` is {e}")))
        };
        let old = || Some(("hidden_act", self.hidden_act.as_ref()?));
        let new = self.hidden_activation.as_ref().map(|name| ("hidden_activation", name));
        new.or_else(old).map_or(Ok(default), named)
    }

    /// Width inside the feed-forward block of `layer`.
    pub(super) fn intermediate(&self, file: &ConfigFile, layer: usize) -> Result<usize> {
        let width = match &self.intermediate_size {
            Widths::Same(width) => Some(width),
            Widths::ByLayer(widths) => widths.get(layer),
        };
        match width {
            Some(width) => Ok(*width),
            None => Err(file.error(format!("`intermediate_size` has no entry for layer {layer}"))),
        }
    }

    /// Epsilon of the norms.
    pub(super) const fn eps(&self) -> f32 {
        self.epsilon.0
    }

    /// Where the output matrix comes from; `default` where the file says nothing.
    pub(super) fn head(&self, default: Head) -> Head {
        match self.tie_word_embeddings {
            Some(true) => Head::Tied,
            Some(false) => Head::Own,
            None => default,
        }
    }
}

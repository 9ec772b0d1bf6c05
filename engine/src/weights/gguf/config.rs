//! The metadata of a GGUF file as the keys of the hub's `config.json`, which families read.

use serde_json::{Map, Value, json};

use super::GgufError;
use super::architecture::{ARCHITECTURES, Architecture};
use super::file::{File, Many};
use super::parts::Parts;
use super::value::FromValue;
use crate::error::Result;
use crate::models::config::ConfigFile;

/// Keys of the hub, and their names in GGUF files, where the architecture's name precedes them.
const ALIASES: &[(&str, &str)] = &[
    ("hidden_size", "embedding_length"),
    ("num_hidden_layers", "block_count"),
    ("max_position_embeddings", "context_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("intermediate_size", "feed_forward_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("norm_epsilon", "attention.layer_norm_epsilon"),
    ("sliding_window", "attention.sliding_window"),
    ("layer_types", "attention.sliding_window_pattern"),
    ("rope_theta", "rope.freq_base"),
    ("factor", "rope.scaling.factor"),
    ("original_max_position_embeddings", "rope.scaling.original_context_length"),
    ("num_experts", "expert_count"),
    ("num_local_experts", "expert_count"),
    ("num_experts_per_tok", "expert_used_count"),
    ("moe_intermediate_size", "expert_feed_forward_length"),
];

/// Most layers that lists are made for; more are refused when sizes are checked.
const LAYERS: u64 = 1 << 12;

/// The metadata of one model, by keys without the architecture's name in front.
pub(super) struct Keys<'a> {
    parts: &'a Parts,
    pub(super) architecture: &'static Architecture,
}

/// End-of-sequence ids: of a text, of a turn, of a message that calls a tool.
///
/// # Errors
///
/// When the file has something other than ids there.
pub(crate) fn eos(file: &File) -> Result<Vec<u32>, GgufError> {
    let mut eos = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        let id: Option<u32> = file.get(&format!("tokenizer.ggml.{key}"))?;
        eos.extend(id.filter(|id| !eos.contains(id)));
    }
    Ok(eos)
}

impl<'a> Keys<'a> {
    /// The keys of `parts`.
    ///
    /// # Errors
    ///
    /// When its architecture is missing or unknown.
    pub(super) fn of(parts: &'a Parts) -> Result<Self, GgufError> {
        let head = parts.head();
        let found: String = head.need("general.architecture")?;
        match ARCHITECTURES.iter().find(|known| known.name == found) {
            Some(architecture) => Ok(Self { parts, architecture }),
            None => Err(GgufError::UnknownArchitecture {
                file: head.name().into(),
                found,
                known: ARCHITECTURES.iter().map(|known| known.name).collect(),
            }),
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name)
    }

    /// The value of `key`, if it is there.
    pub(super) fn get<T: FromValue>(&self, key: &str) -> Result<Option<T>, GgufError> {
        self.parts.head().get(&self.key(key))
    }

    /// The value of `key`.
    pub(super) fn need<T: FromValue>(&self, key: &str) -> Result<T, GgufError> {
        self.parts.head().need(&self.key(key))
    }

    /// The value of `key` for all layers; one per layer is accepted if all are equal.
    fn same<T: FromValue + PartialEq + Copy>(&self, key: &str) -> Result<Option<T>, GgufError> {
        match self.parts.head().many(&self.key(key))? {
            None => Ok(None),
            Some(Many::All(value)) => Ok(Some(value)),
            Some(Many::Each(values)) => match values.split_first() {
                Some((first, others)) if others.iter().all(|other| other == first) => {
                    Ok(Some(*first))
                }
                _ => Err(self.wrong(key, "different for each layer", "the same for all layers")),
            },
        }
    }

    /// An error about the value of `key`.
    pub(super) fn wrong(&self, key: &str, found: impl ToString, expected: &str) -> GgufError {
        self.parts.head().wrong(&self.key(key), found, expected)
    }

    /// Whether there is a tensor `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parts.has(name)
    }

    /// The layers, at most [`LAYERS`] of them.
    pub(super) fn layers(&self) -> Result<std::ops::Range<u64>, GgufError> {
        Ok(0..self.need::<u64>("block_count")?.min(LAYERS))
    }

    /// Query heads.
    pub(super) fn heads(&self) -> Result<u64, GgufError> {
        let heads: Option<u64> = self.same("attention.head_count")?;
        match heads.ok_or_else(|| self.parts.head().missing(&self.key("attention.head_count")))? {
            0 => Err(self.wrong("attention.head_count", 0, "a number above 0")),
            heads => Ok(heads),
        }
    }

    /// Key and value heads.
    pub(super) fn kv_heads(&self) -> Result<u64, GgufError> {
        self.same("attention.head_count_kv")?.map_or_else(|| self.heads(), Ok)
    }

    /// Width of a head.
    pub(super) fn head_dim(&self) -> Result<u64, GgufError> {
        let Some(dim) = self.get::<u64>("attention.key_length")? else {
            return Ok(self.need::<u64>("embedding_length")? / self.heads()?);
        };
        match self.get::<u64>("attention.value_length")? {
            Some(other) if other != dim => {
                Err(self.wrong("attention.value_length", other, &format!("{dim}, as for keys")))
            }
            _ => Ok(dim),
        }
    }

    /// Refuses heads of which only a part rotates, where rows were interleaved as a whole.
    pub(super) fn whole_heads_turn(&self) -> Result<(), GgufError> {
        let dim = self.head_dim()?;
        match self.get::<u64>("rope.dimension_count")? {
            Some(turning) if turning != dim => {
                let expected = format!("{dim}, the width of a head");
                Err(self.wrong("rope.dimension_count", turning, &expected))
            }
            _ => Ok(()),
        }
    }

    /// The configuration.
    ///
    /// # Errors
    ///
    /// When a key is missing or has an unexpected value, or the model does not generate text.
    pub(super) fn config(&self) -> Result<ConfigFile> {
        if let Some(pooling) = self.get::<u64>("pooling_type")?.filter(|pooling| *pooling > 0) {
            let expected = "0: models that embed or rank text are loaded only from folders";
            return Err(self.wrong("pooling_type", pooling, expected).into());
        }
        let mut config = Map::new();
        let mut set = |key: &str, value: Value| config.insert(key.into(), value);
        set("hidden_size", json!(self.need::<u64>("embedding_length")?));
        set("num_hidden_layers", json!(self.need::<u64>("block_count")?));
        set("max_position_embeddings", json!(self.need::<u64>("context_length")?));
        set("num_attention_heads", json!(self.heads()?));
        set("num_key_value_heads", json!(self.kv_heads()?));
        set("head_dim", json!(self.head_dim()?));
        set("intermediate_size", self.widths()?);
        set("vocab_size", json!(self.vocabulary()?));
        let (key, epsilon) = self.epsilon()?;
        set(key, json!(epsilon));
        set("tie_word_embeddings", json!(!self.has("output.weight")));
        if let Some(window) = self.get::<u64>("attention.sliding_window")?.filter(|w| *w > 0) {
            set("sliding_window", json!(window));
            if let Some(types) = self.layer_types()? {
                set("layer_types", types);
            }
        }
        set("rope_theta", json!(self.get::<f64>("rope.freq_base")?.unwrap_or(10_000.0)));
        if let Some(part) = self.turning_part()? {
            set("partial_rotary_factor", json!(part));
        }
        if let Some(scaling) = super::rope::scaling(self, self.parts)? {
            set("rope_scaling", scaling);
        }
        set("eos_token_id", json!(eos(self.parts.head())?));
        let family = (self.architecture.own)(self, &mut config)?;
        config.insert("architectures".into(), json!([family]));
        let is_shared = self.get::<u64>("attention.key_length")?.is_none();
        let own = |(hub, own): &(&'static str, &str)| match *hub {
            "head_dim" if is_shared => {
                let [width, heads] = ["embedding_length", "attention.head_count"];
                (*hub, format!("{} / {}", self.key(width), self.key(heads)))
            }
            hub => (hub, self.key(own)),
        };
        let aliases = ALIASES.iter().map(own).collect();
        Ok(ConfigFile::new(self.parts.head().name(), Value::Object(config), aliases))
    }

    /// Width inside the feed-forward blocks.
    fn widths(&self) -> Result<Value, GgufError> {
        let key = "feed_forward_length";
        match self.parts.head().many::<u64>(&self.key(key))? {
            None => Err(self.parts.head().missing(&self.key(key))),
            Some(Many::All(width)) => Ok(json!(width)),
            Some(Many::Each(widths)) => Ok(json!(widths)),
        }
    }

    /// Number of token ids: the rows of the embedding, which may be more than there are tokens.
    fn vocabulary(&self) -> Result<usize, GgufError> {
        let rows = |shape: &[usize]| shape.first().copied();
        let embedding = self.parts.tensor("token_embd.weight");
        embedding.and_then(|(_, tensor)| rows(&tensor.shape)).ok_or_else(|| {
            GgufError::MissingTensor {
                file: self.parts.head().name().into(),
                tensor: "token_embd.weight".into(),
                wanted: "model.embed_tokens.weight".into(),
                expected: Vec::new(),
            }
        })
    }

    /// Epsilon of the norms, under the hub's key for norms of this kind.
    fn epsilon(&self) -> Result<(&'static str, f64), GgufError> {
        let (rms, layer) = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon");
        match (self.get(rms)?, self.get(layer)?) {
            (Some(epsilon), _) => Ok(("rms_norm_eps", epsilon)),
            (None, Some(epsilon)) => Ok(("norm_epsilon", epsilon)),
            (None, None) => Err(self.parts.head().missing(&self.key(rms))),
        }
    }

    /// Which layers have the window, if the file says so: all except one in so many, or layer by
    /// layer.
    fn layer_types(&self) -> Result<Option<Value>, GgufError> {
        let key = self.key("attention.sliding_window_pattern");
        let name = |windowed| if windowed { "sliding_attention" } else { "full_attention" };
        // Writers use numbers for both forms, booleans only layer by layer.
        if let Ok(Some(each)) = self.parts.head().list::<bool>(&key) {
            return Ok(Some(each.into_iter().map(name).collect()));
        }
        match self.parts.head().many::<u64>(&key)? {
            None | Some(Many::All(0)) => Ok(None),
            Some(Many::All(every)) => {
                Ok(Some(self.layers()?.map(|layer| name((layer + 1) % every != 0)).collect()))
            }
            Some(Many::Each(each)) => {
                Ok(Some(each.into_iter().map(|one| name(one != 0)).collect()))
            }
        }
    }

    /// The part of each head that rotates, if not all of it does.
    fn turning_part(&self) -> Result<Option<f64>, GgufError> {
        let dim = self.head_dim()?;
        let turning = self.get::<u64>("rope.dimension_count")?.filter(|turning| *turning != dim);
        // Slightly more, so that the product with `dim` does not fall just below the whole number.
        Ok(turning.map(|turning| (turning as f64 + 0.25) / dim as f64))
    }
}

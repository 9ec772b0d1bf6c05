//! The seam between the engine and the model families, and the registries of families.
//!
//! Of multimodal models, such as Gemma 3 from 4B up and Gemma 3n, only exports of the language
//! model alone can be loaded.
//!
//! A family is one file under `models/` and one line in [`MODELS`] if it generates text, or in
//! [`EMBEDDERS`] if it turns text into vectors. A model holds weights and never state; the [`Pass`]
//! tells it what to compute.

use candle_core::{DType, Result as TensorResult, Tensor};

use crate::attention::Heads;
use crate::error::{Error, Result};
use crate::pass::Pass;
use crate::placement::{Placement, Widths};
use crate::weights::{Formats, Outline, Tally, Weights};

pub mod config;
mod gemma2;
mod gemma3;
mod gemma3n;
mod glm4;
mod granite;
mod llama;
mod mistral;
mod mixtral;
mod olmo2;
mod phi3;
mod purpose;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod smollm3;
mod starcoder2;

pub use purpose::Purpose;

use config::ConfigFile;

/// A loaded model that generates text.
pub trait Model: Send {
    /// Head geometry, for the cache and the kernels.
    fn heads(&self) -> &Heads;

    /// Number of token ids: the width of the logits.
    fn vocabulary(&self) -> usize;

    /// Longest sequence that the model supports.
    fn positions(&self) -> usize;

    /// Length beyond which all keys of a sequence change, from its start on, if there is one. A
    /// sequence that gets there is recomputed, and such a model cannot share prefixes.
    fn border(&self) -> Option<usize> {
        None
    }

    /// How many values per token a pass holds at once.
    fn widths(&self) -> Widths;

    /// Logits, `[rows, vocabulary]`, of the rows that [`Pass::last`] keeps.
    ///
    /// # Errors
    ///
    /// When a tensor operation fails.
    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor>;
}

/// A loaded model without an output matrix: its hidden states are still to be pooled.
pub trait Body: Send + Sync {
    /// Head geometry, for the kernels.
    fn heads(&self) -> &Heads;

    /// Number of token ids.
    fn vocabulary(&self) -> usize;

    /// Longest sequence that the model supports.
    fn positions(&self) -> usize;

    /// Width of the hidden states.
    fn hidden(&self) -> usize;

    /// Hidden states of all tokens of `pass` after the final norm, `[tokens, hidden]`, on the first
    /// device.
    ///
    /// # Errors
    ///
    /// When a tensor operation fails.
    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor>;
}

/// An entry of a registry: a family that loads as `M`.
pub struct Entry<M: ?Sized> {
    /// Its name in `architectures` of `config.json`.
    pub architecture: &'static str,
    /// Reads the configuration, then the weights that it implies.
    pub load: fn(&ConfigFile, &Weights<'_>) -> Result<Box<M>>,
}

/// Every family that generates text.
pub const MODELS: &[Entry<dyn Model>] = &[
    Entry { architecture: "Gemma2ForCausalLM", load: gemma2::load },
    Entry { architecture: "Gemma3ForCausalLM", load: gemma3::load },
    Entry { architecture: "Gemma3nForCausalLM", load: gemma3n::load },
    Entry { architecture: "Glm4ForCausalLM", load: glm4::load },
    Entry { architecture: "GraniteForCausalLM", load: granite::load },
    Entry { architecture: "LlamaForCausalLM", load: llama::load },
    Entry { architecture: "MistralForCausalLM", load: mistral::load },
    Entry { architecture: "MixtralForCausalLM", load: mixtral::load },
    Entry { architecture: "Olmo2ForCausalLM", load: olmo2::load },
    Entry { architecture: "Phi3ForCausalLM", load: phi3::load },
    Entry { architecture: "Qwen2ForCausalLM", load: qwen2::load },
    Entry { architecture: "Qwen2MoeForCausalLM", load: qwen2_moe::load },
    Entry { architecture: "Qwen3ForCausalLM", load: qwen3::load },
    Entry { architecture: "Qwen3MoeForCausalLM", load: qwen3_moe::load },
    Entry { architecture: "SmolLM3ForCausalLM", load: smollm3::load },
    Entry { architecture: "Starcoder2ForCausalLM", load: starcoder2::load },
];

/// Every family that embeds text.
pub const EMBEDDERS: &[Entry<dyn Body>] = &[
    Entry { architecture: "Gemma3TextModel", load: gemma3::body },
    Entry { architecture: "Qwen3ForCausalLM", load: qwen3::body },
];

/// Names that transformers gives to embedders saved without a head, as fine-tuning leaves them, and
/// their names in [`EMBEDDERS`].
const HEADLESS: &[(&str, &str)] = &[("Qwen3Model", "Qwen3ForCausalLM")];

/// The entry of `registry` for the architecture that `config` names.
///
/// # Errors
///
/// [`Error::UnknownArchitecture`] unless exactly one is listed and it is known, and
/// [`Error::ModelConfig`] when the language model is part of a multimodal one, a size is out of
/// range, the weights are not floats, or attention is not causal.
pub fn find<M: ?Sized>(
    registry: &'static [Entry<M>],
    config: &ConfigFile,
) -> Result<&'static Entry<M>> {
    find_registered(registry, config, |name| name)
}

/// As [`find`] in [`EMBEDDERS`], whether the model was saved with a head or without.
///
/// # Errors
///
/// As [`find`].
pub(crate) fn find_embedder(config: &ConfigFile) -> Result<&'static Entry<dyn Body>> {
    find_registered(EMBEDDERS, config, |name| {
        let with_head = HEADLESS.iter().find(|(headless, _)| *headless == name);
        with_head.map_or(name, |(_, with_head)| *with_head)
    })
}

/// As [`find`]; `registered` maps a name in the file to the name in the registry.
fn find_registered<M: ?Sized>(
    registry: &'static [Entry<M>],
    config: &ConfigFile,
    registered: impl Fn(&str) -> &str,
) -> Result<&'static Entry<M>> {
    let found = config.architectures()?;
    config.check_sizes()?;
    config.check_floats()?;
    let entry = match &found[..] {
        [one] => registry.iter().find(|entry| entry.architecture == registered(one.as_str())),
        _ => None,
    };
    match (entry, &found[..]) {
        (Some(entry), _) => config.check_causal().map(|()| entry),
        (None, [whole]) if config.has("text_config") => Err(config.error(format!(
            "`{whole}` is multimodal, with its language model in `text_config`; \
             export the language model alone and load the export"
        ))),
        (None, _) => Err(Error::UnknownArchitecture {
            file: config.name().into(),
            found,
            known: registry.iter().map(|entry| entry.architecture).collect(),
        }),
    }
}

/// What a configuration implies, found without reading a single weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    /// Head geometry.
    pub heads: Heads,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest sequence that the model supports.
    pub positions: usize,
    /// Length beyond which all keys of a sequence change, from its start on, if there is one.
    pub border: Option<usize>,
    /// Number of weights; a tied matrix counts once.
    pub parameters: u64,
}

/// What `config` implies for a model that generates text.
///
/// # Errors
///
/// As loading it, as far as the configuration is the cause.
pub fn sketch(config: &ConfigFile) -> Result<Sketch> {
    let (model, tally) =
        outline(find(MODELS, config)?, config, Outline::default(), Formats::plain(DType::F32))?;
    Ok(Sketch {
        heads: model.heads().clone(),
        vocabulary: model.vocabulary(),
        positions: model.positions(),
        border: model.border(),
        parameters: tally.parameters(),
    })
}

/// Loads the model that `config` describes from a `source` without values, so that an unusable
/// model is refused before gigabytes are read, and counts the size of its weights in `formats`.
pub(crate) fn outline<M: ?Sized>(
    entry: &Entry<M>,
    config: &ConfigFile,
    source: Outline<'_>,
    formats: Formats<'_>,
) -> Result<(Box<M>, Tally)> {
    let (placement, tally) = (Placement::cpu(), Tally::default());
    let model = (entry.load)(config, &formats.of(&source, &placement, &tally))?;
    Ok((model, tally))
}

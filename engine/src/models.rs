//! The seam between the engine and the model families, and the registries of the families.
//!
//! Of models that also see or hear, such as Gemma 3 from 4B on and Gemma 3n, only exports of the
//! language model alone can be loaded.
//!
//! A family is one file under `models/` and one line in [`MODELS`], if it continues texts, or in
//! [`EMBEDDERS`], if it turns them into vectors. A model holds weights and never state; it learns
//! what to compute from the [`Pass`].

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

/// A loaded model that continues texts.
pub trait Model: Send {
    /// What the cache and the kernels need to know.
    fn heads(&self) -> &Heads;

    /// Number of token ids, which is the width of the logits.
    fn vocabulary(&self) -> usize;

    /// Longest sequence that the model was made for.
    fn positions(&self) -> usize;

    /// Length beyond which a sequence has other keys from its start on, if there is one. It is
    /// computed anew when it gets there, and beginnings cannot be shared.
    fn border(&self) -> Option<usize> {
        None
    }

    /// How many numbers of a token a pass holds at once.
    fn widths(&self) -> Widths;

    /// Logits, `[rows, vocabulary]`, of the rows that [`Pass::last`] keeps.
    ///
    /// # Errors
    ///
    /// When a tensor operation fails.
    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor>;
}

/// A loaded model without an output matrix: what it makes of a text is still to be pooled.
pub trait Body: Send + Sync {
    /// What the kernels need to know.
    fn heads(&self) -> &Heads;

    /// Number of token ids.
    fn vocabulary(&self) -> usize;

    /// Longest sequence that the model was made for.
    fn positions(&self) -> usize;

    /// Width of its hidden states.
    fn hidden(&self) -> usize;

    /// Hidden states of all tokens of `pass` after the final norm, `[tokens, hidden]`, on the first
    /// device.
    ///
    /// # Errors
    ///
    /// When a tensor operation fails.
    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor>;
}

/// A family in a registry, which loads as `M`.
pub struct Entry<M: ?Sized> {
    /// The name in `architectures` of `config.json`.
    pub architecture: &'static str,
    /// Reads the configuration, then the weights that it implies.
    pub load: fn(&ConfigFile, &Weights<'_>) -> Result<Box<M>>,
}

/// Every family that continues texts.
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

/// Every family that embeds texts.
pub const EMBEDDERS: &[Entry<dyn Body>] = &[
    Entry { architecture: "Gemma3TextModel", load: gemma3::body },
    Entry { architecture: "Qwen3ForCausalLM", load: qwen3::body },
];

/// What transformers calls an embedder that it has saved without a head, as training it further
/// leaves it, and its name in [`EMBEDDERS`].
const HEADLESS: &[(&str, &str)] = &[("Qwen3Model", "Qwen3ForCausalLM")];

/// The entry of `registry` for what `config` lists under `architectures`.
///
/// # Errors
///
/// [`Error::UnknownArchitecture`] unless exactly one is listed and it is known, and
/// [`Error::ModelConfig`] when a language model is part of something else, a size makes no sense,
/// the weights are no floats, or tokens are to see what is ahead of them.
pub fn find<M: ?Sized>(
    registry: &'static [Entry<M>],
    config: &ConfigFile,
) -> Result<&'static Entry<M>> {
    find_registered(registry, config, |name| name)
}

/// As [`find`] among [`EMBEDDERS`], to which a head makes no difference.
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

/// As [`find`]; `registered` tells the name in the registry by the one in the file.
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

/// What a configuration implies, learnt without reading a single weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    /// Head geometry.
    pub heads: Heads,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest sequence that the model was made for.
    pub positions: usize,
    /// Length beyond which a sequence has other keys from its start on, if there is one.
    pub border: Option<usize>,
    /// Number of weights; a tied matrix counts once.
    pub parameters: u64,
}

/// What `config` implies for a model that continues texts.
///
/// # Errors
///
/// As loading it, as far as the configuration is at fault.
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

/// Loads the model that `config` describes from a `source` without numbers, so that what cannot
/// work is refused before gigabytes are read; and counts what `formats` makes of its weights.
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

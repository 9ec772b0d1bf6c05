//! [`EngineConfig`]: every setting of the engine, all explicit.
//!
//! A plain struct without defaults or environment variables: what is not in it cannot change what
//! the engine does, and what is in it can be recorded with a measurement.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::cuda::driver;
use crate::placement::{DeviceMap, Topology};
use crate::quant::QuantPlan;
use crate::sampler::mix;

/// What to load, and how to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Where configuration and weights come from.
    pub model: ModelSource,
    /// Element type of unquantised weights, activations and cache.
    pub dtype: Dtype,
    /// Which matrices are quantised during loading, and how.
    pub quant: QuantPlan,
    /// Which device each layer lives on, along with its share of the cache.
    pub devices: DeviceMap,
    /// Overrides of quantisation and device for individual layers and tensors.
    pub topology: Topology,
    /// How the KV cache is divided into blocks.
    pub kv: KvLayout,
    /// Which attention backend to use.
    pub attention: Choice,
    /// Whether requests with equal prefixes share blocks. Needs [`KvLayout::Paged`]; with one block
    /// per sequence there is nothing to share, and this has no effect.
    pub prefix_cache: PrefixCache,
    /// Whether the launches of decode steps are recorded. Applies to GPUs only.
    pub cuda_graphs: CudaGraphs,
    /// Capacity of the KV cache in tokens, over all sequences. With [`KvLayout::Contiguous`] every
    /// sequence takes [`max_sequence_length`](crate::Engine::max_sequence_length) of them from the
    /// start. With [`KvLayout::Paged`], layers with a sliding window have room for no more tokens
    /// than `max_sequences` can see, unless the prefix cache needs it.
    pub kv_tokens: usize,
    /// Most tokens computed per step, prompt chunks and decodes together.
    pub max_step_tokens: usize,
    /// Most sequences that run at the same time.
    pub max_sequences: usize,
    /// Cap on prompt plus generated tokens of one sequence, below the model's own limit (with YaRN,
    /// the extended context).
    pub max_sequence_length: Option<usize>,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum ModelSource {
    /// A public architecture with random weights: real shapes, no download.
    Preset {
        /// A name from [`presets`](crate::weights::presets).
        name: String,
        /// Seed of the weights.
        seed: u64,
    },
    /// A local folder in the layout of the Hugging Face hub.
    Folder {
        /// The folder that holds `config.json` and the safetensors files.
        path: PathBuf,
    },
    /// A GGUF file, which contains everything.
    Gguf {
        /// The file, or any one of the files over which a model is split.
        path: PathBuf,
    },
}

impl ModelSource {
    /// The part of the model in its subfolder `path`; the model itself if `path` is empty.
    pub(crate) fn within(&self, path: &str) -> Self {
        match self {
            _ if path.is_empty() => self.clone(),
            Self::Folder { path: folder } => Self::Folder { path: folder.join(path) },
            // Its own seed, so that parts with equal tensor names get different numbers.
            Self::Preset { name, seed } => {
                let seed = path.bytes().fold(*seed, |seed, byte| mix(seed ^ u64::from(byte)));
                Self::Preset { name: name.clone(), seed }
            }
            // A GGUF file has no subfolders.
            Self::Gguf { path } => Self::Gguf { path: path.clone() },
        }
    }

    /// How messages refer to its file `name`.
    pub(crate) fn file(&self, name: &str) -> String {
        match self {
            Self::Folder { path } => path.join(name).display().to_string(),
            Self::Preset { name, .. } => format!("preset {name}"),
            Self::Gguf { path } => path.display().to_string(),
        }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preset { name, .. } => write!(f, "preset `{name}`"),
            Self::Folder { path } | Self::Gguf { path } => write!(f, "`{}`", path.display()),
        }
    }
}

/// Element type of unquantised weights, activations and cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// A type that all devices run well, chosen by [`on`](Self::on).
    Auto,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

impl Dtype {
    /// Every concrete type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// The candle type to use on `devices`: this one, or for [`Auto`](Self::Auto) the first of
    /// bf16, f16 and f32 that all of them run well.
    pub fn on<'a>(self, devices: impl IntoIterator<Item = &'a Device>) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
            Self::Auto => {
                let devices: Vec<_> = devices.into_iter().collect();
                let everywhere = |dtype: &DType| devices.iter().all(|on| runs_well(on, *dtype));
                [DType::BF16, DType::F16].into_iter().find(everywhere).unwrap_or(DType::F32)
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// Whether `device` computes in `dtype` at full speed: an NVIDIA GPU by its generation, any other
/// accelerator by a small product, which it refuses if it lacks the type. Our CPU kernels compute
/// in f32 whatever the weights are; half precision saves memory there and, as `benches/decode.rs`
/// shows, slows down neither decode nor prefill.
fn runs_well(device: &Device, dtype: DType) -> bool {
    let product = || {
        let x = Tensor::ones((2, 2), dtype, device)?;
        x.matmul(&x)?.to_dtype(DType::F32)?.to_vec2::<f32>()
    };
    match device {
        Device::Cpu => dtype == DType::BF16,
        Device::Cuda(_) => driver::capability(device).is_some_and(|it| it.runs_well(dtype)),
        _ => product().is_ok_and(|y| y == [[2.0; 2]; 2]),
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is not one of the accepted ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not {kind}; write {accepted}")]
pub struct UnknownWord {
    /// What was written.
    pub word: String,
    /// What it was meant to be.
    pub kind: &'static str,
    /// What is accepted.
    pub accepted: &'static str,
}

impl FromStr for Dtype {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let known = [Self::Auto, Self::F32, Self::F16, Self::Bf16];
        known.into_iter().find(|dtype| dtype.name() == word).ok_or_else(|| UnknownWord {
            word: word.into(),
            kind: "a dtype",
            accepted: "`auto`, `f32`, `f16` or `bf16`",
        })
    }
}

/// How the KV cache is divided into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvLayout {
    /// One block per sequence, as long as the longest sequence.
    Contiguous,
    /// Fixed-size blocks, allocated as a sequence grows.
    Paged {
        /// Tokens per block.
        block: NonZeroUsize,
    },
}

impl fmt::Display for KvLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contiguous => f.write_str("contiguous"),
            Self::Paged { block } => write!(f, "paged-{block}"),
        }
    }
}

impl FromStr for KvLayout {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let block = word.strip_prefix("paged-").and_then(|block| block.parse().ok());
        match (word, block) {
            ("contiguous", _) => Ok(Self::Contiguous),
            (_, Some(block)) => Ok(Self::Paged { block }),
            _ => Err(UnknownWord {
                word: word.into(),
                kind: "a cache layout",
                accepted: "`contiguous` or `paged-N` with N of at least 1, such as `paged-16`",
            }),
        }
    }
}

/// Whether full blocks of the cache can be found again by their content.
///
/// With a sliding window, a prefix can be reused wherever the blocks visible to the next token are
/// still present. To keep them, layers with a window get as many blocks as the others, and blocks
/// that have left a window are kept like those of finished sequences: a prefix cache costs the
/// memory that windows would save. Only a model whose keys depend on the sequence length (longrope)
/// shares nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrefixCache {
    /// Full blocks are kept after their sequence has ended, until the pool needs them.
    On,
    /// Every token of every prompt is computed.
    Off,
}

/// Whether the launches of decode steps are recorded on a GPU, as CUDA graphs.
///
/// Decode steps launch the same kernels over and over, and launching one takes the host longer than
/// most of them take the GPU. Steps are recorded on a single GPU whose attention is `cuda-flash` on
/// a paged cache that it reads in place. A model whose host code needs the results of a layer, such
/// as an MoE model, is launched kernel by kernel; so is one with any quantised weight, because the
/// scratch buffer that candle keeps for such products may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CudaGraphs {
    /// A step whose shape has been recorded is launched in one go.
    On,
    /// Every kernel is launched individually.
    Off,
}

/// Which attention backend to use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Choice {
    /// The first of [`BACKENDS`](crate::attention::BACKENDS) that supports the model.
    Auto,
    /// This one, or an error that says why not.
    Named(String),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(match word {
            "auto" => Self::Auto,
            name => Self::Named(name.into()),
        })
    }
}

/// Serde for types whose text is their `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($($type:ty),+) => { $(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+ };
}

pub(crate) use serde_as_text;

serde_as_text!(KvLayout, Choice, DeviceMap);

//! [`EngineConfig`]: every knob of the engine, each one visible.
//!
//! A plain struct without defaults and without environment variables: what is not in it cannot
//! change what the engine does, and what is in it can be recorded beside a measurement.

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
    /// Element type of weights that are not quantised, activations and cache.
    pub dtype: Dtype,
    /// Which matrices are quantised while they are read, and how.
    pub quant: QuantPlan,
    /// Which layer lives where, with its share of the cache.
    pub devices: DeviceMap,
    /// What single layers and tensors get instead of their quantisation and their device.
    pub topology: Topology,
    /// How the key-value cache is cut into blocks.
    pub kv: KvLayout,
    /// Which attention backend computes.
    pub attention: Choice,
    /// Whether requests share the blocks of equal beginnings. Needs [`KvLayout::Paged`]: with one
    /// block a sequence there is nothing to share, and this has no effect.
    pub prefix_cache: PrefixCache,
    /// Whether the launches of decodes are recorded. On a GPU alone: elsewhere it has no effect.
    pub cuda_graphs: CudaGraphs,
    /// Capacity of the key-value cache in tokens, over all sequences. With
    /// [`KvLayout::Contiguous`] every sequence takes [`max_sequence_length`](crate::Engine::max_sequence_length)
    /// of them from the start. With [`KvLayout::Paged`], layers with a sliding window have room for
    /// no more tokens than `max_sequences` can see, as long as no prefix cache needs it.
    pub kv_tokens: usize,
    /// Most tokens that one step computes, prompt chunks and decodes together.
    pub max_step_tokens: usize,
    /// Most sequences that run at the same time.
    pub max_sequences: usize,
    /// Cap on prompt plus generated tokens of one sequence, below what the model allows, which with YaRN
    /// is the longer context that it makes.
    pub max_sequence_length: Option<usize>,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum ModelSource {
    /// A public architecture with random weights: real shapes, no download.
    Preset {
        /// A name out of [`presets`](crate::weights::presets).
        name: String,
        /// Seed of the weights.
        seed: u64,
    },
    /// A local folder in the layout of the Hugging Face hub.
    Folder {
        /// The folder that holds `config.json` and the safetensors files.
        path: PathBuf,
    },
    /// A GGUF file, which has everything in it.
    Gguf {
        /// The file, or any one of several over which a model is split.
        path: PathBuf,
    },
}

impl ModelSource {
    /// The part of the model that lies in the folder `path` of it; itself without a path.
    pub(crate) fn within(&self, path: &str) -> Self {
        match self {
            _ if path.is_empty() => self.clone(),
            Self::Folder { path: folder } => Self::Folder { path: folder.join(path) },
            // A seed of its own, so that parts with the same names have other numbers.
            Self::Preset { name, seed } => {
                let seed = path.bytes().fold(*seed, |seed, byte| mix(seed ^ u64::from(byte)));
                Self::Preset { name: name.clone(), seed }
            }
            // Such a file has no folders in it.
            Self::Gguf { path } => Self::Gguf { path: path.clone() },
        }
    }

    /// Its file `name` as messages call it.
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

/// Element type of weights that are not quantised, activations and cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// What the devices run well, by [`on`](Self::on).
    Auto,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

impl Dtype {
    /// Every type that numbers can have.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// The type that numbers have on `devices`, in candle's words: this one, or for
    /// [`Auto`](Self::Auto) the first of bf16, f16 and f32 that all of them run well.
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

/// Whether `device` computes in `dtype` as fast as it can: a GPU of NVIDIA by its generation, and
/// another accelerator by a small product, which one that lacks the type refuses. Our CPU kernels compute in f32 whatever the weights
/// are; halves save memory there and, as `benches/decode.rs` shows, cost neither decode nor prefill.
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

/// A word that names nothing known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not {kind}; write {accepted}")]
pub struct UnknownWord {
    /// What was written.
    pub word: String,
    /// What it was read as.
    pub kind: &'static str,
    /// What can be written.
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

/// How the key-value cache is cut into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvLayout {
    /// One block a sequence, as long as the longest sequence.
    Contiguous,
    /// Blocks of a fixed number of tokens, taken as a sequence grows.
    Paged {
        /// Tokens a block.
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

/// Whether full blocks of the cache are found again by what is in them.
///
/// Behind a sliding window, a beginning is found where the blocks are left that the token after it
/// sees. So that they are, layers with a window have as many blocks as other ones, and what has
/// left a window is kept like what an ended sequence leaves: a prefix cache costs the memory that
/// windows would save. Only a model whose keys depend on how long their sequence is (longrope)
/// shares nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrefixCache {
    /// Full blocks are kept after their sequence has ended, until the pool needs them.
    On,
    /// Every token of every prompt is computed.
    Off,
}

/// Whether the launches of decodes are recorded on a GPU, as CUDA graphs.
///
/// Steps that only continue sequences launch the same kernels again and again, and to launch one takes
/// the host longer than most of them take the GPU. Recorded are steps on one GPU whose attention is
/// `cuda-flash` on a paged cache that it reads in place; a model whose host must know what a layer has
/// computed, such as one of experts, is launched kernel by kernel, and so is one of which a weight is in
/// blocks: the scratch that candle keeps for products with them may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CudaGraphs {
    /// A step of a shape that has come before is launched in one go.
    On,
    /// Every kernel is launched for itself.
    Off,
}

/// Which attention backend computes.
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

//! Where a model's weights come from, and the cursor with which a model asks for them.
//!
//! A [`Source`] returns a tensor by its full name. [`Weights`] is the cursor: it walks the names,
//! knows dtype and device, and counts what was handed out. No model knows whether its weights came
//! from a file or from a seed.

use std::cell::RefCell;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::layers::linear::{Linear, Matrix};
use crate::layers::norm::{Norm, NormKind};
use crate::layers::table::Table;
use crate::models::config::ConfigFile;
use crate::placement::{Placement, Spot, Topology};
use crate::quant::{Format, Quant, QuantPlan, QuantType, Quantised, Role};
use crate::telemetry::{LoadStages, Stored};

pub(crate) mod gguf;
mod outline;
mod preset;
mod random;
mod safetensors;
mod stages;

pub use gguf::{Gguf, GgufError};
pub use outline::Outline;
pub use preset::{Preset, embedder_presets, presets};
pub use random::Random;
pub use safetensors::Safetensors;
pub(crate) use stages::LoadWatch;

/// Returns tensors by name.
pub trait Source: Send + Sync {
    /// The tensor `name`, which must have `shape`, as `dtype` on `device`.
    ///
    /// # Errors
    ///
    /// When there is none, or it has another shape, or its stored type is not a float.
    fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor>;

    /// Whether there is a tensor `name`.
    fn has(&self, name: &str) -> bool;

    /// The block format of the matrix `name`; `None` if it is stored as floats.
    fn quant(&self, _name: &str) -> Option<QuantType> {
        None
    }

    /// The matrix `name`, which must have `shape`, in blocks of `kind`: as stored if the source has
    /// them, else quantised from floats.
    ///
    /// # Errors
    ///
    /// As [`tensor`](Self::tensor), and when rows are not whole blocks.
    fn quantised(
        &self,
        name: &str,
        shape: [usize; 2],
        kind: QuantType,
        device: &Device,
    ) -> Result<Quantised> {
        let numbers = self.tensor(name, &shape, DType::F32, &Device::Cpu)?;
        Ok(Quantised::of(kind, &numbers, device)?)
    }

    /// Time spent so far, by stage; zero if it is not counted.
    fn stages(&self) -> LoadStages {
        LoadStages::default()
    }
}

/// A model as found: its configuration and its weights.
pub struct Checkpoint {
    /// Its configuration.
    pub config: ConfigFile,
    /// Its weights.
    pub source: Box<dyn Source>,
    /// End-of-sequence ids.
    pub eos: Vec<u32>,
}

/// Opens `model` without reading a weight yet.
///
/// # Errors
///
/// When the preset does not exist, or a file is missing or damaged.
pub fn open(model: &ModelSource) -> Result<Checkpoint> {
    let (config, eos) = match model {
        ModelSource::Preset { name, .. } => {
            let config = Preset::named(name)?.config()?;
            let eos = config.eos()?;
            (config, eos)
        }
        ModelSource::Folder { path } => (config(&path.join("config.json"))?, eos(path)?),
        ModelSource::Gguf { path } => {
            let source = Gguf::open(path)?;
            let (config, eos) = (source.config().clone(), source.eos().to_vec());
            return Ok(Checkpoint { config, source: Box::new(source), eos });
        }
    };
    Ok(Checkpoint { config, source: source(model)?, eos })
}

/// The weights of `model` alone.
///
/// # Errors
///
/// When a file is missing or damaged.
pub fn source(model: &ModelSource) -> Result<Box<dyn Source>> {
    Ok(match model {
        ModelSource::Preset { seed, .. } => Box::new(Random::new(*seed)),
        ModelSource::Folder { path } => Box::new(Safetensors::open(path)?),
        ModelSource::Gguf { path } => Box::new(Gguf::open(path)?),
    })
}

/// End-of-sequence ids from `generation_config.json`, if it exists, and `config.json` in `folder`.
/// Models tuned for chat often name the end of a turn only in the former.
///
/// # Errors
///
/// When one of the files is missing or damaged, or has something other than ids there.
pub fn eos(folder: &Path) -> Result<Vec<u32>> {
    let generation = folder.join("generation_config.json");
    let mut eos = if generation.exists() { config(&generation)?.eos()? } else { Vec::new() };
    let also = config(&folder.join("config.json"))?.eos()?;
    also.into_iter().for_each(|id| {
        if !eos.contains(&id) {
            eos.push(id)
        }
    });
    Ok(eos)
}

/// The configuration in the file `path`.
pub(crate) fn config(path: &Path) -> Result<ConfigFile> {
    ConfigFile::parse(path.display().to_string(), &read(path)?)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Error::Load { path: path.into(), problem: e.to_string() })
}

/// Whether a linear layer has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It has none.
    Absent,
    /// It has one.
    Present,
}

impl Bias {
    /// What a boolean key of a configuration means.
    pub const fn from_key(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

/// Whether a table has a second use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// It is only looked up.
    None,
    /// It also turns hidden states into logits.
    Head,
}

/// Counts what was handed out, and for which place in the model.
#[derive(Debug, Default)]
pub struct Tally {
    handed: RefCell<Vec<Handed>>,
}

/// A tensor that was handed out.
#[derive(Debug)]
struct Handed {
    spot: Spot,
    name: String,
    format: Format,
    /// The format that was asked for, if its blocks do not fit.
    instead_of: Option<QuantType>,
    parameters: u64,
    bytes: u64,
}

impl Tally {
    fn add(&self, handed: Handed) {
        self.handed.borrow_mut().push(handed);
    }

    /// Parameters handed out.
    pub fn parameters(&self) -> u64 {
        self.handed.borrow().iter().map(|handed| handed.parameters).sum()
    }

    /// Bytes handed out.
    pub fn bytes(&self) -> u64 {
        self.handed.borrow().iter().map(|handed| handed.bytes).sum()
    }

    /// The full name of each tensor, with its place.
    pub(crate) fn names(&self) -> Vec<(Spot, String)> {
        self.handed.borrow().iter().map(|handed| (handed.spot, handed.name.clone())).collect()
    }

    /// Bytes handed out for `spot`.
    pub fn bytes_at(&self, spot: Spot) -> u64 {
        let handed = self.handed.borrow();
        handed.iter().filter(|handed| handed.spot == spot).map(|handed| handed.bytes).sum()
    }

    /// What was handed out, by format, the one with most bytes first.
    pub fn formats(&self) -> Vec<Stored> {
        let mut formats: Vec<Stored> = Vec::new();
        for Handed { format, instead_of, parameters, bytes, .. } in self.handed.borrow().iter() {
            let same =
                |known: &&mut Stored| known.format == *format && known.instead_of == *instead_of;
            match formats.iter_mut().find(same) {
                Some(known) => {
                    known.tensors += 1;
                    known.parameters += parameters;
                    known.bytes += bytes;
                }
                None => formats.push(Stored {
                    format: *format,
                    instead_of: *instead_of,
                    tensors: 1,
                    parameters: *parameters,
                    bytes: *bytes,
                }),
            }
        }
        formats.sort_by_key(|stored| std::cmp::Reverse(stored.bytes));
        formats
    }
}

/// The formats in which weights are handed out.
#[derive(Debug, Clone, Copy)]
pub struct Formats<'a> {
    /// For everything that is not quantised.
    pub dtype: DType,
    /// Which matrices are quantised, and how.
    pub quant: &'a QuantPlan,
    /// Exceptions for single layers and tensors.
    pub topology: &'a Topology,
}

impl<'a> Formats<'a> {
    /// Everything in `dtype`.
    pub const fn plain(dtype: DType) -> Self {
        Self { dtype, quant: QuantPlan::DENSE_REF, topology: Topology::NONE_REF }
    }

    /// The root of the tree of `source`, in these formats.
    pub fn of(
        self,
        source: &'a dyn Source,
        placement: &'a Placement,
        tally: &'a Tally,
    ) -> Weights<'a> {
        let Self { dtype, quant, topology } = self;
        Weights { quant, topology, ..Weights::new(source, placement, dtype, tally) }
    }
}

/// A place in the tree of names, with the device of that place.
#[derive(Clone)]
pub struct Weights<'a> {
    source: &'a dyn Source,
    placement: &'a Placement,
    dtype: DType,
    quant: &'a QuantPlan,
    topology: &'a Topology,
    spot: Spot,
    tally: &'a Tally,
    prefix: String,
}

impl<'a> Weights<'a> {
    /// The root of the tree, on the first device; only what is stored in blocks is quantised.
    pub fn new(
        source: &'a dyn Source,
        placement: &'a Placement,
        dtype: DType,
        tally: &'a Tally,
    ) -> Self {
        let (quant, topology) = (QuantPlan::DENSE_REF, Topology::NONE_REF);
        let (spot, prefix) = (Spot::Fixed, String::new());
        Self { source, placement, dtype, quant, topology, spot, tally, prefix }
    }

    /// Element type of everything handed out that is not quantised.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// One level down, into `name`.
    pub fn pp(&self, name: &str) -> Self {
        Self { prefix: self.path(name), ..self.clone() }
    }

    /// Where a stack without a head lies: under `model`, or here if its files leave that out.
    pub fn stack(&self) -> Self {
        let named = self.pp("model");
        if self.source.has(&named.path("embed_tokens.weight")) { named } else { self.clone() }
    }

    /// Into `layers.{index}`, on the device of that layer.
    pub fn layer(&self, index: usize) -> Self {
        let prefix = self.path(&format!("layers.{index}"));
        Self { prefix, spot: Spot::Layer(index), ..self.clone() }
    }

    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.into() } else { format!("{}.{name}", self.prefix) }
    }

    /// The tensor `name` of exactly this shape.
    ///
    /// # Errors
    ///
    /// As [`Source::tensor`].
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.tensor_as(self.dtype, name, shape)
    }

    /// As [`tensor`](Self::tensor), in `dtype` instead of that of the others.
    fn tensor_as(&self, dtype: DType, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.floats(dtype, name, shape, None)
    }

    /// As [`tensor_as`](Self::tensor_as), perhaps because the blocks of `instead_of` do not fit.
    fn floats(
        &self,
        dtype: DType,
        name: &str,
        shape: &[usize],
        instead_of: Option<QuantType>,
    ) -> Result<Tensor> {
        let name = self.path(name);
        let tensor = self.source.tensor(&name, shape, dtype, self.placement.at(self.spot))?;
        let parameters = tensor.elem_count() as u64;
        let bytes = parameters * dtype.size_in_bytes() as u64;
        let (spot, format) = (self.spot, Format::Floats(dtype));
        self.tally.add(Handed { spot, name, format, instead_of, parameters, bytes });
        Ok(tensor)
    }

    /// The matrix `name`, `[outputs, inputs]`: in the blocks in which it is stored, or as the
    /// topology, else the plan, asks for its `role` and layer.
    fn matrix(&self, name: &str, [outputs, inputs]: [usize; 2], role: Role) -> Result<Matrix> {
        let path = self.path(name);
        let own = self.topology.quant(self.spot, &path);
        let asked = own.unwrap_or_else(|| self.quant.of(role, self.spot.layer()));
        let (kind, asked) = match (self.source.quant(&path), asked) {
            (Some(stored), Quant::Dense) => (Some(stored), None),
            (Some(stored), Quant::Blocks(asked)) => {
                let setting = match own {
                    Some(_) => "its `isq` in the topology",
                    None => "`quant`",
                };
                return Err(Error::QuantisedTwice { tensor: path, stored, asked, setting });
            }
            (None, Quant::Dense) => (None, None),
            (None, Quant::Blocks(asked)) => (asked.fitting(inputs), Some(asked)),
        };
        let instead_of = asked.filter(|asked| kind != Some(*asked));
        let Some(kind) = kind else {
            let floats = self.floats(self.dtype, name, &[outputs, inputs], instead_of)?;
            return Ok(Matrix::Dense(floats));
        };
        let device = self.placement.at(self.spot);
        let matrix = self.source.quantised(&path, [outputs, inputs], kind, device)?;
        self.tally.add(Handed {
            spot: self.spot,
            name: path,
            format: Format::Blocks(kind),
            instead_of,
            parameters: (outputs * inputs) as u64,
            bytes: kind.bytes(outputs, inputs),
        });
        Ok(Matrix::Quantised(matrix))
    }

    /// The layer `name` from `inputs` to `outputs`: `{name}.weight`, `[outputs, inputs]`, and
    /// `{name}.bias`, `[outputs]`.
    ///
    /// # Errors
    ///
    /// As [`Source::tensor`].
    pub fn linear(&self, name: &str, inputs: usize, outputs: usize, bias: Bias) -> Result<Linear> {
        let at = self.pp(name);
        let weight = at.matrix("weight", [outputs, inputs], Role::Projection)?;
        let bias = match bias {
            Bias::Absent => None,
            Bias::Present => Some(at.tensor("bias", &[outputs])?),
        };
        Ok(Linear::new(weight, bias))
    }

    /// The layer `name` from `inputs` to `outputs`, without a bias, that routes tokens or weighs
    /// something: as [`linear`](Self::linear), but never quantised.
    ///
    /// # Errors
    ///
    /// As [`Source::tensor`].
    pub fn router(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = self.pp(name).tensor("weight", &[outputs, inputs])?;
        Ok(Linear::new(Matrix::Dense(weight), None))
    }

    /// The layer `name` that turns `hidden` into logits of `vocabulary`, without a bias.
    ///
    /// # Errors
    ///
    /// As [`Source::tensor`].
    pub fn head(&self, name: &str, hidden: usize, vocabulary: usize) -> Result<Linear> {
        let weight = self.pp(name).matrix("weight", [vocabulary, hidden], Role::Head)?;
        Ok(Linear::new(weight, None))
    }

    /// The table `name`, with a vector of `width` for each of `tokens`: `{name}.weight`, `[tokens,
    /// width]`.
    ///
    /// # Errors
    ///
    /// As [`Source::tensor`].
    pub fn table(&self, name: &str, tokens: usize, width: usize, ties: Ties) -> Result<Table> {
        let role = match ties {
            Ties::None => Role::Embedding,
            Ties::Head => Role::Head,
        };
        let rows = self.pp(name).matrix("weight", [tokens, width], role)?;
        Ok(Table::new(rows, self.dtype))
    }

    /// The layers stacked in the matrix `{name}.weight`, `[Σ outputs, inputs]`, and the bias
    /// `{name}.bias`, `[Σ outputs]`.
    ///
    /// # Errors
    ///
    /// As [`Source::tensor`].
    pub fn fused<const N: usize>(
        &self,
        name: &str,
        inputs: usize,
        outputs: [usize; N],
        bias: Bias,
    ) -> Result<[Linear; N]> {
        let whole = self.linear(name, inputs, outputs.iter().sum(), bias)?;
        Ok(whole.split(outputs)?)
    }

    /// The norm `name`: `{name}.weight`, `[dim]`, and for a layer norm `{name}.bias`, `[dim]`.
    ///
    /// # Errors
    ///
    /// As [`Source::tensor`].
    pub fn norm(&self, name: &str, dim: usize, kind: NormKind) -> Result<Norm> {
        let at = self.pp(name);
        Ok(match kind {
            NormKind::Rms(eps) => Norm::rms(at.tensor("weight", &[dim])?, eps),
            // In f32, because 1 + w has more digits than a 16-bit float can hold.
            NormKind::RmsPlusOne(eps) => {
                Norm::rms((at.tensor_as(DType::F32, "weight", &[dim])? + 1.0)?, eps)
            }
            NormKind::Layer(eps) => {
                Norm::layer(at.tensor("weight", &[dim])?, at.tensor("bias", &[dim])?, eps)
            }
        })
    }
}

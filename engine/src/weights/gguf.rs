//! [`Gguf`]: a whole model in one file or in several: metadata, weights, tokenizer.
//!
//! Families ask for tensors by the hub's names and read a configuration with the hub's keys. Both
//! are derived from the file here, so that no family knows the format.

use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};

use super::Source;
use crate::error::{Error, Result};
use crate::models::config::ConfigFile;
use crate::quant::{QuantType, Quantised};

mod architecture;
mod config;
mod cursor;
mod error;
mod file;
mod kind;
mod names;
mod numbers;
mod parts;
mod rope;
mod value;

pub(crate) use config::eos;
pub use error::GgufError;
pub(crate) use file::File;
pub(crate) use parts::Parts;

use config::Keys;
use file::Stored;
use names::{Change, Names, Place};
use numbers::Bytes;

/// A whole model in GGUF files.
#[derive(Debug)]
pub struct Gguf {
    parts: Parts,
    names: Names,
    config: ConfigFile,
    eos: Vec<u32>,
}

/// The stored bytes of a tensor.
struct Found<'a> {
    bytes: Bytes<'a>,
    kind: GgmlDType,
}

impl Gguf {
    /// Opens the file `path`, or all files of the model if it is one of several, without reading a
    /// weight.
    ///
    /// # Errors
    ///
    /// [`Error::Load`] when the system cannot open it, and [`GgufError`] when it is damaged, or its
    /// model is not implemented, or something that this kind of model needs is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let parts = Parts::open(path)?;
        let keys = Keys::of(&parts)?;
        let names = Names {
            architecture: keys.architecture,
            heads: keys.heads()? as usize,
            kv_heads: keys.kv_heads()? as usize,
        };
        let (config, eos) = (keys.config()?, eos(parts.head())?);
        Ok(Self { parts, names, config, eos })
    }

    /// The model's configuration, with the hub's keys.
    pub const fn config(&self) -> &ConfigFile {
        &self.config
    }

    /// End-of-sequence ids.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    fn find(&self, place: &Place, wanted: &str, shape: &[usize]) -> Result<Found<'_>> {
        let Some((file, stored)) = self.parts.tensor(&place.tensor) else {
            return Err(GgufError::MissingTensor {
                file: self.parts.head().name().into(),
                tensor: place.tensor.clone(),
                wanted: wanted.into(),
                expected: shape.into(),
            }
            .into());
        };
        let Stored { kind, shape: found, .. } = stored;
        let bytes = slice(file.bytes(stored), place.expert, found, shape).ok_or_else(|| {
            GgufError::WrongShape {
                file: file.name().into(),
                tensor: place.tensor.clone(),
                expected: place
                    .expert
                    .iter()
                    .map(|expert| expert + 1)
                    .chain(shape.to_vec())
                    .collect(),
                found: found.clone(),
            }
        })?;
        let bytes = match (place.change, shape) {
            (Change::Interleaved { heads }, [rows, ..]) => {
                let copy = numbers::halves(bytes, *rows, heads);
                copy.map_err(|e| Error::Load { path: file.name().into(), problem: e.to_string() })?
            }
            _ => Bytes::InFile(bytes),
        };
        Ok(Found { bytes, kind: *kind })
    }
}

/// The part of `bytes`, of shape `found`, that has the shape `wanted`: all of it, or one expert.
fn slice<'a>(
    bytes: &'a [u8],
    expert: Option<usize>,
    found: &[usize],
    wanted: &[usize],
) -> Option<&'a [u8]> {
    match (expert, found) {
        (None, _) if found == wanted => Some(bytes),
        (Some(expert), [experts, each @ ..]) if each == wanted && expert < *experts => {
            bytes.chunks_exact(bytes.len() / experts).nth(expert)
        }
        _ => None,
    }
}

impl Source for Gguf {
    fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let place = self.names.place(name);
        let found = self.find(&place, name, shape)?;
        let tensor = numbers::dense(&found.bytes, found.kind, shape)?;
        let tensor = match place.change {
            // In f32, because 1 + w has more digits than a 16-bit float can hold.
            Change::PlusOne => (tensor.to_dtype(DType::F32)? - 1.0)?,
            Change::None | Change::Interleaved { .. } => tensor,
        };
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    fn has(&self, name: &str) -> bool {
        self.parts.has(&self.names.place(name).tensor)
    }

    fn quant(&self, name: &str) -> Option<QuantType> {
        let (_, stored) = self.parts.tensor(&self.names.place(name).tensor)?;
        QuantType::of_candle(stored.kind)
    }

    fn quantised(
        &self,
        name: &str,
        shape: [usize; 2],
        kind: QuantType,
        device: &Device,
    ) -> Result<Quantised> {
        let place = self.names.place(name);
        let found = self.find(&place, name, &shape)?;
        if found.kind == kind.candle() && place.change != Change::PlusOne {
            return Ok(Quantised::from_bytes(kind, &found.bytes, shape, device)?);
        }
        let numbers = self.tensor(name, &shape, DType::F32, &Device::Cpu)?;
        Ok(Quantised::of(kind, &numbers, device)?)
    }
}

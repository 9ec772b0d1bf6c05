//! [`Safetensors`]: weights in one memory-mapped file, or in shards with an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use serde::Deserialize;

use super::{Source, read};
use crate::error::{Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// See the head of the file.
pub struct Safetensors {
    folder: PathBuf,
    shards: Vec<(PathBuf, MmapedSafetensors)>,
    /// Index into `shards` by tensor.
    places: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Safetensors {
    /// Maps the files of `folder`: the shards of the index if there is one, else the single file.
    ///
    /// # Errors
    ///
    /// [`Error::Load`] that names the file which is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let index = folder.join(INDEX);
        let files: BTreeSet<String> = if index.exists() {
            let parsed: Index = serde_json::from_str(&read(&index)?)
                .map_err(|e| Error::Load { path: index.clone(), problem: e.to_string() })?;
            parsed.weight_map.into_values().collect()
        } else {
            BTreeSet::from([SINGLE.into()])
        };
        let mut source = Self { folder: folder.into(), shards: Vec::new(), places: HashMap::new() };
        for file in files {
            source.add(folder.join(file))?;
        }
        Ok(source)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let shard = map(&path)?;
        let names = shard.tensors().into_iter().map(|(name, _)| (name, self.shards.len()));
        self.places.extend(names);
        self.shards.push((path, shard));
        Ok(())
    }
}

fn map(path: &Path) -> Result<MmapedSafetensors> {
    let load_error = |problem: String| Error::Load { path: path.into(), problem };
    // Asked first, because the error of the mapping repeats the path and adds a backtrace.
    std::fs::File::open(path).map_err(|e| load_error(e.to_string()))?;
    // SAFETY: the mapping is sound while nobody changes the file. Checkpoints are not written to
    // while they are being read; that a user truncates one meanwhile cannot be prevented from
    // here, and would end the process with a bus error rather than silently.
    let mapped = unsafe { MmapedSafetensors::new(path) };
    mapped.map_err(|e| load_error(format!("not a complete safetensors file: {e}")))
}

impl Source for Safetensors {
    fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let place = self.places.get(name).and_then(|&shard| self.shards.get(shard));
        let Some((path, shard)) = place else {
            return Err(Error::MissingTensor {
                file: self.folder.display().to_string(),
                tensor: name.into(),
                expected: shape.into(),
            });
        };
        let file = || path.display().to_string();
        let view = shard.get(name)?;
        if view.shape() != shape {
            return Err(Error::WrongShape {
                file: file(),
                tensor: name.into(),
                expected: shape.into(),
                found: view.shape().into(),
            });
        }
        match view.dtype() {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 => {
                Ok(view.load(&Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
            }
            other => Err(Error::WrongDtype {
                file: file(),
                tensor: name.into(),
                expected: "F64, F32, F16, BF16",
                found: format!("{other:?}"),
            }),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }
}

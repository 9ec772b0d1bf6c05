//! [`Safetensors`]: weights in one memory-mapped file, or in shards with an index.
//!
//! A tensor is read in pieces: the system brings one into memory, all cores convert it, and it is
//! released before the next one comes. So the files never lie in memory beside the weights, and
//! loading needs as much memory as the weights and one piece.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use memmap2::{Mmap, UncheckedAdvice};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::{LoadWatch, Source, read};
use crate::cpu::{Element, by_dtype};
use crate::error::{Error, Result};
use crate::faults::{self, Fault};
use crate::quant::{QuantType, Quantised};
use crate::telemetry::LoadStages;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Numbers of a tensor that are in memory twice while it is read: 16 MiB of f32.
const PIECE: usize = 1 << 22;
/// Numbers per task.
const TASK: usize = 1 << 14;

/// Weights in the safetensors files of a model folder.
pub struct Safetensors {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// By name.
    places: HashMap<String, Place>,
    watch: LoadWatch,
}

/// A file, mapped into memory.
struct Shard {
    path: PathBuf,
    bytes: Mmap,
}

/// Where a tensor lies.
struct Place {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Its bytes within the shard.
    range: Range<usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Safetensors {
    /// Maps the files of `folder`: the single file if there is one, else the shards of the index.
    /// An index beside a single file is a leftover of merging shards.
    ///
    /// # Errors
    ///
    /// [`Error::Load`] that names the missing or damaged file.
    pub fn open(folder: &Path) -> Result<Self> {
        let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
        let files: BTreeSet<String> = if single.exists() {
            BTreeSet::from([SINGLE.into()])
        } else if index.exists() {
            let parsed: Index = serde_json::from_str(&read(&index)?)
                .map_err(|e| Error::Load { path: index.clone(), problem: e.to_string() })?;
            parsed.weight_map.into_values().collect()
        } else {
            let problem = format!(
                "neither it nor `{INDEX}` is there; convert weights of another format to safetensors"
            );
            return Err(Error::Load { path: single, problem });
        };
        let mut source = Self {
            folder: folder.into(),
            shards: Vec::new(),
            places: HashMap::new(),
            watch: LoadWatch::default(),
        };
        for file in files {
            source.add(folder.join(file))?;
        }
        Ok(source)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let load_error = |problem: String| Error::Load { path: path.clone(), problem };
        let file = File::open(&path).map_err(|e| load_error(e.to_string()))?;
        // SAFETY: the mapping is sound while nobody changes the file. Nothing writes to a
        // checkpoint while it is being read; if a user truncates one meanwhile, which cannot be
        // prevented from here, the process ends with a bus error rather than silently.
        let map = || unsafe { Mmap::map(&file) };
        let read = || faults::read_whole(&file);
        let bytes = if faults::is_planted(Fault::LostMmap) { read() } else { map() };
        let bytes = bytes.map_err(|e| load_error(e.to_string()))?;
        let incomplete = |e| load_error(format!("not a complete safetensors file: {e}"));
        let tensors = SafeTensors::deserialize(&bytes).map_err(incomplete)?;
        for (name, view) in tensors.tensors() {
            let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
            let place = Place {
                shard: self.shards.len(),
                dtype: view.dtype(),
                shape: view.shape().into(),
                range: start..start + view.data().len(),
            };
            self.places.insert(name, place);
        }
        self.shards.push(Shard { path, bytes });
        Ok(())
    }

    /// The tensor `name`, which must have `shape` and hold floats.
    fn find(&self, name: &str, shape: &[usize]) -> Result<Stored<'_>> {
        let Some(place) = self.places.get(name) else {
            return Err(Error::MissingTensor {
                file: self.folder.display().to_string(),
                tensor: name.into(),
                expected: shape.into(),
            });
        };
        let shard = &self.shards[place.shard];
        let file = || shard.path.display().to_string();
        if place.shape != shape {
            return Err(Error::WrongShape {
                file: file(),
                tensor: name.into(),
                expected: shape.into(),
                found: place.shape.clone(),
            });
        }
        let width = match place.dtype {
            Dtype::F64 => 8,
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => {
                return Err(Error::WrongDtype {
                    file: file(),
                    tensor: name.into(),
                    expected: "F64, F32, F16, BF16",
                    found: format!("{other:?}"),
                });
            }
        };
        Ok(Stored { bytes: &shard.bytes, place, width, watch: &self.watch })
    }
}

/// A tensor as stored in a file.
struct Stored<'a> {
    bytes: &'a Mmap,
    place: &'a Place,
    /// Bytes per number.
    width: usize,
    watch: &'a LoadWatch,
}

impl Stored<'_> {
    /// All of it as `T`, rounded once.
    fn tensor<T: Element + WithDType>(&self, shape: &[usize]) -> candle_core::Result<Tensor> {
        let mut numbers = vec![T::zero(); shape.iter().product()];
        for (index, piece) in numbers.chunks_mut(PIECE).enumerate() {
            self.piece(index * PIECE, piece);
        }
        Tensor::from_vec(numbers, shape, &Device::Cpu)
    }

    /// Its numbers from `first` on, as many as `to` holds.
    fn piece<T: Element>(&self, first: usize, to: &mut [T]) {
        let start = self.place.range.start + first * self.width;
        let bytes = start..start + to.len() * self.width;
        self.watch.read(|| self.fetch(&bytes));
        self.watch.convert(|| {
            let tasks = to
                .par_chunks_mut(TASK)
                .zip(self.bytes[bytes.clone()].par_chunks(TASK * self.width));
            tasks.for_each(|(to, from)| self.convert(from, to));
        });
        self.give_back(&bytes);
    }

    /// Reads these bytes of the file into memory at once, if the system can; otherwise they are
    /// read when they are accessed.
    fn fetch(&self, bytes: &Range<usize>) {
        #[cfg(target_os = "linux")]
        let _ = self.bytes.advise_range(memmap2::Advice::PopulateRead, bytes.start, bytes.len());
        #[cfg(not(target_os = "linux"))]
        let _ = bytes;
    }

    /// Releases the memory behind these bytes.
    fn give_back(&self, bytes: &Range<usize>) {
        if faults::is_planted(Fault::LostMmap) {
            return;
        }
        // SAFETY: the mapping is of a file and never written to: bytes that are accessed again are
        // read from the file again.
        let _ = unsafe {
            self.bytes.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len())
        };
    }

    fn convert<T: Element>(&self, from: &[u8], to: &mut [T]) {
        let mut wide = [0.0f32; TASK];
        let wide = &mut wide[..to.len()];
        match self.place.dtype {
            Dtype::F32 => each(from, wide, f32::from_le_bytes),
            Dtype::F16 => each(from, wide, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => each(from, wide, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            _ => each(from, wide, |bytes| f64::from_le_bytes(bytes) as f32),
        }
        T::narrow(wide, to);
    }
}

#[inline(always)]
fn each<const N: usize>(from: &[u8], to: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
        *to = number(*from);
    }
}

impl Source for Safetensors {
    fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let stored = self.find(name, shape)?;
        let tensor = by_dtype!(dtype, tensor_of(&stored, shape))?;
        Ok(tensor.to_device(device)?)
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    fn quantised(
        &self,
        name: &str,
        shape: [usize; 2],
        kind: QuantType,
        device: &Device,
    ) -> Result<Quantised> {
        let stored = self.find(name, &shape)?;
        let numbers = |first: usize, to: &mut [f32]| stored.piece(first, to);
        Ok(Quantised::by_pieces(kind, shape, numbers, &self.watch, device)?)
    }

    fn stages(&self) -> LoadStages {
        self.watch.stages()
    }
}

/// [`Stored::tensor`] as a function, which `by_dtype` needs.
fn tensor_of<T: Element + WithDType>(
    stored: &Stored<'_>,
    shape: &[usize],
) -> candle_core::Result<Tensor> {
    stored.tensor::<T>(shape)
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    /// A folder with one tensor `w` of these bytes.
    fn folder(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        safetensors::serialize_to_file([("w", view)], None, &folder.path().join(SINGLE)).unwrap();
        folder
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn every_float_is_read_as_every_float_in_pieces_of_any_size() {
        // More than a piece, and not a whole number of tasks.
        let count = PIECE + 3 * TASK + 7;
        let values: Vec<f32> = (0..count).map(|i| (i % 509) as f32 / 4.0 - 50.0).collect();
        let as_bytes = |dtype| -> Vec<u8> {
            let bytes = values.iter().flat_map(|x| match dtype {
                Dtype::F64 => f64::from(*x).to_le_bytes().to_vec(),
                Dtype::F16 => f16::from_f32(*x).to_le_bytes().to_vec(),
                Dtype::BF16 => bf16::from_f32(*x).to_le_bytes().to_vec(),
                _ => x.to_le_bytes().to_vec(),
            });
            bytes.collect()
        };
        for stored in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let folder = folder(stored, &[count], &as_bytes(stored));
            let source = Safetensors::open(folder.path()).unwrap();
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let found = source.tensor("w", &[count], dtype, &Device::Cpu).unwrap();
                assert_eq!(found.dtype(), dtype);
                let mut expected = Tensor::new(&values[..], &Device::Cpu).unwrap();
                if stored == Dtype::BF16 {
                    expected = expected.to_dtype(DType::BF16).unwrap();
                }
                let expected = expected.to_dtype(dtype).unwrap();
                assert!(numbers(&found) == numbers(&expected), "{stored:?} as {dtype:?}");
            }
        }
    }

    #[test]
    fn a_single_file_is_read_whatever_an_index_beside_it_names() {
        let folder = folder(Dtype::F32, &[1], &1.5f32.to_le_bytes());
        let index = r#"{"weight_map": {"w": "model-00001-of-00002.safetensors"}}"#;
        std::fs::write(folder.path().join(INDEX), index).unwrap();
        let source = Safetensors::open(folder.path()).unwrap();
        let found = source.tensor("w", &[1], DType::F32, &Device::Cpu).unwrap();
        assert_eq!(numbers(&found), [1.5]);
    }

    #[test]
    fn a_matrix_is_quantised_piece_by_piece_as_it_would_be_whole() {
        let shape = [PIECE / 2048 + 3, 2560];
        let values: Vec<f32> =
            (0..shape[0] * shape[1]).map(|i| ((i * 7919) % 1013) as f32 / 500.0 - 1.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let folder = folder(Dtype::F32, &shape, &bytes);
        let source = Safetensors::open(folder.path()).unwrap();
        let whole = Tensor::from_vec(values, &shape[..], &Device::Cpu).unwrap();
        let kind = QuantType::Q8_0;
        let found = source.quantised("w", shape, kind, &Device::Cpu).unwrap();
        let expected = Quantised::of(kind, &whole, &Device::Cpu).unwrap();
        assert!(found.bytes().unwrap() == expected.bytes().unwrap());
        let stages = source.stages();
        assert!(stages.read + stages.convert + stages.quantise > std::time::Duration::ZERO);
    }
}

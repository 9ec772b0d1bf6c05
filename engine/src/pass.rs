//! [`Pass`]: all that a model may see in one forward pass.
//!
//! A model asks for tokens and positions, moves its activations to each layer's device, attends,
//! and keeps the rows that matter. It does not see how the cache is laid out, which sequences share
//! the batch, or which kernel attends.

use std::cell::Cell;
use std::collections::HashMap;

use candle_core::{CpuStorage, DType, Result, Storage, Tensor, bail};

use crate::attention::{Attention, Heads};
use crate::batch::{Batch, OnDevice};
use crate::cuda::driver;
use crate::faults;
use crate::kv::{DeviceTables, KvStore, KvView, Tables};
use crate::placement::{Placement, Spot};
use crate::telemetry::{Demand, Stage, Transfers, note_wait};

pub use crate::batch::Position;

/// One forward pass over a [`Batch`].
pub struct Pass<'a> {
    /// The packed tokens.
    pub batch: &'a Batch,
    /// Where keys and values are.
    pub kv: Kv<'a>,
    /// The attention backend of each device.
    pub attention: &'a [&'static dyn Attention],
    /// The model's head geometry.
    pub heads: &'a Heads,
    /// Which device each layer lives on.
    pub placement: &'a Placement,
    /// Transfers between devices so far.
    pub transfers: Cell<Transfers>,
    /// The observer, if any.
    pub observer: Option<&'a mut dyn Observer>,
}

/// Where a pass finds the keys and values to attend to.
#[derive(Debug, Clone, Copy)]
pub enum Kv<'a> {
    /// In the cache, to which it also writes its own.
    Cached(&'a KvStore),
    /// In the pass itself: its sequences are complete, and nothing is kept.
    Passing,
}

/// Observes a pass: parity checks, perplexity.
pub trait Observer: Send {
    /// `x` is `[tokens, …]` at `place`, one row per packed token of `pass`; after pooling, one per
    /// sequence.
    fn observe(&mut self, place: Place, x: &Tensor);
}

/// Collects the rows of some places as plain numbers, passes in order.
#[derive(Debug, Default)]
pub struct Rows {
    kept: HashMap<Place, Vec<Vec<f32>>>,
    failure: Option<candle_core::Error>,
}

impl Rows {
    /// Collects the rows of `places`.
    pub fn at(places: impl IntoIterator<Item = Place>) -> Self {
        let kept = places.into_iter().map(|place| (place, Vec::new()));
        Self { kept: kept.collect(), failure: None }
    }

    /// The rows of each place.
    ///
    /// # Errors
    ///
    /// When numbers could not be read from their device.
    pub fn finish(self) -> crate::error::Result<HashMap<Place, Vec<Vec<f32>>>> {
        match self.failure {
            None => Ok(self.kept),
            Some(failure) => Err(failure.into()),
        }
    }
}

impl Observer for Rows {
    fn observe(&mut self, place: Place, x: &Tensor) {
        let Some(kept) = self.kept.get_mut(&place) else { return };
        match x.to_dtype(DType::F32).and_then(|x| x.to_vec2()) {
            Ok(rows) => kept.extend(rows),
            Err(failure) => self.failure = Some(failure),
        }
    }
}

/// A place in a forward pass. A model with several residual streams shows them side by side up to
/// its last layer: `hidden` is then the width of all streams together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Input of the first layer, `[tokens, hidden]`.
    Embedding,
    /// Output of layer `n`, `[tokens, hidden]`.
    Layer(usize),
    /// Input of the final norm, `[tokens, hidden]`.
    BeforeNorm,
    /// Output of the final norm, `[tokens, hidden]`.
    Norm,
    /// The logits, `[tokens, vocabulary]`.
    Logits,
    /// Pooled vector of each sequence, `[sequences, hidden]`.
    Pooled,
    /// Output of module `n` after the pooling, counted from 0, `[sequences, width]`.
    Module(usize),
}

impl Pass<'_> {
    /// Ids of the packed tokens, `[tokens]`, u32.
    pub fn tokens(&self) -> &Tensor {
        &self.batch.tokens
    }

    /// Position of each packed token in its sequence.
    pub fn positions(&self) -> &[Position] {
        &self.batch.positions
    }

    /// The same on the first device, if it is an accelerator. Row 0: the position of each token;
    /// row 1: the length of its sequence. `[2, tokens]`, u32.
    pub fn positions_there(&self) -> Option<&Tensor> {
        Some(&self.there(self.placement.index(Spot::Fixed))?.positions)
    }

    /// Moves `x`, the output of the previous layer (for layer 0, of the embedding), to the device
    /// of `layer`; free when it is already there.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn at(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        let from = layer.checked_sub(1).map_or(Spot::Fixed, Spot::Layer);
        self.moved(x, from, Spot::Layer(layer))
    }

    /// Copies `x` from the first device to the device of `layer`; free when it is already there.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn lent(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        self.moved(x, Spot::Fixed, Spot::Layer(layer))
    }

    /// Moves `x` from the device of `layer` to the first device; free when it is already there.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn fetched(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        self.moved(x, Spot::Layer(layer), Spot::Fixed)
    }

    /// Moves `x`, the output of the last layer, to the first device; free when it is already there.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn home(&self, x: &Tensor) -> Result<Tensor> {
        let last = self.heads.masks.len().checked_sub(1);
        self.moved(x, last.map_or(Spot::Fixed, Spot::Layer), Spot::Fixed)
    }

    /// Moves `x` from the device of `from` to that of `to`.
    ///
    /// Between two logical devices on one real device it is copied all the same, so that the cost
    /// of a transfer can be measured.
    fn moved(&self, x: &Tensor, from: Spot, to: Spot) -> Result<Tensor> {
        if self.placement.index(from) == self.placement.index(to) {
            return Ok(x.clone());
        }
        let mut transfers = self.transfers.get();
        transfers.count += 1;
        transfers.bytes += (x.elem_count() * x.dtype().size_in_bytes()) as u64;
        self.transfers.set(transfers);
        let [from, to] = [from, to].map(|spot| self.placement.at(spot));
        if to.is_cpu() {
            note_wait(from);
        }
        Stage::Transfer.of(|| {
            if from.same_device(to) {
                return x.force_contiguous();
            }
            // A slice is copied out first; otherwise its whole underlying buffer would be
            // transferred.
            let own = match is_whole(x) {
                true => x.clone(),
                false => x.force_contiguous()?,
            };
            let there = own.to_device(to)?;
            // The copied slice is freed here, and `x` perhaps right after the transfer.
            driver::follow(from, to)?;
            Ok(there)
        })
    }

    /// Stores `k` and `v` (`[tokens, kv_heads, dim]`) of `layer` in the cache, if there is one,
    /// then lets `q` (`[tokens, heads, dim]`) attend to everything its sequence may see. The result
    /// has the shape of `q`.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not match the cache, or the kernel fails.
    pub fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let Batch { tables, .. } = self.batch;
        let mask = self.heads.masks[layer];
        let demand = |tables: &Tables| {
            let width = k.dtype().size_in_bytes();
            Demand::of_attention(&tables.sequences, self.heads, mask, width).note();
        };
        match self.kv {
            Kv::Cached(store) => {
                let pool = store.pool(layer);
                let tables = &tables[pool];
                demand(tables);
                let on_device = self.on_device(layer, pool);
                Stage::Store.of(|| store.write(layer, k, v, &tables.runs, on_device))?;
                let view = store.view(layer, self.heads, tables, on_device);
                let kernel = self.kernel(layer)?;
                let q = faults::round_trip(self, layer, q)?;
                Stage::Attention.of(|| kernel.attend(&q, &view, mask))
            }
            Kv::Passing => {
                demand(&tables[0]);
                // A pool with one token per block, in packed order.
                let pool = |x: &Tensor| x.contiguous()?.unsqueeze(1);
                let (keys, values) = (&pool(k)?, &pool(v)?);
                let (tables, on_device) = (&tables[0], self.on_device(layer, 0));
                let view = KvView { keys, values, heads: self.heads, tables, on_device };
                let kernel = self.kernel(layer)?;
                Stage::Attention.of(|| kernel.attend(q, &view, mask))
            }
        }
    }

    /// Lets `q` (`[tokens, heads, dim]`) of `layer` attend to what `source`, an earlier layer of
    /// this pass, has stored. The result has the shape and device of `q`.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not match the cache, there is no cache, or the kernel fails.
    pub fn attend_to(&mut self, source: usize, layer: usize, q: &Tensor) -> Result<Tensor> {
        let Kv::Cached(store) = self.kv else {
            bail!("layer {layer} reads the keys of layer {source}, but this pass keeps none")
        };
        let pool = store.pool(source);
        let tables = &self.batch.tables[pool];
        let view = store.view(source, self.heads, tables, self.on_device(source, pool));
        let [there, here] = [source, layer].map(Spot::Layer);
        let q = self.moved(q, here, there)?;
        let mask = self.heads.masks[layer];
        let width = q.dtype().size_in_bytes();
        Demand::of_attention(&tables.sequences, self.heads, mask, width).note();
        let kernel = self.kernel(source)?;
        let attended = Stage::Attention.of(|| kernel.attend(&q, &view, mask))?;
        self.moved(&attended, there, here)
    }

    /// The attention backend for the device of `layer`.
    fn kernel(&self, layer: usize) -> Result<&'static dyn Attention> {
        let device = self.placement.index(Spot::Layer(layer));
        match self.attention.get(device) {
            Some(kernel) => Ok(*kernel),
            None => bail!("device {device} of the placement has no attention backend"),
        }
    }

    /// The tables of `pool` on the device of `layer`, if it is an accelerator.
    fn on_device(&self, layer: usize, pool: usize) -> Option<&DeviceTables> {
        let device = self.placement.index(Spot::Layer(layer));
        self.there(device)?.tables.get(pool)
    }

    /// This step's data on the device with index `device` in the placement.
    fn there(&self, device: usize) -> Option<&OnDevice> {
        let (_, there) = self.batch.on_devices.iter().find(|(known, _)| *known == device)?;
        Some(there)
    }

    /// The rows of `x`, the output of the last layer, whose logits are needed, on the first device:
    /// those from which a token is sampled, or all of them if there is an observer. If none are
    /// needed, an accelerator, which cannot launch a kernel over nothing, gets one row whose logits
    /// nobody reads.
    ///
    /// # Errors
    ///
    /// When the selection fails.
    pub fn last(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.home(x)?;
        if self.observer.is_some() || self.batch.drawn.len() == x.dim(0)? {
            return Ok(x);
        }
        if self.batch.drawn.is_empty() && !x.device().is_cpu() {
            return x.narrow(0, 0, 1);
        }
        Stage::Head.of(|| x.index_select(&Tensor::new(&self.batch.drawn[..], x.device())?, 0))
    }

    /// Shows `x` to the observer; free when there is none.
    pub fn show(&mut self, place: Place, x: &Tensor) {
        if let Some(observer) = &mut self.observer {
            observer.observe(place, x);
        }
    }
}

/// Whether `x` spans its whole buffer, in order: candle transfers a tensor with its whole buffer.
fn is_whole(x: &Tensor) -> bool {
    let (storage, layout) = x.storage_and_layout();
    let numbers = match &*storage {
        Storage::Cpu(CpuStorage::U32(numbers)) => Some(numbers.len()),
        Storage::Cpu(CpuStorage::BF16(numbers)) => Some(numbers.len()),
        Storage::Cpu(CpuStorage::F16(numbers)) => Some(numbers.len()),
        Storage::Cpu(CpuStorage::F32(numbers)) => Some(numbers.len()),
        Storage::Cuda(storage) => driver::numbers_in(storage),
        _ => None,
    };
    numbers.is_some_and(|numbers| layout.contiguous_offsets() == Some((0, numbers)))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_part_is_told_from_all_that_lies_in_memory() {
        for dtype in [DType::U32, DType::BF16, DType::F16, DType::F32] {
            let x = Tensor::zeros((2, 3, 4), dtype, &Device::Cpu).unwrap();
            for whole in [x.clone(), x.reshape((6, 4)).unwrap(), x.narrow(1, 0, 3).unwrap()] {
                assert!(is_whole(&whole), "{dtype:?}: {:?}", whole.layout());
            }
            let [first, second] = [0, 1].map(|row| x.get(row).unwrap());
            let turned = x.transpose(0, 1).unwrap();
            // Contiguous, like one layer's share in a step of a single token.
            let share = first.unsqueeze(0).unwrap().narrow(1, 1, 1).unwrap().squeeze(1).unwrap();
            for part in [&first, &second, &turned, &share] {
                assert!(!is_whole(part), "{dtype:?}: {:?}", part.layout());
                assert!(is_whole(&part.force_contiguous().unwrap()));
            }
            assert!(first.is_contiguous() && share.is_contiguous());
        }
    }
}

//! [`Pass`]: all that a model may see in one forward pass.
//!
//! A model asks for tokens and positions, moves its activations to a layer's device, attends,
//! and keeps the rows that matter. How the cache is cut, who runs beside whom, and which kernel
//! attends stay hidden from it.

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
    /// The kernel of each device.
    pub attention: &'a [&'static dyn Attention],
    /// The model's head geometry.
    pub heads: &'a Heads,
    /// Which layer lives where.
    pub placement: &'a Placement,
    /// What has moved between devices so far.
    pub transfers: Cell<Transfers>,
    /// Who looks on, if anybody.
    pub observer: Option<&'a mut dyn Observer>,
}

/// Where a pass finds the keys and values that it attends to.
#[derive(Debug, Clone, Copy)]
pub enum Kv<'a> {
    /// In the cache, where it also puts its own.
    Cached(&'a KvStore),
    /// In itself: its sequences are whole, and nothing is kept.
    Passing,
}

/// Looks on while a pass runs: parity checks, perplexity.
pub trait Observer: Send {
    /// `x` is `[tokens, …]` at `place`, one row for each packed token of `pass`; after pooling, one
    /// for each sequence.
    fn observe(&mut self, place: Place, x: &Tensor);
}

/// Keeps the rows of some places as plain numbers, those of one pass after those of the last.
#[derive(Debug, Default)]
pub struct Rows {
    kept: HashMap<Place, Vec<Vec<f32>>>,
    failure: Option<candle_core::Error>,
}

impl Rows {
    /// Will keep the rows of `places`.
    pub fn at(places: impl IntoIterator<Item = Place>) -> Self {
        let kept = places.into_iter().map(|place| (place, Vec::new()));
        Self { kept: kept.collect(), failure: None }
    }

    /// The rows of each place.
    ///
    /// # Errors
    ///
    /// When numbers could not be read off their device.
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
/// its last layer: `hidden` is then that of all streams together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// What enters the first layer, `[tokens, hidden]`.
    Embedding,
    /// What leaves layer `n`, `[tokens, hidden]`.
    Layer(usize),
    /// What enters the final norm, `[tokens, hidden]`.
    BeforeNorm,
    /// What leaves the final norm, `[tokens, hidden]`.
    Norm,
    /// The logits, `[tokens, vocabulary]`.
    Logits,
    /// What pooling leaves of each sequence, `[sequences, hidden]`.
    Pooled,
    /// What leaves the module `n` that follows the pooling, from 0 on, `[sequences, width]`.
    Module(usize),
}

impl Pass<'_> {
    /// Ids of the packed tokens, `[tokens]`, u32.
    pub fn tokens(&self) -> &Tensor {
        &self.batch.tokens
    }

    /// Where each packed token stands in its sequence.
    pub fn positions(&self) -> &[Position] {
        &self.batch.positions
    }

    /// The same on the first device, if that is an accelerator: where each token stands, and below that
    /// how long its sequence is, `[2, tokens]`, u32.
    pub fn positions_there(&self) -> Option<&Tensor> {
        Some(&self.there(self.placement.index(Spot::Fixed))?.positions)
    }

    /// `x`, as the layer before left it, or for the first layer what belongs to none, on the device
    /// of layer `layer`; free when it is there already.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn at(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        let from = layer.checked_sub(1).map_or(Spot::Fixed, Spot::Layer);
        self.moved(x, from, Spot::Layer(layer))
    }

    /// `x` of the first device on the device of layer `layer`; free when it is there already.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn lent(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        self.moved(x, Spot::Fixed, Spot::Layer(layer))
    }

    /// `x` of layer `layer` on the first device; free when it is there already.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn fetched(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        self.moved(x, Spot::Layer(layer), Spot::Fixed)
    }

    /// `x`, as the last layer left it, on the first device; free when it is there already.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn home(&self, x: &Tensor) -> Result<Tensor> {
        let last = self.heads.masks.len().checked_sub(1);
        self.moved(x, last.map_or(Spot::Fixed, Spot::Layer), Spot::Fixed)
    }

    /// `x`, which is on the device of `from`, on that of `to`.
    ///
    /// Between two logical devices that are one real device it is copied all the same: what a
    /// transfer costs is to be seen.
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
            // A part of what lies in memory is cut out first, lest all of it travels.
            let own = match is_whole(x) {
                true => x.clone(),
                false => x.force_contiguous()?,
            };
            let there = own.to_device(to)?;
            // What was cut out is freed here, and `x` perhaps as soon as it has travelled.
            driver::follow(from, to)?;
            Ok(there)
        })
    }

    /// Stores `k` and `v` (`[tokens, kv_heads, dim]`) of layer `layer` in the cache, if there is
    /// one, then lets `q` (`[tokens, heads, dim]`) attend to everything its sequence may see; same
    /// shape as `q`.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not fit the cache, or the kernel fails.
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
                // A pool of blocks of one token, in the order of the packed tokens.
                let pool = |x: &Tensor| x.contiguous()?.unsqueeze(1);
                let (keys, values) = (&pool(k)?, &pool(v)?);
                let (tables, on_device) = (&tables[0], self.on_device(layer, 0));
                let view = KvView { keys, values, heads: self.heads, tables, on_device };
                let kernel = self.kernel(layer)?;
                Stage::Attention.of(|| kernel.attend(q, &view, mask))
            }
        }
    }

    /// Lets `q` (`[tokens, heads, dim]`) of layer `layer` attend to what `source`, an earlier layer
    /// of this pass, has stored; same shape and device as `q`.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not fit the cache, there is none, or the kernel fails.
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

    /// The kernel of the device of layer `layer`.
    fn kernel(&self, layer: usize) -> Result<&'static dyn Attention> {
        let device = self.placement.index(Spot::Layer(layer));
        match self.attention.get(device) {
            Some(kernel) => Ok(*kernel),
            None => bail!("device {device} of the placement has no attention backend"),
        }
    }

    /// The tables of `pool` on the device of layer `layer`, if that is an accelerator.
    fn on_device(&self, layer: usize, pool: usize) -> Option<&DeviceTables> {
        let device = self.placement.index(Spot::Layer(layer));
        self.there(device)?.tables.get(pool)
    }

    /// What the device of index `device` in the placement has of this step.
    fn there(&self, device: usize) -> Option<&OnDevice> {
        let (_, there) = self.batch.on_devices.iter().find(|(known, _)| *known == device)?;
        Some(there)
    }

    /// The rows of `x`, as the last layer left it, whose logits are wanted: those that a token is
    /// drawn from, or all of them when somebody looks on. On the first device. An accelerator, which
    /// refuses to do nothing, gets one row where none is wanted; nobody reads its logits.
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

    /// Shows `x` to the onlooker; free when there is none.
    pub fn show(&mut self, place: Place, x: &Tensor) {
        if let Some(observer) = &mut self.observer {
            observer.observe(place, x);
        }
    }
}

/// Whether `x` is all that lies in its memory, in order: candle moves a tensor with all of its memory.
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
            // In order, like the share of a layer where a step has one token.
            let share = first.unsqueeze(0).unwrap().narrow(1, 1, 1).unwrap().squeeze(1).unwrap();
            for part in [&first, &second, &turned, &share] {
                assert!(!is_whole(part), "{dtype:?}: {:?}", part.layout());
                assert!(is_whole(&part.force_contiguous().unwrap()));
            }
            assert!(first.is_contiguous() && share.is_contiguous());
        }
    }
}

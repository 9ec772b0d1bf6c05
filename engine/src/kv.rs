//! [`KvStore`]: where keys and values live.
//!
//! Each layer has two tensors, one for keys and one for values, `[blocks, block, kv_heads, dim]` on
//! the layer's device; layers that read the keys of another one have none. Token `p` of a sequence
//! lies in slot `table[p / block] · block + p % block`, and layers that look equally far back have
//! the same tables. A contiguous cache is the same thing with one block a sequence. Which blocks
//! belong to whom is known to [`blocks`](crate::blocks); this module moves the numbers.

use std::ops::Range;

use candle_core::{DType, Device, Result as TensorResult, Tensor};

use crate::attention::{Heads, Mask};
use crate::blocks::{Capacity, PoolSize, Reach};
use crate::config::{EngineConfig, KvLayout, PrefixCache};
use crate::cuda::driver;
use crate::error::{Error, Result};
use crate::placement::Placement;

mod device_tables;

pub use device_tables::DeviceTables;
pub(crate) use device_tables::TableShape;

/// Keys and values of every layer that keeps them.
#[derive(Debug)]
pub struct KvStore {
    layers: Vec<Layer>,
}

/// The cache of a layer.
#[derive(Debug)]
struct Layer {
    /// Whose blocks its tensors have.
    pool: usize,
    /// `[blocks, block, kv_heads, dim]`.
    keys: Tensor,
    /// `[blocks, block, kv_heads, dim]`.
    values: Tensor,
    /// `[2, blocks, block, kv_heads, dim]` on a GPU, of which the others are the halves: so that one
    /// kernel can write both.
    both: Option<Tensor>,
}

/// The geometry of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvShape {
    /// The pools and their sizes.
    pub capacity: Capacity,
    /// The pool of each layer that keeps keys.
    pub layers: Vec<usize>,
}

impl KvShape {
    /// Cuts the cache into blocks, for sequences of up to `longest` tokens in the layers of `heads`.
    ///
    /// Layers with a window have a pool of their own, unless sequences do not get beyond it or have
    /// a single block. It has no more blocks than running sequences can need, unless a prefix cache
    /// is to find there what has left their windows.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when settings contradict each other.
    pub fn plan(
        config: &EngineConfig,
        longest: usize,
        heads: &Heads,
        prefix_cache: PrefixCache,
    ) -> Result<Self> {
        let refuse = |setting, value: usize, problem: String| {
            Err(Error::Setting { setting, value: value.to_string(), problem })
        };
        if longest < 2 {
            let problem = "but a prompt token and a new one make 2".into();
            return refuse("max_sequence_length", longest, problem);
        }
        if config.max_sequences == 0 {
            return refuse("max_sequences", 0, "but nothing runs without at least 1".into());
        }
        if config.max_step_tokens < config.max_sequences {
            let problem = format!(
                "less than `max_sequences` ({}): some sequences would stand still while others decode; raise it or lower `max_sequences`",
                config.max_sequences
            );
            return refuse("max_step_tokens", config.max_step_tokens, problem);
        }
        let (block, smaller) = match config.kv {
            KvLayout::Contiguous => (longest, "lower `max_sequence_length`"),
            KvLayout::Paged { block } => (block.get(), "choose a smaller block"),
        };
        let blocks = config.kv_tokens / block;
        if blocks == 0 {
            let problem = format!(
                "less than the {block} tokens of a single block of the {} cache; raise it or {smaller}",
                config.kv
            );
            return refuse("kv_tokens", config.kv_tokens, problem);
        }
        // Slots are addressed by u32 in gathers and on accelerators.
        if u32::try_from(config.kv_tokens).is_err() {
            return refuse(
                "kv_tokens",
                config.kv_tokens,
                format!("more than {} slots can be addressed; lower it", u32::MAX),
            );
        }
        let EngineConfig { max_sequences, max_step_tokens: step_tokens, .. } = *config;
        let mut pools: Vec<PoolSize> = Vec::new();
        let layers = heads.masks[..heads.cached].iter().map(|mask| {
            let reach = match (config.kv, mask) {
                (KvLayout::Paged { .. }, &Mask::SlidingWindow(window)) if window < longest => {
                    Reach::Window(window)
                }
                _ => Reach::Everything,
            };
            let known = pools.iter().position(|pool| pool.reach == reach);
            known.unwrap_or_else(|| {
                let blocks = match (prefix_cache, reach.ample(block, max_sequences, step_tokens)) {
                    (PrefixCache::Off, Some(ample)) => blocks.min(ample),
                    (PrefixCache::On, _) | (_, None) => blocks,
                };
                pools.push(PoolSize { reach, blocks });
                pools.len() - 1
            })
        });
        let layers = layers.collect();
        Ok(Self { capacity: Capacity { block, step_tokens, pools }, layers })
    }
}

/// A run of packed tokens that lie side by side in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First packed token.
    pub token: usize,
    /// First slot.
    pub slot: usize,
    /// Tokens.
    pub len: usize,
}

/// Where each sequence of a step has its queries and its keys in one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Tokens a block.
    pub block: usize,
    /// Each sequence of the step.
    pub sequences: Vec<Table>,
    /// Where the keys and values of the step's tokens go; nowhere when the pass keeps none.
    pub runs: Vec<Run>,
}

/// One sequence's queries and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its first row among the packed tokens.
    pub row: usize,
    /// Its tokens in this step. They are the last `queries` of its `keys`.
    pub queries: usize,
    /// Its tokens that are computed, those of this step included.
    pub keys: usize,
    /// How many of its first blocks are gone, because no query of this step sees what is in them.
    pub gone: usize,
    /// The blocks of its other keys, in order.
    pub blocks: Vec<u32>,
}

impl Tables {
    /// The slot of key `position` of sequence `table`.
    pub fn slot(&self, table: &Table, position: usize) -> usize {
        let block = table.blocks[position / self.block - table.gone] as usize;
        block * self.block + position % self.block
    }

    /// Positions of the keys of sequence `table` that are in the cache.
    pub const fn present(&self, table: &Table) -> Range<usize> {
        table.gone * self.block..table.keys
    }
}

impl Table {
    /// Position of the first query.
    pub const fn first_position(&self) -> usize {
        self.keys - self.queries
    }
}

impl KvStore {
    /// An empty cache with a pool for every layer of `heads` that keeps keys.
    ///
    /// # Errors
    ///
    /// Whatever the device says when it has no room.
    pub fn new(
        heads: &Heads,
        shape: &KvShape,
        dtype: DType,
        placement: &Placement,
    ) -> TensorResult<Self> {
        let KvShape { capacity, layers } = shape;
        let layer = |(layer, &pool): (usize, &usize)| {
            let blocks = capacity.pools[pool].blocks;
            let dims = (blocks, capacity.block, heads.kv_heads, heads.dim);
            let device = placement.layer(layer);
            if let Device::Cuda(_) = device {
                let dims = (2, blocks, capacity.block, heads.kv_heads, heads.dim);
                driver::prepare(device)?;
                let both = Tensor::zeros(dims, dtype, device)?;
                return Ok(Layer {
                    pool,
                    keys: both.get(0)?,
                    values: both.get(1)?,
                    both: Some(both),
                });
            }
            let zeros = || Tensor::zeros(dims, dtype, device);
            Ok(Layer { pool, keys: zeros()?, values: zeros()?, both: None })
        };
        let layers = layers.iter().enumerate().map(layer).collect::<TensorResult<_>>()?;
        Ok(Self { layers })
    }

    /// Bytes that layer `layer` will take in a cache of this shape; none where it reads the keys of
    /// another one.
    pub fn layer_bytes(heads: &Heads, layer: usize, shape: &KvShape, dtype: DType) -> u64 {
        let KvShape { capacity, layers } = shape;
        let token = 2 * heads.kv_heads * heads.dim * dtype.size_in_bytes();
        let blocks = layers.get(layer).map_or(0, |&pool| capacity.pools[pool].blocks);
        (blocks * capacity.block * token) as u64
    }

    /// Bytes that each layer takes, of those that keep keys.
    pub fn bytes(&self) -> impl Iterator<Item = u64> {
        let size = |pool: &Tensor| (pool.elem_count() * pool.dtype().size_in_bytes()) as u64;
        self.layers.iter().map(move |layer| size(&layer.keys) + size(&layer.values))
    }

    /// How many layers keep their keys in the blocks of `pool`.
    pub fn layers_in(&self, pool: usize) -> usize {
        self.layers.iter().filter(|layer| layer.pool == pool).count()
    }

    /// The pool by whose tables layer `layer` goes.
    pub fn pool(&self, layer: usize) -> usize {
        self.layers[layer].pool
    }

    /// Stores this step's `k` and `v`, `[tokens, kv_heads, dim]`, in layer `layer`: on a GPU by one
    /// kernel, elsewhere run by run.
    ///
    /// # Errors
    ///
    /// When shapes, dtypes or devices do not fit the pool.
    pub fn write(
        &self,
        layer: usize,
        k: &Tensor,
        v: &Tensor,
        runs: &[Run],
        on_device: Option<&DeviceTables>,
    ) -> TensorResult<()> {
        let Layer { keys, values, both, .. } = &self.layers[layer];
        if let (Some(both), Some(on_device)) = (both, on_device) {
            return driver::store(both, k, v, &on_device.slots);
        }
        for (pool, new) in [(keys, k), (values, v)] {
            let slots = pool.flatten(0, 1)?;
            let new = new.contiguous()?;
            for run in runs {
                slots.slice_set(&new.narrow(0, run.token, run.len)?, 0, run.slot)?;
            }
        }
        Ok(())
    }

    /// Layer `layer` as the sequences of `tables` see it.
    pub fn view<'a>(
        &'a self,
        layer: usize,
        heads: &'a Heads,
        tables: &'a Tables,
        on_device: Option<&'a DeviceTables>,
    ) -> KvView<'a> {
        let Layer { keys, values, .. } = &self.layers[layer];
        KvView { keys, values, heads, tables, on_device }
    }
}

/// One layer's cache as the sequences of a step see it, with two faces: the pools and the tables
/// for kernels that page, and [`packed`](Self::packed) for those that do not.
#[derive(Debug, Clone, Copy)]
pub struct KvView<'a> {
    /// `[blocks, block, kv_heads, dim]`.
    pub keys: &'a Tensor,
    /// `[blocks, block, kv_heads, dim]`.
    pub values: &'a Tensor,
    /// The model's head geometry.
    pub heads: &'a Heads,
    /// Where each sequence has its queries and keys.
    pub tables: &'a Tables,
    /// The same on the device of keys and values, if that is an accelerator.
    pub on_device: Option<&'a DeviceTables>,
}

impl KvView<'_> {
    /// Copies of all keys and values of the step's sequences that are [`present`](Tables::present),
    /// one sequence after the other, each `[total_keys, kv_heads, dim]`.
    ///
    /// # Errors
    ///
    /// When the device has no room for the copies.
    pub fn packed(&self) -> TensorResult<(Tensor, Tensor)> {
        let slots = || -> Vec<u32> {
            let sequences = self.tables.sequences.iter();
            let slots = sequences.flat_map(|table| {
                self.tables.present(table).map(|p| self.tables.slot(table, p) as u32)
            });
            slots.collect()
        };
        let slots = match self.on_device {
            Some(on_device) => on_device.key_slots(slots)?,
            None => Tensor::new(slots(), self.keys.device())?,
        };
        let gather = |pool: &Tensor| pool.flatten(0, 1)?.index_select(&slots, 0);
        Ok((gather(self.keys)?, gather(self.values)?))
    }
}

//! [`KvStore`]: where keys and values live.
//!
//! Each layer has two tensors, one for keys and one for values, `[blocks, block, kv_heads, dim]` on
//! the layer's device; layers that read another layer's keys have none. Token `p` of a sequence is
//! in slot `table[p / block] · block + p % block`, and layers that look equally far back share
//! their block tables. A contiguous cache is the same with one block per sequence.
//! [`blocks`](crate::blocks) knows which blocks belong to whom; this module moves the numbers.

use std::hint::black_box;
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
    /// Index of the pool that its blocks belong to.
    pool: usize,
    /// `[blocks, block, kv_heads, dim]`.
    keys: Tensor,
    /// `[blocks, block, kv_heads, dim]`.
    values: Tensor,
    /// On a GPU, `[2, blocks, block, kv_heads, dim]`, with `keys` and `values` as its halves, so
    /// that one kernel can write both.
    both: Option<Tensor>,
}

/// The shape of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvShape {
    /// The pools and their sizes.
    pub capacity: Capacity,
    /// The pool of each layer that keeps its own keys.
    pub layers: Vec<usize>,
}

impl KvShape {
    /// Divides the cache into blocks, for sequences of up to `longest` tokens in the layers of
    /// `heads`.
    ///
    /// Layers with a sliding window get a pool of their own, unless no sequence outgrows the window
    /// or the cache is contiguous. That pool has no more blocks than the running sequences can
    /// need, unless a prefix cache is to find blocks there that have left their windows.
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
            let problem = "but a prompt token and a new token need 2".into();
            return refuse("max_sequence_length", longest, problem);
        }
        if config.max_sequences == 0 {
            return refuse("max_sequences", 0, "but nothing runs without at least 1".into());
        }
        if config.max_step_tokens < config.max_sequences {
            let problem = format!(
                "less than `max_sequences` ({}): some sequences would stall while others decode; raise it or lower `max_sequences`",
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
        // Gathers and accelerator kernels address slots by u32.
        if u32::try_from(config.kv_tokens).is_err() {
            return refuse(
                "kv_tokens",
                config.kv_tokens,
                format!("more than the {} slots that can be addressed; lower it", u32::MAX),
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

/// Consecutive packed tokens that go to consecutive slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First packed token.
    pub token: usize,
    /// First slot.
    pub slot: usize,
    /// Number of tokens.
    pub len: usize,
}

/// Where the queries and keys of each sequence of a step are, for one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Tokens per block.
    pub block: usize,
    /// The sequences of the step.
    pub sequences: Vec<Table>,
    /// Where to store the keys and values of the step's tokens; empty in a pass without a cache.
    pub runs: Vec<Run>,
}

/// One sequence's queries and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its first row among the packed tokens.
    pub row: usize,
    /// Number of its tokens in this step: the last `queries` of its `keys`.
    pub queries: usize,
    /// Number of its computed tokens, including those of this step.
    pub keys: usize,
    /// How many of its leading blocks are left out because no query of this step can see them.
    pub gone: usize,
    /// Its remaining blocks, in order.
    pub blocks: Vec<u32>,
}

impl Tables {
    /// The slot of key `position` of sequence `table`.
    pub fn slot(&self, table: &Table, position: usize) -> usize {
        let block = table.blocks[position / self.block - table.gone] as usize;
        block * self.block + position % self.block
    }

    /// Positions of the keys of sequence `table` that are still in the cache.
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
    /// An empty cache for every layer of `heads` that keeps its own keys.
    ///
    /// # Errors
    ///
    /// When the device does not have enough memory.
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

    /// Bytes that `layer` will take in a cache of this shape; 0 if it reads another layer's keys.
    pub fn layer_bytes(heads: &Heads, layer: usize, shape: &KvShape, dtype: DType) -> u64 {
        let KvShape { capacity, layers } = shape;
        let token = 2 * heads.kv_heads * heads.dim * dtype.size_in_bytes();
        let blocks = layers.get(layer).map_or(0, |&pool| capacity.pools[pool].blocks);
        (blocks * capacity.block * token) as u64
    }

    /// Whether the system would give a cache of this shape the main memory that it needs in the
    /// layers on CPUs. An allocation that the system refuses ends the process, so ask first.
    pub fn has_room(heads: &Heads, shape: &KvShape, dtype: DType, placement: &Placement) -> bool {
        let layers = (0..shape.layers.len()).filter(|&layer| placement.layer(layer).is_cpu());
        let bytes: u64 = layers.map(|layer| Self::layer_bytes(heads, layer, shape, dtype)).sum();
        let mut asked: Vec<u8> = Vec::new();
        // Nothing is written, so this takes no memory.
        let granted =
            usize::try_from(bytes).is_ok_and(|bytes| asked.try_reserve_exact(bytes).is_ok());
        // An allocation that nobody sees may be optimised away, along with the refusal.
        black_box(&asked);
        granted
    }

    /// Bytes taken by each layer that keeps its own keys.
    pub fn bytes(&self) -> impl Iterator<Item = u64> {
        let size = |pool: &Tensor| (pool.elem_count() * pool.dtype().size_in_bytes()) as u64;
        self.layers.iter().map(move |layer| size(&layer.keys) + size(&layer.values))
    }

    /// How many layers keep their keys in `pool`.
    pub fn layers_in(&self, pool: usize) -> usize {
        self.layers.iter().filter(|layer| layer.pool == pool).count()
    }

    /// The pool whose block tables `layer` uses.
    pub fn pool(&self, layer: usize) -> usize {
        self.layers[layer].pool
    }

    /// Stores this step's `k` and `v`, `[tokens, kv_heads, dim]`, in `layer`: with one kernel on a
    /// GPU, run by run elsewhere.
    ///
    /// # Errors
    ///
    /// When shapes, dtypes or devices do not match the cache.
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

    /// `layer` as the sequences of `tables` see it.
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

/// One layer's cache as the sequences of a step see it, with two interfaces: the raw blocks and
/// block tables for paged kernels, and [`packed`](Self::packed) for the others.
#[derive(Debug, Clone, Copy)]
pub struct KvView<'a> {
    /// `[blocks, block, kv_heads, dim]`.
    pub keys: &'a Tensor,
    /// `[blocks, block, kv_heads, dim]`.
    pub values: &'a Tensor,
    /// The model's head geometry.
    pub heads: &'a Heads,
    /// Where the queries and keys of each sequence are.
    pub tables: &'a Tables,
    /// The same on the device of the keys and values, if it is an accelerator.
    pub on_device: Option<&'a DeviceTables>,
}

impl KvView<'_> {
    /// Copies of all [`present`](Tables::present) keys and values of the step's sequences, one
    /// sequence after the other, each `[total_keys, kv_heads, dim]`.
    ///
    /// # Errors
    ///
    /// When the device does not have enough memory for the copies.
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

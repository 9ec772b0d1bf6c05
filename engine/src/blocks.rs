//! [`BlockPool`]: who holds which block of the key-value cache, and which blocks can be reused.
//!
//! Numbers only. Where a block lies in memory and what is in it is the business of
//! [`kv`](crate::kv); who gets one is decided in [`scheduler`](crate::scheduler).
//!
//! ```text
//!          take                  publish
//!   free ───────► held, unknown ─────────► held, known ◄──┐ share
//!    ▲                │ release               │ release   │
//!    ├────────────────┘                       ▼           │
//!    └─────────────── evict, oldest first ── cached ──────┘
//! ```
//!
//! Only full blocks are published, and a full block is never written again: whoever shares one
//! writes behind it. So a shared block needs no copy, ever.

use crate::error::Error;

mod prefix;

use prefix::PrefixIndex;

pub use prefix::Prefix;

/// A block's number: its place in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// The size of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Blocks that exist.
    pub blocks: usize,
    /// Tokens a block.
    pub block: usize,
}

impl Capacity {
    /// Whether one sequence can have `tokens` cached tokens when it is alone.
    ///
    /// # Errors
    ///
    /// [`Error::PoolTooSmall`] with the numbers.
    pub const fn check(self, tokens: usize) -> Result<(), Error> {
        let Self { blocks, block } = self;
        let needed = tokens.div_ceil(block);
        if needed > blocks {
            return Err(Error::PoolTooSmall { tokens, needed, blocks, block });
        }
        Ok(())
    }
}

/// A fixed number of blocks, each free, held, or cached.
#[derive(Debug)]
pub struct BlockPool {
    /// Tokens a block.
    block: usize,
    /// How often each block is held; 0 is free or cached.
    holders: Vec<u32>,
    /// Free blocks; the last one is handed out next.
    free: Vec<BlockId>,
    /// What full blocks hold, and which of them nobody holds.
    index: PrefixIndex,
    /// Most blocks ever held at once.
    peak: usize,
    /// Cached blocks that were given up.
    evictions: u64,
}

impl BlockPool {
    /// `blocks` free blocks of `block` tokens each.
    pub fn new(blocks: u32, block: usize) -> Self {
        // Reversed, so that the first blocks go first and a fresh cache fills from its start.
        Self {
            block,
            holders: vec![0; blocks as usize],
            free: (0..blocks).rev().map(BlockId).collect(),
            index: PrefixIndex::default(),
            peak: 0,
            evictions: 0,
        }
    }

    /// Tokens a block.
    pub const fn block(&self) -> usize {
        self.block
    }

    /// Blocks that exist: free, cached and used ones.
    pub const fn total(&self) -> usize {
        self.holders.len()
    }

    /// The size of the pool.
    pub const fn capacity(&self) -> Capacity {
        Capacity { blocks: self.total(), block: self.block }
    }

    /// Blocks that nobody holds and that hold nothing of use.
    pub const fn free(&self) -> usize {
        self.free.len()
    }

    /// Blocks that nobody holds and whose content can be reused until they are needed.
    pub fn cached(&self) -> usize {
        self.index.idle()
    }

    /// Blocks that can be taken: free and cached ones.
    pub fn available(&self) -> usize {
        self.free() + self.cached()
    }

    /// Blocks that somebody holds.
    pub fn used(&self) -> usize {
        self.total() - self.available()
    }

    /// Most blocks that were ever held at once.
    pub const fn peak(&self) -> usize {
        self.peak
    }

    /// Cached blocks that were given up because blocks were needed.
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Blocks that hold `tokens` tokens.
    pub const fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block)
    }

    /// Appends `count` blocks to `to`, free ones first and then the cached ones that were released
    /// longest ago, or leaves everything as it is and answers `false`.
    pub fn take(&mut self, count: usize, to: &mut Vec<BlockId>) -> bool {
        if count > self.available() {
            return false;
        }
        for _ in 0..count {
            let id = self.free.pop().or_else(|| {
                self.evictions += 1;
                self.index.evict()
            });
            let Some(id) = id else { return false };
            self.holders[id.0 as usize] += 1;
            to.push(id);
        }
        self.peak = self.peak.max(self.used());
        true
    }

    /// Lets go of `blocks`; those that nobody else holds become cached when their content is
    /// known, and free otherwise.
    pub fn release(&mut self, blocks: impl DoubleEndedIterator<Item = BlockId>) {
        // Last first, so that the next sequence gets the same blocks in the same order, and that
        // the end of a prefix is evicted before its beginning.
        for id in blocks.rev() {
            let holders = &mut self.holders[id.0 as usize];
            debug_assert!(*holders > 0, "{id:?} was released more often than it was taken");
            *holders -= 1;
            if *holders == 0 && !self.index.park(id) {
                self.free.push(id);
            }
        }
    }

    /// Extends `names` by the names of the full blocks of `tokens`, up to `blocks` of them.
    pub fn name(&self, tokens: &[u32], blocks: usize, names: &mut Vec<Prefix>) {
        for tokens in tokens.chunks_exact(self.block).take(blocks).skip(names.len()) {
            names.push(self.index.name(names.last().copied(), tokens));
        }
    }

    /// The known blocks that hold the beginning of `tokens`, as far as `names` goes.
    pub fn find(&self, tokens: &[u32], names: &[Prefix]) -> Vec<BlockId> {
        let parents = std::iter::once(None).chain(names.iter().copied().map(Some));
        let full = tokens.chunks_exact(self.block);
        let found = names.iter().zip(parents).zip(full);
        found.map_while(|((&name, parent), full)| self.index.find(name, parent, full)).collect()
    }

    /// How many of `blocks` nobody holds.
    pub fn idle(&self, blocks: &[BlockId]) -> usize {
        blocks.iter().filter(|id| self.holders[id.0 as usize] == 0).count()
    }

    /// Holds known `blocks` once more.
    pub fn share(&mut self, blocks: &[BlockId]) {
        for &id in blocks {
            self.index.unpark(id);
            self.holders[id.0 as usize] += 1;
        }
        self.peak = self.peak.max(self.used());
    }

    /// Lets others find `id`, which is full and is the last block that `names` has a name for;
    /// `tokens` are those of the whole sequence. Nobody may write to it from now on.
    pub fn publish(&mut self, id: BlockId, tokens: &[u32], names: &[Prefix]) {
        let (Some((&name, parents)), Some(full)) =
            (names.split_last(), tokens.chunks_exact(self.block).nth(names.len().wrapping_sub(1)))
        else {
            return;
        };
        self.index.insert(name, parents.last().copied(), full, id);
    }

    /// Lets nobody find `blocks`, which are held, any more: their content cannot be trusted.
    pub fn forget(&mut self, blocks: &[BlockId]) {
        for &id in blocks {
            self.index.forget(id);
        }
    }

    /// Whether `id` may be written: one sequence holds it, and nobody else can come to hold it.
    pub fn is_exclusive(&self, id: BlockId) -> bool {
        self.holders[id.0 as usize] == 1 && !self.index.knows(id)
    }

    /// Compares the pool with what the `tables` of all sequences hold.
    ///
    /// # Errors
    ///
    /// A sentence on the first block whose count is wrong, or that is not exactly one of held,
    /// free and cached.
    pub fn check_integrity<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a [BlockId]>,
    ) -> Result<(), String> {
        self.index.check_integrity()?;
        let mut held = vec![0u32; self.total()];
        for id in tables.into_iter().flatten() {
            *held.get_mut(id.0 as usize).ok_or_else(|| format!("{id:?} does not exist"))? += 1;
        }
        let (mut free, mut cached) = (vec![0u32; self.total()], vec![0u32; self.total()]);
        for id in &self.free {
            free[id.0 as usize] += 1;
        }
        for id in self.index.idle_blocks() {
            cached[id.0 as usize] += 1;
        }
        for (id, (&counted, held)) in self.holders.iter().zip(held).enumerate() {
            if counted != held {
                return Err(format!("block {id} is held {held} times, but {counted} are counted"));
            }
            let (free, cached) = (free[id], cached[id]);
            if free + cached != u32::from(held == 0) {
                return Err(format!(
                    "block {id} is held {held} times, {free} times free and {cached} times cached"
                ));
            }
            if free > 0 && self.index.knows(BlockId(id as u32)) {
                return Err(format!("block {id} is free, and yet it can be found"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

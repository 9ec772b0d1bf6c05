//! Who holds which block of the KV cache, and which blocks can be reused.
//!
//! A [`BlockPool`] owns the blocks of all layers that look equally far back, and [`Pools`] has one
//! pool per [`Reach`]. No tensors here: [`kv`](crate::kv) knows where a block lies in memory and
//! what it contains, and [`scheduler`](crate::scheduler) decides who gets one.
//!
//! ```text
//!          take                  publish
//!   free ───────► held, unknown ─────────► held, known ◄──┐ share
//!    ▲                │ release               │ release   │
//!    ├────────────────┘                       ▼           │
//!    └─────────────── evict, oldest first ── cached ──────┘
//! ```
//!
//! Only full blocks are published, and a full block is never written again: a sequence that shares
//! one writes after it. So a shared block never needs to be copied.

mod capacity;
mod pools;
mod prefix;

use crate::faults::{self, Fault};
use prefix::{Content, Namer, PrefixIndex};

pub use capacity::{Capacity, PoolSize, Reach};
pub use pools::{Held, Pools, Stride};
pub use prefix::Prefix;

/// A block's index in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// A fixed number of blocks, each free, held, or cached.
#[derive(Debug)]
pub struct BlockPool {
    /// How far back its layers look.
    reach: Reach,
    /// Tokens per block.
    block: usize,
    /// How many sequences hold each block; 0 for free and cached blocks.
    holders: Vec<u32>,
    /// Free blocks; the last is handed out next.
    free: Vec<BlockId>,
    /// The content of full blocks, and which of them nobody holds.
    index: PrefixIndex,
    /// Most blocks held at once so far.
    peak: usize,
    /// Cached blocks evicted so far.
    evictions: u64,
}

impl BlockPool {
    /// A pool of free blocks of `block` tokens each.
    pub fn new(size: PoolSize, block: usize) -> Self {
        let PoolSize { reach, blocks } = size;
        // Reversed, so that a fresh cache fills from its start.
        Self {
            reach,
            block,
            holders: vec![0; blocks],
            free: (0..blocks as u32).rev().map(BlockId).collect(),
            index: PrefixIndex::default(),
            peak: 0,
            evictions: 0,
        }
    }

    /// How far back its layers look.
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    /// All blocks: free, cached and used.
    pub const fn total(&self) -> usize {
        self.holders.len()
    }

    /// Blocks that nobody holds, with no reusable content.
    pub const fn free(&self) -> usize {
        self.free.len()
    }

    /// Blocks that nobody holds, whose content can be reused until they are evicted.
    pub fn cached(&self) -> usize {
        self.index.idle()
    }

    /// Blocks that can be taken: free and cached.
    pub fn available(&self) -> usize {
        self.free() + self.cached()
    }

    /// Blocks held by at least one sequence.
    pub fn used(&self) -> usize {
        self.total() - self.available()
    }

    /// Most blocks held at once so far.
    pub const fn peak(&self) -> usize {
        self.peak
    }

    /// Cached blocks evicted because blocks were needed.
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Blocks needed for `tokens` tokens.
    pub const fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block)
    }

    /// Number of blocks before the first one visible to a query at `computed` or later.
    pub const fn first_needed(&self, computed: usize) -> usize {
        self.reach.first_seen(computed) / self.block
    }

    /// Blocks that a sequence still lacks for a step. With unlimited reach, a sequence gets room
    /// for all its known tokens at the start, so that it cannot get stuck in the middle of its
    /// prompt; with a window, that would waste the memory that the window saves.
    fn missing(&self, held: &Held, stride: Stride) -> usize {
        let tokens = match self.reach {
            Reach::Everything => stride.known,
            Reach::Window(_) => stride.computed,
        };
        self.blocks_for(tokens).saturating_sub(held.end())
    }

    /// Blocks that must be available to admit a sequence: enough for its first step, and to
    /// continue in steps of that size until it has caught up.
    fn room(&self, found: &Held, stride: Stride) -> usize {
        let step_tokens = stride.computed - found.end() * self.block;
        let most = self.reach.most_blocks(stride.known, step_tokens, self.block);
        // Shared cached blocks cannot be evicted to make room.
        self.missing(found, stride).max(most.saturating_sub(found.blocks.len()))
            + self.idle(&found.blocks)
    }

    /// Appends `count` blocks to `to`: free ones first, then cached ones, least recently released
    /// first. If there are not enough, changes nothing and returns `false`.
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

    /// Releases `blocks`. Those that nobody else holds become cached if their content is known, and
    /// free otherwise.
    pub fn release(&mut self, blocks: impl DoubleEndedIterator<Item = BlockId>) {
        // Last first, so that the next sequence gets the same blocks in the same order, and the end
        // of a prefix is evicted before its beginning.
        for id in blocks.rev() {
            let holders = &mut self.holders[id.0 as usize];
            debug_assert!(*holders > 0, "{id:?} was released more often than it was taken");
            *holders -= 1;
            if *holders == 0 && !self.index.park(id) {
                self.free.push(id);
            }
        }
    }

    /// The known block with the content of block `at` of `tokens`.
    fn find(&self, tokens: &[u32], names: &[Prefix], at: usize) -> Option<BlockId> {
        self.index.find(Content::of(at, tokens, names, self.block)?)
    }

    /// The largest number of leading blocks of `tokens`, at most `limit`, after which a sequence
    /// can continue from known blocks.
    fn usable(&self, tokens: &[u32], names: &[Prefix], limit: usize) -> usize {
        let known = |at: &usize| self.find(tokens, names, *at).is_some();
        match self.reach {
            Reach::Everything => (0..limit).take_while(known).count(),
            Reach::Window(_) => {
                let mut blocks = limit;
                // Skips at once every length that would see the unknown block.
                while let Some(unknown) =
                    (self.first_needed(blocks * self.block)..blocks).rev().find(|at| !known(at))
                {
                    blocks = unknown;
                }
                blocks
            }
        }
    }

    /// How many of `blocks` nobody holds.
    pub fn idle(&self, blocks: &[BlockId]) -> usize {
        blocks.iter().filter(|id| self.holders[id.0 as usize] == 0).count()
    }

    /// Adds a holder to each of the known `blocks`.
    pub fn share(&mut self, blocks: &[BlockId]) {
        for &id in blocks {
            self.index.unpark(id);
            self.holders[id.0 as usize] += 1;
        }
        self.peak = self.peak.max(self.used());
    }

    /// Makes `id`, which is full and is block `at` of `tokens`, findable.
    fn publish(&mut self, id: BlockId, at: usize, tokens: &[u32], names: &[Prefix]) {
        if let Some(content) = Content::of(at, tokens, names, self.block) {
            if faults::is_planted(Fault::LeakedBlocks)
                && let Some(known) = self.index.find(content)
            {
                self.share(&[known]);
            }
            self.index.insert(content, id);
        }
    }

    /// Makes blocks with any of `names` unfindable, held or not.
    fn forget(&mut self, names: &[Prefix]) {
        self.free.extend(names.iter().filter_map(|&name| self.index.forget(name)));
    }

    /// Whether `id` may be written: exactly one sequence holds it, and no other can come to share
    /// it.
    pub fn is_exclusive(&self, id: BlockId) -> bool {
        self.holders[id.0 as usize] == 1 && !self.index.knows(id)
    }

    /// Checks the pool against the blocks that the `tables` of all sequences hold.
    ///
    /// # Errors
    ///
    /// Describes the first block whose holder count is wrong, or that is not exactly one of held,
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

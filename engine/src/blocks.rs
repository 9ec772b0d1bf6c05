//! Who holds which block of the key-value cache, and which blocks can be reused.
//!
//! A [`BlockPool`] has the blocks of layers that look equally far back, and [`Pools`] has one of
//! them for each [`Reach`]. Numbers only. Where a block lies in memory and what is in it is the business of
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

mod capacity;
mod pools;
mod prefix;

use crate::faults::{self, Fault};
use prefix::{Content, Namer, PrefixIndex};

pub use capacity::{Capacity, PoolSize, Reach};
pub use pools::{Held, Pools, Stride};
pub use prefix::Prefix;

/// A block's number: its place in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// A fixed number of blocks, each free, held, or cached.
#[derive(Debug)]
pub struct BlockPool {
    /// How far back its layers look.
    reach: Reach,
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
    /// Free blocks of `block` tokens each.
    pub fn new(size: PoolSize, block: usize) -> Self {
        let PoolSize { reach, blocks } = size;
        // Reversed, so that the first blocks go first and a fresh cache fills from its start.
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

    /// Blocks that exist: free, cached and used ones.
    pub const fn total(&self) -> usize {
        self.holders.len()
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

    /// Blocks in front of the first one that a query at `computed` or later sees.
    pub const fn first_needed(&self, computed: usize) -> usize {
        self.reach.first_seen(computed) / self.block
    }

    /// Blocks that a sequence still lacks for a step. Where everything is kept, a sequence has
    /// room for all its tokens from the start, so that it is not stuck in the middle of its prompt;
    /// behind a window, that would keep what the window is there to save.
    fn missing(&self, held: &Held, stride: Stride) -> usize {
        let tokens = match self.reach {
            Reach::Everything => stride.known,
            Reach::Window(_) => stride.computed,
        };
        self.blocks_for(tokens).saturating_sub(held.end())
    }

    /// Blocks that must be available for a newcomer, so that it has what it needs for a step and can
    /// go on in steps of that size until it has caught up.
    fn room(&self, found: &Held, stride: Stride) -> usize {
        let step_tokens = stride.computed - found.end() * self.block;
        let most = self.reach.most_blocks(stride.known, step_tokens, self.block);
        // Cached blocks that are shared cannot be evicted to make room.
        self.missing(found, stride).max(most.saturating_sub(found.blocks.len()))
            + self.idle(&found.blocks)
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

    /// The known block that holds block `at` of `tokens`.
    fn find(&self, tokens: &[u32], names: &[Prefix], at: usize) -> Option<BlockId> {
        self.index.find(Content::of(at, tokens, names, self.block)?)
    }

    /// The most blocks at the beginning of `tokens`, at most `limit`, behind which a sequence can
    /// go on with what is known.
    fn usable(&self, tokens: &[u32], names: &[Prefix], limit: usize) -> usize {
        let known = |at: &usize| self.find(tokens, names, *at).is_some();
        match self.reach {
            Reach::Everything => (0..limit).take_while(known).count(),
            Reach::Window(_) => {
                let mut blocks = limit;
                // Every length that sees an unknown block is passed over at once.
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

    /// Holds known `blocks` once more.
    pub fn share(&mut self, blocks: &[BlockId]) {
        for &id in blocks {
            self.index.unpark(id);
            self.holders[id.0 as usize] += 1;
        }
        self.peak = self.peak.max(self.used());
    }

    /// Lets others find `id`, which is block `at` of `tokens` and full.
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

    /// Lets nobody find what goes by one of `names` any more, held or not.
    fn forget(&mut self, names: &[Prefix]) {
        self.free.extend(names.iter().filter_map(|&name| self.index.forget(name)));
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

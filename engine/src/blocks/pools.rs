//! [`Pools`]: one [`BlockPool`] per window size among the layers, and one for the layers without a
//! window.
//!
//! Layers that look equally far back need the same blocks, so they share a pool, and each sequence
//! has one block list for all of them: a block of the pool has room for the keys and values of all
//! its layers. Blocks that no later query of a sequence can see go back to their pool.
//!
//! ```text
//!   tokens           0       16      32      48      64      80
//!                    ├───────┼───────┼───────┼───────┼───────┤
//!   everything       [ 0 ]   [ 3 ]   [ 1 ]   [ 4 ]   [ 7 ]
//!   window of 24       gone    gone    gone  [ 2 ]   [ 0 ]         the next query is at 76
//! ```
//!
//! A sequence gets blocks in all pools or in none. A known prefix can be reused up to a length at
//! which every pool still has what the next query sees: for a pool with a window, only the last
//! blocks of the prefix.

use super::{BlockId, BlockPool, Capacity, Namer, Prefix};

/// The blocks that one sequence holds in one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Number of blocks before these, which it no longer needs.
    pub gone: usize,
    /// Its blocks in token order.
    pub blocks: Vec<BlockId>,
}

impl Held {
    /// Number of blocks up to its end, including released ones.
    pub const fn end(&self) -> usize {
        self.gone + self.blocks.len()
    }

    /// The sequence's block number `index`, if it still holds it.
    pub fn get(&self, index: usize) -> Option<BlockId> {
        self.blocks.get(index.checked_sub(self.gone)?).copied()
    }
}

/// How far the next step takes a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stride {
    /// Known tokens, computed or not.
    pub known: usize,
    /// Tokens that are computed after the step.
    pub computed: usize,
}

/// The pools of a cache.
#[derive(Debug)]
pub struct Pools {
    capacity: Capacity,
    pools: Vec<BlockPool>,
    namer: Namer,
    /// Most blocks held at once so far, over all pools.
    peak: usize,
}

impl Pools {
    /// Pools of free blocks of the sizes in `capacity`.
    pub fn new(capacity: Capacity) -> Self {
        let block = capacity.block;
        let pools = capacity.pools.iter().map(|&size| BlockPool::new(size, block)).collect();
        Self { capacity, pools, namer: Namer::default(), peak: 0 }
    }

    /// The sizes of the pools.
    pub const fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// The pools.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &BlockPool> {
        self.pools.iter()
    }

    /// Tokens per block.
    pub const fn block(&self) -> usize {
        self.capacity.block
    }

    /// All blocks: free, cached and used.
    pub fn total(&self) -> usize {
        self.sum(BlockPool::total)
    }

    /// Blocks that nobody holds, with no reusable content.
    pub fn free(&self) -> usize {
        self.sum(BlockPool::free)
    }

    /// Blocks that nobody holds, whose content can be reused until they are evicted.
    pub fn cached(&self) -> usize {
        self.sum(BlockPool::cached)
    }

    /// Blocks held by at least one sequence.
    pub fn used(&self) -> usize {
        self.sum(BlockPool::used)
    }

    /// Most blocks held at once so far.
    pub const fn peak(&self) -> usize {
        self.peak
    }

    /// Cached blocks evicted because blocks were needed.
    pub fn evictions(&self) -> u64 {
        self.pools.iter().map(BlockPool::evictions).sum()
    }

    fn sum(&self, count: impl Fn(&BlockPool) -> usize) -> usize {
        self.pools.iter().map(count).sum()
    }

    /// What a new sequence holds: nothing in every pool.
    pub fn nothing(&self) -> Vec<Held> {
        vec![Held::default(); self.pools.len()]
    }

    /// Takes the blocks that a sequence lacks for a step, in all pools. If a pool has too few,
    /// changes nothing and returns `false`.
    pub fn take(&mut self, held: &mut [Held], stride: Stride) -> bool {
        let enough =
            |(pool, held): (&BlockPool, &Held)| pool.missing(held, stride) <= pool.available();
        if !self.pools.iter().zip(&*held).all(enough) {
            return false;
        }
        for (pool, held) in self.pools.iter_mut().zip(held) {
            let taken = pool.take(pool.missing(held, stride), &mut held.blocks);
            debug_assert!(taken, "a pool had fewer blocks than it said");
        }
        self.peak = self.peak.max(self.used());
        true
    }

    /// Holds the blocks that were [`found`](Self::find) and takes the rest of what a newcomer needs
    /// for its first step, in all pools, provided that each pool has room for it to catch up plus
    /// the number of blocks given by `reserve`. Otherwise changes nothing and returns `false`.
    pub fn admit(
        &mut self,
        found: &mut [Held],
        stride: Stride,
        reserve: impl Fn(usize, &BlockPool) -> usize,
    ) -> bool {
        let enough = |(index, (pool, found)): (usize, (&BlockPool, &Held))| {
            pool.room(found, stride) + reserve(index, pool) <= pool.available()
        };
        if !self.pools.iter().zip(&*found).enumerate().all(enough) {
            return false;
        }
        for (pool, found) in self.pools.iter_mut().zip(&*found) {
            pool.share(&found.blocks);
        }
        self.take(found, stride)
    }

    /// Releases blocks that a sequence with `computed` tokens in the cache will never look at
    /// again. In a pool where the sequence starts over and its first blocks are gone, releases
    /// everything.
    pub fn slide(&mut self, held: &mut [Held], computed: usize) {
        for (pool, held) in self.pools.iter_mut().zip(held) {
            let first = pool.first_needed(computed);
            let out = match first.checked_sub(held.gone) {
                Some(out) => out.min(held.blocks.len()),
                None => held.blocks.len(),
            };
            pool.release(held.blocks.drain(..out));
            held.gone = first;
        }
    }

    /// Releases everything that a sequence holds.
    pub fn release(&mut self, held: &mut [Held]) {
        for (pool, held) in self.pools.iter_mut().zip(held) {
            pool.release(held.blocks.drain(..));
            held.gone = 0;
        }
    }

    /// Extends `names` by the names of the full blocks of `tokens`, up to a total of `blocks`
    /// names.
    pub fn name(&self, tokens: &[u32], blocks: usize, names: &mut Vec<Prefix>) {
        for tokens in tokens.chunks_exact(self.block()).take(blocks).skip(names.len()) {
            names.push(self.namer.name(names.last().copied(), tokens));
        }
    }

    /// The number of leading blocks of `tokens` that need not be computed, at most as many as there
    /// are `names`, and the known blocks that a sequence must hold for that.
    pub fn find(&self, tokens: &[u32], names: &[Prefix]) -> (usize, Vec<Held>) {
        let mut blocks = names.len();
        // A block missing in one pool may shift the window of another to where a block is missing
        // too.
        loop {
            let fewer = self.pools.iter().fold(blocks, |n, pool| pool.usable(tokens, names, n));
            if fewer == blocks {
                break;
            }
            blocks = fewer;
        }
        let found = |pool: &BlockPool| {
            let gone = pool.first_needed(blocks * self.block());
            let known = (gone..blocks).map_while(|at| pool.find(tokens, names, at));
            Held { gone, blocks: known.collect() }
        };
        (blocks, self.pools.iter().map(found).collect())
    }

    /// Makes block `at` of a sequence, which is full, findable; `tokens` are those of the whole
    /// sequence. Nobody may write to the block from now on.
    pub fn publish(&mut self, held: &[Held], at: usize, tokens: &[u32], names: &[Prefix]) {
        for (pool, held) in self.pools.iter_mut().zip(held) {
            if let Some(id) = held.get(at) {
                pool.publish(id, at, tokens, names);
            }
        }
    }

    /// Makes blocks with any of `names` unfindable: their content cannot be trusted.
    pub fn forget(&mut self, names: &[Prefix]) {
        for pool in &mut self.pools {
            pool.forget(names);
        }
    }

    /// Checks every pool against what the sequences hold: each element of `all` is one sequence,
    /// with one entry per pool.
    ///
    /// # Errors
    ///
    /// Describes the first block whose holder count is wrong, or that is not exactly one of held,
    /// free and cached.
    pub fn check_integrity(&self, all: &[&[Held]]) -> Result<(), String> {
        if let Some(held) = all.iter().find(|held| held.len() != self.pools.len()) {
            return Err(format!(
                "a sequence has {} lists for {} pools",
                held.len(),
                self.pools.len()
            ));
        }
        for (index, pool) in self.pools.iter().enumerate() {
            pool.check_integrity(all.iter().map(|held| &held[index].blocks[..]))?;
        }
        Ok(())
    }
}

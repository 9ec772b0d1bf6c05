//! [`BlockPool`]: who holds which block of the key-value cache.
//!
//! Numbers only. Where a block lies in memory and what is in it is the business of
//! [`kv`](crate::kv); who gets one is decided in [`scheduler`](crate::scheduler).

/// A block's number: its place in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// A fixed number of blocks, each free or held.
#[derive(Debug)]
pub struct BlockPool {
    /// Tokens a block.
    block: usize,
    /// How often each block is held; 0 is free.
    holders: Vec<u32>,
    /// Free blocks; the last one is handed out next.
    free: Vec<BlockId>,
    /// Most blocks ever held at once.
    peak: usize,
}

impl BlockPool {
    /// `blocks` free blocks of `block` tokens each.
    pub fn new(blocks: u32, block: usize) -> Self {
        // Reversed, so that the first blocks go first and a fresh cache fills from its start.
        Self {
            block,
            holders: vec![0; blocks as usize],
            free: (0..blocks).rev().map(BlockId).collect(),
            peak: 0,
        }
    }

    /// Tokens a block.
    pub const fn block(&self) -> usize {
        self.block
    }

    /// Blocks that exist.
    pub const fn total(&self) -> usize {
        self.holders.len()
    }

    /// Blocks that nobody holds.
    pub const fn free(&self) -> usize {
        self.free.len()
    }

    /// Blocks that somebody holds.
    pub const fn used(&self) -> usize {
        self.total() - self.free()
    }

    /// Most blocks that were ever held at once.
    pub const fn peak(&self) -> usize {
        self.peak
    }

    /// Blocks that hold `tokens` tokens.
    pub const fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block)
    }

    /// Appends `count` free blocks to `to`, or leaves everything as it is and answers `false`.
    pub fn take(&mut self, count: usize, to: &mut Vec<BlockId>) -> bool {
        let Some(rest) = self.free.len().checked_sub(count) else { return false };
        for id in self.free.drain(rest..).rev() {
            self.holders[id.0 as usize] += 1;
            to.push(id);
        }
        self.peak = self.peak.max(self.used());
        true
    }

    /// Lets go of `blocks`; those that nobody else holds become free.
    pub fn release(&mut self, blocks: impl DoubleEndedIterator<Item = BlockId>) {
        // Last first, so that the next sequence gets the same blocks in the same order.
        for id in blocks.rev() {
            let holders = &mut self.holders[id.0 as usize];
            debug_assert!(*holders > 0, "{id:?} was released more often than it was taken");
            *holders -= 1;
            if *holders == 0 {
                self.free.push(id);
            }
        }
    }

    /// Compares the pool with what the `tables` of all sequences hold.
    ///
    /// # Errors
    ///
    /// A sentence on the first block whose count, or whose place in the free list, is wrong.
    pub fn check_integrity<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a [BlockId]>,
    ) -> Result<(), String> {
        let mut held = vec![0u32; self.total()];
        for id in tables.into_iter().flatten() {
            *held.get_mut(id.0 as usize).ok_or_else(|| format!("{id:?} does not exist"))? += 1;
        }
        let mut free = vec![0u32; self.total()];
        for id in &self.free {
            free[id.0 as usize] += 1;
        }
        for (id, ((&counted, held), free)) in self.holders.iter().zip(held).zip(free).enumerate() {
            if counted != held {
                return Err(format!("block {id} is held {held} times, but {counted} are counted"));
            }
            if free != u32::from(held == 0) {
                return Err(format!(
                    "block {id} is held {held} times and {free} times in the free list"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32]) -> Vec<BlockId> {
        ids.iter().copied().map(BlockId).collect()
    }

    #[test]
    fn blocks_are_taken_all_or_none() {
        let mut pool = BlockPool::new(3, 16);
        let mut a = Vec::new();
        assert!(pool.take(2, &mut a));
        assert_eq!(a, ids(&[0, 1]));
        assert!(!pool.take(2, &mut a));
        assert_eq!((a.len(), pool.free()), (2, 1));
    }

    #[test]
    fn released_blocks_come_back_in_order() {
        let mut pool = BlockPool::new(4, 16);
        let mut a = Vec::new();
        assert!(pool.take(3, &mut a));
        pool.release(a.drain(..));
        assert!(pool.take(4, &mut a));
        assert_eq!(a, ids(&[0, 1, 2, 3]));
    }

    #[test]
    fn integrity_sees_a_leak_and_a_double_use() {
        let mut pool = BlockPool::new(2, 16);
        let mut a = Vec::new();
        assert!(pool.take(1, &mut a));
        assert_eq!(pool.check_integrity([&a[..]]), Ok(()));
        assert!(pool.check_integrity([]).is_err_and(|why| why.contains("held 0 times, but 1")));
        assert!(pool.check_integrity([&a[..], &a[..]]).is_err());
    }
}

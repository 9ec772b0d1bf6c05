//! [`PrefixIndex`]: which block holds which tokens, so that a prompt that begins like an earlier
//! one finds its keys and values already computed.
//!
//! A full block is named by a hash of its tokens and its parent's name, so a name identifies
//! everything from the start of the sequence. The hash is keyed afresh in every process. When a
//! block is found, its own tokens are compared; those before it are not, because beyond a window
//! nobody keeps them. Names therefore have 128 bits, which makes a collision of two prefixes
//! practically impossible, even for adversarial prompts.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use super::BlockId;

/// Names the content of a full block and of all blocks before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix(u128);

/// Generates names; those of different namers are unrelated.
#[derive(Debug, Default)]
pub(super) struct Namer {
    keys: [RandomState; 2],
}

impl Namer {
    /// The name of a block of `tokens` that follows `parent`.
    pub(super) fn name(&self, parent: Option<Prefix>, tokens: &[u32]) -> Prefix {
        let [high, low] = &self.keys;
        let half = |keys: &RandomState| u128::from(keys.hash_one((parent, tokens)));
        Prefix(half(high) << 64 | half(low))
    }
}

/// The content of a full block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    name: Prefix,
    parent: Option<Prefix>,
    tokens: &'a [u32],
}

impl<'a> Content<'a> {
    /// The content of block `at` of a sequence, if the block is full and has a name.
    pub(super) fn of(at: usize, tokens: &'a [u32], names: &[Prefix], block: usize) -> Option<Self> {
        let parent = at.checked_sub(1).map(|parent| names.get(parent).copied());
        Some(Self {
            name: *names.get(at)?,
            parent: parent.unwrap_or_default(),
            tokens: tokens.chunks_exact(block).nth(at)?,
        })
    }
}

/// The full blocks whose content is known, held or not.
#[derive(Debug, Default)]
pub(super) struct PrefixIndex {
    entries: HashMap<Prefix, Entry>,
    /// The name of each known block.
    names: HashMap<BlockId, Prefix>,
    /// Blocks that nobody holds, by time of last release. A sequence that ends releases its last
    /// block first and its first block last, so that no block outlives those before it.
    idle: BTreeMap<u64, BlockId>,
    /// Number of releases so far.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    block: BlockId,
    parent: Option<Prefix>,
    tokens: Box<[u32]>,
    /// Its key in `idle`.
    idle_since: Option<u64>,
}

impl PrefixIndex {
    /// The block with exactly this content.
    pub(super) fn find(&self, content: Content<'_>) -> Option<BlockId> {
        let Content { name, parent, tokens } = content;
        let entry = self.entries.get(&name)?;
        (entry.parent == parent && *entry.tokens == *tokens).then_some(entry.block)
    }

    /// Makes `block`, which is held, known for its `content`. The first block of a name keeps it: a
    /// later one with the same content stays unknown and becomes free when it is released.
    pub(super) fn insert(&mut self, content: Content<'_>, block: BlockId) {
        let Content { name, parent, tokens } = content;
        self.entries.entry(name).or_insert_with(|| {
            self.names.insert(block, name);
            Entry { block, parent, tokens: tokens.into(), idle_since: None }
        });
    }

    /// Makes the block called `name` unknown, because its content cannot be trusted or it is
    /// evicted. Returns the block if nobody holds it.
    pub(super) fn forget(&mut self, name: Prefix) -> Option<BlockId> {
        let Entry { block, idle_since, .. } = self.entries.remove(&name)?;
        self.names.remove(&block);
        self.idle.remove(&idle_since?)
    }

    /// Keeps `block`, which nobody holds any more, until it is evicted. Returns `false` if its
    /// content is not known, so that there is no point in keeping it.
    pub(super) fn park(&mut self, block: BlockId) -> bool {
        let Some(entry) = self.names.get(&block).and_then(|name| self.entries.get_mut(name)) else {
            return false;
        };
        self.clock += 1;
        entry.idle_since = Some(self.clock);
        self.idle.insert(self.clock, block);
        true
    }

    /// Removes `block` from the eviction order, because it is held again.
    pub(super) fn unpark(&mut self, block: BlockId) {
        let entry = self.names.get(&block).and_then(|name| self.entries.get_mut(name));
        if let Some(since) = entry.and_then(|entry| entry.idle_since.take()) {
            self.idle.remove(&since);
        }
    }

    /// Evicts the least recently released block.
    pub(super) fn evict(&mut self) -> Option<BlockId> {
        let (_, block) = self.idle.first_key_value()?;
        self.forget(*self.names.get(block)?)
    }

    /// Number of known blocks that nobody holds.
    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Whether `block` can be found under a name.
    pub(super) fn knows(&self, block: BlockId) -> bool {
        self.names.contains_key(&block)
    }

    /// The known blocks that nobody holds, in eviction order.
    pub(super) fn idle_blocks(&self) -> impl Iterator<Item = BlockId> {
        self.idle.values().copied()
    }

    /// Checks the three tables against each other.
    pub(super) fn check_integrity(&self) -> Result<(), String> {
        if self.names.len() != self.entries.len() {
            let (names, entries) = (self.names.len(), self.entries.len());
            return Err(format!("{names} blocks have names, but {entries} names have blocks"));
        }
        for (name, entry) in &self.entries {
            let Entry { block, idle_since, .. } = entry;
            if self.names.get(block) != Some(name) {
                return Err(format!("{block:?} is found under a name that it does not have"));
            }
            if idle_since.is_some_and(|since| self.idle.get(&since) != Some(block)) {
                return Err(format!("{block:?} is idle, but not in the order of eviction"));
            }
        }
        let idle = self.entries.values().filter(|entry| entry.idle_since.is_some()).count();
        if idle != self.idle.len() {
            return Err(format!("{idle} blocks are idle, {} can be evicted", self.idle.len()));
        }
        Ok(())
    }
}

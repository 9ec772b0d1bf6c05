//! Who runs in the next step, and for how many tokens.
//!
//! Continuous batching: every step, each running sequence is granted what it has pending, oldest
//! first, as far as the token budget goes; what is left of the budget admits waiting sequences
//! in the order of arrival. A long prompt is thereby cut into chunks beside the decodes of its
//! elders, and at most one sequence (the youngest) is ever in the middle of its prompt.
//!
//! When a sequence needs a block and none is free, the youngest running one is preempted: its
//! blocks are freed, it returns to the head of the queue, and it is recomputed later. The oldest
//! therefore always advances, and everything that fits into the pool on its own ends.
//!
//! With the prefix cache, a block becomes known the moment it is granted whole, so that sequences
//! admitted later in the same step share it: a pass writes the keys and values of all its tokens
//! before any of them attends. What a failed pass was to fill is forgotten.
//!
//! No tensors here: a [`Schedule`] goes out, tokens come in.

use std::collections::VecDeque;
use std::ops::Range;

use crate::blocks::BlockPool;
use crate::config::PrefixCache;
use crate::request::RequestId;
use crate::sequence::Sequence;
use crate::telemetry::PrefixStats;

mod commit;

/// What one step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens a step.
    pub step_tokens: usize,
    /// Most running sequences.
    pub sequences: usize,
}

/// The queue, the running sequences and their blocks.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    pool: BlockPool,
    /// By arrival; a preempted sequence is older than all that wait, so it goes to the front.
    waiting: VecDeque<Sequence>,
    /// By arrival: the youngest is the last.
    running: Vec<Sequence>,
    prefix: PrefixStats,
}

/// What the next forward pass computes. Valid until the scheduler changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// One entry for each sequence that takes part, oldest first; none is empty.
    pub grants: Vec<Grant>,
    /// Requests of which a sequence left the queue, to be computed for the first time or again.
    pub admitted: Vec<RequestId>,
    /// Sequences that lost their blocks to make this possible.
    pub preempted: Vec<RequestId>,
    /// Tokens that admitted sequences found in the cache.
    pub reused: usize,
}

/// One sequence's part of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose part.
    pub request: RequestId,
    /// Which of the request's choices.
    pub choice: usize,
    /// Its index in [`Scheduler::running`].
    pub sequence: usize,
    /// Positions of its tokens that are computed.
    pub tokens: Range<usize>,
    /// Whether the last of them is the last one known, so that a new token is drawn from it.
    pub draws: bool,
}

impl Scheduler {
    /// Nothing waits, nothing runs, `pool` is free.
    pub fn new(limits: Limits, pool: BlockPool) -> Self {
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Self { limits, pool, waiting, running, prefix: PrefixStats::default() }
    }

    /// Puts `sequence` at the end of the queue. It must pass
    /// [`Capacity::check`](crate::blocks::Capacity::check): one that cannot end even alone would
    /// wait forever, and everything behind it.
    pub fn submit(&mut self, sequence: Sequence) {
        debug_assert!(self.pool.capacity().check(sequence.cached_at_most()).is_ok());
        self.waiting.push_back(sequence);
    }

    /// Decides the next step. Blocks for everything granted are taken; none are taken for
    /// anything else.
    pub fn schedule(&mut self) -> Schedule {
        let mut schedule = Schedule::default();
        let mut budget = self.limits.step_tokens;
        let mut index = 0;
        while index < self.running.len() && budget > 0 {
            if self.secure_blocks(index, &mut schedule.preempted) {
                budget -= self.grant(index, budget, &mut schedule);
                index += 1;
            }
        }
        while budget > 0 && self.admit(&mut schedule) {
            budget -= self.grant(self.running.len() - 1, budget, &mut schedule);
        }
        schedule
    }

    /// Makes sure that the sequence at `index` has blocks for all its tokens, at the cost of
    /// younger ones. `false` when it was the youngest itself and had to give way.
    fn secure_blocks(&mut self, index: usize, preempted: &mut Vec<RequestId>) -> bool {
        loop {
            let sequence = &mut self.running[index];
            let needed = self.pool.blocks_for(sequence.tokens.len()) - sequence.blocks.len();
            if self.pool.take(needed, &mut sequence.blocks) {
                return true;
            }
            // Only sequences behind `index` have no grant yet, and the last is the youngest.
            let Some(mut youngest) = self.running.pop() else { return false };
            self.pool.release(youngest.blocks.drain(..));
            youngest.computed = 0;
            preempted.push(youngest.id);
            self.waiting.push_front(youngest);
            if self.running.len() == index {
                return false;
            }
        }
    }

    /// Moves the head of the queue to the running sequences, with blocks for all its tokens: known
    /// ones for its beginning, as many as there are.
    fn admit(&mut self, schedule: &mut Schedule) -> bool {
        if self.running.len() >= self.limits.sequences {
            return false;
        }
        let Some(next) = self.waiting.front_mut() else { return false };
        // A block stays free for each elder that may still grow: without it the newcomer would
        // be preempted again before its prompt has paid off.
        let grows = |s: &&Sequence| s.blocks.len() < self.pool.blocks_for(s.cached_at_most());
        let reserve = self.running.iter().filter(grows).count();
        let shared = match next.prefix_cache {
            PrefixCache::On => {
                // One token is left to compute: the next one is drawn from its logits.
                let full = (next.tokens.len() - 1) / self.pool.block();
                self.pool.name(&next.tokens, full, &mut next.names);
                self.pool.find(&next.tokens, &next.names[..full.min(next.names.len())])
            }
            PrefixCache::Off => Vec::new(),
        };
        let needed = self.pool.blocks_for(next.tokens.len()) - shared.len();
        // Cached blocks that are shared cannot be evicted to make room.
        if needed + self.pool.idle(&shared) + reserve > self.pool.available() {
            return false;
        }
        self.pool.share(&shared);
        next.computed = shared.len() * self.pool.block();
        next.blocks = shared;
        if !self.pool.take(needed, &mut next.blocks) {
            return false;
        }
        if next.generated() == 0 {
            next.cached = next.computed;
        }
        schedule.reused += next.computed;
        schedule.admitted.push(next.id);
        self.prefix.lookups += u64::from(next.prefix_cache == PrefixCache::On);
        self.prefix.hits += u64::from(next.computed > 0);
        self.prefix.tokens += next.computed as u64;
        self.running.extend(self.waiting.pop_front());
        true
    }

    fn grant(&mut self, index: usize, budget: usize, schedule: &mut Schedule) -> usize {
        let sequence = &mut self.running[index];
        let count = sequence.pending().min(budget);
        let tokens = sequence.computed..sequence.computed + count;
        let draws = tokens.end == sequence.tokens.len();
        if sequence.prefix_cache == PrefixCache::On {
            let Sequence { tokens: ids, blocks, names, .. } = sequence;
            let full = whole_blocks(&tokens, self.pool.block());
            self.pool.name(ids, full.end, names);
            for at in full {
                self.pool.publish(blocks[at], ids, &names[..=at]);
            }
        }
        let (request, choice) = (sequence.id, sequence.choice);
        schedule.grants.push(Grant { request, choice, sequence: index, tokens, draws });
        count
    }

    /// Sequences that hold blocks, oldest first.
    pub fn running(&self) -> &[Sequence] {
        &self.running
    }

    /// The sequence of a grant, for drawing its next token.
    pub fn granted(&mut self, grant: &Grant) -> &mut Sequence {
        &mut self.running[grant.sequence]
    }

    /// How many sequences wait for admission.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The blocks.
    pub const fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// What the prefix cache did so far.
    pub const fn prefix(&self) -> PrefixStats {
        PrefixStats { evictions: self.pool.evictions(), ..self.prefix }
    }

    /// Compares the block pool with what the sequences hold, and makes sure that no block that is
    /// still to be written can be seen by two of them. For use between steps.
    ///
    /// # Errors
    ///
    /// A sentence on the first contradiction.
    pub fn check_integrity(&self) -> Result<(), String> {
        for Sequence { id, computed, blocks, .. } in &self.running {
            let unfinished = blocks.iter().skip(computed / self.pool.block());
            if let Some(block) = unfinished.copied().find(|&block| !self.pool.is_exclusive(block)) {
                return Err(format!("{id} will write {block:?}, which others see"));
            }
        }
        let all = self.waiting.iter().chain(&self.running);
        self.pool.check_integrity(all.map(|sequence| &sequence.blocks[..]))
    }
}

/// The blocks that are full once the tokens at `computed` are, and were not before.
fn whole_blocks(computed: &Range<usize>, block: usize) -> Range<usize> {
    computed.start / block..computed.end / block
}

#[cfg(test)]
mod tests;

//! Who runs in the next step, and for how many tokens.
//!
//! Continuous batching: in every step, each running sequence is granted its pending tokens, oldest
//! first, as far as the token budget goes; the rest of the budget admits waiting sequences in the
//! order of arrival. A long prompt is thereby split into chunks beside the decodes of older
//! sequences, and unless one is recomputed, only the youngest is ever in the middle of its prompt.
//!
//! When a sequence needs a block and none is free, the youngest running one is preempted: its
//! blocks are freed, it returns to the head of the queue, and is recomputed later. So the oldest
//! always advances, and everything that fits into the cache on its own finishes.
//!
//! A sequence that crosses the border of a model with two sets of angles (LongRoPE) is recomputed
//! from its first token, and keeps its place: so an older one, and several at once, can be in the
//! middle of their tokens again.
//!
//! Blocks come from several [`Pools`], one for each window that the model's layers have: a sequence
//! gets what it needs in all of them or in none. After each step it releases what its next token,
//! and so every later one, can no longer see.
//!
//! With the prefix cache, a block is published as soon as all of it is granted, so that sequences
//! admitted later in the same step share it: a pass writes the keys and values of all its tokens
//! before any of them attends. Blocks that a failed pass should have filled are forgotten.
//!
//! No tensors here: a [`Schedule`] goes out, tokens come in.

use std::collections::VecDeque;
use std::ops::Range;

use crate::blocks::{BlockPool, Capacity, Held, Pools, Stride};
use crate::config::PrefixCache;
use crate::faults;
use crate::request::RequestId;
use crate::sequence::Sequence;
use crate::telemetry::PrefixStats;

mod commit;

/// Limits of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens per step.
    pub step_tokens: usize,
    /// Most running sequences.
    pub sequences: usize,
}

/// The queue, the running sequences and their blocks.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    pools: Pools,
    /// By arrival; a preempted sequence is older than all that are waiting, so it goes to the
    /// front.
    waiting: VecDeque<Sequence>,
    /// By arrival, the youngest last.
    running: Vec<Sequence>,
    prefix: PrefixStats,
}

/// What the next forward pass computes. Valid until the scheduler changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// One entry for each sequence that takes part, oldest first; none is empty.
    pub grants: Vec<Grant>,
    /// Requests with a sequence that left the queue, to be computed for the first time or again.
    pub admitted: Vec<RequestId>,
    /// Sequences that lost their blocks to make room.
    pub preempted: Vec<RequestId>,
    /// Tokens that admitted sequences found in the cache.
    pub reused: usize,
}

/// One sequence's part of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its request.
    pub request: RequestId,
    /// Which of the request's choices.
    pub choice: usize,
    /// Its index in [`Scheduler::running`].
    pub sequence: usize,
    /// Positions of its tokens that are computed.
    pub tokens: Range<usize>,
    /// Whether they end with the last known token, so that a new one is drawn.
    pub draws: bool,
}

impl Scheduler {
    /// Nothing waits, nothing runs, all blocks are free.
    pub fn new(limits: Limits, capacity: Capacity) -> Self {
        debug_assert_eq!(limits.step_tokens, capacity.step_tokens);
        let (waiting, running) = (VecDeque::new(), Vec::new());
        let pools = Pools::new(capacity);
        Self { limits, pools, waiting, running, prefix: PrefixStats::default() }
    }

    /// Puts `sequence` at the end of the queue. It must pass [`Capacity::check`]: one that cannot
    /// finish even alone would wait forever, with everything behind it.
    pub fn submit(&mut self, sequence: Sequence) {
        debug_assert!(self.pools.capacity().check(sequence.cached_at_most()).is_ok());
        self.waiting.push_back(Sequence { held: self.pools.nothing(), ..sequence });
    }

    /// Decides the next step. Takes blocks for exactly what is granted.
    pub fn schedule(&mut self) -> Schedule {
        let mut schedule = Schedule::default();
        let mut budget = self.limits.step_tokens;
        for index in faults::bucketed_out(&self.running) {
            self.preempt(index, &mut schedule.preempted);
        }
        let mut index = 0;
        while index < self.running.len() && budget > 0 {
            if self.secure_blocks(index, budget, &mut schedule.preempted) {
                budget -= self.grant(index, budget, &mut schedule);
                index += 1;
            }
        }
        while budget > 0 && self.admit(budget, &mut schedule) {
            budget -= self.grant(self.running.len() - 1, budget, &mut schedule);
        }
        schedule
    }

    /// Makes sure that the sequence at `index` has the blocks for a step of at most `budget`
    /// tokens, at the expense of younger ones. `false` if it was the youngest itself and had to
    /// give way.
    fn secure_blocks(
        &mut self,
        index: usize,
        budget: usize,
        preempted: &mut Vec<RequestId>,
    ) -> bool {
        loop {
            let sequence = &mut self.running[index];
            let stride = stride(sequence, budget);
            if self.pools.take(&mut sequence.held, stride) {
                return true;
            }
            // Only sequences from `index` on have no grant yet, and the last is the youngest.
            let victim = faults::victim(index, self.running.len() - 1);
            self.preempt(victim, preempted);
            if victim == index {
                return false;
            }
        }
    }

    /// Takes the blocks of the running sequence at `index`, which returns to the head of the queue.
    fn preempt(&mut self, index: usize, preempted: &mut Vec<RequestId>) {
        let mut sequence = self.running.remove(index);
        self.pools.release(&mut sequence.held);
        sequence.computed = 0;
        preempted.push(sequence.id);
        self.waiting.push_front(sequence);
    }

    /// Moves the head of the queue to the running sequences, with the blocks for a step of at most
    /// `budget` tokens: as many as possible of its first blocks come from the cache.
    fn admit(&mut self, budget: usize, schedule: &mut Schedule) -> bool {
        if self.running.len() >= self.limits.sequences {
            return false;
        }
        let Some(next) = self.waiting.front_mut() else { return false };
        let (found, held) = match next.prefix_cache {
            PrefixCache::On => {
                // One token is left to compute: the next is drawn from its logits.
                let full = (next.tokens.len() - 1) / self.pools.block();
                self.pools.name(&next.tokens, full, &mut next.names);
                self.pools.find(&next.tokens, &next.names[..full.min(next.names.len())])
            }
            PrefixCache::Off => (0, self.pools.nothing()),
        };
        next.held = held;
        next.computed = found * self.pools.block();
        // One block stays free for each older sequence that may still grow: otherwise the newcomer
        // would be preempted again before its prompt has paid off.
        let reserve = |index: usize, pool: &BlockPool| {
            let grows = |s: &&Sequence| s.held[index].end() < pool.blocks_for(s.cached_at_most());
            self.running.iter().filter(grows).count()
        };
        let stride = stride(next, budget);
        if !self.pools.admit(&mut next.held, stride, reserve) {
            next.held = self.pools.nothing();
            next.computed = 0;
            return false;
        }
        next.cached.get_or_insert(next.computed);
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
            let Sequence { tokens: ids, held, names, .. } = sequence;
            let full = whole_blocks(&tokens, self.pools.block());
            self.pools.name(ids, full.end, names);
            for at in full {
                self.pools.publish(held, at, ids, names);
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

    /// Number of sequences that wait for admission.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The blocks.
    pub const fn pools(&self) -> &Pools {
        &self.pools
    }

    /// What the prefix cache has done so far.
    pub fn prefix(&self) -> PrefixStats {
        PrefixStats { evictions: self.pools.evictions(), ..self.prefix }
    }

    /// Checks the block pools against what the sequences hold, and that each sequence holds exactly
    /// what its next token sees, and that no block that is still to be written is visible to two of
    /// them. For use between steps.
    ///
    /// # Errors
    ///
    /// A sentence about the first contradiction.
    pub fn check_integrity(&self) -> Result<(), String> {
        let block = self.pools.block();
        for Sequence { id, computed, held, .. } in &self.running {
            for (pool, held) in self.pools.iter().zip(held) {
                let first = pool.first_needed(*computed);
                if held.gone != first || held.end() * block < *computed {
                    let Held { gone, blocks } = held;
                    return Err(format!(
                        "{id} holds {} blocks from block {gone} on, but {computed} tokens of it are computed and the next one sees block {first}",
                        blocks.len()
                    ));
                }
                let unfinished = held.blocks.iter().skip(computed / block - first);
                if let Some(block) = unfinished.copied().find(|&id| !pool.is_exclusive(id)) {
                    return Err(format!("{id} will write {block:?}, which others see"));
                }
            }
        }
        let all = self.waiting.iter().chain(&self.running);
        self.pools.check_integrity(&all.map(|sequence| &sequence.held[..]).collect::<Vec<_>>())
    }
}

/// A step of `sequence` that computes at most `budget` tokens.
fn stride(sequence: &Sequence, budget: usize) -> Stride {
    let computed = sequence.computed + sequence.pending().min(budget);
    Stride { known: sequence.tokens.len(), computed }
}

/// The blocks that the tokens at `computed` complete.
fn whole_blocks(computed: &Range<usize>, block: usize) -> Range<usize> {
    computed.start / block..computed.end / block
}

#[cfg(test)]
mod tests;

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
//! No tensors here: a [`Schedule`] goes out, tokens come in.

use std::collections::VecDeque;
use std::ops::Range;

use crate::blocks::BlockPool;
use crate::error::Error;
use crate::request::{Event, Finish, RequestId};
use crate::sampler::{Drawn, NoToken};
use crate::sequence::Sequence;

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
}

/// What the next forward pass computes. Valid until the scheduler changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// One entry for each sequence that takes part, oldest first; none is empty.
    pub grants: Vec<Grant>,
    /// Sequences that lost their blocks to make this possible.
    pub preempted: Vec<RequestId>,
}

/// One sequence's part of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose part.
    pub request: RequestId,
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
        Self { limits, pool, waiting: VecDeque::new(), running: Vec::new() }
    }

    /// Puts `sequence` at the end of the queue.
    ///
    /// # Errors
    ///
    /// [`Error::PoolTooSmall`] when it could not end even alone.
    pub fn submit(&mut self, sequence: Sequence) -> Result<(), Error> {
        let tokens = sequence.cached_at_most();
        let needed = self.pool.blocks_for(tokens);
        if needed > self.pool.total() {
            let (blocks, block) = (self.pool.total(), self.pool.block());
            return Err(Error::PoolTooSmall { tokens, needed, blocks, block });
        }
        self.waiting.push_back(sequence);
        Ok(())
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
        while budget > 0 && self.admit() {
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

    /// Moves the head of the queue to the running sequences, with blocks for all its tokens.
    fn admit(&mut self) -> bool {
        if self.running.len() >= self.limits.sequences {
            return false;
        }
        let Some(next) = self.waiting.front_mut() else { return false };
        // A block stays free for each elder that may still grow: without it the newcomer would
        // be preempted again before its prompt has paid off.
        let grows = |s: &&Sequence| s.blocks.len() < self.pool.blocks_for(s.cached_at_most());
        let reserve = self.running.iter().filter(grows).count();
        let needed = self.pool.blocks_for(next.tokens.len());
        if needed + reserve > self.pool.free() || !self.pool.take(needed, &mut next.blocks) {
            return false;
        }
        self.running.extend(self.waiting.pop_front());
        true
    }

    fn grant(&self, index: usize, budget: usize, schedule: &mut Schedule) -> usize {
        let sequence = &self.running[index];
        let count = sequence.pending().min(budget);
        let tokens = sequence.computed..sequence.computed + count;
        let draws = tokens.end == sequence.tokens.len();
        schedule.grants.push(Grant { request: sequence.id, sequence: index, tokens, draws });
        count
    }

    /// Books what a step computed: `drawn` has one entry for each grant that draws, in order.
    pub fn commit(
        &mut self,
        schedule: &Schedule,
        drawn: impl IntoIterator<Item = Result<Drawn, NoToken>>,
    ) -> Vec<Event> {
        let mut drawn = drawn.into_iter();
        let mut events = Vec::new();
        let mut finished = Vec::new();
        for grant in &schedule.grants {
            let sequence = &mut self.running[grant.sequence];
            sequence.computed = grant.tokens.end;
            if !grant.draws {
                continue;
            }
            let finish = match drawn.next() {
                Some(Ok(Drawn { token, logprobs })) => {
                    let finish = sequence.accept(token);
                    if finish != Some(Finish::Stop) {
                        events.push(Event::Token { request: sequence.id, token, logprobs });
                    }
                    finish
                }
                Some(Err(failure)) => Some(Finish::Error(failure.to_string())),
                None => Some(Finish::Error("the step ended without drawing a token".into())),
            };
            finished.extend(finish.map(|finish| (grant.sequence, finish)));
        }
        events.extend(self.end(finished));
        events
    }

    /// Ends every sequence of a step that failed.
    pub fn fail(&mut self, schedule: &Schedule, why: &Error) -> Vec<Event> {
        let finish = Finish::Error(why.to_string());
        self.end(schedule.grants.iter().map(|grant| (grant.sequence, finish.clone())).collect())
    }

    /// Removes the running sequences at the given ascending indices.
    fn end(&mut self, finished: Vec<(usize, Finish)>) -> Vec<Event> {
        let mut events: Vec<_> = finished
            .into_iter()
            .rev()
            .map(|(index, finish)| {
                let sequence = self.running.remove(index);
                self.retire(sequence, finish)
            })
            .collect();
        events.reverse();
        events
    }

    fn retire(&mut self, mut sequence: Sequence, finish: Finish) -> Event {
        self.pool.release(sequence.blocks.drain(..));
        let (prompt, generated) = (sequence.prompt, sequence.generated());
        Event::Finished { request: sequence.id, finish, prompt, generated }
    }

    /// Withdraws a request, waiting or running; `None` when it has ended or never was.
    pub fn cancel(&mut self, request: RequestId) -> Option<Event> {
        let sequence = if let Some(at) = self.running.iter().position(|s| s.id == request) {
            self.running.remove(at)
        } else {
            let at = self.waiting.iter().position(|s| s.id == request)?;
            self.waiting.remove(at)?
        };
        Some(self.retire(sequence, Finish::Cancelled))
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

    /// Compares the block pool with what the sequences hold.
    ///
    /// # Errors
    ///
    /// A sentence on the first contradiction.
    pub fn check_integrity(&self) -> Result<(), String> {
        let all = self.waiting.iter().chain(&self.running);
        self.pool.check_integrity(all.map(|sequence| &sequence.blocks[..]))
    }
}

#[cfg(test)]
mod tests;

//! The effect of a step's outcome, or of a cancellation, on the sequences.

use std::collections::VecDeque;

use super::{Schedule, Scheduler, whole_blocks};
use crate::error::Error;
use crate::request::{Event, Finish, RequestId};
use crate::sampler::{Drawn, NoToken};
use crate::sequence::Sequence;

impl Scheduler {
    /// Records what a step computed: `drawn` has one entry for each grant that draws, in order.
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
            let failure = match drawn.next() {
                Some(Ok(Drawn { token, logprobs })) => {
                    let (request, choice) = (sequence.id, sequence.choice);
                    if sequence.generated() == 0 {
                        let cached = sequence.cached();
                        events.push(Event::PromptDone { request, choice, cached });
                    }
                    let finish = sequence.accept(token);
                    if finish != Some(Finish::Stop) {
                        events.push(Event::Token { request, choice, token, logprobs });
                    }
                    finished.extend(finish.map(|finish| (grant.sequence, finish)));
                    continue;
                }
                Some(Err(failure)) => Some(failure),
                None => None,
            };
            // If its logits were not finite, those of sequences that share its blocks would not be
            // either. A bias that left no token says nothing about them.
            if failure != Some(NoToken::NoneLeft) {
                self.pools.forget(&sequence.names);
            }
            let why = failure.map(|failure| failure.to_string());
            let why = why.unwrap_or_else(|| "the step ended without drawing a token".into());
            finished.push((grant.sequence, Finish::Error(why)));
        }
        for grant in &schedule.grants {
            let Sequence { held, computed, .. } = &mut self.running[grant.sequence];
            self.pools.slide(held, *computed);
        }
        events.extend(self.end(finished));
        events
    }

    /// Ends every sequence of a step that failed.
    pub fn fail(&mut self, schedule: &Schedule, why: &Error) -> Vec<Event> {
        for grant in &schedule.grants {
            let full = whole_blocks(&grant.tokens, self.pools.block());
            let names = &self.running[grant.sequence].names;
            self.pools.forget(names.get(full).unwrap_or_default());
        }
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
        self.pools.release(&mut sequence.held);
        let (request, choice, usage) = (sequence.id, sequence.choice, sequence.usage());
        Event::Finished { request, choice, finish, usage }
    }

    /// Cancels all choices of a request, waiting or running; no events if it has ended or never
    /// existed.
    pub fn cancel(&mut self, request: RequestId) -> Vec<Event> {
        self.withdraw(|sequence| sequence.id == request)
    }

    /// Cancels one choice of a request, waiting or running; the others go on. No event if it has
    /// ended or never existed.
    pub fn cancel_choice(&mut self, request: RequestId, choice: usize) -> Option<Event> {
        self.withdraw(|sequence| (sequence.id, sequence.choice) == (request, choice)).pop()
    }

    fn withdraw(&mut self, leaves: impl Fn(&Sequence) -> bool) -> Vec<Event> {
        let mut gone: Vec<_> = self.running.extract_if(.., |s| leaves(s)).collect();
        let (those, others) = self.waiting.drain(..).partition(|s| leaves(s));
        self.waiting = others;
        gone.extend::<VecDeque<_>>(those);
        gone.into_iter().map(|sequence| self.retire(sequence, Finish::Cancelled)).collect()
    }
}

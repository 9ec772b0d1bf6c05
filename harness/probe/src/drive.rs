//! [`Drive`]: steps an engine through requests and notes when each token arrived.
//!
//! The clock is read when a request is submitted, and before and after each step; no output is
//! written in between.

use std::collections::BTreeMap;

use anyhow::{Error, Result, ensure};
use windtunnel_engine::{Engine, Event, Finish, PrefixCache, Request, RequestId};
use windtunnel_ledger::timeline::Timeline;
use windtunnel_ledger::{Nanos, Tokens};

use crate::clock::Clock;

/// An engine and the requests it is working on.
pub struct Drive<'a> {
    engine: &'a mut Engine,
    clock: &'a Clock,
    answers: Vec<Answer>,
    places: BTreeMap<RequestId, usize>,
    under_way: usize,
}

/// The result of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When its tokens arrived.
    pub timeline: Timeline,
    /// Its output tokens.
    pub tokens: Vec<u32>,
    /// Tokens of its prompt that were already in the cache.
    pub cached: usize,
    /// How many output tokens were asked for.
    asked: usize,
}

/// A request for exactly `output` tokens, decoded greedily, so that every measurement does the same
/// work.
#[must_use]
pub fn request(prompt: Vec<u32>, output: usize, prefix_cache: PrefixCache) -> Request {
    Request { prefix_cache, ..Request::exactly(prompt, output) }
}

/// The failure of a step of `engine`, which a request reported as `error`. If the engine ran out of
/// memory, the error carries how the memory of its devices stood.
fn failed(engine: &Engine, error: String) -> Error {
    let cause = match engine.exhausted(&error) {
        Some(exhausted) => Error::new(windtunnel_engine::Error::from(exhausted.clone())),
        None => Error::msg(error),
    };
    cause.context("a step of the engine failed")
}

/// The tokens of all `answers`.
#[must_use]
pub fn outputs(answers: &[Answer]) -> Vec<Vec<u32>> {
    answers.iter().map(|answer| answer.tokens.clone()).collect()
}

/// The timelines of all `answers`.
#[must_use]
pub fn timelines(answers: &[Answer]) -> Vec<Timeline> {
    answers.iter().map(|answer| answer.timeline.clone()).collect()
}

impl<'a> Drive<'a> {
    /// An engine without requests.
    pub fn new(engine: &'a mut Engine, clock: &'a Clock) -> Drive<'a> {
        Drive { engine, clock, answers: Vec::new(), places: BTreeMap::new(), under_way: 0 }
    }

    /// Submits a request for `output` tokens. It is timed from `due` if given, otherwise from now.
    ///
    /// # Errors
    ///
    /// When the engine refuses it.
    pub fn submit(
        &mut self,
        prompt: Vec<u32>,
        output: usize,
        prefix_cache: PrefixCache,
        due: Option<Nanos>,
    ) -> Result<()> {
        let timeline = Timeline {
            prompt: Tokens(prompt.len() as u64),
            submitted: due.unwrap_or_else(|| self.clock.now()),
            started: None,
            tokens: Vec::with_capacity(output),
        };
        let tokens = Vec::with_capacity(output);
        let id = self.engine.submit(request(prompt, output, prefix_cache))?;
        self.places.insert(id, self.answers.len());
        self.answers.push(Answer { timeline, tokens, cached: 0, asked: output });
        self.under_way += 1;
        Ok(())
    }

    /// Requests that have not finished.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Runs one step of the engine.
    ///
    /// # Errors
    ///
    /// When the model failed on a request.
    pub fn step(&mut self) -> Result<()> {
        let begun = self.clock.now();
        let step = self.engine.step();
        #[cfg(feature = "faults")]
        {
            let took = self.clock.now().0.saturating_sub(begun.0);
            crate::fault::prolong(&step.report, std::time::Duration::from_nanos(took));
        }
        let now = self.clock.now();
        for id in step.started {
            // Only the first start ends the wait; a preempted request starts again.
            self.answers[self.places[&id]].timeline.started.get_or_insert(begun);
        }
        for event in step.events {
            let answer = &mut self.answers[self.places[&event.request()]];
            match event {
                Event::Token { token, .. } => {
                    #[cfg(feature = "faults")]
                    let token = crate::fault::token(token, answer.tokens.len());
                    answer.timeline.tokens.push(now);
                    answer.tokens.push(token);
                }
                Event::Finished { finish: Finish::Error(error), .. } => {
                    return Err(failed(self.engine, error));
                }
                Event::Finished { .. } => self.under_way -= 1,
                Event::PromptDone { cached, .. } => answer.cached = cached,
                Event::Queued { .. } => (),
            }
        }
        Ok(())
    }

    /// Steps until every request has finished, and returns the answers in order of submission.
    ///
    /// # Errors
    ///
    /// When the model failed, or a request finished without all its tokens.
    pub fn finish(mut self) -> Result<Vec<Answer>> {
        while self.under_way > 0 {
            self.step()?;
        }
        for Answer { tokens, asked, .. } in &self.answers {
            ensure!(
                tokens.len() == *asked,
                "the engine gave {} of {asked} tokens and called that finished",
                tokens.len()
            );
        }
        Ok(self.answers)
    }
}

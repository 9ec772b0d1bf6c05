//! A model's view of a text: its logits at every position, and the values behind them.
//!
//! Serving needs only the last row of a prompt. Comparing a model with a reference, or measuring
//! its perplexity on a text, needs all of them: [`score`] runs a request like any other, on the
//! same kernels and the same cache, and shows each row as it is computed. [`score_at`] also shows
//! the rows of other places.

use candle_core::{DType, Tensor};

use crate::engine::{Engine, StepObserver};
use crate::error::{Error, Result};
use crate::pass::{Observer, Place};
use crate::request::{Event, Finish, Request};
use crate::scheduler::Grant;

/// Receives the row of a position at a place.
pub type Look<'a> = dyn FnMut(Place, usize, &[f32]) + Send + 'a;

/// Continues `prompt` greedily by `output` tokens, at least one and at most up to the longest
/// sequence, and returns them. `look` is shown the logits `[vocabulary]` of each position of prompt
/// and continuation, in order; those of the last token are never computed. A position that is
/// recomputed because the text crosses the model's border is shown again: the last row counts.
///
/// # Errors
///
/// [`Error::Busy`] while the engine has other requests, whose events nobody would see; as
/// [`Engine::submit`]; [`Error::Exhausted`] when a device runs out of memory; and
/// [`Error::Scoring`] when the model fails otherwise.
pub fn score(
    engine: &mut Engine,
    prompt: Vec<u32>,
    output: usize,
    look: &mut (dyn FnMut(usize, &[f32]) + Send),
) -> Result<Vec<u32>> {
    score_at(engine, prompt, output, &[Place::Logits], &mut |_, position, row| look(position, row))
}

/// As [`score`], with the rows at each of `places` instead of the logits. A place that the model
/// does not have is never shown.
///
/// # Errors
///
/// As [`score`].
pub fn score_at(
    engine: &mut Engine,
    prompt: Vec<u32>,
    output: usize,
    places: &[Place],
    look: &mut Look<'_>,
) -> Result<Vec<u32>> {
    if !engine.is_idle() {
        return Err(Error::Busy);
    }
    engine.submit(Request::exactly(prompt, output))?;
    let mut onlooker = Onlooker { positions: Vec::new(), places, look, failure: None };
    // `output` may be more than a sequence can hold.
    let mut tokens = Vec::new();
    loop {
        for event in engine.step_observed(&mut onlooker).events {
            match event {
                Event::Token { token, .. } => tokens.push(token),
                Event::Finished { finish, .. } => {
                    return match (finish, onlooker.failure) {
                        (Finish::Error(why), _) => Err(match engine.exhausted(&why) {
                            Some(exhausted) => exhausted.clone().into(),
                            None => Error::Scoring(why),
                        }),
                        (_, Some(failure)) => Err(failure.into()),
                        _ => Ok(tokens),
                    };
                }
                Event::Queued { .. } | Event::PromptDone { .. } => {}
            }
        }
    }
}

/// Shows what is computed for the only request.
struct Onlooker<'a, 'l> {
    /// Position of each packed row.
    positions: Vec<usize>,
    places: &'a [Place],
    look: &'a mut Look<'l>,
    failure: Option<candle_core::Error>,
}

impl StepObserver for Onlooker<'_, '_> {
    fn rows(&mut self, grants: &[Grant]) {
        self.positions = grants.iter().flat_map(|grant| grant.tokens.clone()).collect();
    }
}

impl Observer for Onlooker<'_, '_> {
    fn observe(&mut self, place: Place, x: &Tensor) {
        if !self.places.contains(&place) {
            return;
        }
        match x.to_dtype(DType::F32).and_then(|x| x.to_vec2::<f32>()) {
            Ok(rows) => {
                for (position, row) in self.positions.iter().zip(&rows) {
                    (self.look)(place, *position, row);
                }
            }
            Err(failure) => self.failure = Some(failure),
        }
    }
}

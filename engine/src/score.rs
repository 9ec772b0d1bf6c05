//! What a model thinks of a text: its logits at every position.
//!
//! Serving needs the last row of a prompt alone. Whoever compares a model with a reference, or asks
//! how surprised it is by a text, needs all of them; [`score`] runs a request as any other one, on
//! the same kernels and the same cache, and shows each row as it comes by.

use candle_core::{DType, Tensor};

use crate::engine::{Engine, StepObserver};
use crate::error::{Error, Result};
use crate::pass::{Observer, Place};
use crate::request::{Event, Finish, Request};
use crate::scheduler::Grant;

/// Continues `prompt` by the `output` likeliest tokens, at least one, and gives them. `look` is
/// shown the logits `[vocabulary]` of each position of prompt and continuation, in order; those of
/// the last token are never computed. A position that is computed anew, because the text crosses
/// a length from which on its keys are others, is shown again: the last row is the one that counts.
///
/// # Errors
///
/// [`Error::Busy`] while other requests are in the engine, whose events nobody would see; as
/// [`Engine::submit`]; and [`Error::Scoring`] when the model fails.
pub fn score(
    engine: &mut Engine,
    prompt: Vec<u32>,
    output: usize,
    look: &mut (dyn FnMut(usize, &[f32]) + Send),
) -> Result<Vec<u32>> {
    if !engine.is_idle() {
        return Err(Error::Busy);
    }
    engine.submit(Request::exactly(prompt, output))?;
    let mut onlooker = Onlooker { positions: Vec::new(), look, failure: None };
    let mut tokens = Vec::with_capacity(output);
    loop {
        for event in engine.step_observed(&mut onlooker).events {
            match event {
                Event::Token { token, .. } => tokens.push(token),
                Event::Finished { finish, .. } => {
                    return match (finish, onlooker.failure) {
                        (Finish::Error(why), _) => Err(Error::Scoring(why)),
                        (_, Some(failure)) => Err(failure.into()),
                        _ => Ok(tokens),
                    };
                }
                Event::Queued { .. } | Event::PromptDone { .. } => {}
            }
        }
    }
}

/// Shows the logits of the only request.
struct Onlooker<'a> {
    /// Of each packed row.
    positions: Vec<usize>,
    look: &'a mut (dyn FnMut(usize, &[f32]) + Send),
    failure: Option<candle_core::Error>,
}

impl StepObserver for Onlooker<'_> {
    fn rows(&mut self, grants: &[Grant]) {
        self.positions = grants.iter().flat_map(|grant| grant.tokens.clone()).collect();
    }
}

impl Observer for Onlooker<'_> {
    fn observe(&mut self, place: Place, x: &Tensor) {
        if place != Place::Logits {
            return;
        }
        match x.to_dtype(DType::F32).and_then(|x| x.to_vec2::<f32>()) {
            Ok(rows) => {
                for (position, row) in self.positions.iter().zip(&rows) {
                    (self.look)(*position, row);
                }
            }
            Err(failure) => self.failure = Some(failure),
        }
    }
}

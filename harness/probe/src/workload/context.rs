//! Two decodes on the same engine within seconds of each other, one with a short context and one
//! with a long one: only the context differs.

use anyhow::Result;
use windtunnel_engine::{Engine, PrefixCache};
use windtunnel_ledger::case::Case;
use windtunnel_ledger::timeline::{self, Values};
use windtunnel_ledger::{Metric, Tokens};

use crate::clock::Clock;
use crate::drive::{Answer, Drive};
use crate::traffic;

/// Decodes `output` tokens at each of the two depths of `case`, shallow first, and returns the
/// answers with the metrics of the deep one and the cost of context.
///
/// # Errors
///
/// When the engine refuses a request, or fails on one.
pub fn iteration(
    engine: &mut Engine,
    case: &Case,
    output: Tokens,
    index: u32,
    clock: &Clock,
) -> Result<(Vec<Answer>, Values)> {
    let prompts = traffic::prompts(case, index, engine.vocabulary());
    let mut answers = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let mut drive = Drive::new(engine, clock);
        // The first output token comes from the prefill: no gap precedes it.
        drive.submit(prompt, output.0 as usize + 1, PrefixCache::Off, None)?;
        answers.extend(drive.finish()?);
    }
    let timelines = crate::drive::timelines(&answers);
    let [shallow, deep] = &timelines[..] else { return Ok((answers, Values::new())) };
    let mut values = timeline::metrics(std::slice::from_ref(deep));
    if let Some(slope) = timeline::context_slope(shallow, deep) {
        values.insert(Metric::ContextSlope, vec![slope]);
    }
    Ok((answers, values))
}

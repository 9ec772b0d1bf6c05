//! Requests of one shape, all submitted at once: load, prefill, decode and generate differ only in
//! the shape and in the metrics.

use anyhow::Result;
use windtunnel_engine::{Engine, PrefixCache};
use windtunnel_ledger::case::{Case, Workload};
use windtunnel_ledger::timeline::{self, Values};

use crate::clock::Clock;
use crate::drive::{Answer, Drive, timelines};
use crate::traffic;

/// Runs the requests of one iteration of `case` to their end, and returns the answers and metrics;
/// for a decode, over the time in which all of them decoded.
///
/// # Errors
///
/// When the engine refuses a request, or fails on one.
pub fn iteration(
    engine: &mut Engine,
    case: &Case,
    index: u32,
    clock: &Clock,
) -> Result<(Vec<Answer>, Values)> {
    let output = case.shape().output.0 as usize;
    let prompts = traffic::prompts(case, index, engine.vocabulary());
    let mut drive = Drive::new(engine, clock);
    for prompt in prompts {
        // The prompts share no prefix, so there is nothing to find.
        drive.submit(prompt, output, PrefixCache::Off, None)?;
    }
    let answers = drive.finish()?;
    let timelines = timelines(&answers);
    let values = match case.workload {
        Workload::Decode { .. } => timeline::metrics(&timeline::together(&timelines)),
        _ => timeline::metrics(&timelines),
    };
    Ok((answers, values))
}

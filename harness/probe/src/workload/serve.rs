//! Requests that arrive one after another, in a closed or an open loop.
//!
//! In an open loop a request is timed from when it was due: if the engine is busy with a step at
//! that moment, its user is waiting all the same.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use windtunnel_engine::{Engine, PrefixCache, Stats};
use windtunnel_ledger::case::{Case, Slo};
use windtunnel_ledger::timeline::{self, Values};
use windtunnel_ledger::traffic::Traffic;
use windtunnel_ledger::{Metric, Nanos};

use crate::clock::Clock;
use crate::drive::{Answer, Drive, timelines};
use crate::traffic::{Coming, coming};

/// The load on a service.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// How the requests arrive, and how long they are.
    pub traffic: Traffic,
    /// How many requests arrive.
    pub requests: u32,
    /// The most requests in flight in a closed loop.
    pub batch: u32,
    /// Whether they share the blocks of common prefixes.
    pub prefix_cache: PrefixCache,
    /// Which answers count towards goodput.
    pub slo: Slo,
}

/// Serves the requests of one iteration of `case` to their end, and returns the answers and
/// metrics.
///
/// # Errors
///
/// When the engine refuses a request, or fails on one.
pub fn iteration(
    engine: &mut Engine,
    case: &Case,
    usage: &Usage,
    index: u32,
    clock: &Clock,
) -> Result<(Vec<Answer>, Values)> {
    let Usage { traffic, requests, batch, prefix_cache, slo } = *usage;
    let coming: Vec<Coming> =
        coming(traffic, case.seed, index, engine.vocabulary()).take(requests as usize).collect();
    let before = engine.stats();
    let mut drive = Drive::new(engine, clock);
    let start = clock.now();
    for Coming { due, prompt, output } in coming {
        let due = due.map(|due| Nanos(start.0.saturating_add(due.0)));
        match due {
            None => {
                while drive.under_way() >= batch as usize {
                    drive.step()?;
                }
            }
            Some(due) => {
                while drive.under_way() > 0 && clock.now() < due {
                    drive.step()?;
                }
                thread::sleep(Duration::from_nanos(due.since(clock.now()).0));
            }
        }
        drive.submit(prompt, output, prefix_cache, due)?;
    }
    let answers = drive.finish()?;
    let timelines = timelines(&answers);
    let mut values = timeline::metrics(&timelines);
    values.extend(timeline::service(&timelines, &slo));
    let cached = answers.iter().map(|answer| answer.cached).sum();
    values.extend(account(&before, &engine.stats(), cached));
    Ok((answers, values))
}

/// The engine's counters between two readings of its statistics, and the hit rate of `cached`
/// prompt tokens.
fn account(before: &Stats, after: &Stats, cached: usize) -> Values {
    let prompt = (after.prompt_tokens - before.prompt_tokens) as f64;
    let prefilled = (after.prefilled - before.prefilled) as f64;
    let preemptions = (after.preemptions - before.preemptions) as f64;
    [
        (Metric::PrefixHitRate, cached as f64 / prompt),
        (Metric::PrefillAmplification, prefilled / prompt),
        (Metric::Preemptions, preemptions),
        (Metric::PeakBlocks, after.peak_blocks as f64),
    ]
    .into_iter()
    .filter(|(_, value)| value.is_finite())
    .map(|(metric, value)| (metric, vec![value]))
    .collect()
}

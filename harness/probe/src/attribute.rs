//! Runs a case to learn where its time goes: the same iterations as for samples, with a tracing
//! subscriber on the engine, and without reporting samples.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use windtunnel_engine::{Account, Attribution};
use windtunnel_ledger::Nanos;
use windtunnel_ledger::attribution::Work;
use windtunnel_ledger::case::Case;
use windtunnel_ledger::counter::Counts;
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::record::IterationKind;
use windtunnel_ledger::wire::Message;

use crate::clock::Clock;
use crate::count::Tally;
use crate::measure::{self, Say};

/// Runs `case`, reports where the time of its iterations went, and returns the last message.
///
/// # Errors
///
/// When the engine cannot run it, another tracing subscriber is installed, or `say` fails.
pub fn case(case: &Case, say: &mut Say<'_>) -> Result<Message> {
    let attribution = Attribution::default();
    tracing::subscriber::set_global_default(attribution.clone())
        .context("another tracing subscriber is installed in this process")?;
    // Before the threads that it is to count are started.
    let mut tally = Tally::new();
    let mut counts = Counts::new();
    let clock = Clock::start();
    let mut begun = clock.now();
    let mut wall = Nanos(0);
    let mut work: BTreeMap<String, Work> = BTreeMap::new();
    // Without samples there is no precision to reach.
    let case = &Case { enough: Enough::Counted, ..case.clone() };
    let last = measure::case(case, &mut |message| match message {
        // Covers everything since the previous iteration ended.
        Message::Iteration(iteration) => {
            let now = clock.now();
            let of_iteration = tally.end();
            let accounts = attribution.take();
            if iteration.kind == IterationKind::Timed {
                wall = Nanos(wall.0 + now.since(begun).0);
                for (kind, account) in accounts {
                    work.entry(kind.name().to_owned()).or_default().add(&told(&account));
                }
            }
            counts = of_iteration;
            tally.begin();
            begun = clock.now();
            Ok(())
        }
        Message::Loaded { .. } => {
            say(message)?;
            attribution.take();
            tally.begin();
            begun = clock.now();
            Ok(())
        }
        _ => say(message),
    })?;
    if let Message::End { .. } = last {
        say(&Message::Attributed { wall, work, counts })?;
    }
    Ok(last)
}

/// An account in the ledger's types. Stages that took no time are left out.
fn told(account: &Account) -> Work {
    let Account { count, tokens, stages } = *account;
    let taken = stages.iter().filter(|(_, time)| !time.is_zero());
    let stages =
        taken.map(|(stage, time)| (stage.name().to_owned(), Nanos(time.as_nanos() as u64)));
    Work { count, tokens, stages: stages.collect() }
}

//! An idle engine, then single requests: the CPU time that the engine's thread costs while idle,
//! and how fast it wakes up for a request.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use windtunnel_engine::{Engine, Event, PrefixCache, Runtime, runtime::Pending};
use windtunnel_ledger::case::Case;
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::{Metric, Nanos};

use crate::caller::{End, Read, read};
use crate::drive::request;
use crate::{process, traffic};

/// The pause before a single request: long enough for every thread to have gone to sleep.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the first request may take; it bears the one-time costs.
const WARM_UP: Duration = Duration::from_secs(60);

/// Leaves an engine idle for `duration`, then sends it the requests of `case` one at a time.
/// Returns the outputs and the measured values.
///
/// # Errors
///
/// When the engine cannot be started, refuses a request, or fails on one.
pub fn iteration(engine: Engine, case: &Case, duration: Nanos) -> Result<(Vec<Vec<u32>>, Values)> {
    let prompts = traffic::prompts(case, 0, engine.vocabulary());
    let shape = case.shape();
    let runtime = Runtime::start(engine)?;
    let client = runtime.client();
    client.warm_up(WARM_UP)?;

    thread::sleep(PAUSE);
    let (begun, spent) = (Instant::now(), process::cpu_time());
    thread::sleep(Duration::from_nanos(duration.0));
    let spent = process::cpu_time().since(spent);
    let share = spent.seconds() / begun.elapsed().as_secs_f64();

    let mut latencies = Vec::new();
    let mut outputs = Vec::new();
    for prompt in prompts {
        let request = request(prompt, shape.output.0 as usize, PrefixCache::Off);
        thread::sleep(PAUSE);
        let asked = Instant::now();
        let mut response = client.submit(request)?;
        let taken = response.next().context("the engine's thread has died")?;
        let Event::Queued { .. } = taken.event else {
            bail!("the first event of a request was not that it is queued");
        };
        latencies.push(taken.at.saturating_duration_since(asked).as_nanos() as f64);
        let Read { tokens, end } = read(&mut response, usize::MAX)?;
        ensure!(
            end == End::Complete && tokens.len() as u64 == shape.output.0,
            "the engine gave {} of {} tokens and called that finished",
            tokens.len(),
            shape.output.0
        );
        outputs.push(tokens);
    }
    runtime.shutdown(Pending::Finish)?;
    let values = [(Metric::CpuShare, vec![share]), (Metric::WakeUp, latencies)];
    Ok((outputs, values.into_iter().collect()))
}

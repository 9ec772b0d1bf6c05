//! Minutes of requests, a quarter of them given up half-way: what is left behind?

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use windtunnel_engine::runtime::Pending;
use windtunnel_engine::{Client, Engine, Event, Finish, PrefixCache, Response, Runtime};
use windtunnel_ledger::case::Case;
use windtunnel_ledger::record::Digest;
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::{Metric, Nanos};

use crate::drive::request;
use crate::process::{self, Holdings};
use crate::traffic::{Coming, Traffic, coming};

/// Requests whose tokens make the digest: every machine gets as far.
const DIGESTED: usize = 32;
/// Of so many requests one is given up.
const GIVEN_UP: usize = 4;

/// One request under way.
struct UnderWay {
    response: Response,
    /// How many of its tokens are waited for.
    patience: Patience,
}

/// How long a caller stays.
#[derive(Clone, Copy)]
enum Patience {
    /// To the end.
    Endless,
    /// For so many tokens; then it says that it goes.
    Cancels(usize),
    /// For so many tokens; then it is gone.
    Vanishes(usize),
}

/// Keeps `batch` requests under way for `duration`, and says what that gave and what is left.
///
/// # Errors
///
/// When the engine cannot be started, refuses a request, fails on one, or contradicts itself at the
/// end.
pub fn iteration(
    engine: Engine,
    case: &Case,
    traffic: Traffic,
    batch: u32,
    duration: Nanos,
    prefix_cache: PrefixCache,
) -> Result<(Digest, Values)> {
    let mut coming = coming(traffic, case.seed, 0, engine.vocabulary()).enumerate();
    let runtime = Runtime::start(engine)?;
    let client = runtime.client();
    let duration = Duration::from_nanos(duration.0);
    let start = Instant::now();

    let mut under_way = VecDeque::with_capacity(batch as usize);
    let mut digested: Vec<Vec<u32>> = Vec::with_capacity(DIGESTED);
    let mut settled: Option<Holdings> = None;
    let (mut answered, mut tokens) = (0_u64, 0_u64);
    loop {
        while under_way.len() < batch as usize && start.elapsed() < duration {
            let Some((index, coming)) = coming.next() else { break };
            under_way.push_back(ask(&client, index, coming, prefix_cache)?);
        }
        let Some(next) = under_way.pop_front() else { break };
        let output = next.read()?;
        answered += 1;
        tokens += output.len() as u64;
        if digested.len() < DIGESTED {
            digested.push(output);
        }
        if settled.is_none() && start.elapsed() >= duration / 10 {
            settled = process::holdings();
        }
    }
    let time = start.elapsed().as_secs_f64();
    let last = process::holdings();
    let leaked = client.stats()?.blocks_used;
    let engine = runtime.shutdown(Pending::Finish)?;
    engine.check_integrity().map_err(Error::msg).context("the block pool contradicts itself")?;

    let mut values = Values::from([
        (Metric::SystemRate, vec![tokens as f64 / time]),
        (Metric::RequestRate, vec![answered as f64 / time]),
        (Metric::LeakedBlocks, vec![leaked as f64]),
    ]);
    if let (Some(settled), Some(last)) = (settled, last) {
        let growth = |from: u64, to: u64| vec![to as f64 - from as f64];
        values.insert(Metric::RssGrowth, growth(settled.rss.0, last.rss.0));
        values.insert(Metric::ThreadGrowth, growth(settled.threads, last.threads));
        values.insert(Metric::FileGrowth, growth(settled.files, last.files));
    }
    Ok((Digest::of_outputs(digested.iter().map(Vec::as_slice)), values))
}

fn ask(
    client: &Client,
    index: usize,
    coming: Coming,
    prefix_cache: PrefixCache,
) -> Result<UnderWay> {
    let half = coming.output / 2;
    let patience = match index % (2 * GIVEN_UP) {
        n if n == GIVEN_UP - 1 => Patience::Cancels(half),
        n if n == 2 * GIVEN_UP - 1 => Patience::Vanishes(half),
        _ => Patience::Endless,
    };
    let response = client.submit(request(coming.prompt, coming.output, prefix_cache))?;
    Ok(UnderWay { response, patience })
}

impl UnderWay {
    /// Reads the tokens that are waited for.
    fn read(self) -> Result<Vec<u32>> {
        let UnderWay { mut response, patience } = self;
        let mut output = Vec::new();
        let most = match patience {
            Patience::Endless => usize::MAX,
            Patience::Cancels(tokens) | Patience::Vanishes(tokens) => tokens,
        };
        while output.len() < most {
            let Some(stamped) = response.next() else { break };
            match stamped.event {
                Event::Token { token, .. } => output.push(token),
                Event::Finished { finish: Finish::Error(error), .. } => {
                    return Err(Error::msg(error).context("a step of the engine failed"));
                }
                _ => (),
            }
        }
        if let Patience::Cancels(_) = patience {
            response.canceller().cancel();
            let last = response.last();
            let Some(Event::Finished { .. }) = last.map(|stamped| stamped.event) else {
                bail!("a cancelled request was never told that it has ended");
            };
        }
        Ok(output)
    }
}

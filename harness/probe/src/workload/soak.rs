//! Minutes of requests, a quarter of them abandoned half-way: what is leaked?
//!
//! Each caller is a thread that submits, reads and submits again, so that requests are abandoned
//! while the engine works on them. After a tenth of the time all callers stop and everything is
//! counted for the first time; then they resume. Whatever grows from then to the end would grow
//! without bound.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use windtunnel_engine::runtime::Pending;
use windtunnel_engine::{Client, Engine, PrefixCache, Runtime};
use windtunnel_ledger::case::{Case, Shape};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::traffic::Traffic;
use windtunnel_ledger::{Metric, Nanos};

use crate::caller::{End, read};
use crate::drive::request;
use crate::process::{self, Holdings};
use crate::traffic::{Coming, coming};

/// Requests whose tokens make up the digest.
const DIGESTED: usize = 32;
/// One in this many requests is abandoned.
const GIVEN_UP: usize = 4;

/// How long a caller reads.
#[derive(Clone, Copy)]
enum Patience {
    /// To the end.
    Endless,
    /// For this many tokens; then it cancels.
    Cancels(usize),
    /// For this many tokens; then it drops the response.
    Vanishes(usize),
}

/// State shared by all callers.
struct Desk<'a, I> {
    client: Client,
    prefix_cache: PrefixCache,
    open: Mutex<Book<I>>,
    case: &'a Case,
}

/// The record of the requests.
struct Book<I> {
    coming: I,
    /// Requests taken by callers.
    asked: usize,
    /// Requests read to their end.
    completed: u64,
    /// Tokens read.
    tokens: u64,
    /// Requests that were cancelled explicitly, and how many of them had not finished by then.
    cancelled: (u64, u64),
    /// Tokens read of the first requests, by their number.
    first: BTreeMap<usize, Vec<u32>>,
}

/// Keeps the case's batch of requests in flight for `duration`, or longer if a slow machine has not
/// begun all the requests of the digest by then. Returns the tokens read of the first requests, and
/// the rates and leaks of the whole.
///
/// # Errors
///
/// When the engine cannot be started, refuses a request, fails on one or is inconsistent at the
/// end; and when every cancellation came too late to show anything.
pub fn iteration(
    engine: Engine,
    case: &Case,
    traffic: Traffic,
    duration: Nanos,
    prefix_cache: PrefixCache,
) -> Result<(Vec<Vec<u32>>, Values)> {
    let coming = coming(traffic, case.seed, 0, engine.vocabulary()).enumerate();
    let runtime = Runtime::start(engine)?;
    let book = Book {
        coming,
        asked: 0,
        completed: 0,
        tokens: 0,
        cancelled: (0, 0),
        first: BTreeMap::new(),
    };
    let desk = Desk { client: runtime.client(), prefix_cache, open: Mutex::new(book), case };
    let duration = Duration::from_nanos(duration.0);

    let start = Instant::now();
    desk.serve(start + duration / 10, 0)?;
    let served = start.elapsed();
    let settled = count();
    let again = Instant::now();
    desk.serve(start + duration, DIGESTED)?;
    // Excludes the pause for counting, when no requests were in flight.
    let time = (served + again.elapsed()).as_secs_f64();
    let last = count();

    let leaked = desk.client.stats()?.blocks_used;
    let book = desk.open.into_inner().unwrap_or_else(PoisonError::into_inner);
    let engine = runtime.shutdown(Pending::Finish)?;
    engine.check_integrity().map_err(Error::msg).context("the block pool contradicts itself")?;
    let (given_up, early) = book.cancelled;
    ensure!(
        given_up < GIVEN_UP as u64 || early > 0,
        "none of {given_up} cancellations came before the end of its answer: raise `output`"
    );

    let mut values = Values::from([
        (Metric::SystemRate, vec![book.tokens as f64 / time]),
        (Metric::RequestRate, vec![book.completed as f64 / time]),
        (Metric::LeakedBlocks, vec![leaked as f64]),
    ]);
    if let (Some(settled), Some(last)) = (settled, last) {
        values.extend(growth(settled, last));
    }
    Ok((book.first.into_values().collect(), values))
}

/// What the process holds while no request is in flight. Waits a little, because the kernel still
/// lists a thread for a moment after it was joined.
fn count() -> Option<Holdings> {
    thread::sleep(Duration::from_millis(50));
    process::holdings()
}

fn growth(from: Holdings, to: Holdings) -> Values {
    let more = |from: u64, to: u64| vec![to as f64 - from as f64];
    Values::from([
        (Metric::RssGrowth, more(from.rss.0, to.rss.0)),
        (Metric::ThreadGrowth, more(from.threads, to.threads)),
        (Metric::FileGrowth, more(from.files, to.files)),
    ])
}

impl<I: Iterator<Item = (usize, Coming)> + Send> Desk<'_, I> {
    /// Runs all callers until `end` and until they have taken `least` requests in total, and waits
    /// for them to return.
    fn serve(&self, end: Instant, least: usize) -> Result<()> {
        let Shape { batch, .. } = self.case.shape();
        thread::scope(|scope| {
            let caller = |_| {
                let caller = thread::Builder::new().spawn_scoped(scope, || self.call(end, least));
                caller.with_context(|| {
                    format!(
                        "cannot start {batch} callers: lower `batch`, or raise the limit of threads"
                    )
                })
            };
            let callers = (0..batch).map(caller).collect::<Result<Vec<_>>>()?;
            let results = callers.into_iter().map(|caller| match caller.join() {
                Ok(result) => result,
                Err(_) => Err(Error::msg("a caller's thread has died")),
            });
            results.collect()
        })
    }

    /// One caller: submits and reads, again and again.
    fn call(&self, end: Instant, least: usize) -> Result<()> {
        while let Some((index, Coming { prompt, output, .. })) = self.next(end, least) {
            let half = output / 2;
            let patience = match index % (2 * GIVEN_UP) {
                n if n == GIVEN_UP - 1 => Patience::Cancels(half),
                n if n == 2 * GIVEN_UP - 1 => Patience::Vanishes(half),
                _ => Patience::Endless,
            };
            let mut response = self.client.submit(request(prompt, output, self.prefix_cache))?;
            let heard = match patience {
                Patience::Endless => {
                    let heard = read(&mut response, usize::MAX)?;
                    ensure!(
                        heard.tokens.len() == output,
                        "the engine gave {} of {output} tokens and called that finished",
                        heard.tokens.len()
                    );
                    heard
                }
                Patience::Vanishes(tokens) => read(&mut response, tokens)?,
                Patience::Cancels(tokens) => {
                    let heard = read(&mut response, tokens)?;
                    response.canceller().cancel();
                    let rest = read(&mut response, usize::MAX)?;
                    let mut book = self.book();
                    book.cancelled.0 += 1;
                    book.cancelled.1 += u64::from(rest.end == End::Cancelled);
                    heard
                }
            };
            drop(response);
            let mut book = self.book();
            book.completed += u64::from(matches!(patience, Patience::Endless));
            book.tokens += heard.tokens.len() as u64;
            if index < DIGESTED {
                book.first.insert(index, heard.tokens);
            }
        }
        Ok(())
    }

    /// The next request, with its number; none once it is time to stop.
    fn next(&self, end: Instant, least: usize) -> Option<(usize, Coming)> {
        let mut book = self.book();
        let goes_on = Instant::now() < end || book.asked < least;
        let next = goes_on.then(|| book.coming.next())??;
        book.asked += 1;
        Some(next)
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book<I>> {
        // Every entry is independent, so a panic under the lock leaves nothing half-written.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

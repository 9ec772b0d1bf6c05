//! Minutes of requests, a quarter of them given up half-way: what is left behind?
//!
//! Each caller is a thread that asks, reads and asks again, so that who gives up does so while the
//! engine works for him. After a tenth of the time all callers go home and everything is counted for
//! the first time; then they come back. What grows from then on to the end grows without end.

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

/// Requests whose tokens make the digest.
const DIGESTED: usize = 32;
/// Of so many requests one is given up.
const GIVEN_UP: usize = 4;

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

/// What all callers share.
struct Desk<'a, I> {
    client: Client,
    prefix_cache: PrefixCache,
    open: Mutex<Book<I>>,
    case: &'a Case,
}

/// What is written down of the requests.
struct Book<I> {
    coming: I,
    /// Requests that were asked.
    asked: usize,
    /// Requests answered to their end.
    completed: u64,
    /// Tokens read.
    tokens: u64,
    /// Requests that were given up aloud, and those of them that had not ended by then.
    cancelled: (u64, u64),
    /// What was read of the first requests, by their number.
    first: BTreeMap<usize, Vec<u32>>,
}

/// Keeps the case's batch of requests under way for `duration`, and for longer where a slow machine
/// has not begun by then with all those that make the digest. Gives what was read of the first
/// requests, and says what the whole gave and what is left of it.
///
/// # Errors
///
/// When the engine cannot be started, refuses a request, fails on one or contradicts itself at the
/// end; and when the time was too short for what is to be shown.
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
    // While everything was counted, nobody asked.
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

/// What the process holds while nobody asks. The kernel lists a thread for a moment after it was
/// joined.
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
    /// Lets all callers ask until `end` and until `least` requests were asked, and waits until they
    /// have gone home.
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

    /// One caller: asks and reads, again and again.
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

    /// The next request, with its number; none once it is time to go home.
    fn next(&self, end: Instant, least: usize) -> Option<(usize, Coming)> {
        let mut book = self.book();
        let goes_on = Instant::now() < end || book.asked < least;
        let next = goes_on.then(|| book.coming.next())??;
        book.asked += 1;
        Some(next)
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book<I>> {
        // Each entry is a number or a list of its own: half a visit leaves nothing half written.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

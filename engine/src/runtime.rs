//! [`Runtime`]: a thread around an [`Engine`], for callers on other threads.
//!
//! While there is nothing to do, the thread sleeps in a blocking receive: no spinning, no polling.
//! Everything that can concern it (work, cancellation, shutdown) comes through that one channel, so
//! nothing can happen while it sleeps without waking it.
//!
//! ```text
//!   Client ──submit──► channel ──► Engine::step ──events, stamped──► Response
//!   Response, dropped ──cancel──►                (closes after the last event)
//! ```
//!
//! Events are stamped with a time here and not by the engine: all events of a step become known
//! when the step ends, so one reading of the clock suffices, and a step stays a function of what
//! was submitted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::request::{Event, Finish, Request};
use crate::telemetry::Stats;
use crate::terms::Terms;

mod response;
mod server;

use server::{Command, Server};

pub use response::{Canceller, Response, Stamped};

/// An engine on a thread of its own. Dropping it cancels what is pending and waits for the running
/// step.
#[derive(Debug)]
pub struct Runtime {
    client: Client,
    thread: Option<JoinHandle<Engine>>,
}

/// Submits requests to a [`Runtime`], from any thread.
#[derive(Debug, Clone)]
pub struct Client {
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

/// How a shutdown treats requests that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// They are answered to the end.
    Finish,
    /// They end at once with [`Finish::Cancelled`].
    Cancel,
}

/// State that clients and the thread share without messages.
#[derive(Debug)]
struct Shared {
    terms: Terms,
    /// Whether requests are accepted. Locked while one is sent, so that all of them are in the
    /// channel before the shutdown.
    open: Mutex<bool>,
    tickets: AtomicU64,
    /// Iterations of the thread's loop: one per step, one per wake-up, and none while there is
    /// nothing to do. Tests check this.
    turns: AtomicU64,
}

impl Runtime {
    /// Starts a thread that owns `engine`.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] when the system cannot start one.
    pub fn start(engine: Engine) -> Result<Self> {
        let shared = Arc::new(Shared {
            terms: engine.terms().clone(),
            open: Mutex::new(true),
            tickets: AtomicU64::new(0),
            turns: AtomicU64::new(0),
        });
        let (commands, received) = channel();
        let client = Client { commands, shared: Arc::clone(&shared) };
        let server = Server::new(engine);
        let thread = thread::Builder::new()
            .name("windtunnel-engine".into())
            .spawn(move || server.serve(&received, &shared.turns))
            .map_err(Error::Thread)?;
        Ok(Self { client, thread: Some(thread) })
    }

    /// A new client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Accepts no more requests, finishes or cancels those that have not ended, as `pending` says,
    /// and returns the engine, idle. Every response has received its last event, and its channel is
    /// closed.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the thread has died.
    pub fn shutdown(mut self, pending: Pending) -> Result<Engine> {
        self.close(pending).ok_or(Error::Closed)
    }

    fn close(&mut self, pending: Pending) -> Option<Engine> {
        let thread = self.thread.take()?;
        let mut open = self.client.shared.open();
        *open = false;
        // A dead thread needs no message; joining it reveals its death.
        let _ = self.client.commands.send(Command::Shutdown(pending));
        drop(open);
        thread.join().ok()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.close(Pending::Cancel);
    }
}

impl Client {
    /// Submits a request, to be served in the order of arrival. Does not wait for the engine:
    /// whatever can be refused is refused on the caller's thread.
    ///
    /// # Errors
    ///
    /// As [`Engine::submit`], and [`Error::Closed`] after a shutdown.
    pub fn submit(&self, request: Request) -> Result<Response> {
        let accepted = Box::new(self.shared.terms.accept(request)?);
        let ticket = self.shared.tickets.fetch_add(1, Ordering::Relaxed);
        let (replies, events) = channel();
        let open = self.shared.open();
        if !*open {
            return Err(Error::Closed);
        }
        let command = Command::Submit { ticket, accepted, replies };
        self.commands.send(command).map_err(|_| Error::Closed)?;
        Ok(Response::new(events, Canceller::new(ticket, self.commands.clone())))
    }

    /// Runs a one-token prompt for two steps, so that the first user does not pay for one-time work
    /// (first page faults, starting threads).
    ///
    /// # Errors
    ///
    /// [`Error::WarmUpLate`] after `deadline`, which cancels the request; [`Error::WarmUpFailed`]
    /// when the model fails; and the errors of [`submit`](Self::submit).
    pub fn warm_up(&self, deadline: Duration) -> Result<()> {
        let start = Instant::now();
        let mut response = self.submit(Request::exactly(vec![0], 2))?;
        let mut result = Err(Error::Closed);
        loop {
            match response.recv_timeout(deadline.saturating_sub(start.elapsed())) {
                Ok(Stamped { event: Event::Finished { finish, .. }, .. }) => match finish {
                    Finish::Stop | Finish::Length => result = Ok(()),
                    Finish::Error(why) => result = Err(Error::WarmUpFailed(why)),
                    Finish::Cancelled => {}
                },
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(Error::WarmUpLate { deadline }),
                Err(RecvTimeoutError::Disconnected) => return result,
            }
        }
    }

    /// The engine's statistics, after the running step.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after a shutdown.
    pub fn stats(&self) -> Result<Stats> {
        let (reply, stats) = channel();
        self.commands.send(Command::Stats(reply)).map_err(|_| Error::Closed)?;
        stats.recv().map_err(|_| Error::Closed)
    }

    #[cfg(test)]
    fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, bool> {
        // Nothing can panic while the lock is held, and a bool is never half written.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

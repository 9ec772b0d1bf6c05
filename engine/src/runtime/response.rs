//! [`Response`]: the caller's end of a request.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::server::Command;
use crate::request::Event;

/// An event and the time when it became known.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped<E = Event> {
    /// When the engine accepted the request, or when the step that produced the event ended.
    pub at: Instant,
    /// What happened.
    pub event: E,
}

/// The events of one request, as they happen: an iterator that ends after the last event. Dropping
/// it earlier cancels the request, and its blocks are freed before the next step.
///
/// If the last event of a choice is missing, the runtime's thread has died.
#[derive(Debug)]
pub struct Response {
    events: Receiver<Stamped>,
    canceller: Canceller,
    /// Whether all events have been read.
    ended: bool,
}

/// Cancels one request or one of its choices, from any thread.
#[derive(Debug, Clone)]
pub struct Canceller {
    ticket: u64,
    commands: Sender<Command>,
}

impl Response {
    pub(super) const fn new(events: Receiver<Stamped>, canceller: Canceller) -> Self {
        Self { events, canceller, ended: false }
    }

    /// The next event, if it comes within `timeout`.
    ///
    /// # Errors
    ///
    /// Timeout if none has come, Disconnected if there are no more.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Stamped, RecvTimeoutError> {
        let result = self.events.recv_timeout(timeout);
        self.ended |= result == Err(RecvTimeoutError::Disconnected);
        result
    }

    /// Cancels the request while somebody else reads the response.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }
}

impl Iterator for Response {
    type Item = Stamped;

    fn next(&mut self) -> Option<Stamped> {
        let event = self.events.recv().ok();
        self.ended |= event.is_none();
        event
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        if !self.ended {
            self.canceller.cancel();
        }
    }
}

impl Canceller {
    pub(super) const fn new(ticket: u64, commands: Sender<Command>) -> Self {
        Self { ticket, commands }
    }

    /// Ends the request before the next step; its response says so and closes. Does nothing if it
    /// has already ended.
    pub fn cancel(&self) {
        // Without a thread there is nothing left to cancel.
        let _ = self.commands.send(Command::Cancel(self.ticket));
    }

    /// Ends one choice of the request before the next step; the others go on. Does nothing if it
    /// has already ended.
    pub fn cancel_choice(&self, choice: usize) {
        let _ = self.commands.send(Command::CancelChoice(self.ticket, choice));
    }
}

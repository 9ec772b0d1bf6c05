//! [`Response`]: the caller's end of a request.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::server::Command;
use crate::request::Event;

/// An event, and when it became known.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped<E = Event> {
    /// When the engine had taken the request, or when the step that made the event had ended.
    pub at: Instant,
    /// What happened.
    pub event: E,
}

/// What happens to one request, as it happens: an iterator that ends after the last event. Dropped
/// before, it cancels the request, and its blocks come back before the next step.
///
/// When the last event of a choice is missing, the thread of the runtime has died.
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
    /// Timeout when none has come, Disconnected when there are no more.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Stamped, RecvTimeoutError> {
        let result = self.events.recv_timeout(timeout);
        self.ended |= result == Err(RecvTimeoutError::Disconnected);
        result
    }

    /// What cancels the request while somebody else reads the response.
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

    /// Ends the request before the next step; its response says so and closes. Nothing happens
    /// when it has ended already.
    pub fn cancel(&self) {
        // Without a thread there is nothing left to cancel.
        let _ = self.commands.send(Command::Cancel(self.ticket));
    }

    /// Ends one choice of the request before the next step, and spares the others. Nothing happens
    /// when it has ended already.
    pub fn cancel_choice(&self, choice: usize) {
        let _ = self.commands.send(Command::CancelChoice(self.ticket, choice));
    }
}

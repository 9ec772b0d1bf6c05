//! [`Server`]: the loop on the engine's thread.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use super::{Pending, Stamped};
use crate::engine::Engine;
use crate::faults;
use crate::request::{Event, RequestId};
use crate::telemetry::Stats;
use crate::terms::Accepted;

/// A message to the thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve a request.
    Submit { ticket: u64, accepted: Box<Accepted>, replies: Sender<Stamped> },
    /// Cancel the request with this ticket.
    Cancel(u64),
    /// Cancel one choice of the request with this ticket.
    CancelChoice(u64, usize),
    /// Send the statistics.
    Stats(Sender<Stats>),
    /// End; no request follows.
    Shutdown(Pending),
}

/// The engine and the callers that wait for its answers.
pub(super) struct Server {
    engine: Engine,
    callers: HashMap<RequestId, Caller>,
    closing: bool,
}

struct Caller {
    ticket: u64,
    replies: Sender<Stamped>,
    /// Choices that have not ended.
    open: usize,
}

impl Server {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, callers: HashMap::new(), closing: false }
    }

    /// Works until told to end, then returns the engine.
    pub(super) fn serve(mut self, commands: &Receiver<Command>, turns: &AtomicU64) -> Engine {
        loop {
            let waker = match self.engine.is_idle() {
                true if self.closing => break,
                true => match faults::heard(commands) {
                    Ok(command) => Some(command),
                    Err(_) => break,
                },
                false => None,
            };
            turns.fetch_add(1, Ordering::Relaxed);
            let overslept = faults::overslept(waker.as_ref(), commands);
            for command in waker.into_iter().chain(overslept).chain(commands.try_iter()) {
                self.obey(command);
            }
            if !self.engine.is_idle() {
                let step = self.engine.step();
                self.tell(step.events);
            }
        }
        self.engine
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit { ticket, accepted, replies } => {
                let open = accepted.choices();
                let request = self.engine.enqueue(*accepted);
                self.callers.insert(request, Caller { ticket, replies, open });
                self.tell(vec![Event::Queued { request }]);
            }
            Command::Cancel(ticket) => {
                if let Some(request) = self.find(ticket) {
                    let events = self.engine.cancel(request);
                    self.tell(events);
                }
            }
            Command::CancelChoice(ticket, choice) => {
                let request = self.find(ticket);
                let event = request.and_then(|id| self.engine.cancel_choice(id, choice));
                self.tell(event.into_iter().collect());
            }
            // A caller that stopped waiting for the answer does not miss it.
            Command::Stats(reply) => drop(reply.send(self.engine.stats())),
            Command::Shutdown(pending) => {
                self.closing = true;
                if pending == Pending::Cancel {
                    let requests: Vec<_> = self.callers.keys().copied().collect();
                    for request in requests {
                        let events = self.engine.cancel(request);
                        self.tell(events);
                    }
                }
            }
        }
    }

    /// The request with this ticket, unless it has ended.
    fn find(&self, ticket: u64) -> Option<RequestId> {
        let caller = self.callers.iter().find(|(_, caller)| caller.ticket == ticket);
        caller.map(|(&request, _)| request)
    }

    /// Passes events on, and closes the channel of each request that has ended.
    fn tell(&mut self, events: Vec<Event>) {
        let at = Instant::now();
        for event in events {
            let request = event.request();
            let Some(caller) = self.callers.get_mut(&request) else { continue };
            caller.open -= usize::from(matches!(event, Event::Finished { .. }));
            let ended = caller.open == 0;
            // A dropped response has already sent its cancellation.
            let _ = caller.replies.send(Stamped { at, event });
            if ended {
                self.callers.remove(&request);
            }
        }
    }
}

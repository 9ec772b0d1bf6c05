//! [`Answer`]: the caller's end of a text request.

use super::TextEvent;
use super::reading::Reading;
use crate::error::{Error, Result};
use crate::request::{Event, Finish, Usage};
use crate::runtime::{Canceller, Response, Stamped};
use crate::text::Stream;

/// The events of one request, as they happen: an iterator that ends after the last event. Dropping
/// it earlier cancels the request, and its blocks are freed before the next step.
///
/// The texts of a choice add up to the decode of all its tokens, or to the text before its stop
/// string. Each event has the time at which the [`Runtime`](crate::Runtime) stamped it. If the last
/// event of a choice is missing, the runtime's thread has died.
pub struct Answer {
    response: Response,
    /// One per choice; `None` after its end.
    readings: Vec<Option<Reading>>,
}

/// One complete choice of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Its text: of all tokens, or up to a stop string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Index of the stop string that ended it.
    pub stop_string: Option<usize>,
    /// Its token counts.
    pub usage: Usage,
}

impl Answer {
    /// Each choice starts with a copy of `stream`.
    pub(super) fn new(response: Response, stream: Stream, choices: usize) -> Self {
        Self { response, readings: vec![Some(Reading::new(stream)); choices] }
    }

    /// Cancels the request while somebody else reads the answer.
    pub fn canceller(&self) -> Canceller {
        self.response.canceller()
    }

    /// Waits for the end of every choice.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the runtime's thread has died.
    pub fn complete(self) -> Result<Vec<Completion>> {
        let mut texts = vec![(Vec::new(), String::new()); self.readings.len()];
        let mut completions = vec![None; self.readings.len()];
        for Stamped { event, .. } in self {
            match event {
                TextEvent::Queued | TextEvent::PromptDone { .. } => {}
                TextEvent::Token { choice, token, text, .. } => {
                    texts[choice].0.push(token);
                    texts[choice].1 += &text;
                }
                TextEvent::Finished { choice, rest, finish, stop_string, usage } => {
                    let (tokens, text) = std::mem::take(&mut texts[choice]);
                    let text = text + &rest;
                    completions[choice] =
                        Some(Completion { tokens, text, finish, stop_string, usage });
                }
            }
        }
        completions.into_iter().collect::<Option<_>>().ok_or(Error::Closed)
    }

    /// `event` as text; `None` for a token after the end of its text.
    fn read(&mut self, event: Event) -> Option<TextEvent> {
        match event {
            Event::Queued { .. } => Some(TextEvent::Queued),
            Event::PromptDone { choice, cached, .. } => {
                Some(TextEvent::PromptDone { choice, cached })
            }
            Event::Token { choice, token, logprobs, .. } => {
                let reading = self.readings[choice].as_mut().filter(|text| !text.has_ended())?;
                let text = reading.push(token);
                if reading.has_ended() {
                    self.response.canceller().cancel_choice(choice);
                }
                Some(TextEvent::Token { choice, token, text, logprobs })
            }
            Event::Finished { choice, finish, usage, .. } => {
                let reading = self.readings[choice].take()?;
                Some(reading.finish(choice, finish, usage))
            }
        }
    }
}

impl Iterator for Answer {
    type Item = Stamped<TextEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Stamped { at, event } = self.response.next()?;
            if let Some(event) = self.read(event) {
                return Some(Stamped { at, event });
            }
        }
    }
}

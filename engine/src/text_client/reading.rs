//! [`Reading`]: the text of one choice, as its tokens arrive.

use super::TextEvent;
use crate::request::{Finish, Usage};
use crate::text::Stream;

/// The state of the text of one choice.
#[derive(Clone)]
pub(super) struct Reading {
    stream: Stream,
    /// Number of tokens read.
    tokens: usize,
    ending: Option<Ending>,
}

/// How a text ended before its tokens did. Tokens after it are not read.
#[derive(Clone)]
struct Ending {
    finish: Finish,
    stop_string: Option<usize>,
}

impl Reading {
    pub(super) const fn new(stream: Stream) -> Self {
        Self { stream, tokens: 0, ending: None }
    }

    /// Whether no more text will come.
    pub(super) const fn has_ended(&self) -> bool {
        self.ending.is_some()
    }

    /// The text that became certain with `token`.
    pub(super) fn push(&mut self, token: u32) -> String {
        self.tokens += 1;
        match self.stream.push(token) {
            Ok(delta) => {
                let stopped = |stop| Ending { finish: Finish::Stop, stop_string: Some(stop) };
                self.ending = delta.stop.map(stopped);
                delta.text
            }
            Err(failure) => {
                self.ending =
                    Some(Ending { finish: Finish::Error(failure.to_string()), stop_string: None });
                String::new()
            }
        }
    }

    /// The last event, after the tokens of `choice` have ended with `finish` and `usage`.
    pub(super) fn finish(self, choice: usize, finish: Finish, usage: Usage) -> TextEvent {
        let Self { stream, tokens, ending } = self;
        if let Some(Ending { finish, stop_string }) = ending {
            // The engine may have been a few tokens ahead.
            let usage = Usage { generated: tokens, ..usage };
            return TextEvent::Finished { choice, rest: String::new(), finish, stop_string, usage };
        }
        let (rest, finish, stop_string) = match stream.finish() {
            Ok(rest) => match rest.stop {
                Some(stop) => (rest.text, Finish::Stop, Some(stop)),
                None => (rest.text, finish, None),
            },
            Err(failure) => (String::new(), Finish::Error(failure.to_string()), None),
        };
        TextEvent::Finished { choice, rest, finish, stop_string, usage }
    }
}

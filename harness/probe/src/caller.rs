//! Reads the answers of a runtime.

use anyhow::{Error, Result, bail};
use windtunnel_engine::{Event, Finish, Response};

/// The part of an answer that a caller has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The tokens, in order.
    pub tokens: Vec<u32>,
    /// Whether and how the answer has ended.
    pub end: End,
}

/// Whether and how an answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on.
    Open,
    /// It has all its tokens.
    Complete,
    /// It was cancelled.
    Cancelled,
}

/// Reads `response` to its end, or until it has `most` tokens.
///
/// # Errors
///
/// When the engine failed on the request, or its thread has died.
pub fn read(response: &mut Response, most: usize) -> Result<Read> {
    let mut tokens = Vec::new();
    while tokens.len() < most {
        let Some(stamped) = response.next() else { bail!("the engine's thread has died") };
        match stamped.event {
            Event::Token { token, .. } => tokens.push(token),
            Event::Finished { finish, .. } => {
                let end = match finish {
                    Finish::Stop | Finish::Length => End::Complete,
                    Finish::Cancelled => End::Cancelled,
                    Finish::Error(error) => {
                        return Err(Error::msg(error).context("a step of the engine failed"));
                    }
                };
                return Ok(Read { tokens, end });
            }
            Event::Queued { .. } | Event::PromptDone { .. } => (),
        }
    }
    Ok(Read { tokens, end: End::Open })
}

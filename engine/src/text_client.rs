//! [`TextClient`]: text in, text out, for callers on any thread.
//!
//! Encoding, decoding and the search for stop strings run on the thread that asks and reads, with a
//! [`Text`]; the engine's thread sees only ids, and the steps of other requests never wait for
//! anybody's text.
//!
//! ```text
//!   TextRequest ──encode──► Request ──► Runtime ──► Event ──decode──► TextEvent
//!                                          ▲                             │
//!                                          └───cancel the choice─── stop string
//! ```
//!
//! ```no_run
//! use windtunnel_engine::text::{Prompt, Text};
//! use windtunnel_engine::{
//!     Engine, EngineConfig, Eos, PrefixCache, Result, Runtime, Sampling, TextClient, TextEvent,
//!     TextRequest, Truncation,
//! };
//!
//! # fn story(config: &EngineConfig) -> Result<String> {
//! let runtime = Runtime::start(Engine::load(config)?)?;
//! let client = TextClient::new(runtime.client(), Text::open(&config.model)?);
//! let answer = client.ask(TextRequest {
//!     prompt: Prompt::Text("Once upon a time".into()),
//!     max_tokens: Some(100),
//!     sampling: Sampling { temperature: 0.8, ..Sampling::GREEDY },
//!     stop: Vec::new(),
//!     stop_strings: vec!["\n\n".into()],
//!     eos: Eos::Stop,
//!     truncation: Truncation::Refuse,
//!     choices: 1,
//!     prefix_cache: PrefixCache::On,
//! })?;
//! let mut story = String::new();
//! for stamped in answer {
//!     match stamped.event {
//!         TextEvent::Token { text, .. } => story += &text,
//!         TextEvent::Finished { rest, .. } => story += &rest,
//!         TextEvent::Queued | TextEvent::PromptDone { .. } => {}
//!     }
//! }
//! # Ok(story) }
//! ```

use std::sync::Arc;

use crate::config::PrefixCache;
use crate::error::Result;
use crate::request::{Eos, Finish, Request, Truncation, Usage};
use crate::runtime::Client;
use crate::sampler::{Logprobs, Sampling};
use crate::text::{Prompt, Text};

mod answer;
mod reading;

pub use answer::{Answer, Completion};

/// Asks a [`Runtime`](crate::Runtime) in text, from any thread.
#[derive(Clone)]
pub struct TextClient {
    client: Client,
    text: Arc<Text>,
}

/// One prompt and how to continue it, as text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRequest {
    /// The text to continue or to answer.
    pub prompt: Prompt,
    /// Most tokens to generate; without it, up to the longest sequence.
    pub max_tokens: Option<usize>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Ids that end a choice, beside the model's own end-of-sequence ids.
    pub stop: Vec<u32>,
    /// Texts that end a choice. The answer ends before them, however they are tokenised. A special
    /// token, such as `<|im_end|>`, has no text in an answer: it ends a choice as if it were in
    /// `stop`.
    pub stop_strings: Vec<String>,
    /// What the model's own end-of-sequence ids do, including those of its tokenizer.
    pub eos: Eos,
    /// What happens to a prompt that is too long.
    pub truncation: Truncation,
    /// How many answers to generate; see [`Request::choices`].
    pub choices: usize,
    /// Whether the request reuses what earlier ones computed, and lets later ones reuse it.
    pub prefix_cache: PrefixCache,
}

/// Something that happened to a text request.
#[derive(Debug, Clone, PartialEq)]
pub enum TextEvent {
    /// It was accepted and waits for its turn.
    Queued,
    /// All of its prompt is in the cache; its first token follows.
    PromptDone {
        /// Which of the request's choices.
        choice: usize,
        /// Tokens of the prompt that were already in the cache and not computed.
        cached: usize,
    },
    /// One more token; never a stop token, and none after a stop string.
    Token {
        /// Which of the request's choices.
        choice: usize,
        /// Its id.
        token: u32,
        /// The text that became certain with it: empty while a character is incomplete or a stop
        /// string may have begun.
        text: String,
        /// How likely the model found it, if the request asked for that.
        logprobs: Option<Logprobs>,
    },
    /// The last event of one choice. Its blocks are free.
    Finished {
        /// Which of the request's choices.
        choice: usize,
        /// The rest of its text, which had been held back.
        rest: String,
        /// Why.
        finish: Finish,
        /// Index of the stop string that ended it; [`Finish::Stop`] without one is a stop token.
        stop_string: Option<usize>,
        /// Its token counts, up to the token that completed a stop string.
        usage: Usage,
    },
}

impl TextClient {
    /// Joins a runtime's client with the [`Text`] of the same model.
    pub fn new(client: Client, text: Text) -> Self {
        Self { client, text: Arc::new(text) }
    }

    /// Submits a request, to be served in the order of arrival. Does not wait for the engine:
    /// whatever can be refused is refused here.
    ///
    /// # Errors
    ///
    /// As [`Text::encode`], [`Text::stream`] and [`Client::submit`].
    pub fn ask(&self, request: TextRequest) -> Result<Answer> {
        let TextRequest {
            prompt,
            max_tokens,
            sampling,
            mut stop,
            stop_strings,
            eos,
            truncation,
            choices,
            prefix_cache,
        } = request;
        let prompt = self.text.encode(prompt)?;
        match eos {
            Eos::Stop => stop.extend_from_slice(self.text.eos()),
            Eos::Ignore => {}
        }
        stop.extend(self.text.stop_tokens(&stop_strings));
        let stream = self.text.stream(&stop_strings)?;
        let response = self.client.submit(Request {
            prompt,
            max_tokens,
            sampling,
            stop,
            eos,
            truncation,
            choices,
            prefix_cache,
        })?;
        Ok(Answer::new(response, stream, choices))
    }
}

#[cfg(test)]
mod tests;

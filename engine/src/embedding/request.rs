//! [`EmbedRequest`]: what an embedder can be asked, and what it refuses.

/// One sequence to embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedRequest {
    /// Token ids, including the model's special tokens.
    pub tokens: Vec<u32>,
    /// What happens if there are too many.
    pub overlong: Overlong,
}

/// What happens to a sequence that is longer than the model allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlong {
    /// It is an error.
    Refuse,
    /// Only its head is kept. A [`Reader`](super::Reader) also keeps the special tokens at its end.
    KeepHead,
}

/// Why a request cannot be embedded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// A request without tokens.
    #[error("it is empty; give it at least one token")]
    Empty,
    /// More tokens than the model allows.
    #[error(
        "it has {tokens} tokens, but at most {limit} are read; shorten it or ask for truncation"
    )]
    TooLong {
        /// Tokens in the request.
        tokens: usize,
        /// Tokens allowed.
        limit: usize,
    },
    /// A token outside the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocabulary}; ids are below that number")]
    UnknownToken {
        /// The offending id.
        token: u32,
        /// Number of ids that exist.
        vocabulary: usize,
    },
    /// The model produced a value that is not finite.
    #[error(
        "the model produced a vector that is not finite; choose a dtype of wider range (`f32` or `bf16`), or check its weights"
    )]
    NotFinite,
}

/// What a request must satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Number of token ids.
    pub(super) vocabulary: usize,
    /// Most tokens in a sequence, at least 1.
    pub(super) longest: usize,
}

impl EmbedRequest {
    /// The tokens to compute.
    pub(super) fn accepted(&self, limits: Limits) -> Result<&[u32], InputError> {
        let Limits { vocabulary, longest } = limits;
        let tokens = match self.overlong {
            Overlong::KeepHead => &self.tokens[..self.tokens.len().min(longest)],
            Overlong::Refuse if self.tokens.len() > longest => {
                return Err(InputError::TooLong { tokens: self.tokens.len(), limit: longest });
            }
            Overlong::Refuse => &self.tokens,
        };
        if tokens.is_empty() {
            return Err(InputError::Empty);
        }
        match tokens.iter().find(|&&token| token as usize >= vocabulary) {
            Some(&token) => Err(InputError::UnknownToken { token, vocabulary }),
            None => Ok(tokens),
        }
    }
}

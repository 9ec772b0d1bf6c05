//! Everything that can go wrong, as data: what, where, and what to do about it.

use std::path::PathBuf;

use crate::cuda::Fault;
use crate::embedding::InputError;
use crate::placement::{Exhausted, PlacementError};
use crate::quant::QuantType;
use crate::text::TextError;
use crate::weights::GgufError;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of loading, of a request, or of a computation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model cannot be opened or parsed.
    #[error("cannot load `{}`: {problem}", path.display())]
    Load {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system or the parser reported.
        problem: String,
    },
    /// The weights lack a tensor that the architecture needs.
    #[error(
        "`{file}` has no tensor `{tensor}` (needed with shape {expected:?}); check that `config.json` belongs to these weights"
    )]
    MissingTensor {
        /// Where it was expected.
        file: String,
        /// Full name of the tensor.
        tensor: String,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor's shape is not the one that the configuration implies.
    #[error(
        "`{file}`: tensor `{tensor}` has shape {found:?}, but `config.json` implies {expected:?}"
    )]
    WrongShape {
        /// The file that holds it.
        file: String,
        /// Full name of the tensor.
        tensor: String,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor is stored in a type that cannot be used as a weight.
    #[error(
        "`{file}`: tensor `{tensor}` has dtype {found}, expected one of {expected}; convert the checkpoint first"
    )]
    WrongDtype {
        /// The file that holds it.
        file: String,
        /// Full name of the tensor.
        tensor: String,
        /// The types that can be read.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A GGUF file that cannot be used.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A matrix that is already quantised was to be quantised again.
    #[error(
        "tensor `{tensor}` is already stored in {stored} and cannot be quantised again to {asked}; leave out {setting}, or load unquantised weights"
    )]
    QuantisedTwice {
        /// Full name of the tensor.
        tensor: String,
        /// Its format.
        stored: QuantType,
        /// The format that was asked for.
        asked: QuantType,
        /// The setting that asked for it.
        setting: &'static str,
    },
    /// `config.json` can be read, but its values make no sense.
    #[error("`{file}`: {problem}")]
    ModelConfig {
        /// The file, or the name of the preset.
        file: String,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// No loader is registered for the listed `architectures`.
    #[error(
        "`{file}`: no loader for architectures {found:?}; supported: {}", known.join(", ")
    )]
    UnknownArchitecture {
        /// The file, or the name of the preset.
        file: String,
        /// What the file lists.
        found: Vec<String>,
        /// What the registry contains.
        known: Vec<&'static str>,
    },
    /// An embedding model where a generative one is needed.
    #[error(
        "{model} is an embedding model and generates no text; load it as an embedder, or choose a model whose folder has no sentence-transformers files"
    )]
    Embeds {
        /// The folder or the preset.
        model: String,
    },
    /// A generative model where an embedding model is needed.
    #[error(
        "{model} generates text and is not an embedding model; load it as an engine, or choose a model whose folder has a `modules.json`"
    )]
    Continues {
        /// The folder or the preset.
        model: String,
    },
    /// A preset name that does not exist.
    #[error("no preset `{name}`; choose one of {}", known.join(", "))]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: Vec<&'static str>,
    },
    /// An attention backend name that does not exist.
    #[error("no attention backend `{name}`; choose one of {}", known.join(", "))]
    UnknownAttention {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: Vec<&'static str>,
    },
    /// A combination that exists but cannot run here.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Devices that do not exist, or that the model does not fit on.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// An accelerator ran out of memory.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// A GPU failed while working.
    #[error("a GPU failed: {fault} ({cause})")]
    Gpu {
        /// What it means, and what to do.
        fault: Fault,
        /// What its driver reported.
        cause: String,
    },
    /// A configuration value contradicts another one or the model.
    #[error("`{setting}` is {value}, {problem}")]
    Setting {
        /// The configuration field.
        setting: &'static str,
        /// The value given.
        value: String,
        /// Why it cannot work, and what would.
        problem: String,
    },
    /// A request with an empty prompt.
    #[error("the prompt is empty; give it at least one token")]
    EmptyPrompt,
    /// A request that may not generate any token.
    #[error("`max_tokens` is 0; ask for at least one token")]
    NothingAsked,
    /// A request for zero continuations.
    #[error("`choices` is 0; ask for at least one")]
    NoChoices,
    /// A request for more continuations than are allowed.
    #[error("`choices` is {choices}, but a request has at most {limit}; send several requests")]
    TooManyChoices {
        /// The number asked for.
        choices: usize,
        /// The largest number accepted.
        limit: usize,
    },
    /// A prompt token outside the vocabulary.
    #[error(
        "prompt token {token} is outside the vocabulary of {vocabulary}; ids are below that number"
    )]
    UnknownToken {
        /// The offending id.
        token: u32,
        /// Number of ids that exist.
        vocabulary: usize,
    },
    /// An invalid value of [`Sampling`](crate::Sampling).
    #[error("`{parameter}` is {value}, {problem}")]
    Sampling {
        /// The field.
        parameter: &'static str,
        /// The value given.
        value: String,
        /// Why it cannot work, and what would.
        problem: String,
    },
    /// Text that cannot be tokenised, or ids that cannot be decoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A prompt that leaves no room for a new token.
    #[error(
        "the prompt has {tokens} tokens, but at most {limit} fit beside one new token; shorten it or ask for truncation"
    )]
    TooLong {
        /// Length of the prompt.
        tokens: usize,
        /// Longest accepted prompt.
        limit: usize,
    },
    /// A request that could not finish even with the whole cache to itself.
    #[error(
        "the request needs {tokens} cached tokens ({needed} blocks of {block}), but the cache has {blocks} blocks; set `max_tokens` lower, lower `max_sequence_length`, or raise `kv_tokens`"
    )]
    PoolTooSmall {
        /// Cached tokens when the request is longest.
        tokens: usize,
        /// Blocks for that many tokens.
        needed: usize,
        /// Blocks that exist.
        blocks: usize,
        /// Tokens per block.
        block: usize,
    },
    /// A request that cannot be embedded.
    #[error("input {index}: {problem}")]
    Input {
        /// Which request of the batch, counted from 0.
        index: usize,
        /// What is wrong with it.
        problem: InputError,
    },
    /// A prompt name that the model's files do not define.
    #[error(
        "no prompt `{name}` in `config_sentence_transformers.json`; choose one of {known:?}, or use none"
    )]
    UnknownPrompt {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A runtime's thread could not be started.
    #[error("cannot start the engine's thread: {0}")]
    Thread(std::io::Error),
    /// The runtime was shut down, or its thread has died.
    #[error("the runtime was shut down, or its thread has died; start another one")]
    Closed,
    /// The warm-up request was not answered in time.
    #[error(
        "the warm-up request was not answered within {deadline:?}; allow more time or choose a smaller model"
    )]
    WarmUpLate {
        /// The time allowed.
        deadline: std::time::Duration,
    },
    /// The warm-up request failed.
    #[error("the warm-up request failed: {0}")]
    WarmUpFailed(String),
    /// Scoring was requested while requests are waiting or running.
    #[error("the engine has requests that have not ended; finish or cancel them before scoring")]
    Busy,
    /// The model failed on a text being scored.
    #[error("the model failed on this text: {0}")]
    Scoring(String),
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[source] candle_core::Error),
}

impl From<candle_core::Error> for Error {
    /// Drops the backtrace that candle collects if an environment variable asks for one: messages
    /// are for people, and records must not depend on the environment.
    fn from(mut error: candle_core::Error) -> Self {
        while let candle_core::Error::WithBacktrace { inner, .. } = error {
            error = *inner;
        }
        Self::Tensor(error)
    }
}

impl Error {
    /// Translates a GPU failure into what it means, calling `exhausted` for the state of memory if
    /// it ran out; any other error is returned unchanged.
    #[must_use]
    pub(crate) fn of_device(self, exhausted: impl FnOnce() -> Exhausted) -> Self {
        let Self::Tensor(error) = &self else { return self };
        let cause = error.to_string();
        // Only device errors name a driver's result codes.
        match Fault::of(&cause) {
            Fault::OutOfMemory => Self::Exhausted(exhausted()),
            Fault::Other(_) => self,
            fault => Self::Gpu { fault, cause },
        }
    }
}

/// Why something that exists cannot be used here, and what to use instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot run {which}; {remedy}")]
pub struct Unsupported {
    /// What declines: a backend, a model family.
    pub what: String,
    /// What it cannot run.
    pub which: String,
    /// What to choose instead.
    pub remedy: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Wanted;

    #[test]
    fn what_a_device_complains_of_is_told_with_what_it_means() {
        let told = |complaint: &str| {
            let error = Error::from(candle_core::Error::Cuda(complaint.into()));
            let nothing = || Exhausted { wanted: Wanted::Step, devices: Vec::new() };
            error.of_device(nothing).to_string()
        };
        insta::assert_snapshot!(told("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"…\")"), @r#"a GPU failed: a kernel crashed on it, and this process can no longer use it; start again, under `compute-sanitizer` to learn where it crashed (DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, "…"))"#);
        insta::assert_snapshot!(told("CublasError(CUBLAS_STATUS_ALLOC_FAILED)"), @"out of memory for a step; lower `max_step_tokens` or `max_sequences`, or make the cache smaller");
        insta::assert_snapshot!(told("no such layer"), @"tensor operation failed: no such layer");
    }

    #[test]
    fn a_message_is_one_sentence_whatever_the_environment_asks_for() {
        let inner = Box::new(candle_core::Error::Msg("no such layer".into()));
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let error = Error::from(candle_core::Error::WithBacktrace { inner, backtrace });
        assert_eq!(error.to_string(), "tensor operation failed: no such layer");
    }
}

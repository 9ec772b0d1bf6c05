//! [`Failure`]: why a round did not run to completion.

use serde::{Deserialize, Serialize};

use crate::holding::Occupied;
use crate::unit::Nanos;

/// Why a round did not run to completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The subject could not be built.
    #[error("the build failed")]
    Build {
        /// The end of what cargo printed.
        tail: String,
    },
    /// The child could not be started.
    #[error("the probe could not be started: {error}")]
    Start {
        /// What the system said.
        error: String,
    },
    /// The probe speaks another protocol.
    #[error(
        "the probe speaks protocol {found}, this `windtunnel` speaks {expected}: build both from revisions that agree"
    )]
    Protocol {
        /// What it speaks.
        found: u32,
        /// What was expected.
        expected: u32,
    },
    /// The engine reported an error.
    #[error("{error}")]
    Engine {
        /// The error, with its causes.
        error: String,
    },
    /// The child exited before it had sent `end`.
    #[error("the probe crashed ({status})")]
    Crashed {
        /// Exit code or signal, in words.
        status: String,
        /// The end of its stderr.
        tail: String,
    },
    /// The kernel killed the child because memory ran out.
    #[error("the kernel ran out of memory and killed the probe")]
    OutOfMemory {
        /// The end of its stderr.
        tail: String,
    },
    /// An accelerator ran out of memory.
    #[error("{error}")]
    Exhausted {
        /// The engine's message, which says what to do.
        error: String,
        /// The memory of each accelerator at that moment.
        devices: Vec<Occupied>,
    },
    /// The child was killed at its deadline.
    #[error("not finished after {deadline}: killed")]
    TimedOut {
        /// The deadline.
        deadline: Nanos,
        /// The end of its stderr.
        tail: String,
    },
    /// The child reported the end without having done everything.
    #[error("the probe reported the end after {found} of {expected} iterations")]
    Incomplete {
        /// Iterations that it sent.
        found: usize,
        /// Iterations of the case, warm-up included.
        expected: usize,
    },
    /// The child reported the end, but did not exit.
    #[error("the probe had finished but did not exit within {grace}: killed")]
    Lingered {
        /// How long it was given to exit.
        grace: Nanos,
        /// The end of its stderr.
        tail: String,
    },
    /// The child wrote something that is not a message.
    #[error("the probe wrote a line that is not a message: `{line}`")]
    Garbage {
        /// The line, cut to a readable length.
        line: String,
        /// The end of its stderr.
        tail: String,
    },
}

impl Failure {
    /// Whether it ran out of memory, on the machine or on a device: the kernel killed it, the
    /// engine says so, or an allocation failed and it aborted.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Failure::OutOfMemory { .. } | Failure::Exhausted { .. } => true,
            Failure::Engine { error } => {
                let error = error.to_lowercase();
                ["out of memory", "out_of_memory"].iter().any(|words| error.contains(words))
            }
            // What Rust's allocator prints when it aborts.
            Failure::Crashed { tail, .. } => {
                tail.contains("memory allocation of") && tail.contains("bytes failed")
            }
            Failure::Build { .. }
            | Failure::Start { .. }
            | Failure::Protocol { .. }
            | Failure::TimedOut { .. }
            | Failure::Incomplete { .. }
            | Failure::Lingered { .. }
            | Failure::Garbage { .. } => false,
        }
    }

    /// The end of what the failing process printed, if there was any.
    #[must_use]
    pub fn tail(&self) -> Option<&str> {
        match self {
            Failure::Build { tail }
            | Failure::Crashed { tail, .. }
            | Failure::OutOfMemory { tail }
            | Failure::TimedOut { tail, .. }
            | Failure::Lingered { tail, .. }
            | Failure::Garbage { tail, .. } => Some(tail.as_str()).filter(|tail| !tail.is_empty()),
            Failure::Start { .. }
            | Failure::Protocol { .. }
            | Failure::Engine { .. }
            | Failure::Exhausted { .. }
            | Failure::Incomplete { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_memory_is_known_whoever_tells_it() {
        let engine = |error: &str| Failure::Engine { error: error.into() };
        let crashed =
            |tail: &str| Failure::Crashed { status: "signal 6".into(), tail: tail.into() };
        for failure in [
            Failure::OutOfMemory { tail: String::new() },
            Failure::Exhausted { error: "no room".into(), devices: Vec::new() },
            engine("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"),
            engine("cannot make the KV pool: out of memory"),
            crashed("a line\nmemory allocation of 8589934592 bytes failed"),
        ] {
            assert!(failure.is_out_of_memory(), "{failure:?}");
        }
        let others = [engine("no such file"), crashed("index out of bounds")];
        assert!(others.iter().all(|failure| !failure.is_out_of_memory()));
    }
}

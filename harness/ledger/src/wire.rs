//! What the CLI and a probe say to one another: JSON lines, numbered by [`PROTOCOL`].
//!
//! The CLI writes one [`Order`] to the probe's stdin and leaves it open: a probe that reads its end
//! knows that nobody waits for it any more, and exits. The probe answers on stdout with
//! [`Message`]s: `hello` first, then what it measured as soon as it has it, and `end` last. Without
//! `end` a round is incomplete, whatever came before. What a probe writes to stderr is for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attribution::Work;
use crate::case::{Case, Dtype};
use crate::counter::Counts;
use crate::environment::Build;
use crate::holding::{Holding, Occupied};
use crate::metric::Metric;
use crate::precision::Stopped;
use crate::record::{Digest, Iteration, Stored};
use crate::trace::Mark;
use crate::unit::Nanos;

/// The number of this protocol. A probe that speaks another one says so in its `hello` and the
/// round fails with both numbers.
pub const PROTOCOL: u32 = 1;

/// What a probe is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The protocol that the asker speaks.
    pub protocol: u32,
    /// The case to run.
    pub case: Case,
    /// What for.
    #[serde(default, skip_serializing_if = "Purpose::is_measure")]
    pub purpose: Purpose,
    /// Whether to tell phases. An asker that is older than phases does not ask for them, and would
    /// not understand them.
    #[serde(default, skip_serializing_if = "Phases::are_silent")]
    pub phases: Phases,
}

/// What a case is run for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Samples.
    #[default]
    Measure,
    /// Where the time goes. The answer has [`Message::Attributed`] in the place of iterations.
    Attribute,
}

impl Purpose {
    fn is_measure(&self) -> bool {
        *self == Purpose::Measure
    }
}

/// Whether a probe tells its phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phases {
    /// It does not.
    #[default]
    Silent,
    /// It does.
    Told,
}

impl Phases {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
    fn are_silent(&self) -> bool {
        *self == Phases::Silent
    }
}

/// One line of a probe's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Who answers.
    Hello {
        /// The protocol that the probe speaks.
        protocol: u32,
        /// How the probe was built.
        build: Build,
    },
    /// The model is loaded.
    Loaded {
        /// The attention backend that will run.
        attention: String,
        /// What each device holds, the first one first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holdings: Vec<Holding>,
        /// The number format of what is not quantised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dtype: Option<Dtype>,
        /// Why attention backends that were made for the device, and preferred, will not run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        declined: Vec<String>,
        /// In which formats the weights are held, those with most bytes first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        formats: Vec<Stored>,
        /// The prompts of all iterations to come, where there are any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompts: Option<Digest>,
        /// What is known once a round, each value in its metric's unit.
        values: BTreeMap<Metric, f64>,
    },
    /// A phase has begun, on the system's monotonic clock. Phases within an iteration are told after
    /// it, so that nothing is written while the clock counts. Probes that are older than phases tell
    /// none.
    Phase(Mark),
    /// One iteration is done.
    Iteration(Iteration),
    /// All iterations of an attribution round are done.
    Attributed {
        /// Time of those that count.
        wall: Nanos,
        /// Where the engine's part of it went.
        work: BTreeMap<String, Work>,
        /// What was counted in the last iteration.
        #[serde(default, skip_serializing_if = "Counts::is_empty")]
        counts: Counts,
    },
    /// All iterations of a round that was to be precise are done. Others do not say it.
    Stopped(Stopped),
    /// All is done and everything was said.
    End {
        /// What is known once a round and only at its end.
        values: BTreeMap<Metric, f64>,
    },
    /// The engine cannot do what the case asks for, by design.
    Unsupported {
        /// Why, and what to choose instead.
        reason: String,
    },
    /// An accelerator had no room left.
    Exhausted {
        /// The error, with its causes.
        error: String,
        /// How the memory of each accelerator stood at that moment.
        devices: Vec<Occupied>,
    },
    /// The engine should have been able to do it, and was not.
    Failed {
        /// The error, with its causes.
        error: String,
    },
}

impl Message {
    /// The message as one line of JSON, with its line feed.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("messages are plain data");
        line.push('\n');
        line
    }
}

/// One fault that a probe can plant in itself, as one that was built for that lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plantable {
    /// The word that plants it.
    pub fault: String,
    /// What it does, in a sentence.
    pub about: String,
}

impl Plantable {
    /// The fault as one line of JSON, with its line feed.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("two texts are plain data") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Phase;
    use crate::unit::Nanos;

    #[test]
    fn messages_are_single_lines_and_survive() {
        let messages = [
            Message::Hello { protocol: PROTOCOL, build: Build::default() },
            Message::Loaded {
                attention: "naive".into(),
                holdings: Vec::new(),
                dtype: Some(Dtype::F32),
                declined: vec!["cuda-flash cannot run f32".into()],
                formats: vec![Stored {
                    format: "q4_1".into(),
                    instead_of: Some("q4k".into()),
                    tensors: 3,
                    bytes: 60,
                }],
                prompts: Some(Digest::of_prompts([vec![1, 2]])),
                values: [(Metric::LoadTime, 1.5e9)].into_iter().collect(),
            },
            Message::Phase(Mark { at: Nanos(5), phase: Phase::Iteration(2) }),
            Message::Unsupported { reason: "two\nlines".into() },
            Message::End { values: BTreeMap::new() },
        ];
        for message in messages {
            let line = message.line();
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(serde_json::from_str::<Message>(&line).unwrap(), message);
        }
    }
}

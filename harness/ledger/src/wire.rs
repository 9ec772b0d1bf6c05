//! The protocol between the CLI and a probe: JSON lines, numbered by [`PROTOCOL`].
//!
//! The CLI writes one [`Order`] to the probe's stdin and leaves it open: a probe that reads
//! end-of-file knows that nobody is waiting any more, and exits. The probe answers on stdout with
//! [`Message`]s: `hello` first, then each result as soon as it has it, and `end` last. Without
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

/// The version of this protocol. A probe that speaks another version says so in its `hello`, and
/// the round fails with both numbers.
pub const PROTOCOL: u32 = 1;

/// What a probe is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The protocol version of the CLI.
    pub protocol: u32,
    /// The case to run.
    pub case: Case,
    /// What the case is run for.
    #[serde(default, skip_serializing_if = "Purpose::is_measure")]
    pub purpose: Purpose,
    /// Whether to report phases. A CLI from before phases does not ask for them, and would not
    /// understand them.
    #[serde(default, skip_serializing_if = "Phases::are_silent")]
    pub phases: Phases,
}

/// What a case is run for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To get samples.
    #[default]
    Measure,
    /// To see where the time goes. The answer has [`Message::Attributed`] instead of iterations.
    Attribute,
}

impl Purpose {
    fn is_measure(&self) -> bool {
        *self == Purpose::Measure
    }
}

/// Whether a probe reports its phases.
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
    /// The identity of the probe.
    Hello {
        /// The protocol version of the probe.
        protocol: u32,
        /// How the probe was built.
        build: Build,
    },
    /// The model is loaded.
    Loaded {
        /// The attention backend that will run.
        attention: String,
        /// What each device holds, the first device first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holdings: Vec<Holding>,
        /// The number format of everything not quantised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dtype: Option<Dtype>,
        /// Why preferred attention backends made for the device will not run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        declined: Vec<String>,
        /// The formats of the weights, the one with the most bytes first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        formats: Vec<Stored>,
        /// The prompts of the iterations that every round of the case has, if there are any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompts: Option<Digest>,
        /// Values that exist once per round, each in its metric's unit.
        values: BTreeMap<Metric, f64>,
    },
    /// A phase has begun, on the system's monotonic clock. Phases within an iteration are reported
    /// after it, so that nothing is written while it is timed. Probes from before phases report
    /// none.
    Phase(Mark),
    /// One iteration is done.
    Iteration(Iteration),
    /// All iterations of an attribution round are done.
    Attributed {
        /// The total time of the iterations that count.
        wall: Nanos,
        /// How the engine's part of it was spent.
        work: BTreeMap<String, Work>,
        /// What was counted in the last iteration.
        #[serde(default, skip_serializing_if = "Counts::is_empty")]
        counts: Counts,
    },
    /// All iterations of a round with a precision target are done. Other rounds do not send this.
    Stopped(Stopped),
    /// Everything is done and reported.
    End {
        /// Values that exist once per round and are known only at its end.
        values: BTreeMap<Metric, f64>,
    },
    /// The engine cannot do what the case requires, by design.
    Unsupported {
        /// Why, and what to choose instead.
        reason: String,
    },
    /// An accelerator ran out of memory.
    Exhausted {
        /// The error, with its causes.
        error: String,
        /// The memory of each accelerator at that moment.
        devices: Vec<Occupied>,
    },
    /// The engine should have been able to run the case, but failed.
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

/// A fault that a probe can plant in itself, as listed by a probe built for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plantable {
    /// The word that selects it.
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

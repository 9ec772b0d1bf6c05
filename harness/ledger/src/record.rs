//! What one round left.
//!
//! A [`Record`] is one line of a file: the [`Run`] that the round belongs to, the [`Subject`] it
//! measured, where and how, and the result, [`Samples`] or a [`Failure`].

use serde::{Deserialize, Serialize};

use crate::attribution::Attribution;
use crate::case::Case;
use crate::conditions::Breach;
pub use crate::conditions::Conditions;
use crate::environment::Environment;
use crate::trace::Trace;

mod digest;
mod failure;
mod run;
mod samples;
mod subject;

pub use digest::Digest;
pub use failure::Failure;
pub use run::{Planned, Run, RunId, Skipped};
pub use samples::{Iteration, IterationKind, Samples, Stored};
pub use subject::Subject;

/// What one child process left, whatever its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The run it belongs to.
    pub run: RunId,
    /// The number of the round for its case and subject, from 1. Attribution rounds are counted
    /// separately.
    pub round: u32,
    /// When the child was started, RFC 3339 in UTC.
    pub at: String,
    /// What was measured.
    pub subject: Subject,
    /// The case that it ran.
    pub case: Case,
    /// The machine and build that ran it.
    pub environment: Environment,
    /// The state of the machine.
    pub conditions: Conditions,
    /// A shell command that repeats this round.
    pub command: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// What was observed of it over time; none if it was not watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// The outcome of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran to completion.
    Measured(Samples),
    /// It ran to completion, only to show where the time goes.
    Attributed(Attribution),
    /// It ran to completion under conditions that the rules forbid: kept, but not counted.
    Void {
        /// The rules that were broken.
        breaches: Vec<Breach>,
        /// What it measured nevertheless.
        samples: Samples,
    },
    /// It did not run to completion.
    Failed(Failure),
    /// The engine cannot do this, by design; the reason is the engine's.
    Skipped(String),
}

/// For serde, which passes a reference.
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::case::tests::case;
    use crate::environment::tests::environment;
    use crate::holding::{Held, Occupied};
    use crate::metric::Metric;
    use crate::unit::{Bytes, Nanos};

    /// A record whose timed iterations have these decode rates.
    pub(crate) fn record(subject: &str, id: &str, round: u32, rates: &[f64]) -> Record {
        let iteration = |rate: &f64| Iteration {
            kind: IterationKind::Timed,
            digest: Digest::of_outputs([[1, 2, 3].as_slice()]),
            values: [(Metric::DecodeRate, vec![*rate])].into_iter().collect(),
        };
        Record {
            run: RunId("run".into()),
            round,
            at: "2026-01-01T00:00:00Z".into(),
            subject: Subject { name: subject.into(), ..Subject::default() },
            case: case(id),
            environment: environment(),
            conditions: Conditions::default(),
            command: "true".into(),
            outcome: Outcome::Measured(Samples {
                attention: "naive".into(),
                holdings: Vec::new(),
                dtype: None,
                declined: Vec::new(),
                formats: Vec::new(),
                prompts: None,
                once: BTreeMap::new(),
                iterations: rates.iter().map(iteration).collect(),
                stopped: None,
            }),
            trace: None,
        }
    }

    #[test]
    fn every_outcome_survives_serde() {
        let failures = [
            Failure::Build { tail: "t".into() },
            Failure::Start { error: "e".into() },
            Failure::Protocol { found: 2, expected: 1 },
            Failure::Engine { error: "e".into() },
            Failure::Crashed { status: "signal 11".into(), tail: String::new() },
            Failure::OutOfMemory { tail: String::new() },
            Failure::Exhausted {
                error: "out of memory for the cache".into(),
                devices: vec![Occupied {
                    device: "cuda:0".into(),
                    free: Some(Bytes(3)),
                    total: None,
                    held: Held { weights: Bytes(1), kv: Bytes(2) },
                }],
            },
            Failure::TimedOut { deadline: Nanos(1), tail: String::new() },
            Failure::Garbage { line: "x".into(), tail: String::new() },
            Failure::Incomplete { found: 1, expected: 4 },
            Failure::Lingered { grace: Nanos(1), tail: String::new() },
        ];
        let outcomes = failures.into_iter().map(Outcome::Failed);
        let Outcome::Measured(samples) = record(".", "a", 1, &[1.5]).outcome else {
            unreachable!()
        };
        let void = Outcome::Void { breaches: vec![Breach::Swapped { pages: 3 }], samples };
        for outcome in outcomes.chain([Outcome::Skipped("r".into()), void]) {
            let mut record = record(".", "a", 1, &[1.5]);
            record.outcome = outcome;
            let json = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
        }
    }
}

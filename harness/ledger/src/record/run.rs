//! [`Run`]: what a run set out to do.

use serde::{Deserialize, Serialize};

use super::{Subject, is_zero};
use crate::case::{Case, CaseId};
use crate::conditions::Rules;
use crate::gate::Terms;

/// The name of one run, unique on its machine: when it was started, and what was requested.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

/// What a run set out to do: the first line of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// When it was started, RFC 3339 in UTC.
    pub at: String,
    /// The command that started it.
    pub command: String,
    /// What is measured, in the order of the command; the first is the base of comparisons.
    pub subjects: Vec<Subject>,
    /// The cases to run.
    pub cases: Vec<Planned>,
    /// Cases that the scenarios exclude, each with its reason.
    pub skipped: Vec<Skipped>,
    /// The terms on which its second subject is judged against its first; none for a run that only
    /// measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Terms>,
    /// The conditions under which its rounds count; none if they count under any. A gate has none:
    /// it plans its pairs ahead, so no round is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
}

/// One case of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The complete case: a resumed run continues with what it began with, even if the scenario
    /// files have changed.
    pub case: Case,
    /// The number of rounds for each subject.
    pub rounds: u32,
    /// The number of attribution rounds after those, which show where the time goes and measure
    /// nothing else.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attributions: u32,
    /// Which of the runs merged into this one measured it, from 0: each had its own time budget.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shard: u32,
}

/// A case that a scenario excludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The case.
    pub id: CaseId,
    /// Why, as the scenario puts it.
    pub reason: String,
}

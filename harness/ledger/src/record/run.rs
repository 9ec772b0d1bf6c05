//! [`Run`]: what a run set out to do.

use serde::{Deserialize, Serialize};

use super::{Subject, is_zero};
use crate::case::{Case, CaseId};
use crate::gate::Terms;

/// The name of one run, unique on its machine: when it was started, and what was asked for.
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
    /// What its second subject is held to by its first; none for a run that only measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Terms>,
}

/// One case of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The case, whole: a run that was interrupted goes on with what it began with, whatever became
    /// of the scenario files.
    pub case: Case,
    /// Rounds of it for each subject.
    pub rounds: u32,
    /// Rounds after those that tell where the time goes, and time nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attributions: u32,
    /// Which of the runs that were merged into this one measured it, from 0: the minutes of each were
    /// its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shard: u32,
}

/// A case that a scenario excludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The case.
    pub id: CaseId,
    /// Why, in the words of the scenario.
    pub reason: String,
}

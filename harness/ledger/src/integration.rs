//! What became of commits that were picked onto a fork, one at a time.

use crate::case::CaseId;
use crate::gate::{Report, Row};
use crate::verdict::Verdict;

/// Commits that were picked, until one had to stop it.
#[derive(Clone, Debug, PartialEq)]
pub struct Integration {
    /// When it was begun, RFC 3339 in UTC.
    pub at: String,
    /// The fork's repository.
    pub repository: String,
    /// The fork's commit that it began with.
    pub start: String,
    /// The fork's commit that it came to: the last pick that was kept.
    pub end: String,
    /// The branch that was set to that; none if nothing was kept.
    pub branch: Option<String>,
    /// The commits that were asked for, in their order.
    pub picks: Vec<Pick>,
}

/// One commit that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// Its hash in the upstream.
    pub hash: String,
    /// The first line of its message.
    pub subject: String,
    /// The checks that were run, in their order, and what the last one printed if it failed.
    pub checks: Vec<Checked>,
    /// What was measured of it.
    pub measured: Option<Measured>,
    /// What became of it.
    pub end: End,
}

/// A check that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it is called.
    pub name: String,
    /// The end of what it printed if it failed.
    pub failure: Option<String>,
}

/// A commit, measured beside the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The page of the run, from the folder of the integration's own.
    pub page: String,
    /// What the gate found.
    pub report: Report,
}

/// What became of a commit that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was kept, as this commit of the fork.
    Kept(String),
    /// The fork has all of it already.
    Empty,
    /// It does not apply in these files. That stopped it.
    Conflict(Vec<String>),
    /// A check failed. That stopped it.
    CheckFailed,
    /// It could not be built. That stopped it.
    NotBuilt(String),
    /// The gate would not let it pass. That stopped it.
    NotPassed(Verdict),
    /// One before it had stopped.
    NotTried,
}

impl End {
    /// Whether whatever comes after it may be tried.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        matches!(self, End::Kept(_) | End::Empty)
    }
}

impl Measured {
    /// The row that tells most: of those with the worst verdict, the one with the largest effect.
    #[must_use]
    pub fn headline(&self) -> Option<(&CaseId, &Row)> {
        let rows = self.rows().filter(|(_, row)| row.finding.is_some());
        let size = |row: &Row| row.finding.map_or(0.0, |finding| finding.effect.abs());
        rows.min_by(|(_, a), (_, b)| a.verdict.cmp(&b.verdict).then(size(b).total_cmp(&size(a))))
    }

    /// Every row with its case.
    pub fn rows(&self) -> impl Iterator<Item = (&CaseId, &Row)> {
        self.report.cases.iter().flat_map(|case| case.rows.iter().map(|row| (&case.case, row)))
    }
}

//! Decisions about baselines: which code counts, and which changes for the worse were accepted.
//!
//! People make them: each records who decided, when and why. Nothing is ever removed; of several
//! promotions the newest is in force.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Code;
use crate::case::CaseId;
use crate::gate::{Report, Row};
use crate::policy::PolicyHash;
use crate::series::Series;
use crate::upstream::Hash;
use crate::verdict::Verdict;

/// All decisions, as stored in `baselines/current.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// What later changes are compared with.
    #[serde(default)]
    pub promoted: Vec<Promotion>,
    /// What was worse but promoted anyway.
    #[serde(default)]
    pub accepted: Vec<Acceptance>,
}

/// Makes the sessions of some code count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// The upstream commit of the sessions.
    pub upstream: Hash,
    /// The kind of machine.
    pub machine: String,
    /// The code they measured.
    pub code: Code,
    /// The policy under which nothing in them was worse than before.
    pub policy: PolicyHash,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Who decided.
    pub by: String,
}

/// Allows something to be worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The upstream commit of the worse sessions.
    pub upstream: Hash,
    /// The kind of machine.
    pub machine: String,
    /// The code they measured.
    pub code: Code,
    /// What is worse.
    pub finding: Finding,
    /// Why it is accepted.
    pub reason: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Who decided.
    pub by: String,
}

/// Something that stands in the way of a promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The case.
    pub case: CaseId,
    /// The series; none for the case as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
    /// Regressed, broken or invalid.
    pub verdict: Verdict,
}

/// In the form used for rows everywhere: `CASE SERIES: regressed`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { case, series, verdict } = self;
        match series {
            Some(series) => write!(f, "{case} {series}: {verdict}"),
            None => write!(f, "{case}: {verdict}"),
        }
    }
}

impl Decisions {
    /// The newest promotion for each kind of machine.
    #[must_use]
    pub fn current(&self) -> Vec<&Promotion> {
        let newer = |this: &Promotion, other: &Promotion| {
            other.machine == this.machine && other.at > this.at
        };
        let is_current = |this: &&Promotion| !self.promoted.iter().any(|other| newer(this, other));
        self.promoted.iter().filter(is_current).collect()
    }

    /// Those of `findings` about this code that nobody has accepted.
    #[must_use]
    pub fn open(&self, findings: &[Finding], machine: &str, code: &Code) -> Vec<Finding> {
        let accepted = |finding: &&Finding| {
            self.accepted.iter().any(|accepted| {
                accepted.finding == **finding
                    && accepted.machine == machine
                    && accepted.code == *code
            })
        };
        findings.iter().filter(|finding| !accepted(finding)).cloned().collect()
    }
}

/// What stands in the way of promoting the head of a report: everything broken or not comparable,
/// and everything regressed or missing that could stop a merge.
#[must_use]
pub fn findings(report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    for case in &report.cases {
        let finding = |series, verdict| Finding { case: case.case.clone(), series, verdict };
        if !case.reasons.is_empty() {
            findings.push(finding(None, case.verdict));
            continue;
        }
        let keeps = |row: &&Row| matches!(row.counted(), Verdict::Regressed | Verdict::Invalid);
        let rows = case.rows.iter().filter(keeps);
        findings.extend(rows.map(|row| finding(Some(row.series), row.verdict)));
    }
    findings
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::baseline::tests::{code, hash};
    use crate::case::tests::case;
    use crate::metric::Metric;

    pub(crate) fn promotion(upstream: char, machine: &str, engine: &str, at: &str) -> Promotion {
        Promotion {
            upstream: hash(upstream),
            machine: machine.into(),
            code: code(engine),
            policy: serde_json::from_str("\"policy\"").unwrap(),
            at: at.into(),
            by: "Ada".into(),
        }
    }

    fn finding(verdict: Verdict) -> Finding {
        let series = Some(Series::median(Metric::DecodeRate));
        Finding { case: case("a").id, series, verdict }
    }

    #[test]
    fn the_newest_promotion_of_each_machine_is_current_whatever_the_order() {
        let promoted = vec![
            promotion('b', "m", "new", "2026-01-02"),
            promotion('a', "m", "old", "2026-01-01"),
            promotion('a', "n", "old", "2026-01-01"),
        ];
        let decisions = Decisions { promoted, accepted: Vec::new() };
        let current: Vec<(&str, &str)> = decisions
            .current()
            .into_iter()
            .map(|p| (p.machine.as_str(), p.code.engine.as_str()))
            .collect();
        assert_eq!(current, [("m", "new"), ("n", "old")]);
    }

    #[test]
    fn an_acceptance_covers_what_it_names_and_nothing_else() {
        let acceptance = Acceptance {
            upstream: hash('a'),
            machine: "m".into(),
            code: code("c"),
            finding: finding(Verdict::Regressed),
            reason: "correct at last".into(),
            at: "2026-01-01".into(),
            by: "Ada".into(),
        };
        let decisions = Decisions { promoted: Vec::new(), accepted: vec![acceptance] };
        let found = [finding(Verdict::Regressed), finding(Verdict::Broken)];
        assert_eq!(decisions.open(&found, "m", &code("c")), [finding(Verdict::Broken)]);
        assert_eq!(decisions.open(&found, "m", &code("d")).len(), 2);
        assert_eq!(decisions.open(&found, "n", &code("c")).len(), 2);
    }

    #[test]
    fn a_finding_reads_as_the_row_it_is() {
        assert!(finding(Verdict::Regressed).to_string().ends_with("decode-rate: regressed"));
    }
}

//! A made-up report, as a gate would leave it.

use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::gate::{CaseReport, Report, Row};
use windtunnel_ledger::judge::{Finding, Lack, Rule};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::policy::{Policy, Weight};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::verdict::Verdict;

use super::POLICY;

/// The report of one case with the id `id`, with one series that could not be decided.
pub(super) fn report(id: &str) -> Report {
    let policy: Policy = toml::from_str(POLICY).expect("the policy of this project is whole");
    let case: CaseId = serde_json::from_value(id.into()).expect("an id is text");
    let (effect, low, high) = (0.01, -0.05, 0.07);
    let row = Row {
        series: Series::median(Metric::DecodeRate),
        verdict: Verdict::Inconclusive,
        weight: Weight::Blocks,
        base: Some(100.0),
        head: Some(99.0),
        rule: Some(Rule::Interleaved),
        finding: Some(Finding { effect, low, high, margin: 0.03, mde: 0.08, rounds: 6 }),
        lacks: Some(Lack::Pairs(9)),
        modes: Vec::new(),
        reason: None,
    };
    Report {
        verdict: Verdict::Inconclusive,
        weight: Weight::Warns,
        policy: policy.hash(),
        judged: 1,
        family: 1,
        cases: vec![CaseReport {
            case,
            verdict: Verdict::Inconclusive,
            reasons: Vec::new(),
            unfinished: None,
            tail: None,
            differences: Vec::new(),
            rows: vec![row],
        }],
        unjudged: Vec::new(),
        control: Vec::new(),
    }
}

//! What a commit is beside another, by what the gate found. Nothing is called well for want of
//! evidence.

use windtunnel_ledger::gate::{Report, Row};
use windtunnel_ledger::integration::{Measured, effect_in_words};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::verdict::Verdict;

/// What a commit is beside another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As good.
    Well,
    /// Worse, in this way.
    Worse(Sought),
    /// That cannot be known, for this reason.
    Unknown(String),
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    /// A regression.
    Regressed,
    /// Wrong output, a crash or a hang.
    Broken,
}

/// What a report says, when this is looked for; without, whatever is wrong first.
pub(super) fn of(
    report: Report,
    metric: Option<Metric>,
    sought: Option<Sought>,
) -> (Answer, String) {
    let broken = report.verdict == Verdict::Broken;
    let row = metric.and_then(|metric| row(&report, metric).cloned());
    let verdict = match (&row, metric) {
        (Some(row), _) => row.verdict,
        (None, Some(_)) if !broken => Verdict::Invalid,
        (None, _) => report.verdict,
    };
    let reason = report.cases.iter().flat_map(|case| case.remarks()).next().map(str::to_owned);
    let reason = reason.or_else(|| row.as_ref().and_then(|row| row.reason.clone()));
    let said = reason.map_or_else(|| verdict.to_string(), |reason| format!("{verdict}: {reason}"));
    let effect = match row.and_then(|row| row.finding) {
        Some(finding) => effect_in_words(&finding),
        None => Measured { page: String::new(), report }.effect().unwrap_or_default(),
    };
    let answer = match (sought, broken, verdict) {
        (None | Some(Sought::Broken), true, _) => Answer::Worse(Sought::Broken),
        (Some(Sought::Regressed), true, _) => Answer::Unknown(said),
        // Its output is right: how fast it is does not matter here.
        (Some(Sought::Broken), false, Verdict::Invalid) => Answer::Unknown(said),
        (Some(Sought::Broken), false, _) => Answer::Well,
        (_, _, Verdict::Regressed) => Answer::Worse(Sought::Regressed),
        (_, _, Verdict::Pass | Verdict::Improved) => Answer::Well,
        (_, _, Verdict::Inconclusive | Verdict::Invalid | Verdict::Broken) => Answer::Unknown(said),
    };
    (answer, effect)
}

/// The row of a metric, of the one case that was measured.
fn row(report: &Report, metric: Metric) -> Option<&Row> {
    let rows = report.cases.iter().flat_map(|case| &case.rows);
    rows.into_iter().find(|row| row.series == Series::median(metric))
}

#[cfg(test)]
mod tests {
    use windtunnel_ledger::policy::Weight;

    use super::*;

    fn report(verdict: Verdict) -> Report {
        Report {
            verdict,
            weight: Weight::Blocks,
            policy: serde_json::from_str("\"a policy\"").unwrap(),
            family: 0,
            cases: Vec::new(),
            unjudged: Vec::new(),
            control: Vec::new(),
        }
    }

    #[test]
    fn only_what_the_gate_is_sure_of_is_an_answer() {
        let check = |verdict: Verdict, sought: Option<Sought>, expected: Answer| {
            let (answer, _) = of(report(verdict), None, sought);
            assert_eq!(answer, expected, "{verdict}, {sought:?}");
        };
        let unknown = |verdict: Verdict| Answer::Unknown(verdict.to_string());
        let (slow, wrong) = (Some(Sought::Regressed), Some(Sought::Broken));
        for verdict in [Verdict::Pass, Verdict::Improved] {
            [None, slow, wrong].into_iter().for_each(|sought| check(verdict, sought, Answer::Well));
        }
        check(Verdict::Regressed, None, Answer::Worse(Sought::Regressed));
        check(Verdict::Regressed, slow, Answer::Worse(Sought::Regressed));
        check(Verdict::Broken, None, Answer::Worse(Sought::Broken));
        check(Verdict::Broken, wrong, Answer::Worse(Sought::Broken));
        check(Verdict::Broken, slow, unknown(Verdict::Broken));
        check(Verdict::Inconclusive, None, unknown(Verdict::Inconclusive));
        check(Verdict::Inconclusive, slow, unknown(Verdict::Inconclusive));
        for sought in [None, slow, wrong] {
            check(Verdict::Invalid, sought, unknown(Verdict::Invalid));
        }
        // How fast it is does not matter where its output is looked at.
        check(Verdict::Regressed, wrong, Answer::Well);
        check(Verdict::Inconclusive, wrong, Answer::Well);
    }

    #[test]
    fn a_metric_that_was_not_measured_is_unknown() {
        let (answer, _) = of(report(Verdict::Pass), Some(Metric::DecodeRate), None);
        assert_eq!(answer, Answer::Unknown("invalid".to_owned()));
    }
}

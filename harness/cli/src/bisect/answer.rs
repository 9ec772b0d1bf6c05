//! How a commit compares with another, according to the gate. Nothing is called good for lack of
//! evidence.

use windtunnel_ledger::gate::{Report, Row};
use windtunnel_ledger::integration::{Measured, effect_in_words};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::verdict::Verdict;

/// How a commit compares with another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As good.
    Well,
    /// Worse, in this way.
    Worse(Sought),
    /// The rounds cannot decide; with the gate's message.
    Undecided(String),
    /// It cannot be judged at all, for this reason.
    Unknown(String),
}

impl Answer {
    /// Whether it says nothing about the commit.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Answer::Undecided(_) | Answer::Unknown(_))
    }
}

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    /// A regression of this series: a regression of another one has another cause.
    Regressed(Series),
    /// Wrong output, a crash or a hang.
    Broken,
}

/// The answer of a report to what is sought. If nothing is sought yet, the worst finding counts:
/// wrong output, or else the largest regression that can stop a merge.
pub(super) fn of(
    report: Report,
    metric: Option<Metric>,
    sought: Option<Sought>,
) -> (Answer, String) {
    let broken = report.verdict == Verdict::Broken;
    let series = match sought {
        Some(Sought::Regressed(series)) => Some(series),
        Some(Sought::Broken) | None => metric.map(Series::median),
    };
    let row = match series {
        Some(series) => row(&report, series).cloned(),
        None => worst(&report).cloned(),
    };
    let verdict = match (&row, series) {
        (Some(row), Some(_)) => row.verdict,
        (None, Some(_)) if !broken => Verdict::Invalid,
        (_, _) => report.verdict,
    };
    let reason = report.cases.iter().flat_map(|case| case.remarks()).next().map(str::to_owned);
    let reason = reason.or_else(|| row.as_ref().and_then(|row| row.reason.clone()));
    let said = reason.map_or_else(|| verdict.to_string(), |reason| format!("{verdict}: {reason}"));
    let effect = match row.as_ref().and_then(|row| row.finding) {
        Some(finding) => effect_in_words(&finding),
        None => Measured { page: String::new(), report }.effect().unwrap_or_default(),
    };
    let answer = match (sought, broken, verdict) {
        (None | Some(Sought::Broken), true, _) => Answer::Worse(Sought::Broken),
        (Some(Sought::Regressed(_)), true, _) => Answer::Unknown(said),
        // Only the output is sought and it is right: speed does not matter here.
        (Some(Sought::Broken), false, Verdict::Invalid) => Answer::Unknown(said),
        (Some(Sought::Broken), false, _) => Answer::Well,
        (_, _, Verdict::Regressed) => match row {
            Some(row) => Answer::Worse(Sought::Regressed(row.series)),
            None => Answer::Unknown(said),
        },
        (_, _, Verdict::Pass | Verdict::Improved) => Answer::Well,
        (_, _, Verdict::Inconclusive) => Answer::Undecided(said),
        (_, _, Verdict::Invalid | Verdict::Broken) => Answer::Unknown(said),
    };
    (answer, effect)
}

fn rows(report: &Report) -> impl Iterator<Item = &Row> {
    report.cases.iter().flat_map(|case| &case.rows)
}

/// The row of a series, from the one case that was measured.
fn row(report: &Report, series: Series) -> Option<&Row> {
    rows(report).find(|row| row.series == series)
}

/// The row with the largest regression among those that can stop a merge.
fn worst(report: &Report) -> Option<&Row> {
    let effect = |row: &Row| row.finding.map_or(0.0, |finding| finding.effect);
    let regressed = rows(report).filter(|row| row.counted() == Verdict::Regressed);
    // Of equal rows the first, as in a summary.
    regressed.min_by(|a, b| effect(b).total_cmp(&effect(a)))
}

#[cfg(test)]
mod tests {
    use windtunnel_ledger::gate::CaseReport;
    use windtunnel_ledger::judge::Finding;
    use windtunnel_ledger::policy::Weight;

    use super::*;

    const DECODE: Series = Series::median(Metric::DecodeRate);
    const MEMORY: Series = Series::median(Metric::PeakRss);

    fn row(series: Series, verdict: Verdict, effect: f64) -> Row {
        let (low, high) = (effect, effect);
        let finding = Finding { effect, low, high, margin: 0.03, mde: 0.03, rounds: 6 };
        Row {
            series,
            verdict,
            weight: Weight::Blocks,
            base: Some(1.0),
            head: Some(1.0),
            rule: None,
            finding: Some(finding),
            lacks: None,
            modes: Vec::new(),
            reason: None,
        }
    }

    fn report_of(verdict: Verdict, rows: Vec<Row>) -> Report {
        let case = CaseReport {
            case: serde_json::from_str("\"a\"").unwrap(),
            verdict,
            reasons: Vec::new(),
            unfinished: None,
            tail: None,
            differences: Vec::new(),
            rows,
        };
        Report {
            verdict,
            weight: Weight::Blocks,
            policy: serde_json::from_str("\"a policy\"").unwrap(),
            judged: 0,
            family: 0,
            cases: vec![case],
            unjudged: Vec::new(),
            control: Vec::new(),
        }
    }

    fn report(verdict: Verdict) -> Report {
        report_of(verdict, vec![row(DECODE, verdict, 0.1)])
    }

    #[test]
    fn only_what_the_gate_is_sure_of_is_an_answer() {
        let check = |verdict: Verdict, sought: Option<Sought>, expected: Answer| {
            let (answer, _) = of(report(verdict), None, sought);
            assert_eq!(answer, expected, "{verdict}, {sought:?}");
        };
        let unknown = |verdict: Verdict| Answer::Unknown(verdict.to_string());
        let (slow, wrong) = (Some(Sought::Regressed(DECODE)), Some(Sought::Broken));
        for verdict in [Verdict::Pass, Verdict::Improved] {
            [None, slow, wrong].into_iter().for_each(|sought| check(verdict, sought, Answer::Well));
        }
        check(Verdict::Regressed, None, Answer::Worse(Sought::Regressed(DECODE)));
        check(Verdict::Regressed, slow, Answer::Worse(Sought::Regressed(DECODE)));
        check(Verdict::Broken, None, Answer::Worse(Sought::Broken));
        check(Verdict::Broken, wrong, Answer::Worse(Sought::Broken));
        check(Verdict::Broken, slow, unknown(Verdict::Broken));
        let undecided = || Answer::Undecided("inconclusive".to_owned());
        check(Verdict::Inconclusive, None, undecided());
        check(Verdict::Inconclusive, slow, undecided());
        for sought in [None, slow, wrong] {
            check(Verdict::Invalid, sought, unknown(Verdict::Invalid));
        }
        // Speed does not matter when only the output is sought.
        check(Verdict::Regressed, wrong, Answer::Well);
        check(Verdict::Inconclusive, wrong, Answer::Well);
    }

    #[test]
    fn what_was_worst_is_looked_for_and_nothing_else() {
        let rows =
            || vec![row(MEMORY, Verdict::Regressed, 0.06), row(DECODE, Verdict::Regressed, 0.1)];
        let worst = Answer::Worse(Sought::Regressed(DECODE));
        assert_eq!(of(report_of(Verdict::Regressed, rows()), None, None).0, worst);
        let fatter = vec![row(MEMORY, Verdict::Regressed, 0.06), row(DECODE, Verdict::Pass, 0.0)];
        let sought = Some(Sought::Regressed(DECODE));
        assert_eq!(of(report_of(Verdict::Regressed, fatter), None, sought).0, Answer::Well);
    }

    #[test]
    fn a_metric_that_was_not_measured_is_unknown() {
        let (answer, _) = of(report(Verdict::Pass), Some(Metric::PrefillRate), None);
        assert_eq!(answer, Answer::Unknown("invalid".to_owned()));
    }
}

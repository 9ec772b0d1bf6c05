//! Two subjects side by side: medians, ratio and spread of each case and metric.
//!
//! It shows; it does not judge. What must not be compared is refused with every reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::case::CaseId;
use crate::environment::{Difference, comparable};
use crate::metric::Metric;
use crate::record::{Outcome, Record};
use crate::summary::{Location, Summary, summarise};

/// What base and head say about one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The case.
    pub case: CaseId,
    /// What came of the comparison.
    pub comparison: Comparison,
    /// Differences between the environments that do not forbid it.
    pub differences: Vec<Difference>,
}

/// What came of comparing one case.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// Each metric that both sides measured.
    Rows(Vec<Row>),
    /// The outputs differ: the numbers belong to different work.
    Broken(String),
    /// The sides must not be compared, for all these reasons.
    Invalid(Vec<String>),
    /// One side has no measured round.
    Missing(String),
}

/// One metric, side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The metric.
    pub metric: Metric,
    /// Its rounds in the base.
    pub base: Location,
    /// Its rounds in the head.
    pub head: Location,
}

impl Row {
    /// head / base.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.head.median / self.base.median
    }

    /// By how much the head is worse, as a fraction; negative is better.
    #[must_use]
    pub fn worsening(&self) -> f64 {
        self.metric.worsening(self.base.median, self.head.median)
    }

    /// How the change reads.
    #[must_use]
    pub fn change(&self) -> Change {
        let worse = self.worsening();
        match worse.abs() <= self.metric.spec().noise_floor / 100.0 {
            true => Change::AboutEqual,
            false if worse > 0.0 => Change::Worse,
            false => Change::Better,
        }
    }
}

/// How a change reads. This is no verdict: it knows the metric's noise floor, not the noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Within the metric's noise floor.
    AboutEqual,
    /// In the bad direction.
    Worse,
    /// In the good direction.
    Better,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Change::AboutEqual => "about equal",
            Change::Worse => "worse",
            Change::Better => "better",
        })
    }
}

/// Compares two sets of records case by case, in the order of the base.
///
/// Each set is taken as one subject's: select before, if a file holds several.
#[must_use]
pub fn compare(base: &[Record], head: &[Record]) -> Vec<Pair> {
    let (bases, heads) = (by_case(base), by_case(head));
    let mut seen = BTreeSet::new();
    let cases = base.iter().chain(head).map(|record| &record.case.id);
    cases
        .filter(|case| seen.insert((*case).clone()))
        .map(|case| pair(case, bases.get(case), heads.get(case)))
        .collect()
}

/// The records and the summary of one case.
struct Side<'a> {
    records: Vec<&'a Record>,
    summary: Summary,
}

fn by_case(records: &[Record]) -> BTreeMap<CaseId, Side<'_>> {
    let mut sides: BTreeMap<CaseId, Side<'_>> = summarise(records)
        .into_iter()
        .map(|summary| (summary.case.clone(), Side { records: Vec::new(), summary }))
        .collect();
    for record in records {
        if let Some(side) = sides.get_mut(&record.case.id) {
            side.records.push(record);
        }
    }
    sides
}

fn pair(case: &CaseId, base: Option<&Side<'_>>, head: Option<&Side<'_>>) -> Pair {
    let missing = |text: &str| Pair {
        case: case.clone(),
        comparison: Comparison::Missing(text.to_owned()),
        differences: Vec::new(),
    };
    let (Some(base), Some(head)) = (base, head) else {
        return missing(if base.is_none() { "not in the base" } else { "not in the head" });
    };
    let why = |side: &Side<'_>| {
        side.summary.unmeasured.first().map_or(String::new(), |u| format!(": {u}"))
    };
    match (base.measured().next(), head.measured().next()) {
        (None, None) => missing(&format!("not measured on either side{}", why(base))),
        (None, _) => missing(&format!("not measured in the base{}", why(base))),
        (_, None) => missing(&format!("not measured in the head{}", why(head))),
        (Some(b), Some(h)) => {
            let between = comparable(&b.environment, &h.environment);
            let mut reasons: Vec<String> = between.hard.iter().map(Difference::to_string).collect();
            if b.case.hash() != h.case.hash() {
                reasons.push(
                    "the case has another meaning (its defaults or its model changed)".into(),
                );
            }
            let comparison = match reasons.is_empty() {
                false => Comparison::Invalid(reasons),
                true => {
                    outputs_differ(base, head).unwrap_or_else(|| Comparison::Rows(rows(base, head)))
                }
            };
            Pair { case: case.clone(), comparison, differences: between.soft }
        }
    }
}

impl Side<'_> {
    fn measured(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().copied().filter(|record| matches!(record.outcome, Outcome::Measured(_)))
    }

    fn digests(&self) -> BTreeSet<Vec<String>> {
        let samples = self.records.iter().filter_map(|record| match &record.outcome {
            Outcome::Measured(samples) => Some(samples),
            Outcome::Failed(_) | Outcome::Skipped(_) => None,
        });
        samples.map(|s| s.digests().iter().map(ToString::to_string).collect()).collect()
    }
}

fn outputs_differ(base: &Side<'_>, head: &Side<'_>) -> Option<Comparison> {
    let (b, h) = (base.digests(), head.digests());
    let text = match (b.len(), h.len()) {
        (1, 1) if b == h => return None,
        (1, 1) => "the output tokens differ between base and head",
        (1, _) => "the output tokens of the head differ from round to round",
        (_, _) => "the output tokens of the base differ from round to round",
    };
    Some(Comparison::Broken(text.to_owned()))
}

fn rows(base: &Side<'_>, head: &Side<'_>) -> Vec<Row> {
    let of = |summary: &Summary, metric: Metric| {
        summary.metrics.iter().find(|(m, _)| *m == metric).map(|(_, location)| location.clone())
    };
    let row = |metric| {
        Some(Row { metric, base: of(&base.summary, metric)?, head: of(&head.summary, metric)? })
    };
    Metric::ALL.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;
    use crate::record::{Digest, Failure};

    fn one(base: &[Record], head: &[Record]) -> Pair {
        let pairs = compare(base, head);
        assert_eq!(pairs.len(), 1);
        pairs.into_iter().next().unwrap()
    }

    #[test]
    fn medians_ratio_and_direction_are_shown() {
        let base = [record("a", "c", 1, &[100.0]), record("a", "c", 2, &[102.0])];
        let head = [record("b", "c", 1, &[80.0]), record("b", "c", 2, &[81.6])];
        let Comparison::Rows(rows) = one(&base, &head).comparison else { panic!() };
        assert_eq!(rows.len(), 1);
        assert!((rows[0].ratio() - 0.8).abs() < 1e-9);
        assert_eq!(rows[0].change(), Change::Worse);
    }

    #[test]
    fn a_change_below_the_noise_floor_is_none() {
        let Comparison::Rows(rows) =
            one(&[record("a", "c", 1, &[100.0])], &[record("b", "c", 1, &[100.9])]).comparison
        else {
            panic!()
        };
        assert_eq!(rows[0].change(), Change::AboutEqual);
    }

    #[test]
    fn a_fast_wrong_answer_is_broken_and_not_better() {
        let mut head = record("b", "c", 1, &[500.0]);
        let Outcome::Measured(samples) = &mut head.outcome else { unreachable!() };
        samples.iterations[0].digest = Digest::of_outputs([[9].as_slice()]);
        assert!(matches!(
            one(&[record("a", "c", 1, &[100.0])], &[head]).comparison,
            Comparison::Broken(_)
        ));
    }

    #[test]
    fn incomparable_sides_give_every_reason_and_no_number() {
        let mut head = record("b", "c", 1, &[500.0]);
        head.environment.machine.cores = 64;
        head.environment.machine.cpu = "other".into();
        head.case.seed = 7;
        let Comparison::Invalid(reasons) = one(&[record("a", "c", 1, &[1.0])], &[head]).comparison
        else {
            panic!()
        };
        assert_eq!(reasons.len(), 3, "{reasons:?}");
    }

    #[test]
    fn a_side_that_is_missing_or_failed_says_so() {
        let mut failed = record("b", "c", 1, &[]);
        failed.outcome = Outcome::Failed(Failure::Start { error: "gone".into() });
        let text = |pair: Pair| match pair.comparison {
            Comparison::Missing(text) => text,
            other => panic!("{other:?}"),
        };
        let measured = [record("a", "c", 1, &[1.0])];
        assert_eq!(text(one(&measured, &[])), "not in the head");
        assert_eq!(text(one(&[], &measured)), "not in the base");
        assert_eq!(
            text(one(&measured, &[failed])),
            "not measured in the head: round 1 failed: the probe could not be started: gone"
        );
    }
}

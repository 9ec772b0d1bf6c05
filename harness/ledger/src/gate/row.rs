//! One series of one case, from the question to the verdict.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::compare::Side;
use crate::gate::control::Control;
use crate::gate::{Setting, Sides, Terms};
use crate::judge::{Evidence, Finding, Judgement, Lack, Modes, Nature, Question, Rule};
use crate::policy::{Policy, Weight};
use crate::record::{Outcome, Record, RunId};
use crate::series::Series;
use crate::stats;
use crate::verdict::Verdict;

/// The result for one series of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The series.
    pub series: Series,
    /// The verdict on it.
    pub verdict: Verdict,
    /// Whether a regression of it blocks a merge or warns.
    pub weight: Weight,
    /// The median of the base's rounds that the judge looked at; none if it has none.
    pub base: Option<f64>,
    /// The median of the head's rounds, likewise.
    pub head: Option<f64>,
    /// The rule that led to the verdict; none if there was nothing to judge by.
    pub rule: Option<Rule>,
    /// The effect, its interval, and what it was judged against.
    #[serde(flatten)]
    pub finding: Option<Finding>,
    /// What is missing for a decision; only if inconclusive.
    #[serde(serialize_with = "in_words")]
    pub lacks: Option<Lack>,
    /// Sides whose rounds fall into two modes.
    pub modes: Vec<(Side, Modes)>,
    /// Why the verdict is not the judge's.
    pub reason: Option<String>,
}

/// For serde: programs show this to people, and have no better wording.
fn in_words<S: Serializer>(lack: &Option<Lack>, serializer: S) -> Result<S::Ok, S::Error> {
    lack.map(|lack| lack.to_string()).serialize(serializer)
}

impl Row {
    fn new(series: Series, verdict: Verdict, sides: &Sides<'_>, policy: &Policy) -> Row {
        let median = |records: &[&Record]| stats::median(&values(records, series));
        Row {
            series,
            verdict,
            weight: policy.weight(&sides.case.id, series.metric),
            base: median(&sides.base),
            head: median(&sides.head),
            rule: None,
            finding: None,
            lacks: None,
            modes: Vec::new(),
            reason: None,
        }
    }

    /// The verdict as far as it can stop a merge: a series that only warns stops none. The original
    /// verdict is reported by [`CaseReport::warned`](crate::gate::CaseReport::warned).
    #[must_use]
    pub fn counted(&self) -> Verdict {
        match (self.weight, self.verdict) {
            (Weight::Warns, Verdict::Regressed | Verdict::Invalid | Verdict::Inconclusive) => {
                Verdict::Pass
            }
            (_, verdict) => verdict,
        }
    }

    /// The words shown beside its verdict: one if it stops no merge, and one if the base was
    /// measured on other days, which detects less.
    #[must_use]
    pub fn beside(&self) -> Vec<&'static str> {
        let warns = (self.counted() != self.verdict).then_some("warns");
        let stored = (self.rule == Some(Rule::Stored)).then_some("stored");
        warns.into_iter().chain(stored).collect()
    }

    /// Whether the judge is to be asked.
    pub(super) fn is_open(&self) -> bool {
        self.reason.is_none()
    }

    /// Whether more rounds could decide it and may be requested: a series that only warns is judged
    /// by the rounds that are there.
    pub(super) fn asks_for_rounds(&self) -> bool {
        let more =
            matches!(self.lacks, Some(Lack::Pairs(_) | Lack::Rounds { .. } | Lack::Evenness));
        more && self.weight == Weight::Blocks
    }

    pub(super) fn decide(&mut self, question: &Question, judgement: Judgement) {
        let Judgement { verdict, rule, finding, lack, modes } = judgement;
        (self.verdict, self.rule, self.finding) = (verdict, Some(rule), finding);
        (self.lacks, self.modes) = (lack, modes);
        // Rounds measured after the verdict have no part in it.
        if let (
            Evidence::Interleaved { base, head, .. },
            Rule::Interleaved | Rule::Order,
            Some(seen),
        ) = (&question.evidence, rule, finding)
        {
            let median = |side: &[f64]| stats::median(side.get(..seen.rounds)?);
            (self.base, self.head) = (median(base), median(head));
        }
    }

    /// Retracts a regression, because identical code differed too on this machine. Bytes and counts
    /// that repeat do not depend on the machine's state.
    pub(super) fn distrust(&mut self, control: &Control) {
        if self.verdict == Verdict::Regressed && self.rule != Some(Rule::Quantised) {
            self.verdict = Verdict::Invalid;
            self.reason = Some(format!("it looks regressed, but {control}"));
        }
    }
}

/// Whether values of this series can be expected to repeat exactly.
fn nature(series: Series) -> Nature {
    if series.metric.spec().class.is_timed() { Nature::Timed } else { Nature::Counted }
}

/// The values of a series in the measured rounds.
pub(super) fn values(records: &[&Record], series: Series) -> Vec<f64> {
    by_round(records, series).into_iter().filter_map(|(_, value)| value).collect()
}

/// The value of a series in each measured round; none if the round has too few samples.
fn by_round(records: &[&Record], series: Series) -> Vec<(u32, Option<f64>)> {
    let number = |record: &&Record| match &record.outcome {
        Outcome::Measured(samples) => Some((record.round, series.of_round(samples))),
        Outcome::Attributed(_)
        | Outcome::Void { .. }
        | Outcome::Failed(_)
        | Outcome::Skipped(_) => None,
    };
    records.iter().filter_map(number).collect()
}

/// The series of a case that cannot be judged, with the medians of either side.
pub(super) fn shown(sides: &Sides<'_>, terms: &Terms, verdict: Verdict) -> Vec<Row> {
    let rows = Series::all().map(|series| Row::new(series, verdict, sides, &terms.policy));
    rows.filter(|row| row.base.or(row.head).is_some()).collect()
}

/// Whether the value is zero in every round of both sides.
fn is_nothing(sides: &Sides<'_>, series: Series) -> bool {
    let all = values(&sides.base, series).into_iter().chain(values(&sides.head, series));
    all.into_iter().all(|value| value == 0.0)
}

/// Whether measured rounds have the median of the metric of which `series` is a tail.
fn has_median(records: &[&Record], series: Series) -> bool {
    !values(records, Series::median(series.metric)).is_empty()
}

/// The series of a case, with a question for each that can be asked, and those that are passed
/// over.
pub(super) fn opened(
    sides: &Sides<'_>,
    terms: &Terms,
    questions: &mut Vec<Question>,
) -> (Vec<Row>, Vec<(Series, String)>) {
    let (mut rows, mut passed_over) = (Vec::new(), Vec::new());
    for series in Series::all() {
        let mut row = Row::new(series, Verdict::Inconclusive, sides, &terms.policy);
        match (row.base, row.head) {
            (None, None) => {
                if has_median(&sides.base, series) {
                    let needs = series.quantile.needs();
                    passed_over.push((series, format!("fewer than {needs} samples in each round")));
                }
            }
            (None, Some(_)) if has_median(&sides.base, series) => {
                let needs = series.quantile.needs();
                let reason = format!("fewer than {needs} samples in each round of the base");
                passed_over.push((series, reason));
            }
            (None, Some(_)) => {
                passed_over.push((series, "only the head has it: nothing to compare it to".into()));
            }
            (Some(_), _) if sides.case.workload.is_exact() && nature(series) == Nature::Timed => {
                passed_over.push((series, "this case is about numbers, not about time".into()));
            }
            // The head's rounds have too few samples for a tail: the metric is not missing.
            (Some(_), None) if has_median(&sides.head, series) => {
                questions.push(question(sides, series, terms));
                rows.push(row);
            }
            (Some(_), None) => {
                row.verdict = Verdict::Invalid;
                row.reason = Some("the base has it, but the head does not".into());
                rows.push(row);
            }
            // A change from zero to zero has no ratio: a stage that no load has, for example.
            (Some(_), Some(_)) if nature(series) == Nature::Timed && is_nothing(sides, series) => {
                passed_over.push((series, "it is 0 in every round of both sides".into()));
            }
            (Some(_), Some(_)) => {
                questions.push(question(sides, series, terms));
                rows.push(row);
            }
        }
    }
    (rows, passed_over)
}

fn question(sides: &Sides<'_>, series: Series, terms: &Terms) -> Question {
    let (base, head) = (by_round(&sides.base, series), by_round(&sides.head, series));
    let all_told = base.iter().chain(&head).all(|(_, value)| value.is_some());
    let class = series.metric.spec().class;
    let evidence = match terms.setting {
        _ if !all_told => Evidence::Missing(Lack::Samples { needs: series.quantile.needs() }),
        Setting::Alternating => alternating(&base, &head, terms.policy.budget.pairs as usize),
        Setting::Stored => Evidence::Stored {
            sessions: sessions(&sides.base, series),
            session_sd: terms.floors.session_sd.get(&class).copied(),
            head: values(&sides.head, series),
        },
    };
    Question {
        better: series.metric.spec().better,
        nature: nature(series),
        margin: terms.policy.margin(series),
        bias: terms.floors.bias.get(&class).copied().unwrap_or(0.0),
        evidence,
    }
}

/// The rounds of both sides that form pairs, by round number.
fn alternating(
    base: &[(u32, Option<f64>)],
    head: &[(u32, Option<f64>)],
    budget: usize,
) -> Evidence {
    let heads: BTreeMap<u32, f64> =
        head.iter().filter_map(|(round, value)| Some((*round, (*value)?))).collect();
    let mut pairs: Vec<(u32, f64, f64)> = base
        .iter()
        .filter_map(|(round, value)| Some((*round, (*value)?, *heads.get(round)?)))
        .collect();
    pairs.sort_by_key(|(round, ..)| *round);
    let (base, head) = pairs.into_iter().map(|(_, base, head)| (base, head)).unzip();
    Evidence::Interleaved { base, head, budget }
}

/// The rounds of each run, oldest run first: the name of a run begins with its start time.
fn sessions(records: &[&Record], series: Series) -> Vec<Vec<f64>> {
    let mut sessions: BTreeMap<&RunId, Vec<&Record>> = BTreeMap::new();
    for record in records {
        sessions.entry(&record.run).or_default().push(record);
    }
    sessions.into_values().map(|records| values(&records, series)).collect()
}

//! The gate: is the head of a run worse than its base, or wrong, or not comparable with it?
//!
//! [`report`] is a pure function of the records of a run and of the [`Terms`] that it began with,
//! so a verdict can be recomputed from the run file on any machine. It decides in this order:
//!
//! 1. whatever is broken or must not be compared is settled before any statistics ([`Sides`]);
//! 2. everything else is one family of questions for the [`judge`](crate::judge) ([`Row`]);
//! 3. the control arm, which measures the base once more, shows whether the machine treats
//!    identical code equally; if it does not, no regression stands ([`control`]);
//! 4. what was not judged is listed with the reason ([`Unjudged`]).
//!
//! [`schedule`] says which rounds are due next: a run asks it until none are.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::baseline::Code;
use crate::calibration::Floors;
use crate::case::{Case, CaseId};
use crate::environment::Difference;
use crate::judge::Question;
use crate::policy::{Policy, PolicyHash, Weight};
use crate::record::{Record, Run};
use crate::series::Series;
use crate::upstream::Hash;
use crate::verdict::Verdict;

pub mod control;
mod rank;
mod row;
pub mod schedule;
mod sides;
#[cfg(test)]
mod tests;

pub use control::Control;
pub use rank::in_margins;
pub use row::Row;
pub use sides::Sides;

/// What a run is judged by. Stored in the first line of the run file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The complete policy: if its file changes, the run continues with what it began with.
    pub policy: Policy,
    /// What is known about the machine.
    #[serde(default, skip_serializing_if = "Floors::are_unknown")]
    pub floors: Floors,
    /// The fewest pairs of every case, even if it is decided earlier; for calibration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_pairs: u32,
    /// The number of shards of the plan, of which this run is one; in the end all are judged as one
    /// family. 0 if it is the whole plan.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shards: u32,
    /// When the base is measured.
    #[serde(default, skip_serializing_if = "Setting::is_alternating")]
    pub setting: Setting,
    /// Cases that were left out to keep the run quick.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<CaseId>,
    /// The baseline that serves as the base, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Origin>,
    /// The policies that both sides were judged by earlier, if both were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Policies>,
}

/// The baseline that a base was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its upstream commit.
    pub upstream: Hash,
    /// How many upstream commits it lies behind the head.
    pub distance: usize,
    /// The code that was measured.
    pub code: Code,
    /// The names of the sessions that make up the base.
    pub sessions: Vec<String>,
}

/// `2bcf0e9e3, 2 upstream commits before the head`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.upstream)?;
        match self.distance {
            0 => f.write_str("the upstream commit of the head"),
            1 => f.write_str("1 upstream commit before the head"),
            n => write!(f, "{n} upstream commits before the head"),
        }
    }
}

/// The policies that two sides were judged by earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// The base's.
    pub base: PolicyHash,
    /// The head's.
    pub head: PolicyHash,
}

impl Policies {
    /// The difference between them, if any: what is no regression under one policy can be one under
    /// another.
    fn difference(&self) -> Option<Difference> {
        let Policies { base, head } = self;
        (base != head).then(|| Difference::of_sides("policy", base.to_string(), head.to_string()))
    }
}

/// For serde: the default, which is not written.
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Terms {
    /// Terms for a machine about which nothing is known, with head and base measured in
    /// alternation.
    #[must_use]
    pub fn of(policy: Policy) -> Terms {
        Terms {
            policy,
            floors: Floors::default(),
            least_pairs: 0,
            shards: 0,
            setting: Setting::Alternating,
            unseen: Vec::new(),
            baseline: None,
            policies: None,
        }
    }

    /// The size of the family of which `own` series belong to this run. The other shards are
    /// assumed to have as many each, so that a verdict does not change when all are judged as one
    /// family.
    #[must_use]
    pub fn family(&self, own: usize) -> usize {
        own.saturating_mul(self.shards.max(1) as usize)
    }
}

/// When the base of a comparison is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// In alternation with the head.
    #[default]
    Alternating,
    /// On other days: its records come from other runs, each of which is a session.
    Stored,
}

impl Setting {
    /// For serde: the default, which is not written.
    fn is_alternating(&self) -> bool {
        *self == Setting::Alternating
    }
}

/// Which part of a run a round belongs to: the index of its subject in [`Run::subjects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// What the head is compared with.
    Base,
    /// What is judged.
    Head,
    /// The base once more.
    Control,
}

impl Arm {
    /// What is added to the name of a build that a run measures more than once: as the head of an
    /// unchanged base, or as its control.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Arm::Base => "",
            Arm::Head => " (head)",
            Arm::Control => " (control)",
        }
    }

    /// The name of a build without the mark of its arm.
    #[must_use]
    pub fn unmarked(name: &str) -> &str {
        let marked = [Arm::Head, Arm::Control];
        marked.into_iter().find_map(|arm| name.strip_suffix(arm.mark())).unwrap_or(name)
    }
}

/// The result of a comparison, case by case and series by series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The overall verdict.
    pub verdict: Verdict,
    /// Whether it stops a merge.
    pub weight: Weight,
    /// The policy that it was judged by.
    pub policy: PolicyHash,
    /// How many series of this run were judged.
    pub judged: usize,
    /// The size of the family that they were judged in, including series of other shards of the
    /// plan.
    pub family: usize,
    /// The cases that were compared.
    pub cases: Vec<CaseReport>,
    /// What was not judged, and why.
    pub unjudged: Vec<Unjudged>,
    /// How much the base differed from itself.
    pub control: Vec<Control>,
}

impl Report {
    /// `as one family`; for a shard, `in a family of 14`.
    #[must_use]
    pub fn company(&self) -> String {
        match self.judged == self.family {
            true => "as one family".to_owned(),
            false => format!("in a family of {}", self.family),
        }
    }

    /// What did not pass although it stops no merge: [`CaseReport::warned`] of all cases.
    #[must_use]
    pub fn warned(&self) -> Vec<(Verdict, String)> {
        warned(&self.cases)
    }
}

/// The result for one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// The case.
    pub case: CaseId,
    /// The verdict on it: that of its series, as far as they can stop a merge.
    pub verdict: Verdict,
    /// Why it is broken or invalid, regardless of its series.
    pub reasons: Vec<String>,
    /// Why it was not measured until a decision, if so. Its series say what is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<String>,
    /// The end of the output of the process that failed first, one of the head before one of the
    /// base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<String>,
    /// Differences between the sides that do not forbid the comparison.
    pub differences: Vec<String>,
    /// Its series.
    pub rows: Vec<Row>,
}

impl CaseReport {
    /// What a reader of its series must know about the whole case: the reasons, and why it is
    /// unfinished.
    pub fn remarks(&self) -> impl Iterator<Item = &str> {
        self.reasons.iter().chain(&self.unfinished).map(String::as_str)
    }

    /// What did not pass although it stops no merge, by verdict and in words: `2 series that only
    /// warn regressed`.
    #[must_use]
    pub fn warned(&self) -> Vec<(Verdict, String)> {
        warned(std::slice::from_ref(self))
    }
}

fn warned(cases: &[CaseReport]) -> Vec<(Verdict, String)> {
    // If a whole case is invalid, the case reports it.
    let cases = cases.iter().filter(|case| case.reasons.is_empty());
    let rows: Vec<&Row> =
        cases.flat_map(|case| &case.rows).filter(|row| row.counted() != row.verdict).collect();
    let words = |(verdict, became): (Verdict, &str)| match rows
        .iter()
        .filter(|row| row.verdict == verdict)
        .count()
    {
        0 => None,
        1 => Some((verdict, format!("1 series that only warns {became}"))),
        n => Some((verdict, format!("{n} series that only warn {became}"))),
    };
    let became = [
        (Verdict::Regressed, "regressed"),
        (Verdict::Invalid, "could not be compared"),
        (Verdict::Inconclusive, "could not be decided"),
    ];
    became.into_iter().filter_map(words).collect()
}

/// Something that was not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// The case.
    pub case: CaseId,
    /// The series; none for all of them.
    pub series: Option<Series>,
    /// Why.
    pub reason: String,
}

/// The report of a run under `terms`, from the records so far.
#[must_use]
pub fn report(run: &Run, terms: &Terms, records: &[Record]) -> Report {
    let mut report = judge(&sides(run, records), terms);
    let skipped = run.skipped.iter().map(|skipped| (&skipped.id, skipped.reason.as_str()));
    let unseen = terms.unseen.iter().map(|case| (case, "not seen: left out to keep the run quick"));
    report.unjudged.extend(skipped.chain(unseen).map(|(case, reason)| Unjudged {
        case: case.clone(),
        series: None,
        reason: reason.to_owned(),
    }));
    let minutes = terms.policy.budget.minutes;
    for id in schedule::given_up(run, terms, records) {
        if let Some(case) = report.cases.iter_mut().find(|report| report.case == id) {
            case.unfinished =
                Some(format!("the budget of {minutes} min ended before it was decided"));
            // A case that the budget never reached is undecided, and nothing is wrong with it;
            // unless nothing at all was compared.
            let is_reached = |record: &Record| record.run == run.id && record.case.id == id;
            if report.family > 0 && !records.iter().any(is_reached) {
                (case.verdict, case.reasons) = (Verdict::Inconclusive, Vec::new());
            }
        }
    }
    (report.verdict, report.weight) = outcome(&report.cases, terms);
    report
}

/// The verdict on all cases, and its effect on a merge.
fn outcome(cases: &[CaseReport], terms: &Terms) -> (Verdict, Weight) {
    let verdict = Verdict::on_all(cases.iter().map(|case| case.verdict));
    let told = |row: &Row| {
        row.weight == Weight::Blocks || matches!(row.verdict, Verdict::Pass | Verdict::Improved)
    };
    match verdict {
        // Everything only warns and nothing passed: that stops no merge, but is not a pass.
        Verdict::Pass if !cases.iter().flat_map(|case| &case.rows).any(told) => {
            (Verdict::Inconclusive, Weight::Warns)
        }
        _ => (verdict, weight_of(verdict, terms)),
    }
}

/// The effect on a merge of the verdict on all cases.
fn weight_of(verdict: Verdict, terms: &Terms) -> Weight {
    match verdict {
        Verdict::Inconclusive => terms.policy.inconclusive,
        Verdict::Broken | Verdict::Regressed | Verdict::Invalid => Weight::Blocks,
        Verdict::Improved | Verdict::Pass => Weight::Warns,
    }
}

/// Every judged series of a run with its question, in the order of the family.
#[must_use]
pub fn questions(run: &Run, terms: &Terms, records: &[Record]) -> Vec<(CaseId, Series, Question)> {
    let mut all = Vec::new();
    for sides in sides(run, records) {
        if sides.absent().is_none() && sides.obstacle(terms).is_none() {
            let mut questions = Vec::new();
            let (rows, _) = row::opened(&sides, terms, &mut questions);
            let open = rows.into_iter().filter(Row::is_open).map(|row| row.series);
            let case = &sides.case.id;
            all.extend(
                open.zip(questions).map(|(series, question)| (case.clone(), series, question)),
            );
        }
    }
    all
}

/// The report on two sets of records, each taken as one subject's.
#[must_use]
pub fn compare(base: &[Record], head: &[Record], terms: &Terms) -> Report {
    let mut cases: Vec<&Case> = Vec::new();
    for record in base.iter().chain(head) {
        if !cases.iter().any(|case| case.id == record.case.id) {
            cases.push(&record.case);
        }
    }
    let sides = |case| Sides {
        case,
        base: of_case(base, case),
        head: of_case(head, case),
        control: Vec::new(),
    };
    judge(&cases.into_iter().map(sides).collect::<Vec<_>>(), terms)
}

fn of_case<'a>(records: &'a [Record], case: &Case) -> Vec<&'a Record> {
    records.iter().filter(|record| record.case.id == case.id).collect()
}

/// The sides of each case of a run, in the order of its plan.
fn sides<'a>(run: &'a Run, records: &'a [Record]) -> Vec<Sides<'a>> {
    let of = |case: &Case, arm: Arm| -> Vec<&'a Record> {
        let subject = run.subjects.get(arm as usize);
        let mine = |r: &&Record| r.case.id == case.id && Some(&r.subject) == subject;
        records.iter().filter(mine).collect()
    };
    let sides = |case: &'a Case| Sides {
        case,
        base: of(case, Arm::Base),
        head: of(case, Arm::Head),
        control: of(case, Arm::Control),
    };
    run.cases.iter().map(|planned| sides(&planned.case)).collect()
}

/// Judges cases, given their sides, as one family.
#[must_use]
pub fn judge(sides: &[Sides<'_>], terms: &Terms) -> Report {
    let mut unjudged = Vec::new();
    let (mut cases, mut questions, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for sides in sides {
        let case = &sides.case.id;
        if let Some(reason) = sides.absent() {
            unjudged.push(Unjudged { case: case.clone(), series: None, reason });
            continue;
        }
        let obstacle = sides.obstacle(terms);
        let rows = match &obstacle {
            Some((verdict, _)) => row::shown(sides, terms, *verdict),
            None => {
                let (rows, passed_over) = row::opened(sides, terms, &mut questions);
                let of = |(series, reason)| Unjudged {
                    case: case.clone(),
                    series: Some(series),
                    reason,
                };
                unjudged.extend(passed_over.into_iter().map(of));
                let places = rows.iter().enumerate().filter(|(_, row)| row.is_open());
                asked.extend(places.map(|(place, _)| (cases.len(), place)));
                rows
            }
        };
        let (verdict, reasons) = obstacle.unwrap_or((Verdict::Invalid, Vec::new()));
        let (tail, differences) = (sides.tail(), sides.differences());
        cases.push(CaseReport {
            case: case.clone(),
            verdict,
            reasons,
            unfinished: None,
            tail,
            differences,
            rows,
        });
    }

    let judged = questions.len();
    let family = terms.family(judged);
    let judgements = crate::judge::judge(&questions, family);
    for ((case, place), (question, judgement)) in
        asked.into_iter().zip(questions.iter().zip(judgements))
    {
        cases[case].rows[place].decide(question, judgement);
    }
    let control = control::measured(sides, terms);
    for case in cases.iter_mut().filter(|case| case.reasons.is_empty()) {
        if let Some(control) = control.iter().find(|control| control.is_astray()) {
            case.rows.iter_mut().for_each(|row| row.distrust(control));
        }
        if case.rows.is_empty() {
            case.reasons.push("the two sides have no series in common".to_owned());
        }
        case.verdict = Verdict::on_all(case.rows.iter().map(Row::counted));
    }

    let (verdict, weight) = outcome(&cases, terms);
    Report {
        verdict,
        weight,
        policy: terms.policy.hash(),
        judged,
        family,
        cases,
        unjudged,
        control,
    }
}

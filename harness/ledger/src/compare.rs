//! Two subjects side by side: medians, ratio and spread of each case and series.
//!
//! It shows; it does not judge. A comparison that is not allowed is refused with every reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::case::CaseId;
use crate::environment::{Between, Difference, comparable};
use crate::record::{Digest, Outcome, Record, Samples};
use crate::series::Series;
use crate::summary::{Caveat, Location, Summary, Unmeasured, summarise};
use crate::verdict::Verdict;

/// The comparison of base and head for one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The case.
    pub case: CaseId,
    /// The result of the comparison.
    pub comparison: Comparison,
    /// Differences between the environments that do not forbid the comparison.
    pub differences: Vec<Difference>,
    /// Notes on either side: rounds that were not measured, and caveats.
    pub notes: Vec<Note>,
}

/// A note on one side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Which side.
    pub side: Side,
    /// What it is about.
    pub about: About,
}

/// A side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The side that is compared with.
    Base,
    /// The side that is compared.
    Head,
}

/// What a note is about.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// A round that was not measured.
    Unmeasured(Unmeasured),
    /// Something to know before trusting the numbers.
    Caveat(Caveat),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Base => "base",
            Side::Head => "head",
        };
        match &self.about {
            About::Unmeasured(unmeasured) => write!(f, "{side}: {unmeasured}"),
            About::Caveat(caveat) => write!(f, "{side}: {caveat}"),
        }
    }
}

impl Pair {
    /// Whether the head is broken: one of its rounds failed, or its output differs from the base's.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        let failed = |note: &Note| {
            let about = matches!(note.about, About::Unmeasured(Unmeasured::Failed { .. }));
            note.side == Side::Head && about
        };
        matches!(self.comparison, Comparison::Broken(_)) || self.notes.iter().any(failed)
    }
}

/// The result of comparing one case.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// Each series that both sides measured.
    Rows(Vec<Row>),
    /// The outputs differ: the numbers are for different work.
    Broken(String),
    /// The sides must not be compared, for these reasons.
    Invalid(Vec<String>),
    /// One side has no measured round.
    Missing(String),
}

/// One series, side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The series.
    pub series: Series,
    /// Its rounds in the base.
    pub base: Location,
    /// Its rounds in the head.
    pub head: Location,
}

impl Row {
    /// head / base; none unless both are positive.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let (base, head) = (self.base.median, self.head.median);
        (base > 0.0 && head > 0.0).then(|| head / base)
    }

    /// How much worse the head is, as a fraction; negative is better.
    #[must_use]
    pub fn worsening(&self) -> f64 {
        self.series.metric.worsening(self.base.median, self.head.median)
    }

    /// How the change reads.
    #[must_use]
    pub fn change(&self) -> Change {
        let worse = self.worsening();
        let spec = self.series.metric.spec();
        let little = (self.head.median - self.base.median).abs() <= spec.least;
        match little || worse.abs() <= spec.noise_floor / 100.0 {
            true => Change::AboutEqual,
            false if worse > 0.0 => Change::Worse,
            false => Change::Better,
        }
    }
}

/// How a change reads. This is not a verdict: it considers the metric's noise floor, not the actual
/// noise.
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
/// Each set is taken as one subject's: filter first if a file contains several subjects.
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
struct OneSide<'a> {
    records: Vec<&'a Record>,
    summary: Summary,
}

fn by_case(records: &[Record]) -> BTreeMap<CaseId, OneSide<'_>> {
    let mut sides: BTreeMap<CaseId, OneSide<'_>> = summarise(records)
        .into_iter()
        .map(|summary| (summary.case.clone(), OneSide { records: Vec::new(), summary }))
        .collect();
    for record in records {
        if let Some(side) = sides.get_mut(&record.case.id) {
            side.records.push(record);
        }
    }
    sides
}

fn pair(case: &CaseId, base: Option<&OneSide<'_>>, head: Option<&OneSide<'_>>) -> Pair {
    let notes = notes(Side::Base, base).chain(notes(Side::Head, head)).collect();
    let pair =
        |comparison, differences| Pair { case: case.clone(), comparison, differences, notes };
    let missing = |text: &str| Comparison::Missing(text.to_owned());
    let (Some(base), Some(head)) = (base, head) else {
        let side = if base.is_none() { "not in the base" } else { "not in the head" };
        return pair(missing(side), Vec::new());
    };
    let (bases, heads): (Vec<_>, Vec<_>) = (base.measured().collect(), head.measured().collect());
    match (bases.is_empty(), heads.is_empty()) {
        (true, true) => return pair(missing("not measured on either side"), Vec::new()),
        (true, false) => return pair(missing("not measured in the base"), Vec::new()),
        (false, true) => return pair(missing("not measured in the head"), Vec::new()),
        (false, false) => (),
    }
    let (reasons, soft) = differences(&bases, &heads);
    let comparison = match outputs(&bases, &heads) {
        _ if !reasons.is_empty() => Comparison::Invalid(reasons),
        None => Comparison::Rows(rows(base, head)),
        Some((Verdict::Broken, reason)) => Comparison::Broken(reason),
        Some((_, reason)) => Comparison::Invalid(vec![reason]),
    };
    pair(comparison, soft)
}

fn notes(side: Side, of: Option<&OneSide<'_>>) -> impl Iterator<Item = Note> {
    let summary = of.map(|side| side.summary.clone());
    let (unmeasured, caveats) =
        summary.map_or_else(Default::default, |s| (s.unmeasured, s.caveats));
    let abouts = unmeasured.into_iter().map(About::Unmeasured);
    abouts.chain(caveats.into_iter().map(About::Caveat)).map(move |about| Note { side, about })
}

/// All reasons against comparing these rounds, and the differences that do not forbid it. Every
/// round counts: a single one measured elsewhere spoils its side.
pub(crate) fn differences(bases: &[&Record], heads: &[&Record]) -> (Vec<String>, Vec<Difference>) {
    let (mut reasons, mut soft): (Vec<String>, Vec<Difference>) = (Vec::new(), Vec::new());
    let Some(first) = bases.first() else { return (reasons, soft) };
    // The first round may be void, or from before probes reported their prompts.
    let told = bases.iter().find_map(|base| prompts(base));
    let rounds = heads.iter().map(|record| (Between::Sides, record));
    let rounds = rounds.chain(bases.iter().map(|record| (Between::Bases, record)));
    for (between, record) in rounds {
        let found = comparable(&first.environment, &record.environment);
        let named = |difference: Difference| Difference { between, ..difference };
        // What is unknown throughout the base was already reported between base and head.
        let is_new = |d: &Difference| between == Between::Sides || !d.is_untold();
        let hard = found.hard.into_iter().map(named).filter(is_new);
        let mut against: Vec<String> = hard.map(|difference| difference.to_string()).collect();
        if first.case.hash() != record.case.hash() {
            let reason = match between {
                Between::Sides => {
                    "the case means something else (its defaults or its model changed)"
                }
                Between::Bases => {
                    "the case means two things within the base (its defaults or its model changed)"
                }
            };
            against.push(reason.to_owned());
        }
        // Different prompts cannot have the same answers, and may take a different time.
        let other = prompts(record);
        if told.is_some() && other.is_some() && told != other {
            let reason = match between {
                Between::Sides => "the prompts differ: this probe draws them differently",
                Between::Bases => "the prompts differ within the base",
            };
            against.push(reason.to_owned());
        }
        against.retain(|reason| !reasons.contains(reason));
        reasons.extend(against);
        for difference in found.soft.into_iter().map(named) {
            let same = |known: &Difference| known.what == difference.what;
            let is_known = match is_new(&difference) {
                true => soft.contains(&difference),
                false => soft.iter().any(same),
            };
            if !is_known {
                soft.push(difference);
            }
        }
    }
    (reasons, soft)
}

/// Why the outputs of these rounds forbid a comparison, if they do: broken if the head is wrong,
/// invalid if the base does not say what is right. Rounds that do not count have no outputs.
pub(crate) fn outputs(bases: &[&Record], heads: &[&Record]) -> Option<(Verdict, String)> {
    let (base, head) = (digests(bases), digests(heads));
    let (verdict, reason) = match (base.len(), head.len()) {
        (0, _) => (Verdict::Invalid, "no round of the base counts: all of them are void"),
        (_, 0) => (Verdict::Invalid, "no round of the head counts: all of them are void"),
        (1, 1) if base == head => return None,
        (1, 1) => (Verdict::Broken, "the output tokens differ between base and head"),
        (_, 1) => (Verdict::Invalid, "the output tokens of the base differ from round to round"),
        (_, _) => (Verdict::Broken, "the output tokens of the head differ from round to round"),
    };
    Some((verdict, reason.to_owned()))
}

/// The distinct outputs of these rounds.
fn digests<'a>(records: &[&'a Record]) -> BTreeSet<Vec<&'a Digest>> {
    records.iter().copied().filter_map(samples).map(Samples::digests).collect()
}

/// The prompts of a round, if its probe reported them.
fn prompts(record: &Record) -> Option<&Digest> {
    samples(record)?.prompts.as_ref()
}

/// The samples of a round, if it counts.
fn samples(record: &Record) -> Option<&Samples> {
    match &record.outcome {
        Outcome::Measured(samples) => Some(samples),
        Outcome::Attributed(_)
        | Outcome::Void { .. }
        | Outcome::Failed(_)
        | Outcome::Skipped(_) => None,
    }
}

impl OneSide<'_> {
    fn measured(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().copied().filter(|record| matches!(record.outcome, Outcome::Measured(_)))
    }
}

fn rows(base: &OneSide<'_>, head: &OneSide<'_>) -> Vec<Row> {
    let of = |summary: &Summary, series: Series| {
        summary.series.iter().find(|(s, _)| *s == series).map(|(_, location)| location.clone())
    };
    let row = |series| {
        Some(Row { series, base: of(&base.summary, series)?, head: of(&head.summary, series)? })
    };
    Series::all().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;
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
        assert!((rows[0].ratio().unwrap() - 0.8).abs() < 1e-9);
        assert_eq!(rows[0].change(), Change::Worse);
    }

    #[test]
    fn nothing_is_a_multiple_of_zero_but_more_than_it_is_worse() {
        let row = |head: f64| Row {
            series: Series::median(Metric::Preemptions),
            base: Location::of(vec![0.0]).unwrap(),
            head: Location::of(vec![head]).unwrap(),
        };
        assert_eq!((row(0.0).ratio(), row(0.0).change()), (None, Change::AboutEqual));
        assert_eq!((row(2.0).ratio(), row(2.0).change()), (None, Change::Worse));
    }

    #[test]
    fn what_lies_around_zero_does_not_double_for_nothing() {
        let row = |base: f64, head: f64| Row {
            series: Series::median(Metric::RssGrowth),
            base: Location::of(vec![base]).unwrap(),
            head: Location::of(vec![head]).unwrap(),
        };
        assert_eq!(row(4096.0, 102_400.0).change(), Change::AboutEqual);
        assert_eq!(row(4096.0, 8e6).change(), Change::Worse);
        assert_eq!(row(-1e6, 8e6).ratio(), None);
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
    fn other_prompts_are_another_question_and_a_probe_that_does_not_tell_them_is_believed() {
        let told = |name: &str, words: Option<u32>| {
            let mut record = record(name, "c", 1, &[100.0]);
            let Outcome::Measured(samples) = &mut record.outcome else { unreachable!() };
            samples.prompts = words.map(|word| Digest::of_prompts([vec![word]]));
            // Different prompts have different answers, which is no fault.
            let word = [words.unwrap_or(1)];
            samples.iterations[0].digest = Digest::of_outputs([word.as_slice()]);
            record
        };
        let of = |head| one(&[told("a", Some(1))], &[told("b", head)]).comparison;
        let Comparison::Invalid(reasons) = of(Some(2)) else { panic!() };
        assert_eq!(reasons, ["the prompts differ: this probe draws them differently"]);
        assert!(matches!(of(Some(1)), Comparison::Rows(_)));
        assert!(matches!(of(None), Comparison::Rows(_)), "as one from before they were told");
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
    fn a_crash_of_the_head_in_one_of_three_rounds_is_not_forgotten() {
        let rounds = |name: &str| [1, 2, 3].map(|round| record(name, "c", round, &[1.0]));
        let (base, mut head) = (rounds("a"), rounds("b"));
        assert!(!one(&base, &head).is_broken());
        head[1].outcome = Outcome::Failed(Failure::Start { error: "gone".into() });
        let pair = one(&base, &head);
        assert!(matches!(pair.comparison, Comparison::Rows(_)) && pair.is_broken());
    }

    #[test]
    fn one_round_from_elsewhere_spoils_its_side() {
        let rounds = |name: &str| [1, 2, 3].map(|round| record(name, "c", round, &[1.0]));
        let (base, mut head) = (rounds("a"), rounds("b"));
        head[2].environment.machine.cores = 64;
        let Comparison::Invalid(reasons) = one(&base, &head).comparison else { panic!() };
        assert_eq!(reasons, ["cores: `2` in the base, `64` in the head"]);
    }

    #[test]
    fn rounds_of_the_base_that_differ_are_told_of_the_base() {
        let rounds = |name: &str| [1, 2].map(|round| record(name, "c", round, &[1.0]));
        let (mut base, head) = (rounds("a"), rounds("b"));
        base[1].environment.machine.kernel = "6.2".into();
        let pair = one(&base, &head);
        assert!(matches!(pair.comparison, Comparison::Rows(_)));
        let told: Vec<String> = pair.differences.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["kernel: `6.1.0` and `6.2` within the base"]);

        base[1].environment.machine.cores = 64;
        base[1].case.seed = 7;
        let Comparison::Invalid(reasons) = one(&base, &head).comparison else { panic!() };
        assert_eq!(
            reasons,
            [
                "cores: `2` and `64` within the base",
                "the case means two things within the base (its defaults or its model changed)"
            ]
        );
    }

    #[test]
    fn what_neither_side_tells_is_told_once() {
        let untold = |name: &str, boot: &str| {
            let mut record = record(name, "c", 1, &[1.0]);
            record.environment.machine.governor = String::new();
            record.environment.machine.boot = boot.into();
            record
        };
        let base = [untold("a", "first"), untold("a", "second")];
        let pair = one(&base, &[untold("b", "third")]);
        let told: Vec<String> = pair.differences.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["governor: unknown on both sides"]);
        let told = one(&base, &[untold("b", "first")]).differences;
        assert_eq!(told[0].to_string(), "governor: unknown in the base");
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
        let pair = one(&measured, &[failed]);
        assert!(pair.is_broken());
        let notes: Vec<String> = pair.notes.iter().map(ToString::to_string).collect();
        assert_eq!(
            notes[1], "head: round 1 failed: the probe could not be started: gone",
            "{notes:?}"
        );
        assert_eq!(text(pair), "not measured in the head");
    }
}

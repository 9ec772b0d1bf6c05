//! What the page shows, as plain values: grouped by scenario, in the order of the plan.
//!
//! No markup and no arithmetic: medians and comparisons are the ledger's.

mod facts;
mod notes;
mod roof;
mod ruled;
mod service;
mod trade_off;

use std::collections::BTreeMap;

use windtunnel_ledger::attribution::Attribution;
use windtunnel_ledger::case::{Case, CaseId};
use windtunnel_ledger::compare::{Change, Comparison, Pair, compare};
use windtunnel_ledger::environment::Environment;
use windtunnel_ledger::gate;
use windtunnel_ledger::record::{Outcome, Record, Run, Samples, Subject};
use windtunnel_ledger::roof::{Standing, standings};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::summary::{Location, Summary, Unmeasured, summarise};
use windtunnel_ledger::tail::{self, Tail};

use crate::history::History;

pub(crate) use facts::Fact;
pub(crate) use notes::{Occurrence, Trouble};
pub(crate) use roof::Numbered;
pub(crate) use ruled::{DETAILED, Ruled};
pub(crate) use service::Curve;
pub(crate) use trade_off::{Column, TradeOff, Value};

/// The most cases for which each case is drawn and shown with its percentiles and its command.
pub(crate) const LONG: usize = 100;

/// Everything that the page shows.
pub(crate) struct View<'a> {
    /// What the run set out to do.
    pub(crate) run: &'a Run,
    /// Every round that it left, in chronological order.
    pub(crate) records: &'a [Record],
    /// Whether the last line of the file was cut short.
    pub(crate) torn: bool,
    /// Every subject; the first is the base. Elsewhere a subject is its index in this list.
    pub(crate) subjects: Vec<&'a Subject>,
    /// The scenarios, with their cases.
    pub(crate) scenarios: Vec<Scenario<'a>>,
    /// The costs and benefits of weight formats.
    pub(crate) trade_offs: Vec<TradeOff>,
    /// The result of the gate; none for a run that only measures.
    pub(crate) gate: Option<gate::Report>,
    /// The history of the run's series, if known.
    pub(crate) history: Option<&'a History>,
    /// Each further subject compared with the base.
    pub(crate) versus: Vec<Versus>,
    /// Where each subject ran; a subject that ran in several places has several entries.
    pub(crate) environments: Vec<(usize, &'a Environment)>,
}

/// The cases of one scenario.
pub(crate) struct Scenario<'a> {
    /// Its path, as in `gate/decode`.
    pub(crate) name: String,
    /// The facts that all its cases share.
    pub(crate) shared: Vec<Fact>,
    /// The names of the facts that distinguish its cases; at least one.
    pub(crate) varying: Vec<&'static str>,
    /// The series that any of its cases has, in the order of [`Series::all`].
    pub(crate) series: Vec<Series>,
    /// Its cases, in the order of the plan.
    pub(crate) cases: Vec<CaseView<'a>>,
}

/// One case.
pub(crate) struct CaseView<'a> {
    /// Its definition.
    pub(crate) case: &'a Case,
    /// The planned number of rounds per subject; 0 if it is not in the plan.
    pub(crate) rounds: usize,
    /// The values that distinguish it within its scenario, in the order of [`Scenario::varying`].
    pub(crate) values: Vec<String>,
    /// The result of each subject; empty if it never ran.
    pub(crate) results: Vec<SubjectResult<'a>>,
}

/// The result of one subject in one case.
pub(crate) struct SubjectResult<'a> {
    /// The index of the subject.
    pub(crate) subject: usize,
    /// The summary of its rounds.
    pub(crate) summary: Summary,
    /// How close it came to the limits of its machine, if known.
    pub(crate) standing: Option<Standing>,
    /// The distributions of its latency samples, over all rounds.
    pub(crate) tails: Vec<Tail>,
    /// The shell command that repeats its first round.
    pub(crate) command: &'a str,
    /// Its first round that counts and was watched.
    pub(crate) watched: Option<&'a Record>,
    /// Where its time went, if that was recorded.
    pub(crate) attribution: Option<&'a Attribution>,
}

/// One subject compared with the base.
pub(crate) struct Versus {
    /// The index of the subject.
    pub(crate) head: usize,
    /// Every case of either subject.
    pub(crate) pairs: Vec<Pair>,
}

/// The number of cases by outcome.
#[derive(Default)]
pub(crate) struct Census {
    /// Cases with numbers.
    pub(crate) measured: usize,
    /// Cases with a round that failed; some may have numbers from other rounds.
    pub(crate) failed: usize,
    /// Cases without numbers that had a round under conditions that the rules forbid.
    pub(crate) void: usize,
    /// Cases without numbers that the scenario excludes or the engine declines.
    pub(crate) skipped: usize,
    /// Planned cases of which no round was run.
    pub(crate) missing: usize,
}

/// The number of rows of a comparison by result.
#[derive(Default)]
pub(crate) struct Tally {
    /// Rows that are worse by more than the noise floor of their metric.
    pub(crate) worse: usize,
    /// Rows that are better by more than it.
    pub(crate) better: usize,
    /// Rows within it.
    pub(crate) about_equal: usize,
    /// Cases whose outputs differ.
    pub(crate) broken: usize,
    /// Cases that must not or cannot be compared.
    pub(crate) uncompared: usize,
}

impl<'a> View<'a> {
    /// The view of a run.
    pub(crate) fn of(contents: &'a Contents) -> View<'a> {
        let Contents { run, records, torn } = contents;
        let mut subjects: Vec<&Subject> = run.subjects.iter().collect();
        let mut environments: Vec<(usize, &Environment)> = Vec::new();
        for record in records {
            let subject = position(&mut subjects, &record.subject);
            position(&mut environments, (subject, &record.environment));
        }
        environments.sort_by_key(|(subject, _)| *subject);
        // A probe that never answered left its build unknown: that is not another place.
        let told = environments.clone();
        environments.retain(|(subject, environment)| {
            environment.build.is_some()
                || !told.iter().any(|(other, told)| other == subject && told.build.is_some())
        });

        let scenarios = scenarios(run, records, &subjects);
        let trade_offs = trade_off::of(&scenarios);
        let versus = versus(records, &subjects);
        let gate = run.gate.as_ref().map(|terms| gate::report(run, terms, records));
        View {
            gate,
            history: None,
            run,
            records,
            torn: *torn,
            subjects,
            scenarios,
            trade_offs,
            versus,
            environments,
        }
    }

    /// Every case.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &CaseView<'a>> {
        self.scenarios.iter().flat_map(|scenario| &scenario.cases)
    }

    /// Whether the base was measured on other days, by other runs.
    pub(crate) fn is_stored(&self) -> bool {
        self.run.gate.as_ref().is_some_and(|terms| terms.setting == gate::Setting::Stored)
    }

    /// Every series that a gate judged, the worst first; empty if the run was not a gate.
    pub(crate) fn ruled(&self) -> Vec<Ruled<'_>> {
        self.gate.as_ref().map_or_else(Vec::new, |report| ruled::ruled(self, report))
    }

    /// Whether there are too many cases to look at one by one: then only tables are shown, and the
    /// run's file holds the rest.
    pub(crate) fn is_long(&self) -> bool {
        self.cases().count() > LONG
    }

    /// The number of cases by outcome.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census { skipped: self.run.skipped.len(), ..Census::default() };
        for case in self.cases() {
            let measured = case.results.iter().any(|result| !result.summary.series.is_empty());
            let any = |what: fn(&Unmeasured) -> bool| {
                case.results.iter().any(|result| result.summary.unmeasured.iter().any(what))
            };
            let failed = any(|unmeasured| matches!(unmeasured, Unmeasured::Failed { .. }));
            let void = any(|unmeasured| matches!(unmeasured, Unmeasured::Void { .. }));
            let missing = case.results.is_empty();
            let silent = !measured && !failed && !missing;
            census.measured += usize::from(measured);
            census.failed += usize::from(failed);
            census.missing += usize::from(missing);
            census.void += usize::from(silent && void);
            census.skipped += usize::from(silent && !void);
        }
        census
    }
}

impl Scenario<'_> {
    /// What distinguishes `case` within the scenario, in one line.
    pub(crate) fn label(&self, case: &CaseView<'_>) -> String {
        let named = self.varying.iter().zip(&case.values);
        let words = named.map(|(name, value)| match *name {
            "model" => value.clone(),
            name => format!("{name} {value}"),
        });
        words.collect::<Vec<_>>().join(" · ")
    }
}

impl SubjectResult<'_> {
    /// The rounds of `series`; none if no round has it.
    pub(crate) fn location(&self, series: Series) -> Option<&Location> {
        let mut known = self.summary.series.iter();
        known.find(|(known, _)| *known == series).map(|(_, location)| location)
    }
}

impl Versus {
    /// The number of rows by result.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for pair in &self.pairs {
            match &pair.comparison {
                Comparison::Rows(rows) => {
                    for row in rows {
                        match row.change() {
                            Change::Worse => tally.worse += 1,
                            Change::Better => tally.better += 1,
                            Change::AboutEqual => tally.about_equal += 1,
                        }
                    }
                }
                Comparison::Broken(_) => tally.broken += 1,
                Comparison::Invalid(_) | Comparison::Missing(_) => tally.uncompared += 1,
            }
        }
        tally
    }
}

/// The index of `item` in `list`; it is appended if missing.
fn position<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|known| *known == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

fn scenarios<'a>(
    run: &'a Run,
    records: &'a [Record],
    subjects: &[&'a Subject],
) -> Vec<Scenario<'a>> {
    let mut cases: Vec<CaseView<'a>> = Vec::new();
    let mut index: BTreeMap<&CaseId, usize> = BTreeMap::new();
    let planned = run.cases.iter().map(|planned| (&planned.case, planned.rounds as usize));
    for (case, rounds) in planned.chain(records.iter().map(|record| (&record.case, 0))) {
        index.entry(&case.id).or_insert_with(|| {
            cases.push(CaseView { case, rounds, values: Vec::new(), results: Vec::new() });
            cases.len() - 1
        });
    }

    let rounds = rounds(records);
    let summaries = summarise(records);
    let mut standings = standings(&summaries, records);
    for summary in summaries {
        let known = (
            index.get(&summary.case),
            subjects.iter().position(|subject| **subject == summary.subject),
            rounds.get(&(&summary.case, &summary.subject)),
        );
        if let (Some(&case), Some(subject), Some(rounds)) = known {
            let Rounds { command, watched, attribution, .. } = *rounds;
            let tails = tail::tails(&rounds.samples);
            let own = |s: &Standing| s.case == summary.case && s.subject == summary.subject;
            let standing = standings.iter().position(own).map(|at| standings.remove(at));
            let result =
                SubjectResult { subject, summary, standing, tails, command, watched, attribution };
            cases[case].results.push(result);
        }
    }

    let mut groups: Vec<(String, Vec<CaseView<'a>>)> = Vec::new();
    for mut case in cases {
        case.results.sort_by_key(|result| result.subject);
        let name = case.case.scenario().to_owned();
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push(case),
            None => groups.push((name, vec![case])),
        }
    }
    groups.into_iter().map(|(name, cases)| scenario(name, cases)).collect()
}

/// What the rounds of one case and subject left, besides their summary.
#[derive(Default)]
struct Rounds<'a> {
    /// The shell command that repeats the first round.
    command: &'a str,
    /// The samples of those that count.
    samples: Vec<&'a Samples>,
    /// The first round that counts and was watched.
    watched: Option<&'a Record>,
    /// Where the time went, by the last attribution round.
    attribution: Option<&'a Attribution>,
}

/// What the rounds of each case and subject left.
fn rounds(records: &[Record]) -> BTreeMap<(&CaseId, &Subject), Rounds<'_>> {
    let mut all: BTreeMap<(&CaseId, &Subject), Rounds<'_>> = BTreeMap::new();
    for record in records {
        let rounds = all
            .entry((&record.case.id, &record.subject))
            .or_insert_with(|| Rounds { command: &record.command, ..Rounds::default() });
        match &record.outcome {
            Outcome::Measured(samples) => {
                rounds.samples.push(samples);
                if rounds.watched.is_none() && record.trace.is_some() {
                    rounds.watched = Some(record);
                }
            }
            Outcome::Attributed(attribution) => rounds.attribution = Some(attribution),
            Outcome::Void { .. } | Outcome::Failed(_) | Outcome::Skipped(_) => (),
        }
    }
    all
}

fn scenario(name: String, mut cases: Vec<CaseView<'_>>) -> Scenario<'_> {
    let (shared, varying, values) = facts::split(&cases);
    for (case, values) in cases.iter_mut().zip(values) {
        case.values = values;
    }
    let has = |series: &Series| {
        let mut results = cases.iter().flat_map(|case| &case.results);
        results.any(|result| result.location(*series).is_some())
    };
    let series = Series::all().filter(has).collect();
    Scenario { name, shared, varying, series, cases }
}

fn versus(records: &[Record], subjects: &[&Subject]) -> Vec<Versus> {
    let of = |subject: &Subject| -> Vec<Record> {
        records.iter().filter(|record| record.subject == *subject).cloned().collect()
    };
    let [base, heads @ ..] = subjects else { return Vec::new() };
    let base = of(base);
    let heads = heads.iter().enumerate();
    heads.map(|(i, head)| Versus { head: i + 1, pairs: compare(&base, &of(head)) }).collect()
}

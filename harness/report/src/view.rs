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

/// Cases of which each is drawn, and told with its percentiles and its command.
pub(crate) const LONG: usize = 100;

/// Everything that the page shows.
pub(crate) struct View<'a> {
    /// What the run set out to do.
    pub(crate) run: &'a Run,
    /// Every round that it left, in the order of time.
    pub(crate) records: &'a [Record],
    /// Whether the last line of the file was cut short.
    pub(crate) torn: bool,
    /// Every subject; the first is the base. Elsewhere a subject is its index in this list.
    pub(crate) subjects: Vec<&'a Subject>,
    /// The scenarios, with their cases.
    pub(crate) scenarios: Vec<Scenario<'a>>,
    /// What formats of weights cost and give.
    pub(crate) trade_offs: Vec<TradeOff>,
    /// What a gate came to; none for a run that only measures.
    pub(crate) gate: Option<gate::Report>,
    /// How the series of the run came to be what they are, where that is known.
    pub(crate) history: Option<&'a History>,
    /// Each further subject against the base.
    pub(crate) versus: Vec<Versus>,
    /// Where each subject ran; more than one entry for a subject that ran in several places.
    pub(crate) environments: Vec<(usize, &'a Environment)>,
}

/// The cases of one scenario.
pub(crate) struct Scenario<'a> {
    /// Its path, as in `gate/decode`.
    pub(crate) name: String,
    /// Facts that all its cases share.
    pub(crate) shared: Vec<Fact>,
    /// Names of the facts that tell its cases apart; at least one.
    pub(crate) varying: Vec<&'static str>,
    /// Series that any of its cases has, in the order of [`Series::all`].
    pub(crate) series: Vec<Series>,
    /// Its cases, in the order of the plan.
    pub(crate) cases: Vec<CaseView<'a>>,
}

/// One case.
pub(crate) struct CaseView<'a> {
    /// What it means.
    pub(crate) case: &'a Case,
    /// Rounds of it that each subject was to run; 0 if the plan does not know it.
    pub(crate) rounds: usize,
    /// What tells it from the others of its scenario, in the order of [`Scenario::varying`].
    pub(crate) values: Vec<String>,
    /// What each subject gave; nothing if it was never run.
    pub(crate) results: Vec<SubjectResult<'a>>,
}

/// What one subject gave in one case.
pub(crate) struct SubjectResult<'a> {
    /// Which subject.
    pub(crate) subject: usize,
    /// Its rounds.
    pub(crate) summary: Summary,
    /// How near it came to what its machine can do, where that is known.
    pub(crate) standing: Option<Standing>,
    /// Where the samples of its latencies lie, those of all rounds together.
    pub(crate) tails: Vec<Tail>,
    /// The shell line that repeats its first round.
    pub(crate) command: &'a str,
    /// Its first round that counts and was watched.
    pub(crate) watched: Option<&'a Record>,
    /// Where its time went, if that was asked.
    pub(crate) attribution: Option<&'a Attribution>,
}

/// One subject against the base.
pub(crate) struct Versus {
    /// Which subject.
    pub(crate) head: usize,
    /// Every case of either.
    pub(crate) pairs: Vec<Pair>,
}

/// How many cases came to what.
#[derive(Default)]
pub(crate) struct Census {
    /// Cases with numbers.
    pub(crate) measured: usize,
    /// Cases with a round that failed; some may have numbers from other rounds.
    pub(crate) failed: usize,
    /// Cases without numbers, of which a round ran under conditions that the rules forbid.
    pub(crate) void: usize,
    /// Cases without numbers that the scenario excludes or the engine declines.
    pub(crate) skipped: usize,
    /// Cases of the plan of which no round was run.
    pub(crate) missing: usize,
}

/// How many rows of a comparison read how.
#[derive(Default)]
pub(crate) struct Tally {
    /// Rows that are worse than the noise floor of their metric.
    pub(crate) worse: usize,
    /// Rows that are better than it.
    pub(crate) better: usize,
    /// Rows within it.
    pub(crate) about_equal: usize,
    /// Cases whose outputs differ.
    pub(crate) broken: usize,
    /// Cases that must not or cannot be compared.
    pub(crate) uncompared: usize,
}

impl<'a> View<'a> {
    /// What there is to show of a run.
    pub(crate) fn of(contents: &'a Contents) -> View<'a> {
        let Contents { run, records, torn } = contents;
        let mut subjects: Vec<&Subject> = run.subjects.iter().collect();
        let mut environments: Vec<(usize, &Environment)> = Vec::new();
        for record in records {
            let subject = position(&mut subjects, &record.subject);
            position(&mut environments, (subject, &record.environment));
        }
        environments.sort_by_key(|(subject, _)| *subject);
        // A probe that never spoke left its build unknown: that is no other place.
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

    /// Every series that a gate judged, the worst first; nothing if the run was none.
    pub(crate) fn ruled(&self) -> Vec<Ruled<'_>> {
        self.gate.as_ref().map_or_else(Vec::new, |report| ruled::ruled(self, report))
    }

    /// Whether there are more cases than a reader looks at one by one: then only tables are shown, and
    /// the file of the run holds the rest.
    pub(crate) fn is_long(&self) -> bool {
        self.cases().count() > LONG
    }

    /// How many cases came to what.
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
    /// What tells `case` from the others, as one line.
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
    /// Where the rounds of `series` lie; none if no round has it.
    pub(crate) fn location(&self, series: Series) -> Option<&Location> {
        let mut known = self.summary.series.iter();
        known.find(|(known, _)| *known == series).map(|(_, location)| location)
    }
}

impl Versus {
    /// How many rows read how.
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

/// The index of `item` in `list`; it is appended if it is not there.
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

/// What the rounds of one case and subject left, beside their summary.
#[derive(Default)]
struct Rounds<'a> {
    /// The shell line that repeats the first.
    command: &'a str,
    /// Those that count.
    samples: Vec<&'a Samples>,
    /// The first that counts and was watched.
    watched: Option<&'a Record>,
    /// Where the time went, by the last that told.
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

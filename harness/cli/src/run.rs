//! The measuring loop: one child process for each case, subject and round.
//!
//! Rounds are the outermost loop, so that a slow drift of the machine hits all cases alike and a
//! run that is stopped half-way has something of everything. Within a round the subjects of a case
//! run one after the other, and every second round in the opposite order. A record is on disk
//! before the next child starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use windtunnel_ledger::case::{Case, CaseId};
use windtunnel_ledger::conditions::Rules;
use windtunnel_ledger::environment::{Environment, Machine};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Conditions, Failure, Outcome, Record, Run, Subject};
use windtunnel_ledger::stats;
use windtunnel_ledger::unit::Nanos;

use crate::conditions::Before;
use crate::machine::{self, Root};
use crate::progress::Progress;
use crate::session::Session;
use crate::spawn::{self, Left};
use crate::subject::Built;
use crate::watch::{self, Gpus};
use crate::workspace::Workspace;

/// What is expected of a case whose time cannot be guessed.
const UNKNOWN_TIME: Nanos = Nanos(5_000_000_000);

/// Measures what is left of a session: all of its run but what its records hold.
pub(crate) fn measure(
    session: &mut Session,
    workspace: &Workspace,
    rules: Option<&Rules>,
    progress: Progress,
) -> Result<()> {
    let Session { run, built, times, path, store, records } = session;
    let (machine, gpus) = watch::machine(machine::read());
    let place = Place { machine, gpus, root: workspace.root() };
    let machine = &place.machine;
    if let Some(other) = records.iter().find(|r| r.environment.machine.key() != machine.key()) {
        bail!(
            "this run was begun on another kind of machine (`{}`, this is `{}`): start a new one",
            other.environment.machine.key(),
            machine.key()
        );
    }
    let mut log = Log::open(&path.with_extension("log"))?;
    let time = |case: usize| times.get(case).copied().flatten().unwrap_or(UNKNOWN_TIME);
    let mut over = Over::from(records.as_slice(), rules);
    let due: Vec<Due<'_>> = schedule(run, built).filter(|due| !over.contains(due)).collect();
    let total = due.iter().fold(0u64, |sum, due| sum.saturating_add(time(due.case_index).0));
    let mut bar = progress.run(due.len(), Nanos(total));

    for due in due {
        let expected = time(due.case_index);
        // A round that failed since then has ended the case for its subject.
        if over.contains(&due) {
            bar.drop_round(expected);
            continue;
        }
        let what = match built.len() {
            1 => format!("round {} of {}", due.round, due.case.id),
            _ => format!("round {} of {} on {}", due.round, due.case.id, due.built.subject.name),
        };
        bar.begin(&what);
        let command = due.command(workspace);
        log.write(&format!("{what}\n  {command}"))?;
        // A round that is void is run again at once, until it counts or has had its chances.
        loop {
            let record = one_round(run, &due, &place, rules, command.clone());
            store.append(&record)?;
            let result = headline(&record.outcome, due.case);
            log.write(&format!("  {result} ({})", record.conditions.wall))?;
            over.add(&record);
            if over.contains(&due) {
                bar.end(&what, &result, expected, record.conditions.wall);
                records.push(record);
                break;
            }
            bar.begin(&format!("{what}, again: {result}"));
            records.push(record);
        }
    }
    Ok(())
}

/// Whether every round of a run left a record, or needs none because its case is over.
pub(crate) fn is_finished(run: &Run, records: &[Record]) -> bool {
    let over = Over::from(records, None);
    run.subjects.iter().all(|subject| {
        run.cases.iter().all(|planned| {
            (1..=planned.rounds).all(|round| over.holds(subject, &planned.case.id, round))
        })
    })
}

/// The log of a run: what was started, how to start it again, and what came of it.
struct Log(File);

impl Log {
    fn open(path: &Path) -> Result<Log> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Log(file.with_context(|| format!("cannot write log `{}`", path.display()))?))
    }

    fn write(&mut self, line: &str) -> Result<()> {
        writeln!(self.0, "{line}").context("cannot write the log of the run")
    }
}

/// One child process that is to run.
struct Due<'a> {
    round: u32,
    case_index: usize,
    case: &'a Case,
    built: &'a Built,
}

impl Due<'_> {
    /// A line for a shell that repeats this from the root of the workspace; empty where there is
    /// nothing to start.
    fn command(&self, workspace: &Workspace) -> String {
        let Ok(probe) = &self.built.probe else { return String::new() };
        let probe = probe.strip_prefix(workspace.root()).unwrap_or(probe);
        spawn::shell_line(probe, self.case)
    }
}

/// All rounds of a run, in the order in which they are measured.
fn schedule<'a>(run: &'a Run, built: &'a [Built]) -> impl Iterator<Item = Due<'a>> {
    let most = run.cases.iter().map(|planned| planned.rounds).max().unwrap_or(0);
    (1..=most).flat_map(move |round| {
        let cases =
            run.cases.iter().enumerate().filter(move |(_, planned)| planned.rounds >= round);
        cases.flat_map(move |(case_index, planned)| {
            let mut subjects: Vec<&Built> = built.iter().collect();
            if round % 2 == 0 {
                subjects.reverse();
            }
            let due = move |built| Due { round, case_index, case: &planned.case, built };
            subjects.into_iter().map(due)
        })
    })
}

/// What needs no measuring any more: rounds that were measured, and all rounds of a case that
/// failed or cannot be run, because more of the same would tell nothing new.
#[derive(Default)]
struct Over {
    rounds: BTreeSet<(Subject, CaseId, u32)>,
    cases: BTreeSet<(Subject, CaseId)>,
    /// How often a round was void.
    voids: BTreeMap<(Subject, CaseId, u32), u32>,
    /// How often it may be.
    chances: u32,
}

impl Over {
    /// Under these rules; without any, a void round that was kept is over.
    fn from(records: &[Record], rules: Option<&Rules>) -> Over {
        let chances = rules.map_or(1, |rules| rules.repeats.saturating_add(1));
        let mut over = Over { chances, ..Over::default() };
        records.iter().for_each(|record| over.add(record));
        over
    }

    fn add(&mut self, record: &Record) {
        let (subject, case) = (record.subject.clone(), record.case.id.clone());
        match record.outcome {
            Outcome::Measured(_) => drop(self.rounds.insert((subject, case, record.round))),
            Outcome::Void { .. } => {
                let round = (subject, case, record.round);
                let voids = self.voids.entry(round.clone()).or_default();
                *voids += 1;
                if *voids >= self.chances {
                    self.rounds.insert(round);
                }
            }
            Outcome::Failed(_) | Outcome::Skipped(_) => drop(self.cases.insert((subject, case))),
        }
    }

    fn contains(&self, due: &Due<'_>) -> bool {
        self.holds(&due.built.subject, &due.case.id, due.round)
    }

    fn holds(&self, subject: &Subject, case: &CaseId, round: u32) -> bool {
        let (subject, case) = (subject.clone(), case.clone());
        self.cases.contains(&(subject.clone(), case.clone()))
            || self.rounds.contains(&(subject, case, round))
    }
}

/// Where rounds are run.
struct Place<'a> {
    machine: Machine,
    gpus: Option<Arc<dyn Gpus>>,
    /// The folder where the paths in cases begin.
    root: &'a Path,
}

fn one_round(
    run: &Run,
    due: &Due<'_>,
    place: &Place<'_>,
    rules: Option<&Rules>,
    command: String,
) -> Record {
    let before = Before::read(Root::here());
    let at = Timestamp::now();
    let left = match &due.built.probe {
        Ok(probe) => spawn::run(probe, place.root, due.case, place.gpus.clone()),
        Err(failure) => not_built(failure),
    };
    let conditions = before.until_now(left.wall);
    let conditions = match &left.trace {
        Some(trace) => conditions.with(trace),
        None => conditions,
    };
    Record {
        run: run.id.clone(),
        round: due.round,
        at: at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        subject: due.built.subject.clone(),
        case: due.case.clone(),
        environment: Environment { machine: place.machine.clone(), build: left.build },
        outcome: judged(left.outcome, &conditions, due.case, rules),
        conditions,
        command,
        trace: left.trace,
    }
}

/// The outcome under the rules: what was measured under conditions that they forbid is void. What is
/// exact does not depend on conditions.
fn judged(
    outcome: Outcome,
    conditions: &Conditions,
    case: &Case,
    rules: Option<&Rules>,
) -> Outcome {
    let rules = rules.filter(|_| !case.workload.is_exact());
    let breaches = rules.map_or_else(Vec::new, |rules| rules.broken_by(conditions));
    match outcome {
        Outcome::Measured(samples) if !breaches.is_empty() => Outcome::Void { breaches, samples },
        outcome => outcome,
    }
}

fn not_built(failure: &Failure) -> Left {
    let outcome = Outcome::Failed(failure.clone());
    Left { build: None, outcome, wall: Nanos(0), trace: None }
}

/// One line about a round: the first metric of its workload, or what went wrong.
fn headline(outcome: &Outcome, case: &Case) -> String {
    match outcome {
        Outcome::Measured(samples) => {
            let metric = case.workload.metrics().first().copied().unwrap_or(Metric::LoadTime);
            let value = stats::median(&samples.of(metric));
            let value = value.map_or_else(|| "absent".to_owned(), |value| metric.show(value));
            format!("{} {value}", metric.spec().label)
        }
        Outcome::Void { breaches, .. } => {
            let reasons: Vec<String> = breaches.iter().map(ToString::to_string).collect();
            format!("void: {}", reasons.join("; "))
        }
        Outcome::Failed(failure) => format!("failed: {failure}"),
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
    }
}

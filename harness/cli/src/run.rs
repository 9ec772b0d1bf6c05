//! The measuring loop: one child process for each case, subject and round.
//!
//! Rounds are the outermost loop, so that slow drift of the machine affects all cases alike, and a
//! run that is stopped half-way has data on every case. Within a round the subjects of a case run
//! one after the other, in the opposite order every second round. A record is on disk before the
//! next child starts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use windtunnel_ledger::case::{Case, CaseId};
use windtunnel_ledger::conditions::Rules;
use windtunnel_ledger::energy;
use windtunnel_ledger::environment::{Environment, Machine};
use windtunnel_ledger::gate::{self, Terms};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Conditions, Outcome, Planned, Record, Run, Subject};
use windtunnel_ledger::roof::{self, Roof};
use windtunnel_ledger::stats;
use windtunnel_ledger::unit::Nanos;
use windtunnel_ledger::wire::Purpose;

use crate::conditions::Before;
use crate::hub::{self, Hub};
use crate::machine::{self, Root};
use crate::progress::Progress;
use crate::session::RunSession;
use crate::show;
use crate::spawn::{self, Errand, Left};
use crate::starved::{Memory, Starved};
use crate::subject::Built;
use crate::watch::{self, Gpus};
use crate::workspace::Workspace;

/// The time assumed for a round whose time cannot be estimated.
const UNKNOWN_TIME: Nanos = Nanos(5_000_000_000);

/// Measures the rest of a session: whatever its records do not hold yet.
pub(crate) fn measure(
    session: &mut RunSession,
    workspace: &Workspace,
    memory: Memory,
    progress: Progress,
) -> Result<()> {
    let mut rig = Rig::of(session, workspace)?;
    let key = rig.machine.key();
    let reports = workspace.reports();
    rig.starved = Some(Starved::known(&reports, &key, &session.records, memory));
    let due = schedule(&session.run);
    rig.rounds(session, due, progress)
}

/// Measures what a gate still needs: look by look, the rounds that its next look requires.
pub(crate) fn measure_gate(
    session: &mut RunSession,
    terms: &Terms,
    workspace: &Workspace,
    progress: Progress,
) -> Result<()> {
    let mut rig = Rig::of(session, workspace)?;
    loop {
        let due = gate::schedule::next(&session.run, terms, &session.records);
        if due.is_empty() {
            return Ok(());
        }
        let due = due.into_iter().map(|due| Due {
            round: due.round,
            purpose: Purpose::Measure,
            case: due.case,
            subject: due.arm as usize,
        });
        rig.rounds(session, due.collect(), progress)?;
    }
}

/// Whether every round of a run has a record, or needs none because its case is over.
pub(crate) fn is_finished(run: &Run, records: &[Record]) -> bool {
    if let Some(terms) = &run.gate {
        return gate::schedule::next(run, terms, records).is_empty();
    }
    let over = Over::from(records, run.rules.as_ref());
    schedule(run).iter().all(|due| over.contains(run, *due))
}

/// Where rounds are measured, and on what terms.
struct Rig<'a> {
    workspace: &'a Workspace,
    machine: Machine,
    gpus: Option<Arc<dyn Gpus>>,
    /// Where hub models are stored, if the run has any.
    hub: Option<Hub>,
    /// The roof that each subject's probe measured, by subject index and place (processor or GPU).
    roofs: BTreeMap<(usize, String), Roof>,
    /// What ran out of memory before; none for a gate, which is meant to find that out.
    starved: Option<Starved>,
    log: Log,
}

impl<'a> Rig<'a> {
    /// This machine. Fails if the session was begun on another kind.
    fn of(session: &RunSession, workspace: &'a Workspace) -> Result<Rig<'a>> {
        let (machine, gpus) = watch::machine(machine::read());
        let own = session.records.iter().filter(|record| record.run == session.run.id);
        let keys = own.map(|record| record.environment.machine.key());
        if let Some(other) = keys.into_iter().find(|key| *key != machine.key()) {
            bail!(
                "this run was begun on another kind of machine (`{other}`, this is `{}`): start a new one",
                machine.key()
            );
        }
        let log = Log::open(&session.path.with_extension("log"))?;
        let hub = hub::of(session.run.cases.iter().map(|planned| &planned.case))?;
        let cases = session.run.cases.iter();
        let places: BTreeSet<&str> = cases.filter_map(|it| roof::place(&it.case)).collect();
        let mut roofs = BTreeMap::new();
        for (subject, built) in session.built.iter().enumerate() {
            let Ok(probe) = &built.probe else { continue };
            for place in &places {
                let found = crate::roof::of(workspace, probe, &machine.boot, place);
                roofs.extend(found.map(|roof| ((subject, (*place).to_owned()), roof)));
            }
        }
        Ok(Rig { workspace, machine, gpus, hub, roofs, starved: None, log })
    }

    /// Measures those of `due` that have no record yet.
    fn rounds(
        &mut self,
        session: &mut RunSession,
        due: Vec<Due>,
        progress: Progress,
    ) -> Result<()> {
        let RunSession { run, built, times, store, records, locks, .. } = session;
        let time = |due: &Due| times.get(due.case).copied().flatten().unwrap_or(UNKNOWN_TIME);
        let mut over = Over::from(records.as_slice(), run.rules.as_ref());
        let due: Vec<Due> = due.into_iter().filter(|due| !over.contains(run, *due)).collect();
        let total = due.iter().fold(0u64, |sum, due| sum.saturating_add(time(due).0));
        let mut bar = progress.run(due.len(), Nanos(total));

        for due in due {
            locks.stand()?;
            let expected = time(&due);
            // A round that failed in the meantime has ended the case for its subject.
            if over.contains(run, due) {
                bar.drop_round(expected);
                continue;
            }
            let (case, built_one) = (&run.cases[due.case].case, &built[due.subject]);
            let round = match due.purpose {
                Purpose::Measure => format!("round {}", due.round),
                Purpose::Attribute => "attribution".to_owned(),
            };
            let what = match built.len() {
                1 => format!("{round} of {}", case.id),
                _ => format!("{round} of {} on {}", case.id, built_one.subject.name),
            };
            let so_far = |records: &[Record]| match progress.is_live() {
                true => show::so_far(case, records, &run.subjects),
                false => String::new(),
            };
            bar.begin(&what, so_far(records));
            let command = self.command(built_one, case, due.purpose);
            self.log.write(&format!("{what}\n  {command}"))?;
            // A void round is repeated at once, until it counts or has used up its repeats.
            loop {
                let record = self.one_round(run, due, built_one, command.clone());
                store.append(&record)?;
                if let Some(starved) = &mut self.starved {
                    starved.add(&record);
                }
                let result = headline(&record.outcome, case);
                self.log.write(&format!("  {result} ({})", record.conditions.wall))?;
                over.add(&record);
                if over.contains(run, due) {
                    bar.end(&what, &result, expected, record.conditions.wall);
                    records.push(record);
                    break;
                }
                records.push(record);
                bar.begin(&format!("{what}, again: {result}"), so_far(records));
            }
        }
        Ok(())
    }

    /// A shell line that repeats a round from the root of the workspace; empty if there is nothing
    /// to start.
    fn command(&self, built: &Built, case: &Case, purpose: Purpose) -> String {
        let Ok(probe) = built.runner(case) else { return String::new() };
        let probe = probe.strip_prefix(self.workspace.root()).unwrap_or(probe);
        spawn::shell_line(probe, &self.localised(case), purpose)
    }

    /// A case as the probe gets it: with local paths, because the probe has no network.
    fn localised<'c>(&self, case: &'c Case) -> Cow<'c, Case> {
        match &self.hub {
            Some(hub) => Cow::Owned(hub.localised(case)),
            None => Cow::Borrowed(case),
        }
    }

    fn one_round(&self, run: &Run, due: Due, built: &Built, command: String) -> Record {
        let case = &run.cases[due.case].case;
        let before = Before::read(Root::here());
        let at = Timestamp::now();
        let starved = self.starved.as_ref();
        let starved = starved.and_then(|known| known.reason(&built.subject, case, &run.id));
        let left = match (built.runner(case), starved) {
            (Err(failure), _) => nothing(Outcome::Failed(failure.clone())),
            (Ok(_), Some(reason)) => nothing(Outcome::Skipped(reason)),
            (Ok(probe), None) => {
                let case = &self.localised(case);
                let errand = Errand { case, purpose: due.purpose, gpus: self.gpus.clone() };
                spawn::run(probe, self.workspace.root(), errand)
            }
        };
        let conditions = before.until_now(left.wall);
        let conditions = match &left.trace {
            Some(trace) => conditions.with(trace),
            None => conditions,
        };
        let mut outcome = left.outcome;
        if let (Outcome::Measured(samples), Some(trace)) = (&mut outcome, &left.trace) {
            energy::add(trace, case, samples);
        }
        let place = roof::place(case);
        let roof = place.and_then(|it| self.roofs.get(&(due.subject, it.to_owned())).copied());
        let conditions = Conditions { roof, ..conditions };
        Record {
            run: run.id.clone(),
            round: due.round,
            at: at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            subject: built.subject.clone(),
            case: case.clone(),
            environment: Environment { machine: self.machine.clone(), build: left.build },
            outcome: judged(outcome, &conditions, case, run.rules.as_ref()),
            conditions,
            command,
            trace: left.trace,
        }
    }
}

/// Applies the rules to an outcome: measurements under conditions that they forbid are void. Exact
/// workloads do not depend on conditions.
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

/// The log of a run: what was started, how to start it again, and the result.
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

/// A child process still to run: its round and purpose, and the indices of its case and subject in
/// the run.
#[derive(Clone, Copy)]
struct Due {
    round: u32,
    purpose: Purpose,
    case: usize,
    subject: usize,
}

/// All rounds of a run in running order: the attribution rounds, which tell where the time goes,
/// come after all that measure.
fn schedule(run: &Run) -> Vec<Due> {
    let mut all = rounds(run, Purpose::Measure, |planned| planned.rounds);
    all.extend(rounds(run, Purpose::Attribute, |planned| planned.attributions));
    all
}

fn rounds(run: &Run, purpose: Purpose, count: fn(&Planned) -> u32) -> Vec<Due> {
    let most = run.cases.iter().map(count).max().unwrap_or(0);
    let mut all = Vec::new();
    for round in 1..=most {
        for (case, _) in run.cases.iter().enumerate().filter(|(_, case)| count(case) >= round) {
            let mut subjects: Vec<usize> = (0..run.subjects.len()).collect();
            if round % 2 == 0 {
                subjects.reverse();
            }
            all.extend(subjects.into_iter().map(|subject| Due { round, purpose, case, subject }));
        }
    }
    all
}

/// What needs no more measuring: rounds already measured, and all rounds of a case that failed or
/// cannot run, because repeating it would tell nothing new.
#[derive(Default)]
struct Over {
    rounds: BTreeSet<(Subject, CaseId, u32, Purpose)>,
    cases: BTreeSet<(Subject, CaseId)>,
    /// How often each round was void.
    voids: BTreeMap<(Subject, CaseId, u32), u32>,
    /// How many void attempts a round may have.
    chances: u32,
}

impl Over {
    /// From the records, under these rules; without rules, a void round that was kept is over.
    fn from(records: &[Record], rules: Option<&Rules>) -> Over {
        let chances = rules.map_or(1, |rules| rules.repeats.saturating_add(1));
        let mut over = Over { chances, ..Over::default() };
        records.iter().for_each(|record| over.add(record));
        over
    }

    fn add(&mut self, record: &Record) {
        let (subject, case) = (record.subject.clone(), record.case.id.clone());
        let round = record.round;
        match record.outcome {
            Outcome::Measured(_) => self.rounds.insert((subject, case, round, Purpose::Measure)),
            Outcome::Void { .. } => {
                let voids = self.voids.entry((subject.clone(), case.clone(), round)).or_default();
                *voids += 1;
                *voids >= self.chances
                    && self.rounds.insert((subject, case, round, Purpose::Measure))
            }
            Outcome::Attributed(_) => {
                self.rounds.insert((subject, case, round, Purpose::Attribute))
            }
            Outcome::Failed(_) | Outcome::Skipped(_) => self.cases.insert((subject, case)),
        };
    }

    fn contains(&self, run: &Run, due: Due) -> bool {
        let subject = run.subjects[due.subject].clone();
        let case = run.cases[due.case].case.id.clone();
        self.cases.contains(&(subject.clone(), case.clone()))
            || self.rounds.contains(&(subject, case, due.round, due.purpose))
    }
}

/// The result where no child was started.
fn nothing(outcome: Outcome) -> Left {
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
        Outcome::Attributed(_) => "`windtunnel explain` shows where the time went".to_owned(),
        Outcome::Void { breaches, .. } => {
            let reasons: Vec<String> = breaches.iter().map(ToString::to_string).collect();
            format!("void: {}", reasons.join("; "))
        }
        Outcome::Failed(failure) => format!("failed: {failure}"),
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
    }
}

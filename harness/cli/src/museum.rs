//! `windtunnel museum`: plants regressions that really happened in the engine, one by one, and
//! shows what their guards make of them.
//!
//! Each guard is a run of its own: the clean engine, the same engine again, and one engine per
//! fault of the guard, alternating round by round. The two clean engines must not be told apart.
//! Nothing of this is kept among the runs of this machine: being slow on purpose, it would be a
//! change in their history.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use windtunnel_ledger::gate::Terms;
use windtunnel_ledger::policy::Policy;
use windtunnel_ledger::record::{Record, Subject};
use windtunnel_ledger::store::Contents;

use crate::args::{MuseumArgs, MuseumFormat};
use crate::lock::Queue;
use crate::progress::Progress;
use crate::runs::{page_of, write_report};
use crate::session::{self, RunSession, Setup};
use crate::starved::Memory;
use crate::subject::{self, Built};
use crate::workspace::Workspace;
use crate::{exit, gate, plan, run, scenario, show};

mod collection;
mod found;
mod made;
mod plant;

use collection::{Collection, Guard};
pub(crate) use found::Found;

/// The names of the clean engine and of its repetition.
const CLEAN: [&str; 2] = ["clean", "clean, again"];

/// A fault, and what its guard found.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    /// Its name, which plants it.
    pub(crate) fault: String,
    /// What it does, in one sentence.
    pub(crate) about: String,
    /// The upstream commit that it was.
    pub(crate) upstream: String,
    /// The scenario that must catch it.
    pub(crate) guard: String,
    /// What the guard found.
    #[serde(flatten)]
    pub(crate) found: Found,
}

/// A clean engine beside itself, and what a guard found.
#[derive(Debug, Serialize)]
pub(crate) struct Clean {
    /// The scenario that must report no difference.
    pub(crate) guard: String,
    /// What the guard found.
    #[serde(flatten)]
    pub(crate) found: Found,
}

/// All results.
#[derive(Debug, Serialize)]
pub(crate) struct Tour {
    /// The faults, guard by guard.
    pub(crate) faults: Vec<Shown>,
    /// The clean engines, one per guard.
    pub(crate) clean: Vec<Clean>,
}

impl Tour {
    /// Whether every fault was caught, and no guard raised a false alarm.
    pub(crate) fn holds(&self) -> bool {
        self.faults.iter().all(|shown| shown.found.is_caught())
            && self.clean.iter().all(|clean| clean.found.is_clean())
    }
}

/// Plants the faults that the arguments name, runs the guards, and shows what they found.
pub(crate) fn museum(workspace: &Workspace, args: &MuseumArgs, progress: Progress) -> Result<u8> {
    let chosen = Collection::read(workspace)?.choose(&args.faults)?;
    let policy = gate::read_policy(workspace, None)?;
    args.out.as_deref().map_or(Ok(()), session::check_folder)?;
    args.probe.as_deref().map_or(Ok(()), subject::is_ready)?;
    let queue = Queue { patience: args.waiting.patience(), progress };
    // Held across guards, so that nobody else measures in between.
    let _turn = queue.take()?;
    let clean = plant::probe(workspace, args.probe.as_deref(), progress)?;
    let plantable = plant::plantable(&clean, &chosen)?;
    let folder = folder(workspace, args.out.as_deref())?;
    if progress != Progress::Quiet {
        show::note(&format!("records and pages: {}", show::path(&folder)));
    }

    let mut tour = Tour { faults: Vec::new(), clean: Vec::new() };
    for guard in &chosen {
        let mut built = vec![plant::nothing(workspace, &folder, &clean, CLEAN[0])?];
        built.push(Built { subject: named(&built[0].subject, CLEAN[1]), ..built[0].clone() });
        for exhibit in &guard.exhibits {
            built.push(plant::fault(workspace, &folder, &clean, &exhibit.fault)?);
        }
        let room = Room { workspace, guard, folder: &folder, args, queue };
        let contents = room.measure(built)?;
        let judged = |subject: &Subject| found(&contents, guard, &policy, subject);
        let [_, again, planted @ ..] = contents.run.subjects.as_slice() else { continue };
        tour.clean.push(Clean { guard: guard.scenario.clone(), found: judged(again) });
        for (exhibit, subject) in guard.exhibits.iter().zip(planted) {
            tour.faults.push(Shown {
                fault: exhibit.fault.clone(),
                about: plantable.get(&exhibit.fault).cloned().unwrap_or_default(),
                upstream: exhibit.upstream.to_string(),
                guard: guard.scenario.clone(),
                found: judged(subject),
            });
        }
    }
    show::result(&match args.format {
        MuseumFormat::Table => show::museum(&tour),
        MuseumFormat::Markdown => show::museum_markdown(&tour),
        MuseumFormat::Json => {
            serde_json::to_string_pretty(&tour).context("cannot write what was found")? + "\n"
        }
    })?;
    Ok(if tour.holds() { exit::PASS } else { exit::REGRESSED })
}

fn named(subject: &Subject, name: &str) -> Subject {
    Subject { name: name.to_owned(), ..subject.clone() }
}

/// Creates a new folder.
fn folder(workspace: &Workspace, wanted: Option<&Path>) -> Result<PathBuf> {
    let folder = wanted.map_or_else(
        || {
            let now = Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string();
            workspace.scratch().join("museum").join(now)
        },
        Path::to_owned,
    );
    session::check_folder(&folder)?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create `{}`", folder.display()))?;
    Ok(folder)
}

/// What it takes to run one guard.
struct Room<'a> {
    workspace: &'a Workspace,
    guard: &'a Guard,
    folder: &'a Path,
    args: &'a MuseumArgs,
    queue: Queue,
}

impl Room<'_> {
    /// Runs the guard on all of `built`, keeps the records and writes their page.
    fn measure(&self, built: Vec<Built>) -> Result<Contents> {
        let Room { workspace, guard, folder, args, queue } = *self;
        let scenarios = [guard.scenario.clone()];
        let made = guard.model.map(|model| made::model(workspace, model)).transpose()?;
        let models: Vec<String> = made.iter().map(|path| path.display().to_string()).collect();
        let loaded = scenario::load(workspace, &scenarios, &models)?;
        let mut plan = plan::expand(&loaded, &[], args.rounds.map(Into::into));
        if guard.counts() {
            // Counters come from attribution, which runs as often as the rounds that are timed.
            plan.cases.iter_mut().for_each(|planned| planned.attributions = planned.rounds);
        }
        let path = folder.join(guard.scenario.replace('/', "-")).join("run.jsonl");
        let setup = Setup {
            plan,
            built,
            scenarios: &scenarios,
            out: Some(&path),
            gate: None,
            rules: None,
            queue,
        };
        let mut session = session::open(workspace, setup)?;
        run::measure(&mut session, workspace, Memory::Forgotten, queue.progress)?;
        let RunSession { run, records, path, .. } = session;
        let contents = Contents { run, records, torn: false };
        write_report(workspace, &contents, &page_of(&path))?;
        Ok(contents)
    }
}

/// What a guard finds in `subject` beside the clean engine.
fn found(contents: &Contents, guard: &Guard, policy: &Policy, subject: &Subject) -> Found {
    let of = |wanted: &Subject| -> Vec<Record> {
        contents.records.iter().filter(|record| record.subject == *wanted).cloned().collect()
    };
    let clean = contents.run.subjects.first().map(of).unwrap_or_default();
    let most = contents.run.cases.iter().map(|planned| planned.rounds).max().unwrap_or(0);
    let mut policy = policy.clone();
    // Exactly as many pairs as rounds are measured.
    policy.budget.pairs = most;
    found::found(&clean, &of(subject), &guard.watches, &Terms::of(policy))
}

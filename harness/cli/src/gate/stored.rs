//! A gate whose base is a baseline: measured again beside the head if its code can be built,
//! otherwise taken from its records.

use std::path::Path;

use anyhow::{Context, Result};
use windtunnel_ledger::baseline::{Key, Session, open};
use windtunnel_ledger::gate::{Arm, Policies, Setting, Terms};
use windtunnel_ledger::record::{Failure, Planned, Skipped, Subject};

use crate::args::{Base, GateArgs};
use crate::baseline::{self, Held};
use crate::benchmarks::Aim;
use crate::git::git;
use crate::lock::Queue;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::session::{self, RunSession, Setup};
use crate::subject::{self, Built, Wanted};
use crate::workspace::Workspace;
use crate::{benchmarks, show, upstream};

/// The baseline that the head is compared with, or why there is none.
pub(super) fn held(workspace: &Workspace, args: &GateArgs) -> Result<Result<Held, String>> {
    let path = Path::new(upstream::LOG);
    let log = upstream::read(workspace, path)?;
    let at = match &args.subject {
        Wanted::Revision { revision, .. } => {
            let commit = upstream::Repository::at(workspace.root())?.resolve(revision)?;
            let subject = Subject {
                name: args.subject.to_string(),
                commit: Some(commit),
                ..Subject::default()
            };
            baseline::upstream_of(workspace, path, &subject)?
        }
        // A ready probe is assumed to follow the working tree; an external subject is compared with
        // the working tree's baseline.
        Wanted::Tree | Wanted::Probe(_) | Wanted::External { .. } => log.considered.clone(),
    };
    baseline::held(workspace, &log, &at, &baseline::this_machine())
}

/// The baseline's code, built to be measured beside the head; none if that was not asked for or is
/// not possible.
pub(super) fn beside(
    workspace: &Workspace,
    args: &GateArgs,
    held: &Held,
    progress: Progress,
) -> Result<Option<Built>> {
    let commit = match (&args.base, held.origin.code.commit()) {
        (Base::Baseline, Some(commit)) if workspace.has_sources() => commit,
        (Base::Baseline, _) => {
            show::note("the base cannot be built here: the head is compared with its records");
            return Ok(None);
        }
        (Base::Stored | Base::Subject(_), _) => return Ok(None),
    };
    if git(workspace.root(), &["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_err() {
        show::note(
            "git does not have the commit of the base: the head is compared with its records",
        );
        return Ok(None);
    }
    let wanted = Wanted::revision(commit);
    let built = subject::build(workspace, &wanted, &held.origin.code.features, progress)?;
    if built.probe.is_err() {
        show::note("the base does not build any more: the head is compared with its records");
        return Ok(None);
    }
    Ok(Some(built))
}

/// Begins a run whose base is the records of a baseline.
pub(super) fn begin(
    workspace: &Workspace,
    args: &GateArgs,
    mut plan: Plan,
    mut head: Built,
    terms: Terms,
    held: Held,
    queue: Queue,
) -> Result<RunSession> {
    let heads = std::slice::from_mut(&mut head);
    benchmarks::find(workspace, &mut plan, heads, Aim::Compare, queue.progress)?;
    leave_out_unrecorded(&mut plan, &held.sessions);
    let policies = Policies { base: held.policy, head: terms.policy.hash() };
    let terms = Terms {
        setting: Setting::Stored,
        baseline: Some(held.origin),
        policies: Some(policies),
        ..terms
    };
    let base = named(&held.sessions)?;
    let setup = Setup {
        plan,
        built: vec![recorded(base), head],
        scenarios: &args.scenarios,
        out: args.out.as_deref(),
        gate: Some(terms),
        rules: None,
        queue,
    };
    session::open(workspace, setup)
}

/// Skips the planned cases of which the baseline has no record: there is nothing to compare them
/// with.
fn leave_out_unrecorded(plan: &mut Plan, sessions: &[Session]) {
    let has = |planned: &Planned| {
        sessions.iter().flat_map(|session| &session.records).any(|r| r.case.id == planned.case.id)
    };
    let (cases, models) = (std::mem::take(&mut plan.cases), std::mem::take(&mut plan.models));
    for (planned, model) in cases.into_iter().zip(models) {
        if has(&planned) {
            plan.cases.push(planned);
            plan.models.push(model);
        } else {
            let reason = "the baseline has no record of it".to_owned();
            plan.skipped.push(Skipped { id: planned.case.id, reason });
        }
    }
}

/// The base's subject in a run: the newest session's, named `baseline`.
fn named(sessions: &[Session]) -> Result<Subject> {
    let newest = sessions.last().and_then(|session| session.run.subjects.first());
    let newest = newest.context("the baseline has no session")?;
    Ok(Subject { name: "baseline".to_owned(), ..newest.clone() })
}

/// A subject that is never started.
pub(crate) fn recorded(subject: Subject) -> Built {
    let error = "it is a record, not something to start".to_owned();
    Built::of(subject, Err(Failure::Start { error }))
}

/// Adds the baseline's records that the run lacks: all of them, or those that a kill left out. The
/// run is then complete in itself, whatever happens to the baseline.
pub(super) fn complete(
    workspace: &Workspace,
    running: &mut RunSession,
    terms: &Terms,
) -> Result<()> {
    let Some(origin) = terms.baseline.as_ref().filter(|_| terms.setting == Setting::Stored) else {
        return Ok(());
    };
    let base = running.run.subjects.get(Arm::Base as usize).cloned();
    let base = base.context("the run names no base to compare its head with: start a new gate")?;
    let has = |running: &RunSession, run, case: &_, round| {
        running
            .records
            .iter()
            .any(|r| r.subject == base && r.run == run && r.case.id == *case && r.round == round)
    };
    for name in &origin.sessions {
        let path = workspace.baselines().join(name);
        let key = Key::parse(name).with_context(|| format!("`{name}` is not a session"))?;
        let bytes = std::fs::read(&path)
            .with_context(|| format!("session `baselines/{name}` of the base is gone"))?;
        let session = open(&Path::new("baselines").join(name), &key, &bytes)?;
        for mut record in session.records {
            let wanted = running.run.cases.iter().any(|p| p.case.id == record.case.id);
            if wanted && !has(running, record.run.clone(), &record.case.id, record.round) {
                record.subject = base.clone();
                running.store.append(&record)?;
                running.records.push(record);
            }
        }
    }
    Ok(())
}

//! `windtunnel baseline record`: keeps one more session.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use windtunnel_ledger::baseline::{Key, Session, sessions_of};
use windtunnel_ledger::case::{Case, CaseId};
use windtunnel_ledger::record::{Outcome, Subject};
use windtunnel_ledger::store::{self, Contents};
use windtunnel_ledger::upstream::Hash;

use super::shelf::{self, Placed, Shelf};
use super::{stock, upstream_of};
use crate::args::RecordArgs;
use crate::lock::Queue;
use crate::progress::Progress;
use crate::runs::{Named, named};
use crate::session::{self, Setup};
use crate::starved::Memory;
use crate::subject::{self, Wanted};
use crate::workspace::Workspace;
use crate::{compare, exit, gate, hub, plan, run, scenario, show, upstream};

/// The fewest rounds of a case that say anything about times.
const LEAST_ROUNDS: usize = 5;

/// Measures a session, or takes it from a run, and keeps it.
pub(crate) fn record(
    workspace: &Workspace,
    log: &Path,
    args: &RecordArgs,
    progress: Progress,
) -> Result<u8> {
    let (contents, subject) = match &args.from {
        Some(run) => taken(workspace, run)?,
        None => match measured(workspace, log, args, progress)? {
            Some(measured) => measured,
            None => return Ok(exit::INVALID),
        },
    };
    check(&subject)?;
    let upstream = match &args.upstream {
        Some(upstream) => whole(workspace, log, upstream)?,
        None => upstream_of(workspace, log, &subject)?,
    };
    let sessions = sessions_of(&contents, &subject, &upstream);
    ensure!(!sessions.is_empty(), "run `{}` holds no record to keep", contents.run.id.0);
    keep(workspace, &sessions)
}

/// The hash as the log writes it, so that a commit has only one folder; unchanged if the log lacks
/// the commit or there is no log.
fn whole(workspace: &Workspace, log: &Path, hash: &Hash) -> Result<Hash> {
    if !workspace.root().join(log).is_file() {
        return Ok(hash.clone());
    }
    let log = upstream::read(workspace, log)?;
    let known = log.position(hash).map(|place| &log.commits[place].hash);
    Ok(known.unwrap_or(hash).clone())
}

/// An existing run and the one subject of it that is meant.
fn taken(workspace: &Workspace, name: &str) -> Result<(Contents, Subject)> {
    let Named { path, run, subject } = named(workspace, name)?;
    let contents = store::read(&path)?;
    let subject = compare::subject_of(&contents, run, subject)?.clone();
    ensure!(
        !subject.binary.is_empty(),
        "`{}` did not build in run `{run}`, so there is no session to keep",
        subject.name
    );
    Ok((contents, subject))
}

/// A run that is measured now; none if there is nothing to measure.
fn measured(
    workspace: &Workspace,
    log: &Path,
    args: &RecordArgs,
    progress: Progress,
) -> Result<Option<(Contents, Subject)>> {
    let policy = gate::read_policy(workspace, args.policy.as_deref())?;
    let scenarios = scenario::load(workspace, &args.scenarios, &args.models)?;
    let mut plan = plan::expand(&scenarios, &args.filters, Some(args.rounds));
    if plan.cases.is_empty() {
        show::note(&format!("nothing to measure: {}", plan.left_out()));
        return Ok(None);
    }
    subject::check(workspace, &args.features, [&args.subject])?;
    if args.subject == Wanted::Tree {
        check(&subject::tree(workspace, &args.features))?;
    }
    let queue = Queue { patience: args.waiting.patience(), progress };
    let _turn = queue.take()?;
    hub::fetch(&mut plan, progress)?;
    let built = subject::build(workspace, &args.subject, &args.features, progress)?;
    check(&built.subject)?;
    if let Err(failure) = &built.probe {
        let tail = failure.tail().map(|tail| format!("\n{tail}")).unwrap_or_default();
        bail!("`{}` does not build, so there is no session to keep{tail}", args.subject);
    }
    if args.upstream.is_none() {
        // Checked before the minutes of measuring, not after.
        upstream_of(workspace, log, &built.subject)?;
    }
    let subject = built.subject.clone();
    let setup = Setup {
        plan,
        built: vec![built],
        scenarios: &args.scenarios,
        out: None,
        gate: None,
        rules: Some(policy.conditions),
        queue,
    };
    let mut begun = session::open(workspace, setup)?;
    begun.announce(&again(workspace, log, args, &begun.path), progress);
    // Running out of memory must show up in every session.
    let memory = Memory::Forgotten;
    run::measure(&mut begun, workspace, memory, progress)?;
    let session::RunSession { run, records, .. } = begun;
    show::result(&show::records(&run, &records, show::Room::of_stdout()))?;
    Ok(Some((Contents { run, records, torn: false }, subject)))
}

/// The command lines that continue and keep an interrupted session.
fn again(workspace: &Workspace, log: &Path, args: &RecordArgs, run: &Path) -> String {
    let whole = workspace.root().join(log);
    let [run, typed] = [run, whole.as_path()].map(show::path);
    let measure = ["run", "--resume", &run, "--forget-oom"];
    let mut keep = vec!["baseline"];
    if log != Path::new(upstream::LOG) {
        keep.extend(["--log", &typed]);
    }
    keep.extend(["record", "--from", &run]);
    let upstream = args.upstream.as_ref().map(ToString::to_string);
    keep.extend(upstream.iter().flat_map(|upstream| ["--upstream", upstream]));
    format!("{}, then {}", workspace.line(&measure), workspace.line(&keep))
}

/// Rejects code that nobody could build again.
fn check(subject: &Subject) -> Result<()> {
    if subject.dirty {
        bail!(
            "`{}` differs from its commit, and a baseline must be reproducible: commit first, or record `--subject rev:HEAD`",
            subject.name
        );
    }
    if subject.candle.is_some() {
        bail!(
            "`{}` is built on another candle than its commit's, and a baseline must be reproducible: record a commit that depends on that candle",
            subject.name
        );
    }
    Ok(())
}

/// Cases of a session with too few measured rounds to say anything about times.
fn too_few(session: &Session) -> Vec<(&CaseId, usize)> {
    let measured = |case: &Case| {
        let mine = session.records.iter().filter(|record| record.case.id == case.id);
        mine.filter(|record| matches!(record.outcome, Outcome::Measured(_))).count()
    };
    let ended = |case: &Case| {
        let mut mine = session.records.iter().filter(|record| record.case.id == case.id);
        mine.any(|record| !matches!(record.outcome, Outcome::Measured(_)))
    };
    let cases = session.run.cases.iter().map(|planned| &planned.case);
    cases
        .filter(|case| !case.workload.is_exact() && !ended(case))
        .map(|case| (&case.id, measured(case)))
        .filter(|(_, rounds)| *rounds < LEAST_ROUNDS)
        .collect()
}

fn keep(workspace: &Workspace, sessions: &[Session]) -> Result<u8> {
    let shelf = shelf::own(workspace);
    let before = stock::keys(&shelf)?;
    show::result("\n")?;
    for session in sessions {
        let name = session.key.to_string();
        let said = match shelf.create(&name, session.text().as_bytes())? {
            Placed::Now => format!("kept {}\n", shelf.place(&name)),
            Placed::Before => format!("is there already: {}\n", shelf.place(&name)),
        };
        show::result(&said)?;
    }
    for (case, rounds) in sessions.iter().flat_map(too_few) {
        show::note(&format!(
            "{case} is kept with {} that count, and fewer than {LEAST_ROUNDS} say nothing about times: record it again, with more rounds or on a quieter machine",
            show::count(rounds, "round")
        ));
    }
    let same_day = |key: &&Key, session: &Session| {
        key.day() == session.key.day()
            && key.session != session.key.session
            && (&key.upstream, &key.machine, &key.scenario)
                == (&session.key.upstream, &session.key.machine, &session.key.scenario)
    };
    if sessions.iter().any(|session| before.iter().any(|key| same_day(&key, session))) {
        show::note(
            "there is a session from this day already: only other days show how much days differ",
        );
    }
    Ok(exit::PASS)
}

//! `windtunnel baseline`: measurements that are kept, and that later changes are compared with.
//!
//! Measuring and deciding are separate: sessions are data, shared wherever a team likes; which of
//! them count is decided by people and kept in one small file that goes through review.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use windtunnel_ledger::Record;
use windtunnel_ledger::baseline::{Choice, Promotion, Session, choose, superfluous};
use windtunnel_ledger::gate::Origin;
use windtunnel_ledger::policy::PolicyHash;
use windtunnel_ledger::store::StoreError;
use windtunnel_ledger::upstream::{Hash, Log};

use crate::args::{AboutArgs, BaselineArgs, BaselineCommand, PruneArgs};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{exit, gate, machine, show, upstream, watch};

#[cfg(feature = "cloud")]
mod bucket;
mod current;
mod decide;
mod folder;
mod origin;
mod record;
mod settings;
mod share;
mod shelf;
mod stock;

pub(crate) use origin::upstream_of;
pub(crate) use stock::Group;

use shelf::Shelf as _;
use stock::{Stock, groups};

/// Runs the subcommand that the arguments name.
pub(crate) fn baseline(
    workspace: &Workspace,
    args: &BaselineArgs,
    progress: Progress,
) -> Result<u8> {
    let log = log_of(workspace, args)?;
    match &args.command {
        BaselineCommand::Record(wanted) => record::record(workspace, &log, wanted, progress),
        BaselineCommand::Promote(wanted) => decide::promote(workspace, &log, wanted),
        BaselineCommand::Accept(wanted) => decide::accept(workspace, &log, wanted),
        BaselineCommand::List => list(workspace, &upstream::read(workspace, &log)?),
        BaselineCommand::Show(about) => detail(workspace, &upstream::read(workspace, &log)?, about),
        BaselineCommand::Prune(wanted) => prune(workspace, wanted),
        BaselineCommand::Verify => verify(workspace),
        BaselineCommand::Push(wanted) => share::push(workspace, wanted),
        BaselineCommand::Pull(wanted) => share::pull(workspace, wanted),
    }
}

/// The path of the log: relative to the workspace if it lies inside, as git names it at other
/// commits.
fn log_of(workspace: &Workspace, args: &BaselineArgs) -> Result<PathBuf> {
    let path = upstream::named(args.log.as_deref())?;
    if args.log.is_none() {
        return Ok(path);
    }
    let whole = path.canonicalize().ok();
    let inside = whole.as_deref().and_then(|whole| whole.strip_prefix(workspace.root()).ok());
    Ok(inside.map_or(path, Path::to_owned))
}

/// The baseline that a change is compared with, and all its sessions.
pub(crate) struct Held {
    /// Which baseline it is.
    pub(crate) origin: Origin,
    /// The policy under which it was promoted.
    pub(crate) policy: PolicyHash,
    /// Its sessions, the oldest first.
    pub(crate) sessions: Vec<Session>,
}

/// The baseline for a change at the upstream commit `at` on this kind of machine, or why there is
/// none, in a sentence that says what to do.
pub(crate) fn held(
    workspace: &Workspace,
    log: &Log,
    at: &Hash,
    machine: &str,
) -> Result<Result<Held, String>> {
    let decisions = current::read(workspace)?;
    let stock = Stock::read(&shelf::own(workspace), |key| key.machine == machine)?;
    let groups = groups(stock.whole()?);
    let of = |promotion: &Promotion| {
        groups.iter().position(|group| {
            group.key.upstream.same(&promotion.upstream) && group.code == promotion.code
        })
    };
    let chosen = choose(log, at, machine, &decisions.promoted, |promotion| of(promotion).is_some());
    let Choice { promotion, distance, passed_over } = match chosen {
        Ok(choice) => choice,
        Err(none) => {
            let first = if groups.is_empty() {
                "record a session with `windtunnel baseline record`, then "
            } else {
                ""
            };
            return Ok(Err(format!(
                "there is no baseline to compare this with: {none}\nhint: {first}make it count with `windtunnel baseline promote`; `windtunnel baseline list` shows all"
            )));
        }
    };
    if let Some(nearer) = passed_over {
        show::note(&format!(
            "{} at {} is promoted, but no session of it is here: compared with {} at {} instead; `windtunnel baseline pull` fetches what others recorded",
            nearer.code, nearer.upstream, promotion.code, promotion.upstream
        ));
    }
    let group = of(promotion).map(|place| &groups[place]);
    let sessions = group.map_or_else(Vec::new, |group| group.sessions.clone());
    let origin = Origin {
        upstream: promotion.upstream.clone(),
        distance,
        code: promotion.code.clone(),
        sessions: sessions.iter().map(|session| session.key.to_string()).collect(),
    };
    Ok(Ok(Held { origin, policy: promotion.policy.clone(), sessions }))
}

/// The kind of this machine, including its GPUs: the key under which its records are kept.
pub(crate) fn this_machine() -> String {
    watch::machine(machine::read()).0.key()
}

/// The upstream commit and the machine that are asked about.
fn asked(log: &Log, about: &AboutArgs) -> (Hash, String) {
    let upstream = about.upstream.clone().unwrap_or_else(|| log.considered.clone());
    (upstream, about.machine.clone().unwrap_or_else(this_machine))
}

fn list(workspace: &Workspace, log: &Log) -> Result<u8> {
    let Stock { sessions, damaged } = Stock::read(&shelf::own(workspace), |_| true)?;
    let decisions = current::read(workspace)?;
    // Listing judges nothing, so it needs no policy.
    let policy = gate::read_policy(workspace, None).ok().map(|policy| policy.hash());
    show::result(&show::baselines(&groups(sessions), &decisions, log, policy.as_ref()))?;
    Ok(told(&damaged))
}

fn detail(workspace: &Workspace, log: &Log, about: &AboutArgs) -> Result<u8> {
    let (at, machine) = asked(log, about);
    match held(workspace, log, &at, &machine)? {
        Ok(held) => {
            let decisions = current::read(workspace)?;
            show::result(&show::baseline(&held, &machine, &decisions))?;
            Ok(exit::PASS)
        }
        Err(none) => Ok(nothing(&none)),
    }
}

/// Says that there is nothing to compare with.
pub(crate) fn nothing(why: &str) -> u8 {
    show::note(&format!("error: {why}"));
    exit::INVALID
}

/// Names the damaged files.
fn told(damaged: &[StoreError]) -> u8 {
    for damage in damaged {
        show::note(&format!("error: {damage}"));
    }
    if damaged.is_empty() { exit::PASS } else { exit::USAGE }
}

fn verify(workspace: &Workspace) -> Result<u8> {
    let shelf = shelf::own(workspace);
    let Stock { sessions, damaged } = Stock::read(&shelf, |_| true)?;
    let code = told(&damaged);
    current::read(workspace)?;
    settings::Settings::read(workspace)?;
    let records: usize = sessions.iter().map(|session| session.records.len()).sum();
    let (files, records) = (show::count(sessions.len(), "session"), show::count(records, "record"));
    show::result(&format!(
        "{files} with {records} as they were sealed, {} damaged\n",
        damaged.len()
    ))?;
    Ok(code)
}

fn prune(workspace: &Workspace, args: &PruneArgs) -> Result<u8> {
    let shelf = shelf::own(workspace);
    let decisions = current::read(workspace)?;
    // With damaged files, it is not known which sessions a decision needs.
    let sessions = Stock::read(&shelf, |_| true)?.whole()?;
    let of = |session: &Session| Some((session.key.clone(), session.code()?));
    let known: Vec<_> = sessions.iter().filter_map(of).collect();
    let doomed = superfluous(&known, &decisions, args.keep);
    if doomed.is_empty() {
        show::result(&format!("nothing to delete of {}\n", show::count(known.len(), "session")))?;
        return Ok(exit::PASS);
    }
    for key in &doomed {
        show::result(&format!("{}\n", shelf.place(&key.to_string())))?;
        if args.yes {
            shelf.delete(&key.to_string())?;
        }
    }
    let count = show::count(doomed.len(), "session");
    show::result(&match args.yes {
        true => format!("{count} deleted\n"),
        false => format!("{count} would be deleted: repeat with `--yes` to do it\n"),
    })?;
    Ok(exit::PASS)
}

/// The records of a baseline's sessions, as those of one subject.
pub(crate) fn records_of(sessions: &[Session]) -> Result<Vec<Record>> {
    let newest = sessions.last().context("a baseline has a session")?;
    let subject = newest.run.subjects.first().context("a session has a subject")?;
    let all = sessions.iter().flat_map(|session| session.records.iter().cloned());
    // Builds of the same code on several days are one subject, under the newest one's name.
    Ok(all.map(|record| Record { subject: subject.clone(), ..record }).collect())
}

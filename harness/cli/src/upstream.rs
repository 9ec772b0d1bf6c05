//! `windtunnel upstream`: keeps track of the commits of the upstream engine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use windtunnel_ledger::record::Outcome;
use windtunnel_ledger::store;
use windtunnel_ledger::upstream::{AREAS, Commit, Contradiction, Guard, Hash, Log};

use crate::args::{UpstreamArgs, UpstreamCommand};
use crate::progress::Progress;
use crate::runs::newest_runs;
use crate::scenario::reworded;
use crate::workspace::Workspace;
use crate::{exit, show};

mod pick;
mod plan;
mod repository;
mod rules;
mod sync;

pub(crate) use plan::{Ahead, Evidence, Gap, Standing};
pub(crate) use repository::{Forecast, Repository};

/// The path of the integration log in a workspace.
pub(crate) const LOG: &str = "engine/upstream.toml";

/// The commit up to which a log considers all, whatever else the log holds; none if it does not
/// say.
pub(crate) fn considered(log: &str) -> Option<Hash> {
    let log: toml::Table = toml::from_str(log).ok()?;
    log.get("considered")?.as_str()?.to_owned().try_into().ok()
}

/// Runs the subcommand that the arguments name.
pub(crate) fn upstream(
    workspace: &Workspace,
    args: &UpstreamArgs,
    progress: Progress,
) -> Result<u8> {
    let path = named(args.log.as_deref())?;
    let log = || read(workspace, &path);
    match &args.command {
        UpstreamCommand::List { state, area, priority } => {
            let log = log()?;
            let known = |area: &String| AREAS.contains(&&**area);
            if let Some(unknown) = area.iter().find(|area| !known(area)) {
                bail!("unknown area `{unknown}`; known: {}", AREAS.join(", "));
            }
            let chosen = log.commits.iter().filter(|commit| {
                (state.is_empty() || state.contains(&commit.state))
                    && (area.is_empty() || area.contains(&commit.area))
                    && (priority.is_empty() || priority.contains(&commit.priority))
            });
            show::result(&show::commits(chosen))?;
            Ok(exit::PASS)
        }
        UpstreamCommand::Show { hash } => {
            let log = log()?;
            let commit = log.find(&hash.to_lowercase()).ok_or_else(|| {
                let begun =
                    |commit: &&Commit| commit.hash.as_str().starts_with(&hash.to_lowercase());
                match log.commits.iter().filter(begun).count() {
                    0 => anyhow!(
                        "`{hash}` is not the beginning of any hash in the log; `windtunnel upstream list` shows all"
                    ),
                    several => {
                        anyhow!("`{hash}` begins {several} hashes of the log: write more digits")
                    }
                }
            })?;
            show::result(&show::commit(&log, commit, &last_measured(workspace, commit)))?;
            Ok(exit::PASS)
        }
        UpstreamCommand::Status => {
            let log = log()?;
            show::result(&show::status(&log, &contradictions(workspace, &log)))?;
            Ok(exit::PASS)
        }
        UpstreamCommand::Check => check(workspace, &log()?),
        UpstreamCommand::Sync(sync) => sync::sync(workspace, &path, &log()?, sync),
        // A fork needs no integration log.
        UpstreamCommand::Plan(args) => plan::plan(args),
        UpstreamCommand::Pick(args) => pick::pick(workspace, args, progress),
    }
}

/// The path of the log relative to the workspace; like all paths, a typed one is relative to the
/// current directory.
pub(crate) fn named(log: Option<&Path>) -> Result<PathBuf> {
    log.map_or_else(|| Ok(LOG.into()), std::path::absolute)
        .context("cannot tell which integration log `--log` names")
}

fn check(workspace: &Workspace, log: &Log) -> Result<u8> {
    let found = contradictions(workspace, log);
    if !found.is_empty() {
        for contradiction in &found {
            show::note(&format!("{contradiction}"));
        }
        return Ok(exit::BROKEN);
    }
    let count = show::count(log.commits.len(), "commit");
    show::result(&format!("{count}: the log agrees with the sources\n"))?;
    Ok(exit::PASS)
}

/// The integration log of a workspace.
pub(crate) fn read(workspace: &Workspace, path: &Path) -> Result<Log> {
    let text = std::fs::read_to_string(workspace.root().join(path)).with_context(|| {
        format!(
            "there is no integration log `{}`: name another one with `--log`, or change to the workspace with `-C`",
            show::path(path)
        )
    })?;
    parse(path, &text)
}

/// Parses the text of the integration log in the file `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Log> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        anyhow!("`{}`, line {line}: {}", show::path(path), reworded(error.message()))
    })
}

fn contradictions(workspace: &Workspace, log: &Log) -> Vec<Contradiction> {
    log.check(|guard| exists(workspace, guard).map_err(|error| format!("{error:#}")))
}

/// Checks that a guard exists: a scenario that can be read, or a test in its file.
fn exists(workspace: &Workspace, guard: &Guard) -> Result<()> {
    let read = |file: &str| {
        let text = std::fs::read_to_string(workspace.root().join(file));
        text.map_err(|_| anyhow!("there is no such file"))
    };
    match guard {
        Guard::Scenario(file) => read(file).map(drop),
        Guard::Test { file, name } => {
            let text = read(file)?;
            let Some(at) = text.find(&format!("fn {name}(")) else {
                bail!("there is no such function")
            };
            // Attributes come between the end of the previous item and the function.
            let attributes = text[..at].rsplit(['}', ';', '{']).next().unwrap_or_default();
            if !attributes.contains("#[test]") {
                bail!("this function is not a test");
            }
            Ok(())
        }
    }
}

/// When each guard scenario of `commit` last finished, as far as runs are kept.
fn last_measured(workspace: &Workspace, commit: &Commit) -> Vec<(Guard, Option<String>)> {
    let runs = newest_runs(&workspace.reports());
    let last = |file: &str| {
        let scenario = file.trim_start_matches("scenarios/").trim_end_matches(".toml");
        runs.iter().find_map(|run| {
            let records = store::read(run).ok()?.records;
            let measured = records.into_iter().rev().find(|record| {
                record.case.scenario() == scenario && matches!(record.outcome, Outcome::Measured(_))
            });
            measured.map(|record| record.at)
        })
    };
    let of = |guard: &Guard| match guard {
        Guard::Scenario(file) => last(file),
        Guard::Test { .. } => None,
    };
    commit.guards.iter().map(|guard| (guard.clone(), of(guard))).collect()
}

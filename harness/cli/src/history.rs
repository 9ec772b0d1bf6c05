//! `windtunnel history`, and the history on the page of a run: another program does the work.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

use anyhow::{Context, Result, ensure};
use windtunnel_report::history::{History, LONG_ENOUGH};

use crate::args::{HistoryArgs, Past};
use crate::lock::{Patience, Queue};
use crate::progress::{Progress, Voice};
use crate::runs::newest_runs;
use crate::workspace::{Workspace, cargo};
use crate::{exit, index, show};

/// The text of `--help` until `windtunnel-history`, which says more, is built.
const HELP: &str = "\
Show how every metric developed over all kept runs, and what changed

Usage: windtunnel history [OPTIONS]
       windtunnel history export FILE
       windtunnel history import FILE [--into DIR]

Options:
      --case <PATTERN>     Only cases whose id contains this; `*` stands for anything
      --metric <NAME>      Only this metric
      --along <ALONG>      Along which commits: own or upstream
      --run <FILE>         Only the series of which this run is a part
      --html <FILE>        Write a page with plots instead of printing a table
      --format <FORMAT>    How to print the result: table or json
      --store <DIR>        Where the records of runs are; by default `reports` of the workspace
      --workspace <DIR>    Where policy, calibrations, integration log and git repository are

The first `windtunnel history` in a workspace with the sources builds `windtunnel-history`, which takes
several minutes. If it lies beside `windtunnel`, its own `--help` is shown here.
";

/// Hands over to `windtunnel-history`.
pub(crate) fn history(workspace: &Workspace, args: &HistoryArgs, voice: Voice) -> Result<u8> {
    if args.args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return help(&args.args);
    }
    let mut command = program(workspace, voice)?;
    for (option, place) in
        [("--workspace", workspace.root().to_owned()), ("--store", workspace.reports())]
    {
        let named = |arg: &OsString| arg.as_encoded_bytes().starts_with(option.as_bytes());
        if !args.args.iter().any(named) {
            command.arg(option).arg(place);
        }
    }
    let status = command.args(&args.args).status().context("cannot start `windtunnel-history`")?;
    if let Some(page) = page(&args.args) {
        index::refresh(workspace, &page);
    }
    Ok(code_of(status))
}

/// Shows the help of a program that was built before; nothing is built for that.
#[expect(clippy::disallowed_methods, reason = "another program knows its own options")]
fn help(args: &[OsString]) -> Result<u8> {
    let Some(program) = beside() else {
        show::result(HELP)?;
        return Ok(exit::PASS);
    };
    let status = Command::new(program).args(args).status();
    Ok(code_of(status.context("cannot start `windtunnel-history`")?))
}

/// The program has two exit codes of its own; anything else is a bug.
fn code_of(status: ExitStatus) -> u8 {
    match status.code() {
        Some(0) => exit::PASS,
        Some(2) => exit::USAGE,
        _ => exit::BUG,
    }
}

/// The workspace's `windtunnel-history`, built on first use because polars takes long to build and
/// most users never need it; without sources, the one beside this program.
#[expect(clippy::disallowed_methods, reason = "another program reads the store")]
fn program(workspace: &Workspace, voice: Voice) -> Result<Command> {
    if !workspace.has_sources() {
        return beside().map(Command::new).with_context(|| {
            format!(
                "`windtunnel-history` is neither beside `windtunnel` nor can it be built in `{}`",
                workspace.root().display()
            )
        });
    }
    // A build during a run would disturb it.
    let queue = Queue { patience: Patience::Refuse, progress: Progress::choose(voice) };
    let _turn = match (queue.take(), beside()) {
        (Ok(turn), _) => turn,
        (Err(busy), None) => return Err(busy.ask_again().into()),
        (Err(_), Some(program)) => {
            if voice == Voice::Normal {
                show::note(
                    "another run is measuring: shown by the windtunnel-history that was built before",
                );
            }
            return Ok(Command::new(program));
        }
    };
    if voice == Voice::Normal {
        show::note("building windtunnel-history where needed; polars takes several minutes");
    }
    let cargo = |word: &str| {
        let mut command = Command::new(cargo());
        command.args([word, "--release", "--locked", "--quiet", "--package", "windtunnel-history"]);
        command.arg("--manifest-path").arg(workspace.root().join("Cargo.toml"));
        command
    };
    // A separate step, so that cargo's exit code is not mistaken for the program's.
    let built = cargo("build").status().context("cannot start cargo: install Rust")?;
    ensure!(built.success(), "`windtunnel-history` does not build: cargo says why");
    let mut command = cargo("run");
    command.arg("--");
    Ok(command)
}

/// The program beside this one, if it is there.
fn beside() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name("windtunnel-history");
    beside.is_file().then_some(beside)
}

/// The history of the series of the run in the file `run`; none if there is nothing to show yet.
///
/// # Errors
/// If `windtunnel-history` is asked and does not answer.
#[expect(clippy::disallowed_methods, reason = "another program reads the store")]
pub(crate) fn of_run(
    workspace: &Workspace,
    run: &Path,
    past: Past,
    voice: Voice,
) -> Result<Option<History>> {
    let mut command = match past {
        Past::Never => return Ok(None),
        Past::Always => program(workspace, voice)?,
        Past::Auto => match beside() {
            Some(program) if is_long_enough(workspace, run) => Command::new(program),
            _ => return Ok(None),
        },
    };
    command.args(["--format", "json", "--run"]).arg(run);
    command.arg("--workspace").arg(workspace.root()).arg("--store").arg(workspace.reports());
    let Output { stdout, stderr, .. } =
        command.output().context("cannot start `windtunnel-history`")?;
    let history: History = serde_json::from_slice(&stdout).with_context(|| {
        format!(
            "`windtunnel-history` printed no history: {}",
            String::from_utf8_lossy(&stderr).trim()
        )
    })?;
    Ok(history.tells().then_some(history))
}

/// The same if nothing needs to be built for it. Errors are shown, but do not cost the page.
pub(crate) fn where_known(workspace: &Workspace, run: &Path) -> Option<History> {
    of_run(workspace, run, Past::Auto, Voice::Quiet).unwrap_or_else(|error| {
        show::note(&format!("the page has no history: {error:#}"));
        None
    })
}

/// Says how the page of a run could show more, if it could.
pub(crate) fn advise(workspace: &Workspace, run: &Path, past: Past) {
    if past == Past::Auto && beside().is_none() && is_long_enough(workspace, run) {
        show::note(
            "the page has no history of its series: `--history always` adds it, and builds `windtunnel-history` for that, which takes several minutes once",
        );
    }
}

/// Whether enough runs are kept for a history.
fn is_long_enough(workspace: &Workspace, run: &Path) -> bool {
    let reports = workspace.reports();
    let is_kept = std::path::absolute(run).is_ok_and(|run| run.starts_with(&reports));
    newest_runs(&reports).len() + usize::from(!is_kept) >= LONG_ENOUGH
}

/// The HTML page that was asked for, if any.
fn page(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter();
    args.find_map(|arg| match arg.to_str()?.strip_prefix("--html") {
        Some("") => Some(None),
        Some(rest) => Some(Some(rest.strip_prefix('=')?.into())),
        None => None,
    })?
    .or_else(|| args.next().map(PathBuf::from))
}

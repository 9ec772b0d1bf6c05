//! `windtunnel history`: another program does the work.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::args::HistoryArgs;
use crate::progress::Voice;
use crate::workspace::{Workspace, cargo};
use crate::{exit, index, show};

/// Hands over to `windtunnel-history`: the workspace's, built when it is first asked for, because
/// polars takes long to build and most users never need it; or else the one beside this program.
#[expect(clippy::disallowed_methods, reason = "another program does this command's work")]
pub(crate) fn history(workspace: &Workspace, args: &HistoryArgs, voice: Voice) -> Result<u8> {
    let mut command = if workspace.has_sources() {
        if voice == Voice::Normal {
            show::note("building windtunnel-history where needed; polars takes several minutes");
        }
        let mut command = std::process::Command::new(cargo());
        let manifest = workspace.root().join("Cargo.toml");
        command.args([
            "run",
            "--release",
            "--locked",
            "--quiet",
            "--package",
            "windtunnel-history",
        ]);
        command.arg("--manifest-path").arg(manifest).arg("--");
        command
    } else {
        let beside =
            std::env::current_exe().ok().map(|exe| exe.with_file_name("windtunnel-history"));
        let beside = beside.filter(|path| path.is_file()).with_context(|| {
            format!(
                "`windtunnel-history` is neither beside `windtunnel` nor can it be built in `{}`",
                workspace.root().display()
            )
        })?;
        std::process::Command::new(beside)
    };
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
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::BUG))
}

/// The page that was asked for, if one was.
fn page(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter();
    args.find_map(|arg| match arg.to_str()?.strip_prefix("--html") {
        Some("") => Some(None),
        Some(rest) => Some(Some(rest.strip_prefix('=')?.into())),
        None => None,
    })?
    .or_else(|| args.next().map(PathBuf::from))
}

//! `windtunnel history`: another program does the work.

use std::ffi::OsString;

use anyhow::{Context, Result};

use crate::args::HistoryArgs;
use crate::progress::Voice;
use crate::workspace::{Workspace, cargo};
use crate::{exit, show};

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
    let chosen = args.args.iter().any(|arg| arg.as_encoded_bytes().starts_with(b"--store"));
    let store: [OsString; 2] = ["--store".into(), workspace.reports().into()];
    command.args(if chosen { &[][..] } else { &store }).args(&args.args);
    let status = command.status().context("cannot start `windtunnel-history`")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::BUG))
}

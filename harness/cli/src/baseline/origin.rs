//! The upstream commit of a subject.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use windtunnel_ledger::record::Subject;
use windtunnel_ledger::upstream::{Hash, Log};

use crate::git::git;
use crate::upstream;
use crate::workspace::Workspace;

/// The upstream commit that a subject's log has considered. The log is read at the subject's
/// commit: today's working tree may differ from what was measured.
pub(crate) fn upstream_of(workspace: &Workspace, log: &Path, subject: &Subject) -> Result<Hash> {
    let Some(commit) = subject.commit.as_ref().filter(|_| !subject.dirty) else {
        bail!(
            "it is not known at which upstream commit `{}` is: give it with `--upstream HASH`",
            subject.name
        );
    };
    let file = format!("{commit}:./{}", log.display());
    let text = git(workspace.root(), &["show", &file]).with_context(|| {
        format!(
            "the log of `{}` cannot be read: give its upstream commit with `--upstream HASH`",
            subject.name
        )
    })?;
    let log: Log = upstream::parse(log, &text).map_err(|error| anyhow!("at {commit}: {error}"))?;
    Ok(log.considered)
}

//! Where things are: the workspace and what it holds, found from the directory of the caller.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A directory with scenarios, reports and, unless `windtunnel` is used far from its source, the
/// sources of the engine and the probe.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace around `start`: its nearest ancestor with a `scenarios` directory, or else
    /// `start` itself.
    pub(crate) fn around(start: &Path) -> Result<Workspace> {
        let start = start
            .canonicalize()
            .with_context(|| format!("cannot enter directory `{}`", start.display()))?;
        let root = start.ancestors().find(|dir| dir.join("scenarios").is_dir());
        Ok(Workspace { root: root.unwrap_or(&start).to_owned() })
    }

    /// Its directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where scenarios are kept.
    pub(crate) fn scenarios(&self) -> PathBuf {
        self.root.join("scenarios")
    }

    /// Where runs and their reports are kept.
    pub(crate) fn reports(&self) -> PathBuf {
        self.root.join("reports")
    }

    /// Where probes, worktrees and their builds are kept. Can be deleted at any time.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("target").join("windtunnel")
    }

    /// Whether probes can be built here.
    pub(crate) fn has_sources(&self) -> bool {
        self.root.join("harness/probe/Cargo.toml").is_file()
    }
}

/// The cargo that this program was started by, or else the one on the path.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

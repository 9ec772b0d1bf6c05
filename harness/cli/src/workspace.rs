//! Where things are: the workspace and what it holds, found from the directory of the caller.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xxhash_rust::xxh3::xxh3_64;

/// A directory with scenarios, reports and, unless `windtunnel` is used far from its source, the
/// sources of the engine and the probe.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    /// The directory that `-C` named.
    entered: Option<PathBuf>,
}

impl Workspace {
    /// The workspace around `start`: its nearest ancestor with a `scenarios` directory, or else
    /// `start` itself.
    pub(crate) fn around(start: &Path) -> Result<Workspace> {
        let start = start
            .canonicalize()
            .with_context(|| format!("cannot enter directory `{}`", start.display()))?;
        let root = start.ancestors().find(|dir| dir.join("scenarios").is_dir());
        Ok(Workspace { root: root.unwrap_or(&start).to_owned(), entered: None })
    }

    /// The same, for a caller who has named the directory `entered`, if any, from which it was found.
    pub(crate) fn entered(self, entered: Option<PathBuf>) -> Workspace {
        Workspace { entered, ..self }
    }

    /// The line of a shell, where the caller is, that has this program do these words.
    pub(crate) fn line(&self, words: &[&str]) -> String {
        let entered = self.entered.as_ref().map(|entered| entered.display().to_string());
        let entered = entered.iter().flat_map(|entered| ["-C", entered]);
        let words = ["windtunnel"].into_iter().chain(entered).chain(words.iter().copied());
        let words: Vec<&str> = words.collect();
        shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" "))
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

    /// Where baselines and what is known of machines are kept.
    pub(crate) fn baselines(&self) -> PathBuf {
        self.root.join("baselines")
    }

    /// Where probes are kept. Can be deleted at any time; interrupted runs cannot go on then.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("target").join("windtunnel")
    }

    /// Where revisions are checked out and built. Can be deleted at any time. It lies outside the
    /// workspace, because cargo joins the configuration of all folders above: the working tree's
    /// would decide how another revision is built.
    pub(crate) fn builds(&self) -> PathBuf {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        // By its specification, any other one counts as not set.
        let cache = cache.filter(|path| path.is_absolute());
        let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
        let root = xxh3_64(self.root.as_os_str().as_encoded_bytes());
        cache.unwrap_or_else(std::env::temp_dir).join("windtunnel").join(format!("{root:016x}"))
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

//! The workspace and the paths in it, found from the caller's directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xxhash_rust::xxh3::xxh3_64;

/// A directory with scenarios, reports and, unless `windtunnel` is used away from its source, the
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

    /// The same workspace, for a caller who named the directory `entered` with `-C`, if any.
    pub(crate) fn entered(self, entered: Option<PathBuf>) -> Workspace {
        Workspace { entered, ..self }
    }

    /// The shell line that, typed where the caller is, runs this program with these words.
    pub(crate) fn line(&self, words: &[&str]) -> String {
        let entered = self.entered.as_ref().map(|entered| entered.display().to_string());
        let entered = entered.iter().flat_map(|entered| ["-C", entered]);
        let words = ["windtunnel"].into_iter().chain(entered).chain(words.iter().copied());
        let words: Vec<&str> = words.collect();
        shlex::try_join(words.iter().copied()).unwrap_or_else(|_| words.join(" "))
    }

    /// Its root directory.
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

    /// Where baselines and the calibrations of machines are kept.
    pub(crate) fn baselines(&self) -> PathBuf {
        self.root.join("baselines")
    }

    /// Where probes are kept. May be deleted at any time; interrupted runs cannot be resumed then.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("target").join("windtunnel")
    }

    /// Where revisions are checked out and built. May be deleted at any time. It is outside the
    /// workspace because cargo merges the configuration of all parent folders: the working tree's
    /// would affect the build of another revision.
    pub(crate) fn builds(&self) -> PathBuf {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        // The XDG specification says to ignore relative paths.
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

/// The cargo that started this program, or else the one on the path.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

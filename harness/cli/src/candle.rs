//! Another candle: the same engine on another version of the library it computes with.
//!
//! The candle entries in a checkout's manifests are rewritten before it is built. Nothing else
//! changes: the lock file keeps all other versions.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use toml::{Table, Value};

use crate::external::{check_out, shell, trees};
use crate::git::git;
use crate::upstream::Repository;
use crate::workspace::Workspace;

/// The candle crate that all others build on.
const CORE: &str = "candle-core";
/// The crates of candle, each also the name of a folder in a clone.
const CRATES: [&str; 10] = [
    CORE,
    "candle-datasets",
    "candle-flash-attn",
    "candle-flash-attn-build",
    "candle-flash-attn-v3",
    "candle-kernels",
    "candle-metal-kernels",
    "candle-nn",
    "candle-onnx",
    "candle-transformers",
];

/// A candle that replaces a revision's own, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Candle {
    /// A version in the registry: `0.11.0`.
    Version(String),
    /// A revision of a clone: `FOLDER@REVISION`.
    Clone {
        /// The folder.
        folder: PathBuf,
        /// The revision; `HEAD` if left out.
        revision: String,
    },
}

impl FromStr for Candle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `0.12.0-alpha.1`, but not a folder whose name begins with a number.
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = numbers.split('.');
        let is_version = numbers.contains('.') && parts.all(|part| part.parse::<u64>().is_ok());
        if is_version {
            return match numbers.split('.').count() {
                3 => Ok(Candle::Version(text.to_owned())),
                _ => Err(format!("`{text}` is not a whole version: write it as `0.11.0`")),
            };
        }
        // Split at the first `@`: revisions may contain more, as in `HEAD@{1}`.
        let (folder, revision) = text.split_once('@').unwrap_or((text, "HEAD"));
        match folder.is_empty() || revision.is_empty() {
            true => Err("a candle is a version (`0.11.0`) or a revision of a clone \
                         (`FOLDER@REVISION`)"
                .to_owned()),
            false => Ok(Candle::Clone { folder: folder.into(), revision: revision.to_owned() }),
        }
    }
}

impl std::fmt::Display for Candle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Candle::Version(version) => f.write_str(version),
            Candle::Clone { folder, revision } => write!(f, "{}@{revision}", folder.display()),
        }
    }
}

/// A candle resolved to a version or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exact {
    /// A version in the registry.
    Version(String),
    /// A commit of a clone.
    Commit {
        /// The clone.
        folder: PathBuf,
        /// The full hash.
        commit: String,
    },
}

impl Candle {
    /// Resolves its revision to a commit.
    pub(crate) fn exact(&self) -> Result<Exact> {
        match self {
            Candle::Version(version) => Ok(Exact::Version(version.clone())),
            Candle::Clone { folder, revision } => {
                let commit = clone_at(folder)?.resolve(revision)?;
                let folder = std::path::absolute(folder)?;
                Ok(Exact::Commit { folder, commit })
            }
        }
    }
}

/// Opens a clone that a user names.
pub(crate) fn clone_at(folder: &Path) -> Result<Repository> {
    ensure!(
        folder.is_dir(),
        "there is no clone `{}`: make one with `git clone`, and name its folder",
        folder.display()
    );
    Repository::at(folder)
}

impl Exact {
    /// Its name in records.
    pub(crate) fn name(&self) -> String {
        let (Exact::Version(name) | Exact::Commit { commit: name, .. }) = self;
        name.clone()
    }

    /// A part of a file name that tells builds on it from others.
    pub(crate) fn mark(&self) -> String {
        match self {
            Exact::Version(version) => format!("candle-{version}"),
            Exact::Commit { commit, .. } => format!("candle-{commit}"),
        }
    }

    /// Its commit, if it is not a version.
    pub(crate) fn commit(&self) -> Option<&str> {
        match self {
            Exact::Version(_) => None,
            Exact::Commit { commit, .. } => Some(commit),
        }
    }

    /// Makes the checkout `tree` build on this candle. A commit is checked out of its clone under
    /// the name `checkout`. Returns the reason if the two do not fit together.
    ///
    /// # Errors
    /// If there is no such version.
    pub(crate) fn put_into(
        &self,
        workspace: &Workspace,
        tree: &Path,
        checkout: &str,
    ) -> Result<Result<(), String>> {
        let clone = match self {
            Exact::Version(_) => None,
            Exact::Commit { folder, commit } => {
                let clone = trees(workspace, folder).join(checkout);
                check_out(folder, &clone, commit)?;
                Some(clone)
            }
        };
        let mut named = 0;
        for file in git(tree, &["ls-files", "--", ":(glob)**/Cargo.toml"])?.lines() {
            let path = tree.join(file);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let mut manifest: Table =
                toml::from_str(&text).with_context(|| format!("cannot read `{file}`"))?;
            let mut wanting = None;
            for (name, dependency) in dependencies(&mut manifest) {
                match self.written(&name, clone.as_deref()) {
                    Some(source) => *dependency = on(dependency, source),
                    None => wanting = Some(name),
                }
                named += 1;
            }
            if let Some(name) = wanting {
                return Ok(Err(format!(
                    "`{file}` needs `{name}`, which this candle does not have"
                )));
            }
            let text =
                toml::to_string(&manifest).with_context(|| format!("cannot write `{file}`"))?;
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        if named == 0 {
            return Ok(Err("none of its manifests names a crate of candle".to_owned()));
        }
        // Re-resolves only what the manifests no longer allow.
        let resolved = shell("exec \"${CARGO:-cargo}\" update --workspace --quiet", tree)?;
        match (self, resolved) {
            (_, Ok(())) => (),
            (Exact::Version(version), Err(said)) => bail!(
                "there is no candle {version} to build on, or the registry cannot be reached: choose one that `cargo info candle-core` lists, or name a clone\n{said}"
            ),
            (Exact::Commit { .. }, Err(said)) => return Ok(Err(said)),
        }
        let lock = std::fs::read_to_string(tree.join("Cargo.lock")).unwrap_or_default();
        Ok(match self.is_locked(&lock) {
            true => Ok(()),
            false => Err(
                "it still builds on another candle as well: a dependency or a `[patch]` names one"
                    .to_owned(),
            ),
        })
    }

    /// Whether a lock file names this candle and no other.
    fn is_locked(&self, lock: &str) -> bool {
        let cores = Locked::all(lock);
        let [core] = cores.as_slice() else { return false };
        match self {
            Exact::Version(version) => core.version == *version && core.source.is_some(),
            // A path dependency has no source.
            Exact::Commit { .. } => core.source.is_none(),
        }
    }

    /// The manifest key and value for the crate `name` of this candle; none if it has no such
    /// crate.
    fn written(&self, name: &str, clone: Option<&Path>) -> Option<(&'static str, String)> {
        match (self, clone) {
            (Exact::Version(version), _) => Some(("version", format!("={version}"))),
            (Exact::Commit { .. }, clone) => {
                let folder = clone?.join(name);
                let there = folder.join("Cargo.toml").is_file();
                there.then(|| ("path", folder.display().to_string()))
            }
        }
    }
}

/// The dependencies of a manifest that are crates of candle, by crate name. Inherited ones are
/// found in the workspace's own table.
fn dependencies(manifest: &mut Table) -> Vec<(String, &mut Value)> {
    let mut found = Vec::new();
    for (key, value) in manifest.iter_mut() {
        let Value::Table(table) = value else { continue };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                found.extend(table.iter_mut().filter_map(of_candle));
            }
            // `[workspace.dependencies]` and `[target.'cfg(…)'.dependencies]` lie one or two levels
            // deeper.
            "workspace" => found.extend(dependencies(table)),
            "target" => {
                let tables = table.iter_mut().filter_map(|(_, value)| match value {
                    Value::Table(table) => Some(table),
                    _ => None,
                });
                found.extend(tables.flat_map(dependencies));
            }
            _ => (),
        }
    }
    found
}

/// A dependency with its crate name, if that is a crate of candle.
fn of_candle<'a>((key, value): (&String, &'a mut Value)) -> Option<(String, &'a mut Value)> {
    let renamed = value.get("package").and_then(Value::as_str).map(str::to_owned);
    let inherits = value.get("workspace").is_some();
    let name = renamed.unwrap_or_else(|| key.clone());
    (CRATES.contains(&name.as_str()) && !inherits).then_some((name, value))
}

/// The dependency with another source; its other keys stay.
fn on(dependency: &Value, (key, place): (&str, String)) -> Value {
    const PLACES: [&str; 7] = ["version", "path", "git", "rev", "branch", "tag", "registry"];
    let mut table = dependency.as_table().cloned().unwrap_or_default();
    table.retain(|key, _| !PLACES.contains(&key));
    table.insert(key.to_owned(), Value::String(place));
    Value::Table(table)
}

/// A package in a lock file.
#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

impl Locked {
    /// Every candle-core in a lock file; empty if it cannot be parsed.
    fn all(lock: &str) -> Vec<Locked> {
        #[derive(Deserialize)]
        struct Lock {
            #[serde(default)]
            package: Vec<Locked>,
        }
        let packages = toml::from_str(lock).map_or_else(|_| Vec::new(), |lock: Lock| lock.package);
        packages.into_iter().filter(|package| package.name == CORE).collect()
    }
}

/// The first candle in a lock file: its commit hash if it comes from git, otherwise its version;
/// none if there is none.
pub(crate) fn locked(lock: &str) -> Option<String> {
    let core = Locked::all(lock).into_iter().next()?;
    let source = core.source.as_deref().and_then(|source| source.strip_prefix("git+"));
    let commit = source.and_then(|source| source.rsplit_once('#')).map(|(_, commit)| commit);
    Some(commit.map_or(core.version, str::to_owned))
}

/// The commit of a clone for a name from a lock file: a hash, or a version that is tagged there.
pub(crate) fn commit_of(clone: &Repository, named: &str) -> Result<String> {
    let ways = [named.to_owned(), format!("v{named}"), format!("{CORE}-{named}")];
    let found = ways.iter().find_map(|revision| clone.resolve(revision).ok());
    found.with_context(|| {
        format!("the clone of candle has neither a commit nor a tag `{named}`: fetch there, with `--tags`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candle_is_a_version_or_a_revision_of_a_clone() {
        for text in [
            "0.11.0",
            "0.12.0-alpha.1",
            "../candle@main",
            "/a b/candle@0123abc",
            "2024-candle@main",
            "candle@HEAD@{1}",
        ] {
            assert_eq!(text.parse::<Candle>().unwrap().to_string(), text);
        }
        assert_eq!("../candle".parse::<Candle>().unwrap().to_string(), "../candle@HEAD");
        let reflog = Candle::Clone { folder: "candle".into(), revision: "HEAD@{1}".to_owned() };
        assert_eq!("candle@HEAD@{1}".parse(), Ok(reflog));
        let error = |text: &str| text.parse::<Candle>().unwrap_err();
        assert_eq!(error("0.11"), "`0.11` is not a whole version: write it as `0.11.0`");
        for text in ["", "@main", "candle@"] {
            assert!(error(text).starts_with("a candle is a version"), "{text}");
        }
    }

    #[test]
    fn all_places_of_a_manifest_that_name_candle_are_written_anew_and_nothing_else() {
        let mut manifest: Table = toml::from_str(
            r#"
            [workspace.dependencies]
            candle-core = { version = "0.11.1", default-features = false }
            candle-nn = "0.11.1"
            half = "2"
            [dependencies]
            candle-core.workspace = true
            renamed = { package = "candle-kernels", git = "https://x", rev = "1", optional = true }
            [target.'cfg(unix)'.dev-dependencies]
            candle-flash-attn = { path = "../flash" }
            [features]
            candle-like = []
            "#,
        )
        .unwrap();
        let exact = Exact::Version("0.12.0".to_owned());
        for (name, dependency) in dependencies(&mut manifest) {
            *dependency = on(dependency, exact.written(&name, None).unwrap());
        }
        let expected: Table = toml::from_str(
            r#"
            [workspace.dependencies]
            candle-core = { version = "=0.12.0", default-features = false }
            candle-nn = { version = "=0.12.0" }
            half = "2"
            [dependencies]
            candle-core.workspace = true
            renamed = { package = "candle-kernels", version = "=0.12.0", optional = true }
            [target.'cfg(unix)'.dev-dependencies]
            candle-flash-attn = { version = "=0.12.0" }
            [features]
            candle-like = []
            "#,
        )
        .unwrap();
        assert_eq!(manifest, expected);
    }

    #[test]
    fn a_lock_file_that_names_another_candle_as_well_is_found_out() {
        let core = |version: &str, source: &str| {
            format!("[[package]]\nname = \"candle-core\"\nversion = \"{version}\"\n{source}\n")
        };
        let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        let version = Exact::Version("0.12.0".to_owned());
        let commit = Exact::Commit { folder: "candle".into(), commit: "0123".to_owned() };
        let is = |exact: &Exact, lock: &[String]| exact.is_locked(&lock.concat());
        assert!(is(&version, &[core("0.12.0", registry)]));
        assert!(!is(&version, &[core("0.12.0", "")]), "patched in from a folder");
        assert!(!is(&version, &[core("0.12.0", registry), core("0.11.1", registry)]));
        assert!(is(&commit, &[core("0.11.1", "")]));
        assert!(!is(&commit, &[core("0.11.1", registry)]));
        assert!(!is(&version, &[]));
    }

    #[test]
    fn a_lock_file_names_a_commit_or_a_version() {
        let lock = |source: &str| {
            format!(
                "version = 4\n[[package]]\nname = \"candle-core\"\nversion = \"0.11.1\"\n{source}"
            )
        };
        let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert_eq!(locked(&lock(registry)).unwrap(), "0.11.1");
        assert_eq!(
            locked(&lock("source = \"git+https://x/candle.git?rev=1#0123\"\n")).unwrap(),
            "0123"
        );
        assert_eq!(locked("version = 4\n"), None);
    }
}

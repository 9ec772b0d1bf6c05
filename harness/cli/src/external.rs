//! An external subject: an engine other than this workspace's, described in a TOML file.
//!
//! The file says where its repository is, how to build a revision of it, and by which protocol to
//! measure it. If that is not a probe's protocol, a small script that starts an
//! [`adapter`](crate::adapter) takes the place of the probe: the rest of the program knows only
//! probes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use windtunnel_ledger::record::Failure;

use crate::candle;
use crate::git::{find_anew, git};
use crate::lock;
use crate::scenario::parse;
use crate::workspace::Workspace;

/// An external subject as its file describes it.
#[derive(Clone, Debug)]
pub(crate) struct External {
    /// The folder of its file, to which its paths are relative.
    pub(crate) folder: PathBuf,
    /// Its repository; none if it is only measured.
    pub(crate) repository: Option<PathBuf>,
    /// The shell command line that builds a checkout of it.
    build: Option<String>,
    /// The protocol by which it is measured.
    protocol: Protocol,
    /// The checks that a commit must pass before it is measured, in this order.
    pub(crate) checks: Vec<Check>,
    /// What to measure of a commit.
    pub(crate) measure: Option<Measure>,
    /// A hash of the description, to tell it from others.
    fingerprint: u64,
}

/// The protocol by which a subject is measured.
#[derive(Clone, Debug)]
enum Protocol {
    /// It has a probe: the executable at this path in its checkout.
    Probe(PathBuf),
    /// An adapter stands in for a probe.
    Adapted(Adapted),
}

/// What an adapter needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Adapted {
    /// A server that speaks the OpenAI protocol.
    Openai(OpenAi),
    /// A program that writes what `llama-bench -o json` does.
    LlamaBench(LlamaBench),
    /// A program that writes the table of `mistralrs-bench`.
    #[serde(rename = "mistralrs-bench")]
    MistralRsBench(MistralRsBench),
    /// Benches written with criterion.
    Criterion(Criterion),
}

/// A server that speaks the OpenAI protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct OpenAi {
    /// The base URL of its API, `http://127.0.0.1:{port}/v1`. `{port}` stands for a free port.
    pub(crate) address: String,
    /// The shell command line that starts it; none if it is already running.
    pub(crate) server: Option<String>,
    /// The model that requests name; by default the case's.
    pub(crate) model: Option<String>,
    /// Additional fields of the requests.
    #[serde(default)]
    pub(crate) body: serde_json::Map<String, serde_json::Value>,
}

/// A program that writes what `llama-bench -o json` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct LlamaBench {
    /// The shell command line that runs it. `{prompt}`, `{output}`, `{depth}`, `{iterations}` and
    /// `{model}` stand for the values of the case.
    pub(crate) command: String,
}

/// A program that writes the table of `mistralrs-bench`, or of `mistralrs bench`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MistralRsBench {
    /// The shell command line that runs it, with the same placeholders as for `llama-bench`.
    pub(crate) command: String,
}

/// Benches written with criterion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Criterion {
    /// The shell command line that runs a bench. `{package}` and `{bench}` stand for those of the
    /// case, and `{arguments}` for the arguments passed to the bench.
    pub(crate) command: String,
}

/// A condition on a commit: a shell command line that must succeed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// Its name.
    pub(crate) name: String,
    /// The command line.
    pub(crate) run: String,
}

/// What to measure of a commit, in the terms of `windtunnel gate`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measure {
    /// Scenarios.
    pub(crate) scenarios: Vec<String>,
    /// Models to use instead of the scenarios' own.
    #[serde(default)]
    pub(crate) models: Vec<String>,
    /// Filters on case ids.
    #[serde(default)]
    pub(crate) filter: Vec<String>,
    /// The policy; by default the workspace's.
    pub(crate) policy: Option<PathBuf>,
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ExternalFile {
    repository: Option<PathBuf>,
    build: Option<String>,
    probe: Option<ProbeFile>,
    openai: Option<OpenAi>,
    llama_bench: Option<LlamaBench>,
    mistralrs_bench: Option<MistralRsBench>,
    criterion: Option<Criterion>,
    #[serde(default)]
    check: Vec<Check>,
    measure: Option<Measure>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeFile {
    path: PathBuf,
}

impl External {
    /// Reads the file that describes a subject.
    pub(crate) fn read(path: &Path) -> Result<External> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("there is no description of a subject `{}`", path.display())
        })?;
        let file: ExternalFile = parse(path, &text)?;
        let ExternalFile {
            repository,
            build,
            probe,
            openai,
            llama_bench,
            mistralrs_bench,
            criterion,
            check,
            measure,
        } = file;
        let named = [
            probe.map(|probe| Protocol::Probe(probe.path)),
            openai.map(|openai| Protocol::Adapted(Adapted::Openai(openai))),
            llama_bench.map(|bench| Protocol::Adapted(Adapted::LlamaBench(bench))),
            mistralrs_bench.map(|bench| Protocol::Adapted(Adapted::MistralRsBench(bench))),
            criterion.map(|criterion| Protocol::Adapted(Adapted::Criterion(criterion))),
        ];
        let mut named = named.into_iter().flatten();
        let (Some(protocol), None) = (named.next(), named.next()) else {
            bail!(
                "`{}`: a subject is measured by one protocol: write one of `[probe]`, `[openai]`, `[llama-bench]`, `[mistralrs-bench]` and `[criterion]`",
                path.display()
            );
        };
        let fingerprint = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        let path = std::path::absolute(path)?;
        let folder = path.parent().unwrap_or(&path).to_owned();
        let repository = repository.map(|repository| folder.join(repository));
        ensure!(
            build.is_none() || repository.is_some(),
            "`{}`: `build` builds a checkout of `repository`, and none is named",
            path.display()
        );
        Ok(External { folder, repository, build, protocol, checks: check, measure, fingerprint })
    }

    /// Its repository; an error if it has none.
    pub(crate) fn repository(&self) -> Result<&Path> {
        self.repository
            .as_deref()
            .context("this subject has no revisions: name its `repository` in its description")
    }

    /// The same subject with the commits of another repository.
    pub(crate) fn elsewhere(&self, repository: &Path) -> External {
        External { repository: Some(repository.to_owned()), ..self.clone() }
    }

    /// The name under which a build of a commit is kept; none if it cannot be used without its work
    /// tree.
    pub(crate) fn mark(&self, commit: &str) -> Option<String> {
        match &self.protocol {
            Protocol::Probe(_) => Some(format!("{commit}+{:016x}", self.fingerprint)),
            Protocol::Adapted(_) => None,
        }
    }

    /// Builds a commit, or its repository or folder as it is if `commit` is none, and returns the
    /// path of its probe. A commit can be built on another candle than its own.
    pub(crate) fn build(
        &self,
        workspace: &Workspace,
        commit: Option<&str>,
        candle: Option<&candle::Exact>,
    ) -> Result<Result<PathBuf, Failure>> {
        let tree = match (commit, &self.repository) {
            (Some(commit), _) => self.checkout(workspace, commit, candle)?,
            (None, Some(repository)) => repository.clone(),
            (None, None) => self.folder.clone(),
        };
        if let (Some(candle), Some(_)) = (candle, commit) {
            let checkout = match &self.protocol {
                Protocol::Probe(_) => "candle".to_owned(),
                Protocol::Adapted(_) => candle.mark(),
            };
            if let Err(tail) = candle.put_into(workspace, &tree, &checkout)? {
                return Ok(Err(Failure::Build { tail }));
            }
        }
        if let Protocol::Probe(path) = &self.protocol
            && self.build.is_some()
        {
            // A probe left by an earlier build must not be mistaken for the result of this one.
            let _ = std::fs::remove_file(tree.join(path));
        }
        if let Some(line) = &self.build
            && let Err(tail) = shell(line, &tree)?
        {
            return Ok(Err(Failure::Build { tail }));
        }
        match &self.protocol {
            Protocol::Probe(path) => {
                let probe = tree.join(path);
                if !probe.is_file() {
                    let tail = format!("there is no probe `{}` after the build", path.display());
                    return Ok(Err(Failure::Build { tail }));
                }
                Ok(Ok(probe))
            }
            Protocol::Adapted(adapted) => adapter(workspace, adapted, &tree).map(Ok),
        }
    }

    /// A work tree of `commit`. A probe is copied out of it, so all commits share one tree, and
    /// only what differs between them is rebuilt. A server runs in its tree, so each commit needs
    /// its own, on each candle.
    fn checkout(
        &self,
        workspace: &Workspace,
        commit: &str,
        candle: Option<&candle::Exact>,
    ) -> Result<PathBuf> {
        let repository = self.repository()?;
        let name = match (&self.protocol, candle) {
            (Protocol::Probe(_), _) => "probe".to_owned(),
            (Protocol::Adapted(_), None) => commit.to_owned(),
            (Protocol::Adapted(_), Some(candle)) => format!("{commit}+{}", candle.mark()),
        };
        let tree = trees(workspace, repository).join(name);
        check_out(repository, &tree, commit)?;
        Ok(tree)
    }
}

/// Where revisions of another repository are checked out.
pub(crate) fn trees(workspace: &Workspace, repository: &Path) -> PathBuf {
    let path = repository.canonicalize().unwrap_or_else(|_| repository.to_owned());
    let name = xxhash_rust::xxh3::xxh3_64(path.as_os_str().as_encoded_bytes());
    workspace.builds().join("external").join(format!("{name:016x}"))
}

/// Makes `tree` a work tree of `commit`. Files that git ignores stay: they are build outputs.
pub(crate) fn check_out(repository: &Path, tree: &Path, commit: &str) -> Result<()> {
    let text = tree.display().to_string();
    let wrong = || format!("cannot check out `{commit}` of `{}`", repository.display());
    let add = || {
        let _ = std::fs::remove_dir_all(tree);
        git(repository, &["worktree", "add", "--detach", "--force", &text, commit])
    };
    if !is_top(tree) {
        add().with_context(wrong)?;
    }
    // An operation interrupted by a kill is nobody's work.
    for unfinished in ["cherry-pick", "revert"] {
        let _ = git(tree, &[unfinished, "--quit"]);
    }
    let moved = || {
        git(tree, &["checkout", "--quiet", "--force", "--detach", commit])?;
        git(tree, &["clean", "--quiet", "-d", "--force"])
    };
    if moved().is_err() {
        // A kill may have left a stale lock in git's data about the work tree.
        let _ = git(repository, &["worktree", "remove", "--force", "--force", &text]);
        add().and_then(|_| moved()).with_context(wrong)?;
    }
    Ok(())
}

/// Whether `tree` is the top of a work tree. A folder that a kill left without its `.git` is not,
/// though it may lie in a work tree of the user's, where git would check out and clean up.
fn is_top(tree: &Path) -> bool {
    git(tree, &["rev-parse", "--show-prefix"]).is_ok_and(|prefix| prefix.is_empty())
}

/// Runs a build command line in a folder; returns the end of its output if it fails.
pub(crate) fn shell(line: &str, dir: &Path) -> Result<Result<(), String>> {
    finished(line, lock::keep(&mut command(line, dir)))
}

/// The same for a command line that checks what was built: it may measure, in this process's turn.
pub(crate) fn check(line: &str, dir: &Path) -> Result<Result<(), String>> {
    finished(line, lock::lend(&mut command(line, dir)))
}

#[expect(clippy::disallowed_methods, reason = "descriptions say how to build and check")]
fn command(line: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).current_dir(dir).stdin(Stdio::null());
    command
}

fn finished(line: &str, command: &mut Command) -> Result<Result<(), String>> {
    let output = find_anew(command).output().context("cannot start sh")?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    const LINES: usize = 30;
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
    Ok(Err(format!("`{line}`: {}\n{tail}", output.status)))
}

/// Creates a script that starts an adapter in the folder `tree`.
fn adapter(workspace: &Workspace, adapted: &Adapted, tree: &Path) -> Result<PathBuf> {
    let path = workspace.scratch().join("adapters").join(format!("{}", std::process::id()));
    write_adapter(adapted, tree, &path)?;
    Ok(path)
}

/// Writes a script to `path` that starts an adapter in the folder `tree`.
pub(crate) fn write_adapter(adapted: &Adapted, tree: &Path, path: &Path) -> Result<()> {
    let exe = std::env::current_exe().context("cannot find the path of this program")?;
    let told = serde_json::to_string(adapted).context("cannot write what an adapter is told")?;
    let words = [exe.display().to_string(), "adapt".to_owned(), told, tree.display().to_string()];
    let line = shlex::try_join(words.iter().map(String::as_str))
        .context("a path of this subject cannot be written for a shell")?;
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create `{}`", folder.display()))?;
    std::fs::write(path, format!("#!/bin/sh\nexec {line} \"$@\"\n"))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    make_executable(path)
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make `{}` executable", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_of_a_work_tree_is_not_taken_for_the_one_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path();
        let run = |args: &[&str]| git(repository, args).unwrap();
        let file = repository.join("file");
        let commit = |text: &str| {
            std::fs::write(&file, text).unwrap();
            run(&["add", "file"]);
            let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
            let how = ["-c", "commit.gpgSign=false", "commit", "--quiet", "--message", text];
            run(&[&who[..], &how].concat());
            run(&["rev-parse", "HEAD"])
        };
        run(&["init", "--quiet"]);
        let (first, second) = (commit("one"), commit("two"));
        std::fs::write(&file, "not committed").unwrap();
        let tree = repository.join("tree");
        std::fs::create_dir(&tree).unwrap();

        check_out(repository, &tree, &first).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&tree.join("file")), "one");
        assert_eq!(read(&file), "not committed");
        assert_eq!(run(&["rev-parse", "HEAD"]), second);
    }
}

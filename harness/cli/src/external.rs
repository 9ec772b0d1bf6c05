//! An external subject: an engine that is not this workspace's, described in a TOML file.
//!
//! The file says where its repository is, how a revision of it is built, and by which protocol it is
//! measured. Whatever speaks another protocol than a probe's gets a small script in the place of its
//! probe, which starts an [`adapter`](crate::adapter): the rest of the program knows probes alone.

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
    /// The folder of its file, in which its paths begin.
    pub(crate) folder: PathBuf,
    /// Where its repository is; none for what is only measured.
    pub(crate) repository: Option<PathBuf>,
    /// The line for a shell that builds a checkout of it.
    build: Option<String>,
    /// By which protocol it is measured.
    protocol: Protocol,
    /// What must hold before a commit is measured, in this order.
    pub(crate) checks: Vec<Check>,
    /// What is measured of a commit.
    pub(crate) measure: Option<Measure>,
    /// What tells this description from others.
    fingerprint: u64,
}

/// By which protocol a subject is measured.
#[derive(Clone, Debug)]
enum Protocol {
    /// It has a probe: an executable at this path of its checkout.
    Probe(PathBuf),
    /// An adapter stands in for a probe.
    Adapted(Adapted),
}

/// What an adapter has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Adapted {
    /// A server that speaks OpenAI's protocol.
    Openai(OpenAi),
    /// A program that writes what `llama-bench -o json` does.
    LlamaBench(LlamaBench),
    /// A program that writes the table of `mistralrs-bench`.
    #[serde(rename = "mistralrs-bench")]
    MistralRsBench(MistralRsBench),
    /// Benches that are written with criterion.
    Criterion(Criterion),
}

/// A server that speaks OpenAI's protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct OpenAi {
    /// Where its interface begins, `http://127.0.0.1:{port}/v1`. `{port}` stands for a free port.
    pub(crate) address: String,
    /// The line for a shell that starts it; none if it runs already.
    pub(crate) server: Option<String>,
    /// The model that requests name; the case's if none is named.
    pub(crate) model: Option<String>,
    /// What requests say besides.
    #[serde(default)]
    pub(crate) body: serde_json::Map<String, serde_json::Value>,
}

/// A program that writes what `llama-bench -o json` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct LlamaBench {
    /// The line for a shell that runs it. `{prompt}`, `{output}`, `{depth}`, `{iterations}` and
    /// `{model}` stand for those of the case.
    pub(crate) command: String,
}

/// A program that writes the table of `mistralrs-bench`, or of `mistralrs bench`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MistralRsBench {
    /// The line for a shell that runs it, with the same words between braces as for `llama-bench`.
    pub(crate) command: String,
}

/// Benches that are written with criterion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Criterion {
    /// The line for a shell that runs one. `{package}` and `{bench}` stand for those of the case, and
    /// `{arguments}` for what the bench is told.
    pub(crate) command: String,
}

/// Something that must hold of a commit: a line for a shell that ends well.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// What it is called.
    pub(crate) name: String,
    /// The line.
    pub(crate) run: String,
}

/// What is measured of a commit, in the words of `windtunnel gate`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measure {
    /// Scenarios.
    pub(crate) scenarios: Vec<String>,
    /// Models instead of theirs.
    #[serde(default)]
    pub(crate) models: Vec<String>,
    /// What the ids of cases must contain.
    #[serde(default)]
    pub(crate) filter: Vec<String>,
    /// The policy; the workspace's if none is named.
    pub(crate) policy: Option<PathBuf>,
}

/// The file as it is typed.
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

    /// It, of the commits of another repository.
    pub(crate) fn elsewhere(&self, repository: &Path) -> External {
        External { repository: Some(repository.to_owned()), ..self.clone() }
    }

    /// The name of what is built of a commit; none if it cannot be kept without its work tree.
    pub(crate) fn mark(&self, commit: &str) -> Option<String> {
        match &self.protocol {
            Protocol::Probe(_) => Some(format!("{commit}+{:016x}", self.fingerprint)),
            Protocol::Adapted(_) => None,
        }
    }

    /// Builds a revision of it, or with none what lies in its folder, and says where its probe is. A
    /// revision can be built on another candle than its own.
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
            // What an earlier build left must not stand for what this one did not make.
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

    /// A work tree of `commit`. A probe is copied out of it, so that one tree serves all commits and
    /// only what differs between them is built again; a server runs in its tree, so that each commit
    /// needs its own, on each candle.
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

/// Where revisions of a repository elsewhere are checked out.
pub(crate) fn trees(workspace: &Workspace, repository: &Path) -> PathBuf {
    let path = repository.canonicalize().unwrap_or_else(|_| repository.to_owned());
    let name = xxhash_rust::xxh3::xxh3_64(path.as_os_str().as_encoded_bytes());
    workspace.builds().join("external").join(format!("{name:016x}"))
}

/// Makes `tree` a work tree of `commit`. What git ignores stays: it is what builds left.
pub(crate) fn check_out(repository: &Path, tree: &Path, commit: &str) -> Result<()> {
    let text = tree.display().to_string();
    let wrong = || format!("cannot check out `{commit}` of `{}`", repository.display());
    let add = || {
        let _ = std::fs::remove_dir_all(tree);
        git(repository, &["worktree", "add", "--detach", "--force", &text, commit])
    };
    if git(tree, &["rev-parse", "--is-inside-work-tree"]).is_err() {
        add().with_context(wrong)?;
    }
    // What a kill interrupted is nobody's work.
    for unfinished in ["cherry-pick", "revert"] {
        let _ = git(tree, &[unfinished, "--quit"]);
    }
    let moved = || {
        git(tree, &["checkout", "--quiet", "--force", "--detach", commit])?;
        git(tree, &["clean", "--quiet", "-d", "--force"])
    };
    if moved().is_err() {
        // A kill may have left a lock in what git keeps of it, which nobody will ever take away.
        let _ = git(repository, &["worktree", "remove", "--force", "--force", &text]);
        add().and_then(|_| moved()).with_context(wrong)?;
    }
    Ok(())
}

/// Runs a line that builds in a folder; the end of what it printed if it fails.
pub(crate) fn shell(line: &str, dir: &Path) -> Result<Result<(), String>> {
    finished(line, lock::keep(&mut command(line, dir)))
}

/// The same of a line that checks what was built: it may measure, in the turn of this process.
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

/// A script that starts an adapter in the folder `tree`.
fn adapter(workspace: &Workspace, adapted: &Adapted, tree: &Path) -> Result<PathBuf> {
    let path = workspace.scratch().join("adapters").join(format!("{}", std::process::id()));
    write_adapter(adapted, tree, &path)?;
    Ok(path)
}

/// Writes a script to `path` that starts an adapter in the folder `tree`.
pub(crate) fn write_adapter(adapted: &Adapted, tree: &Path, path: &Path) -> Result<()> {
    let exe = std::env::current_exe().context("cannot tell where this program lies")?;
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

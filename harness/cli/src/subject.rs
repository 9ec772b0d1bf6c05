//! Subjects: named by the user, built by cargo, kept by the hash of their executable.
//!
//! Every probe is copied to a file named after its contents, so that nothing built during a run can
//! change what the run measures, and an interrupted run resumes with exactly what it began with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use windtunnel_ledger::case::{Case, Source};
use windtunnel_ledger::record::{Failure, Outcome, Record, Subject};
use xxhash_rust::xxh3::xxh3_128;

use crate::candle::{self, Candle};
use crate::external::External;
use crate::git::git;
use crate::progress::Progress;
use crate::upstream::{self, Repository};
use crate::workspace::Workspace;

mod benches;
mod cargo;

pub(crate) use benches::{again as benches_again, build as build_benches};
use cargo::{Artifact, Part, Revision, cargo_build};

/// A subject, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `.`: the working tree.
    Tree,
    /// `rev:REV` or `rev:REV+candle=CANDLE`: a git revision.
    Revision {
        /// The revision.
        revision: String,
        /// The candle that replaces its own, if any.
        candle: Option<Candle>,
    },
    /// `probe:PATH`: a ready executable.
    Probe(PathBuf),
    /// `external:FILE` or `external:FILE@REV`: an external engine described by a file, at a
    /// revision of its repository.
    External {
        /// The file.
        file: PathBuf,
        /// The revision; none for the current state of the repository.
        revision: Option<String>,
    },
}

/// A subject and its probe, or why there is none.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The subject.
    pub(crate) subject: Subject,
    /// The executable, or why its build failed.
    pub(crate) probe: Result<PathBuf, Failure>,
    /// The stand-ins for a probe that run benches, by `package/bench`, or why the build of a bench
    /// failed. Empty for a subject that brings its own stand-in.
    pub(crate) benches: BTreeMap<String, Result<PathBuf, Failure>>,
    /// Where its code is.
    pub(crate) code: Code,
}

/// Where the code of a subject is, so that more than its probe can be built from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// In the working tree.
    Tree,
    /// At its commit.
    Commit {
        /// The candle that replaces its own, if any.
        candle: Option<candle::Exact>,
    },
    /// Somewhere else, or gone.
    Elsewhere,
}

impl Built {
    /// A subject with its probe and no benches yet.
    pub(crate) const fn of(subject: Subject, probe: Result<PathBuf, Failure>) -> Built {
        Built { subject, probe, benches: BTreeMap::new(), code: Code::Elsewhere }
    }

    /// What to start for a round of `case`, or why its build failed.
    pub(crate) fn runner(&self, case: &Case) -> Result<&Path, &Failure> {
        let bench = match &case.model.source {
            Source::Bench(benchmark) => self.benches.get(&benchmark.target()),
            _ => None,
        };
        bench.unwrap_or(&self.probe).as_deref()
    }
}

/// Separates a revision from the candle to build it on.
pub(crate) const ON: &str = "+candle=";

impl Wanted {
    /// A revision with its own candle.
    pub(crate) fn revision(revision: &str) -> Wanted {
        Wanted::Revision { revision: revision.to_owned(), candle: None }
    }
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            _ if text == "." => Ok(Wanted::Tree),
            Some(("rev", text)) if !text.is_empty() => match text.split_once(ON) {
                Some((revision, candle)) => {
                    Ok(Wanted::Revision { revision: revision.into(), candle: Some(candle.parse()?) })
                }
                None => Ok(Wanted::revision(text)),
            },
            Some(("probe", path)) if !path.is_empty() => Ok(Wanted::Probe(path.into())),
            Some(("external", text)) if !text.is_empty() => {
                // The first `@` after `.toml`: revisions may contain more of them, as in
                // `HEAD@{1}`.
                const END: &str = ".toml";
                let at = text.find(".toml@").map(|at| text.split_at(at + END.len()));
                let (file, revision) = at.map_or((text, None), |(file, at)| (file, Some(&at[1..])));
                Ok(Wanted::External { file: file.into(), revision: revision.map(str::to_owned) })
            }
            _ => Err("a subject is `.` (the working tree), `rev:REVISION`, `probe:PATH` or `external:FILE.toml`".into()),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wanted::Tree => f.write_str("."),
            Wanted::Revision { revision, candle } => {
                write!(f, "rev:{revision}")?;
                candle.as_ref().map_or(Ok(()), |candle| write!(f, "{ON}{candle}"))
            }
            Wanted::Probe(path) => write!(f, "probe:{}", path.display()),
            Wanted::External { file, revision } => {
                write!(f, "external:{}", file.display())?;
                revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
            }
        }
    }
}

/// Rejects subjects that do not exist, and features that nothing in `wanted` is built with, before
/// anybody waits for a turn or a build.
pub(crate) fn check<'a>(
    workspace: &Workspace,
    features: &[String],
    wanted: impl IntoIterator<Item = &'a Wanted> + Clone,
) -> Result<()> {
    check_features(features, wanted.clone())?;
    wanted.into_iter().try_for_each(|wanted| is_there(workspace, wanted))
}

/// Rejects a subject that does not exist.
fn is_there(workspace: &Workspace, wanted: &Wanted) -> Result<()> {
    match wanted {
        Wanted::Tree => Ok(()),
        Wanted::Revision { revision, candle } => {
            Repository::at(workspace.root())?.resolve(revision)?;
            candle.as_ref().map_or(Ok(()), |candle| candle.exact().map(drop))
        }
        Wanted::Probe(path) => is_ready(path),
        Wanted::External { file, revision } => {
            let external = External::read(file)?;
            let Some(revision) = revision else { return Ok(()) };
            Repository::at(external.repository()?)?.resolve(revision).map(drop)
        }
    }
}

/// Rejects a ready probe that does not exist or is not executable.
pub(crate) fn is_ready(probe: &Path) -> Result<()> {
    let path = probe.display();
    ensure!(probe.is_file(), "there is no probe at `{path}`");
    let is_executable = probe.metadata().is_ok_and(|about| about.permissions().mode() & 0o111 != 0);
    // CI artifacts often lose the permission.
    ensure!(
        is_executable,
        "`{path}` is not executable, as a probe must be: `chmod +x {path}`, if it is one"
    );
    Ok(())
}

/// Rejects features that nothing in `wanted` is built with.
fn check_features<'a>(
    features: &[String],
    wanted: impl IntoIterator<Item = &'a Wanted>,
) -> Result<()> {
    let mut ready = None;
    for wanted in wanted {
        match wanted {
            Wanted::Tree | Wanted::Revision { .. } => return Ok(()),
            Wanted::Probe(_) | Wanted::External { .. } => ready = Some(wanted),
        }
    }
    match ready {
        Some(wanted) if !features.is_empty() => bail!(
            "`--features` applies to what is built here, `.` and `rev:REVISION`, and not to `{wanted}`: leave it out, and enable the features where that is built"
        ),
        _ => Ok(()),
    }
}

/// Resolves `wanted` and builds it. A failing build is a result; nothing to build is an error.
pub(crate) fn build(
    workspace: &Workspace,
    wanted: &Wanted,
    features: &[String],
    progress: Progress,
) -> Result<Built> {
    match wanted {
        Wanted::Tree => {
            ensure!(
                workspace.has_sources(),
                "there is no probe to build in `{}`: change to the workspace with `-C DIR`, or name a ready probe with `--probe PATH`",
                workspace.root().display()
            );
            let subject = tree(workspace, features);
            let built = cargo_build(Part::Probe, workspace.root(), None, features, progress)?;
            let built = built.map(|artifact| artifact.executable);
            Ok(Built { code: Code::Tree, ..keep(workspace, subject, built)? })
        }
        Wanted::Revision { revision, candle } => {
            let commit = Repository::at(workspace.root())?.resolve(revision)?;
            let log = format!("{commit}:./{}", upstream::LOG);
            let log = git(workspace.root(), &["show", &log]).ok();
            let subject = Subject {
                upstream: log.as_deref().and_then(upstream::considered),
                ..named(wanted, Some(commit.clone()), false, features)
            };
            let candle = candle.as_ref().map(Candle::exact).transpose()?;
            let subject = Subject { candle: candle.as_ref().map(candle::Exact::name), ..subject };
            let _lock = lock_builds(workspace)?;
            let mark = mark(&commit, candle.as_ref(), &subject.features);
            let source = Commit { hash: &commit, candle: candle.as_ref() };
            let built = once(workspace, Some(&mark), subject, || {
                let built = build_revision(Part::Probe, workspace, source, features, progress)?;
                Ok(built.map(|artifact| artifact.executable))
            })?;
            Ok(Built { code: Code::Commit { candle }, ..built })
        }
        Wanted::Probe(path) => {
            is_ready(path)?;
            keep(workspace, named(wanted, None, false, &[]), Ok(path.clone()))
        }
        Wanted::External { file, revision } => {
            let external = External::read(file)?;
            built_externally(workspace, wanted, &external, revision.as_deref(), None)
        }
    }
}

/// Builds an external engine: a revision of its repository, or its current state.
pub(crate) fn built_externally(
    workspace: &Workspace,
    wanted: &Wanted,
    external: &External,
    revision: Option<&str>,
    candle: Option<&candle::Exact>,
) -> Result<Built> {
    let commit = match (revision, &external.repository) {
        (Some(revision), _) => Some(Repository::at(external.repository()?)?.resolve(revision)?),
        (None, Some(repository)) => git(repository, &["rev-parse", "HEAD"]).ok(),
        (None, None) => None,
    };
    let (changed, changed_besides) = match (revision, &external.repository) {
        (None, Some(repository)) => changes(repository),
        _ => (Vec::new(), 0),
    };
    let subject = Subject {
        changed_besides,
        candle: candle.map(candle::Exact::name),
        ..named(wanted, commit.clone(), !changed.is_empty(), &[])
    };
    let _lock = lock_builds(workspace)?;
    let commit = commit.as_deref().filter(|_| revision.is_some());
    let mark = commit.and_then(|commit| external.mark(commit));
    let mark = match (mark, candle) {
        (Some(mark), Some(candle)) => Some(format!("{mark}+{}", candle.mark())),
        (mark, _) => mark,
    };
    let subject = Subject { changed, ..subject };
    once(workspace, mark.as_deref(), subject, || external.build(workspace, commit, candle))
}

/// The build remembered under `mark`, or a new one.
fn once(
    workspace: &Workspace,
    mark: Option<&str>,
    subject: Subject,
    build: impl FnOnce() -> Result<Result<PathBuf, Failure>>,
) -> Result<Built> {
    let mark = mark.map(|mark| remembered(workspace, mark));
    if let Some(binary) = mark.as_ref().and_then(|mark| std::fs::read_to_string(mark).ok()) {
        let probe = kept(workspace, &binary);
        if probe.is_file() {
            copy(&probe, &probe)?;
            return Ok(Built::of(Subject { binary, ..subject }, Ok(probe)));
        }
    }
    let built = keep(workspace, subject, build()?)?;
    if let (Some(mark), Ok(_)) = (&mark, &built.probe) {
        create_dir(mark.parent().unwrap_or(mark))?;
        std::fs::write(mark, &built.subject.binary)
            .with_context(|| format!("cannot write `{}`", mark.display()))?;
    }
    Ok(built)
}

/// What is known about `wanted` before it is built.
fn named(wanted: &Wanted, commit: Option<String>, dirty: bool, features: &[String]) -> Subject {
    // Cargo takes spaces between features too. An unset shell variable adds no feature.
    let features = features.iter().flat_map(|words| words.split([',', ' ']));
    let features = features.filter(|feature| !feature.is_empty()).map(str::to_owned);
    Subject {
        name: wanted.to_string(),
        commit,
        dirty,
        features: features.collect::<BTreeSet<_>>().into_iter().collect(),
        ..Subject::default()
    }
}

/// The working tree with these features, before it is built.
pub(crate) fn tree(workspace: &Workspace, features: &[String]) -> Subject {
    let root = workspace.root();
    let commit = git(root, &["rev-parse", "HEAD"]).ok();
    // Read before the build: what changes meanwhile may or may not be in it.
    let (changed, changed_besides) = changes(root);
    let log = std::fs::read_to_string(root.join(upstream::LOG)).ok();
    let subject = Subject {
        upstream: log.as_deref().and_then(upstream::considered),
        changed_besides,
        ..named(&Wanted::Tree, commit, !changed.is_empty(), features)
    };
    Subject { changed, ..subject }
}

/// The files of a working tree that differ from its commit, as many as a record lists, and the
/// number of the others. Baselines are left out: recording one does not change the engine.
fn changes(root: &Path) -> (Vec<String>, u32) {
    let arguments =
        ["status", "--porcelain", "--no-renames", "-z", "--", ".", ":(exclude)baselines"];
    let text = git(root, &arguments).unwrap_or_default();
    // Each name follows two letters and a space.
    let names = text.split('\0').filter_map(|entry| entry.get(3..)).map(str::to_owned);
    let mut changed: Vec<String> = names.collect();
    changed.sort();
    let besides = changed.len().saturating_sub(Subject::CHANGED);
    changed.truncate(Subject::CHANGED);
    (changed, u32::try_from(besides).unwrap_or(u32::MAX))
}

/// Finds exactly the executable that an interrupted run began with, or the failure of its build.
pub(crate) fn again(workspace: &Workspace, subject: &Subject, records: &[Record]) -> Result<Built> {
    let own = records.iter().filter(|record| record.subject == *subject);
    let of_probe = own.filter(|record| !matches!(record.case.model.source, Source::Bench(_)));
    let failed = of_probe.filter_map(|record| build_failure(&record.outcome)).next();
    if let Some(failure) = failed {
        return Ok(Built::of(subject.clone(), Err(failure)));
    }
    let probe = kept(workspace, &subject.binary);
    if subject.binary.is_empty() || !probe.is_file() {
        bail!(
            "the probe of subject `{subject}` is gone from `{}`, and another build might measure something else: start a new run",
            workspace.scratch().display()
        );
    }
    copy(&probe, &probe)?;
    Ok(Built::of(subject.clone(), Ok(probe)))
}

/// The build failure of a round, if that is its outcome.
fn build_failure(outcome: &Outcome) -> Option<Failure> {
    match outcome {
        Outcome::Failed(failure @ Failure::Build { .. }) => Some(failure.clone()),
        _ => None,
    }
}

/// Copies a probe to the file named after its contents.
fn keep(workspace: &Workspace, subject: Subject, built: Result<PathBuf, Failure>) -> Result<Built> {
    let path = match built {
        Ok(path) => path,
        Err(failure) => return Ok(Built::of(subject, Err(failure))),
    };
    let bytes =
        std::fs::read(&path).with_context(|| format!("cannot read probe `{}`", path.display()))?;
    let binary = format!("{:032x}", xxh3_128(&bytes));
    let probe = kept(workspace, &binary);
    copy(&path, &probe)?;
    Ok(Built::of(Subject { binary, ..subject }, Ok(probe)))
}

/// Copies an executable to a file beside `to`, which may be `from` itself, and renames it, so that
/// a kill in between leaves no partial file under its name.
///
/// This happens for every session, even if the file exists. How the pages of an executable lie in
/// the page cache depends on when and how they got there, and code that runs for the first time
/// waits for them: an executable three hours old took twice as long to open a model as a fresh copy
/// of the same bytes. What is compared must have got there in the same way.
fn copy(from: &Path, to: &Path) -> Result<()> {
    create_dir(to.parent().unwrap_or(to))?;
    let partial = to.with_extension(format!("{}.partial", std::process::id()));
    std::fs::copy(from, &partial)
        .and_then(|_| std::fs::File::open(&partial)?.sync_all()) // else it is written during rounds
        .and_then(|()| std::fs::rename(&partial, to))
        .with_context(|| format!("cannot copy an executable to `{}`", to.display()))
}

/// The file that notes which executable `mark` stands for, built by the current compiler for the
/// current processor.
fn remembered(workspace: &Workspace, mark: &str) -> PathBuf {
    let compiler = cargo::compiler(workspace.root());
    workspace.scratch().join("revisions").join(format!("{mark}+{compiler:016x}"))
}

fn kept(workspace: &Workspace, binary: &str) -> PathBuf {
    workspace.scratch().join("probes").join(binary).join("windtunnel-probe")
}

fn mark(commit: &str, candle: Option<&candle::Exact>, features: &[String]) -> String {
    let words = std::iter::once(commit.to_owned());
    let words = words.chain(candle.map(candle::Exact::mark)).chain(features.iter().cloned());
    words.collect::<Vec<_>>().join("+")
}

/// A commit, and the candle that replaces its own, if any.
#[derive(Clone, Copy)]
struct Commit<'a> {
    hash: &'a str,
    candle: Option<&'a candle::Exact>,
}

/// Builds a part of a revision in a separate worktree and target directory. All revisions share
/// them, one after the other, so that only what differs between revisions is rebuilt; machines with
/// different processors that share a cache have a target directory each.
fn build_revision(
    part: Part<'_>,
    workspace: &Workspace,
    commit: Commit<'_>,
    features: &[String],
    progress: Progress,
) -> Result<Result<Artifact, Failure>> {
    let tree = workspace.builds().join("worktree");
    let folder = folder_in(&tree, workspace)?;
    let processor = cargo::processor(workspace.root());
    let target = workspace.builds().join(format!("target-{processor:016x}"));
    let tree_text = tree.display().to_string();
    // Removes a worktree that a killed process left behind.
    let _ = git(workspace.root(), &["worktree", "remove", "--force", &tree_text]);
    let _ = std::fs::remove_dir_all(&tree);
    git(workspace.root(), &["worktree", "add", "--detach", "--force", &tree_text, commit.hash])
        .with_context(|| format!("cannot check out `{}` to build it", commit.hash))?;
    let place = Revision { commit, target: &target };
    let put = match commit.candle {
        _ if !folder.is_dir() => Ok(Err("the workspace does not exist at this commit".to_owned())),
        Some(candle) => candle.put_into(workspace, &folder, "candle"),
        None => Ok(Ok(())),
    };
    let built = match put {
        Ok(Ok(())) => cargo_build(part, &folder, Some(place), features, progress),
        Ok(Err(tail)) => Ok(Err(Failure::Build { tail })),
        Err(error) => Err(error),
    };
    let _ = git(workspace.root(), &["worktree", "remove", "--force", &tree_text]);
    built
}

/// Where the workspace is in a checkout of its repository, of which it may be a subfolder.
fn folder_in(tree: &Path, workspace: &Workspace) -> Result<PathBuf> {
    let prefix = git(workspace.root(), &["rev-parse", "--show-prefix"])?;
    // As components, it does not end with a slash.
    Ok(tree.join(prefix).components().collect())
}

/// Waits until no other process builds revisions of this workspace. Dropping the file releases the
/// lock.
fn lock_builds(workspace: &Workspace) -> Result<File> {
    create_dir(&workspace.builds())?;
    let path = workspace.builds().join("lock");
    let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
    locked.with_context(|| format!("cannot lock `{}`", path.display()))
}

fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_as_they_are_written() {
        for text in [
            ".",
            "rev:HEAD~1",
            "probe:./a b",
            "external:../fork.toml",
            "external:fork@home.toml",
            "external:fork.toml@v1",
            "rev:HEAD+candle=0.11.0",
            "rev:a+b+candle=../candle@main",
        ] {
            assert_eq!(text.parse::<Wanted>().unwrap().to_string(), text);
        }
        for text in ["", "HEAD", "rev:", "probe:", "external:", "commit:x"] {
            assert!(text.parse::<Wanted>().unwrap_err().contains("`rev:REVISION`"));
        }
    }

    #[test]
    fn a_revision_of_an_external_subject_may_have_the_sign_that_begins_it() {
        let revision_of = |text: &str| match text.parse::<Wanted>().unwrap() {
            Wanted::External { file, revision } => (file.display().to_string(), revision),
            other => panic!("{other}"),
        };
        for revision in ["HEAD@{1}", "me@work/topic", "v1"] {
            let read = revision_of(&format!("external:../a@b/fork.toml@{revision}"));
            assert_eq!(read, ("../a@b/fork.toml".to_owned(), Some(revision.to_owned())));
        }
        assert_eq!(revision_of("external:fork@home.toml"), ("fork@home.toml".to_owned(), None));
    }

    #[test]
    fn features_are_the_same_however_they_are_typed() {
        let features_of = |typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(ToString::to_string).collect();
            named(&Wanted::Tree, None, false, &typed).features
        };
        assert_eq!(features_of(&["cuda", "flash-attn"]), ["cuda", "flash-attn"]);
        assert_eq!(features_of(&["flash-attn cuda", "cuda"]), ["cuda", "flash-attn"]);
        assert_eq!(features_of(&[""]), [""; 0]);
    }

    #[test]
    fn a_new_file_is_a_change_even_if_git_is_set_not_to_list_it() {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet"]).unwrap();
        git(folder.path(), &["config", "status.showUntrackedFiles", "no"]).unwrap();
        std::fs::write(folder.path().join("new"), "").unwrap();
        assert_eq!(changes(folder.path()), (vec!["new".to_owned()], 0));
    }

    #[test]
    fn a_build_of_other_features_is_another_build() {
        let features = ["cuda".into(), "flash-attn".into()];
        assert_eq!(mark("abc", None, &[]), "abc");
        assert_eq!(mark("abc", None, &features), "abc+cuda+flash-attn");
        let candle = candle::Exact::Version("0.12.0".into());
        assert_eq!(mark("abc", Some(&candle), &features), "abc+candle-0.12.0+cuda+flash-attn");
    }
}

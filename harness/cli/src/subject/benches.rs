//! The benches of a subject: built like its probe, and kept by the hashes of their executables.
//!
//! Beside each lies a small script that stands in for a probe and starts an
//! [`adapter`](crate::adapter), so that whatever runs a case needs to know probes only.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use windtunnel_ledger::case::Benchmark;
use windtunnel_ledger::record::{Failure, Record};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Artifact, Built, Code, Commit, Part, Source, build_failure, build_revision, cargo_build, copy,
    create_dir, folder_in, kept, lock_builds, mark, remembered,
};
use crate::external::{self, Adapted, Criterion};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The name of a kept bench executable.
const BENCH: &str = "bench";

/// Builds the bench of `benchmark`, unless it is built already. A subject whose code is elsewhere
/// has a stand-in of its own, or none.
pub(crate) fn build(
    workspace: &Workspace,
    built: &mut Built,
    benchmark: &Benchmark,
    progress: Progress,
) -> Result<()> {
    let target = benchmark.target();
    if built.code == Code::Elsewhere || built.benches.contains_key(&target) {
        return Ok(());
    }
    // What breaks the build of the probe breaks that of the bench: they share the engine.
    let stand_in = match &built.probe {
        Err(failure) => Err(failure.clone()),
        Ok(_) => of_code(workspace, built, benchmark, progress)?,
    };
    if let Ok((_, hash)) = &stand_in {
        built.subject.benches.insert(target.clone(), hash.clone());
    }
    built.benches.insert(target, stand_in.map(|(path, _)| path));
    Ok(())
}

/// The stand-in for a bench, and the hash of the bench's executable.
fn of_code(
    workspace: &Workspace,
    built: &Built,
    benchmark: &Benchmark,
    progress: Progress,
) -> Result<Result<(PathBuf, String), Failure>> {
    let part = Part::Bench { package: &benchmark.package, bench: &benchmark.bench };
    let features = &built.subject.features;
    let (Some(hash), Code::Commit { candle }) = (&built.subject.commit, &built.code) else {
        let artifact = cargo_build(part, workspace.root(), None, features, progress)?;
        return match artifact {
            Ok(artifact) => keep(workspace, &artifact).map(Ok),
            Err(failure) => Ok(Err(failure)),
        };
    };
    let _lock = lock_builds(workspace)?;
    let name = benchmark.target().replace('/', "+");
    let commit = Commit { hash, candle: candle.as_ref() };
    let mark = format!("{}+{name}", mark(hash, candle.as_ref(), features));
    let mark = remembered(workspace, &mark);
    if let Ok(hash) = std::fs::read_to_string(&mark) {
        let stand_in = kept(workspace, &hash);
        let bench = stand_in.with_file_name(BENCH);
        if stand_in.is_file() && bench.is_file() {
            copy(&bench, &bench)?;
            return Ok(Ok((stand_in, hash)));
        }
    }
    let artifact = match build_revision(part, workspace, commit, features, progress)? {
        Ok(artifact) => artifact,
        Err(failure) => return Ok(Err(failure)),
    };
    // The worktree has been removed: a bench that reads files finds those of the working tree.
    let tree = folder_in(&workspace.builds().join("worktree"), workspace)?;
    let folder = artifact.folder.strip_prefix(&tree).map(|inner| workspace.root().join(inner));
    let folder = folder.ok().filter(|folder| folder.is_dir());
    let folder = folder.unwrap_or_else(|| workspace.root().to_owned());
    let (stand_in, hash) = keep(workspace, &Artifact { folder, ..artifact })?;
    create_dir(mark.parent().unwrap_or(&mark))?;
    std::fs::write(&mark, &hash).with_context(|| format!("cannot write `{}`", mark.display()))?;
    Ok(Ok((stand_in, hash)))
}

/// Copies a bench to the folder named after its contents, with its stand-in beside it.
fn keep(workspace: &Workspace, artifact: &Artifact) -> Result<(PathBuf, String)> {
    let Artifact { executable, folder } = artifact;
    let bytes = std::fs::read(executable)
        .with_context(|| format!("cannot read bench `{}`", executable.display()))?;
    let hash = format!("{:032x}", xxh3_128(&bytes));
    let stand_in = kept(workspace, &hash);
    let bench = stand_in.with_file_name(BENCH);
    copy(executable, &bench)?;
    let adapted = Adapted::Criterion(Criterion { command: command(&bench)? });
    external::write_adapter(&adapted, folder, &stand_in)?;
    Ok((stand_in, hash))
}

/// The shell line that runs a bench as cargo does.
fn command(bench: &Path) -> Result<String> {
    let bench = bench.display().to_string();
    let bench = shlex::try_quote(&bench)
        .context("the path of this workspace cannot be written for a shell")?;
    Ok(format!("exec {bench} --bench {{arguments}}"))
}

/// The benches that an interrupted run began with, or the failures of their builds.
pub(crate) fn again(workspace: &Workspace, mut built: Built, records: &[Record]) -> Built {
    for (target, hash) in &built.subject.benches {
        let stand_in = kept(workspace, hash);
        let found = match stand_in.is_file() {
            true => Ok(stand_in),
            false => Err(Failure::Start {
                error: format!(
                    "the bench `{target}` is gone from `{}`, and another build might measure \
                     something else: start a new run",
                    workspace.scratch().display()
                ),
            }),
        };
        built.benches.insert(target.clone(), found);
    }
    for record in records.iter().filter(|record| record.subject == built.subject) {
        let Source::Bench(benchmark) = &record.case.model.source else { continue };
        if let Some(failure) = build_failure(&record.outcome) {
            built.benches.insert(benchmark.target(), Err(failure));
        }
    }
    built
}

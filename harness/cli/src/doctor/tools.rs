//! What subjects are built with, and which counters the kernel permits.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use super::{Finding, Patient, Severity};
use crate::workspace::{Workspace, cargo};

/// Programs and files without which some subjects cannot be measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools {
    /// The path of cargo.
    pub(crate) cargo: Option<PathBuf>,
    /// The C compiler, which also links.
    pub(crate) cc: Option<PathBuf>,
    /// Git.
    pub(crate) git: Option<PathBuf>,
    /// Whether the sources of the probe are present.
    pub(crate) sources: bool,
    /// Probes that were built before, newest first.
    pub(crate) probes: Vec<PathBuf>,
}

impl Tools {
    /// The tools that a workspace would use.
    pub(crate) fn of(workspace: &Workspace) -> Tools {
        let kept = std::fs::read_dir(workspace.scratch().join("probes"));
        let kept = kept.into_iter().flatten().flatten();
        let kept = kept.map(|entry| entry.path().join("windtunnel-probe"));
        let mut probes: Vec<PathBuf> = kept.filter(|probe| probe.is_file()).collect();
        let built = |probe: &PathBuf| probe.metadata().and_then(|meta| meta.modified()).ok();
        probes.sort_by_cached_key(|probe| Reverse(built(probe)));
        Tools {
            cargo: find(Path::new(&cargo())),
            cc: find(Path::new("cc")),
            git: find(Path::new("git")),
            sources: workspace.has_sources(),
            probes,
        }
    }
}

/// The path of a program: itself if it includes a folder, otherwise the first of its name on the
/// `PATH`.
fn find(program: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(program));
    match program.components().count() {
        1 => places.find(|place| place.is_file()),
        _ => Some(program.to_owned()).filter(|place| place.is_file()),
    }
}

pub(super) fn probe(patient: &Patient) -> Vec<Finding> {
    let Tools { cargo, cc, sources, probes, .. } = &patient.tools;
    let lacks = [
        (!*sources, "sources of the probe"),
        (cargo.is_none(), "cargo"),
        (cc.is_none(), "C compiler (`cc`)"),
    ];
    let lacks: Vec<&str> =
        lacks.iter().filter(|(lacks, _)| *lacks).map(|(_, what)| *what).collect();
    if lacks.is_empty() {
        return vec![Finding::fine("cargo, a C compiler and the sources of the probe")];
    }
    let found = format!("no {}", lacks.join(", no "));
    let mend = match sources {
        true => {
            "install Rust (https://rustup.rs) and a C compiler, or name a ready probe with `--probe PATH`"
        }
        false => "change to the workspace with `-C DIR`, or name a ready probe with `--probe PATH`",
    };
    vec![match probes.len() {
        0 => Finding::of(
            Severity::Stops,
            format!("{found}, and no ready probe"),
            "there is nothing that could be measured",
            mend,
        ),
        _ => Finding::of(
            Severity::Minor,
            format!("{found}, but {} of earlier runs", crate::show::count(probes.len(), "probe")),
            "only ready probes can be measured (`--probe PATH`)",
            mend,
        ),
    }]
}

pub(super) fn git(patient: &Patient) -> Vec<Finding> {
    match patient.tools.git {
        Some(_) => vec![Finding::fine("git")],
        None => vec![Finding::of(
            Severity::Minor,
            "no git",
            "no revision can be measured (`rev:…`), and records do not name their commit",
            "install git",
        )],
    }
}

pub(super) fn counters(patient: &Patient) -> Vec<Finding> {
    let level = patient.root.text("proc/sys/kernel/perf_event_paranoid");
    let Some(level) = level.and_then(|level| level.parse::<i32>().ok()) else {
        return vec![Finding::unknown(
            "counters of the processor",
            "this kernel has no perf events",
        )];
    };
    match level {
        // Up to this level, a user may count user code of their own processes.
        ..=2 => vec![Finding::fine(format!("perf events permitted (level {level})"))],
        _ => vec![Finding::of(
            Severity::Minor,
            format!("perf events forbidden (level {level})"),
            "profilers cannot see into a probe; timing is not affected",
            patient.on_host("sudo sysctl kernel.perf_event_paranoid=2"),
        )],
    }
}

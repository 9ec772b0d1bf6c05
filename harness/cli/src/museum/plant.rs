//! The engines of a museum: one probe, and for each fault a script that starts it with the fault
//! planted.
//!
//! A script serves as a probe, which is a file identified by its contents; and the script names the
//! real probe, whose path contains its hash.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use windtunnel_ledger::record::Subject;
use windtunnel_ledger::wire::Plantable;

use super::collection::Guard;
use crate::progress::Progress;
use crate::subject::{self, Built, Wanted};
use crate::workspace::Workspace;

/// The probe's feature that makes faults plantable.
const FEATURE: &str = "faults";

/// The probe, built with that feature unless a ready one is given.
pub(super) fn probe(
    workspace: &Workspace,
    ready: Option<&Path>,
    progress: Progress,
) -> Result<Built> {
    let wanted = ready.map_or(Wanted::Tree, |path| Wanted::Probe(path.to_owned()));
    let built = subject::build(workspace, &wanted, &[FEATURE.to_owned()], progress)?;
    if let Err(failure) = &built.probe {
        let tail = failure.tail().unwrap_or_default();
        bail!("the probe does not build with the feature `{FEATURE}`\n{tail}");
    }
    Ok(built)
}

/// The faults that can be planted in `probe`, each with its description: all that `guards` must
/// catch, and perhaps more.
#[expect(clippy::disallowed_methods, reason = "a probe is asked what can be planted in it")]
pub(super) fn plantable(probe: &Built, guards: &[Guard]) -> Result<BTreeMap<String, String>> {
    let path = path(probe)?;
    let mut command = Command::new(path);
    let output = command.arg("--faults").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start `{}`", path.display()))?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = |line: &str| serde_json::from_str(line).map(|p: Plantable| (p.fault, p.about));
    let known: Result<BTreeMap<_, _>, _> = lines.lines().map(read).collect();
    let known = known.ok().filter(|known| !known.is_empty() && output.status.success());
    let known = known.with_context(|| {
        format!(
            "`{}` has nothing to plant: it was built without the feature `{FEATURE}`",
            probe.subject.name
        )
    })?;
    for exhibit in guards.iter().flat_map(|guard| &guard.exhibits) {
        let fault = &exhibit.fault;
        ensure!(
            known.contains_key(fault),
            "`scenarios/museum.toml`: the engine knows no fault `{fault}`; it knows {}",
            known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(known)
}

/// The unmodified engine, under a name.
pub(super) fn nothing(
    workspace: &Workspace,
    folder: &Path,
    probe: &Built,
    name: &str,
) -> Result<Built> {
    script(workspace, folder, probe, name, "")
}

/// The engine with `fault` planted, under the fault's name.
pub(super) fn fault(
    workspace: &Workspace,
    folder: &Path,
    probe: &Built,
    fault: &str,
) -> Result<Built> {
    script(workspace, folder, probe, fault, &format!(" --fault={fault}"))
}

fn script(
    workspace: &Workspace,
    folder: &Path,
    probe: &Built,
    name: &str,
    argument: &str,
) -> Result<Built> {
    let probe_path = path(probe)?.display().to_string();
    let quoted = shlex::try_quote(&probe_path).context("the path of the probe contains a NUL")?;
    // Every probe is asked what the machine can do at best, which nobody needs here.
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--roof*) exit 2 ;; esac\nexec {quoted}{argument} \"$@\"\n"
    );
    let folder = folder.join("engines");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create `{}`", folder.display()))?;
    let file = folder.join(name);
    std::fs::write(&file, text)
        .and_then(|()| std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)))
        .with_context(|| format!("cannot write `{}`", file.display()))?;
    let kept = subject::build(workspace, &Wanted::Probe(file), &[], Progress::Quiet)?;
    let subject =
        Subject { name: name.to_owned(), binary: kept.subject.binary, ..probe.subject.clone() };
    Ok(Built::of(subject, kept.probe))
}

fn path(probe: &Built) -> Result<&Path> {
    probe.probe.as_deref().map_err(|failure| anyhow!("{failure}"))
}

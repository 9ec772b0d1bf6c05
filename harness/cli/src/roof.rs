//! What this machine can do at best, by a probe's own threads: measured once a boot and probe, kept
//! beside the runs.
//!
//! A probe that cannot tell (an older one, or none of ours) leaves a run without a roof, and nothing
//! else: no round depends on it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use windtunnel_ledger::roof::{PROCESSOR, Roof};
use windtunnel_ledger::whole;

use crate::spawn;
use crate::workspace::Workspace;

/// The argument that makes a probe measure the roof.
const ROOF: &str = "--roof";
/// Far longer than it takes anywhere.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long nothing is done between two looks at a child.
const PAUSE: Duration = Duration::from_millis(5);
/// Roofs that are remembered.
const REMEMBERED: usize = 16;

/// A roof that was measured, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    boot: String,
    probe: PathBuf,
    /// Where: the processor, or a GPU.
    #[serde(default = "processor")]
    place: String,
    /// When that was built, in nanoseconds since 1970.
    built: u128,
    roof: Roof,
}

/// For serde: what there was before GPUs had a roof.
fn processor() -> String {
    PROCESSOR.to_owned()
}

/// The roof that `probe` finds at `place` in this boot, measured now if it was not before.
pub(crate) fn of(workspace: &Workspace, probe: &Path, boot: &str, place: &str) -> Option<Roof> {
    let file = workspace.reports().join(".roofs.json");
    let built = std::fs::metadata(probe).and_then(|meta| meta.modified()).ok()?;
    let built = built.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let mut known = remembered(&file);
    let same = |known: &&Known| {
        let same = known.boot == boot && known.probe == probe && known.built == built;
        same && known.place == place && !boot.is_empty()
    };
    if let Some(known) = known.iter().find(same) {
        return Some(known.roof);
    }
    let roof = measured(probe, workspace.root(), place)?;
    let (boot, place) = (boot.to_owned(), place.to_owned());
    known.push(Known { boot, probe: probe.to_owned(), place, built, roof });
    let first = known.len().saturating_sub(REMEMBERED);
    remember(&file, &known[first..]);
    Some(roof)
}

/// What is kept in `file`. It is a memory and no record: what cannot be read is measured again.
fn remembered(file: &Path) -> Vec<Known> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// What cannot be kept is measured again.
fn remember(file: &Path, known: &[Known]) {
    if let Ok(text) = serde_json::to_string_pretty(known) {
        let _ = whole::replace(file, (text + "\n").as_bytes());
    }
}

fn measured(probe: &Path, root: &Path, place: &str) -> Option<Roof> {
    let mut command = spawn::command(probe, root);
    // A probe from before GPUs had one does not know the longer word, and ends.
    let argument = if place == PROCESSOR { ROOF.to_owned() } else { format!("{ROOF}={place}") };
    command.arg(argument).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(PAUSE),
            None => {
                spawn::kill_group(&child);
                break child.wait().ok()?;
            }
        }
    };
    // What it has started would hold the other end of the pipe. One short line fits into that.
    spawn::kill_group(&child);
    let mut line = String::new();
    stdout.read_to_string(&mut line).ok()?;
    serde_json::from_str(&line).ok().filter(|_| status.success())
}

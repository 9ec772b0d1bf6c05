//! The roof: the best that this machine can do, as measured by a probe's own threads. Measured once
//! per boot and probe, and kept beside the runs.
//!
//! A probe that cannot measure it (an older one, or one that is not ours) leaves the run without a
//! roof. No round depends on it.

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
/// Far longer than it takes on any machine.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two checks of the child.
const PAUSE: Duration = Duration::from_millis(5);
/// How many roofs are remembered.
const REMEMBERED: usize = 16;

/// A measured roof, and what it was measured by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    boot: String,
    probe: PathBuf,
    /// What it was measured on: the processor, or a GPU.
    #[serde(default = "processor")]
    place: String,
    /// When the probe was built, in nanoseconds since 1970.
    built: u128,
    roof: Roof,
}

/// For serde: files written before GPUs had a roof name no place.
fn processor() -> String {
    PROCESSOR.to_owned()
}

/// The roof that `probe` measures at `place`; measured now unless this boot has it already.
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

/// The roofs kept in `file`. This is only a cache: if it cannot be read, they are measured again.
fn remembered(file: &Path) -> Vec<Known> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Failing to write is harmless: the roofs are measured again.
fn remember(file: &Path, known: &[Known]) {
    if let Ok(text) = serde_json::to_string_pretty(known) {
        let _ = whole::replace(file, (text + "\n").as_bytes());
    }
}

fn measured(probe: &Path, root: &Path, place: &str) -> Option<Roof> {
    let mut command = spawn::command(probe, root);
    // A probe from before GPUs had a roof rejects the longer argument and exits.
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
    // A process that it started would keep the pipe open. One short line fits into the pipe's
    // buffer.
    spawn::kill_group(&child);
    let mut line = String::new();
    stdout.read_to_string(&mut line).ok()?;
    serde_json::from_str(&line).ok().filter(|_| status.success())
}

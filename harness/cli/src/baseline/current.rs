//! `baselines/current.toml`: the decisions about baselines, one per line.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use windtunnel_ledger::baseline::Decisions;
use windtunnel_ledger::whole;

use crate::scenario;
use crate::workspace::Workspace;

const HEAD: &str = "\
# Decisions about baselines: which code counts, and what was accepted although it is worse or could
# not be compared.
# `windtunnel baseline promote` and `accept` write this file. Each decision is a line and is never
# removed, so branches are merged by keeping the lines of both; of several promotions on one kind
# of machine, the newest counts.
";

/// All decisions of a workspace.
pub(crate) fn read(workspace: &Workspace) -> Result<Decisions> {
    let path = path(workspace);
    if !path.is_file() {
        return Ok(Decisions::default());
    }
    let text = std::fs::read_to_string(&path).context("cannot read `baselines/current.toml`")?;
    Ok(scenario::parse("baselines/current.toml".as_ref(), &text)?)
}

/// Adds decisions.
pub(crate) fn decide(workspace: &Workspace, add: impl FnOnce(&mut Decisions)) -> Result<()> {
    std::fs::create_dir_all(workspace.scratch()).context("cannot create `target/windtunnel`")?;
    let lock = std::fs::File::create(workspace.scratch().join("decisions.lock"));
    let lock = lock.and_then(|file| file.lock().map(|()| file));
    let _lock = lock.context("cannot lock `target/windtunnel/decisions.lock`")?;
    // Read under the lock, so that another process's decisions are kept.
    let mut decisions = read(workspace)?;
    add(&mut decisions);
    whole::replace(&path(workspace), text(&decisions)?.as_bytes())
        .context("cannot write `baselines/current.toml`")
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.baselines().join("current.toml")
}

fn text(decisions: &Decisions) -> Result<String> {
    let Decisions { promoted, accepted } = decisions;
    let mut text = HEAD.to_owned();
    list(&mut text, "promoted", promoted)?;
    list(&mut text, "accepted", accepted)?;
    Ok(text)
}

fn list(text: &mut String, name: &str, entries: &[impl Serialize]) -> Result<()> {
    let _ = writeln!(text, "\n{name} = [");
    for entry in entries {
        let line = toml::Value::try_from(entry).context("cannot write a decision")?;
        let _ = writeln!(text, "  {line},");
    }
    text.push_str("]\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions() -> Decisions {
        let text = r#"
promoted = [
  { upstream = "aaaaaaaaa", machine = "m", code = { engine = "c", features = ["cuda"] }, policy = "p", at = "2026-01-01T00:00:00Z", by = "Ada" },
  { upstream = "bbbbbbbbb", machine = "m", code = { engine = "d" }, policy = "p", at = "2026-01-02T00:00:00Z", by = "Ada" },
]
accepted = [
  { upstream = "bbbbbbbbb", machine = "m", code = { engine = "d" }, finding = { case = "smoke/a/x", series = "decode-rate", verdict = "regressed" }, reason = "right\nat \"last\"", at = "2026-01-02T00:00:00Z", by = "Ada" },
]
"#;
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_decided_is_read_back_and_is_a_line_each() {
        let written = text(&decisions()).unwrap();
        assert_eq!(toml::from_str::<Decisions>(&written).unwrap(), decisions());
        assert_eq!(written.lines().filter(|line| line.starts_with("  {")).count(), 3);
    }

    #[test]
    fn the_lines_of_two_branches_can_stand_side_by_side() {
        let written = text(&decisions()).unwrap();
        let line = written.lines().find(|line| line.starts_with("  {")).unwrap();
        let other = line.replace("Ada", "Grace").replace("2026-01-01", "2026-01-03");
        let merged = written.replace(line, &format!("{line}\n{other}"));
        let merged: Decisions = toml::from_str(&merged).unwrap();
        assert_eq!(merged.promoted.len(), 3);
        assert_eq!(merged.current()[0].by, "Grace");
    }
}

//! The runs kept below `reports`, and the page of each.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::whole;
use windtunnel_report::history::History;

use crate::workspace::Workspace;
use crate::{history, index};

/// The file of a run, given that file, its folder, or its name or id below `reports`.
pub(crate) fn find_run(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let places = [
        PathBuf::from(name),
        Path::new(name).join("run.jsonl"),
        workspace.reports().join(name).join("run.jsonl"),
    ];
    let by_id = || {
        let mut runs = newest_runs(&workspace.reports()).into_iter();
        runs.find(|path| id_in(path).is_some_and(|id| id == name))
    };
    places.into_iter().find(|path| path.is_file()).or_else(by_id).with_context(|| {
        let reports = workspace.reports();
        let newest = newest_runs(&reports).into_iter().next().and_then(|path| {
            path.parent()?.file_name().map(|name| format!("; the newest is `{}`", name.display()))
        });
        format!(
            "there is no run `{name}` here or below `{}`{}",
            reports.display(),
            newest.unwrap_or_default()
        )
    })
}

/// A parsed `RUN` or `RUN@SUBJECT`.
pub(crate) struct Named<'a> {
    /// The file of the run.
    pub(crate) path: PathBuf,
    /// How the run was named.
    pub(crate) run: &'a str,
    /// The subject.
    pub(crate) subject: Option<&'a str>,
}

/// Reads `RUN` or `RUN@SUBJECT`; folders and subjects may have an `@` in their names.
pub(crate) fn named<'a>(workspace: &Workspace, text: &'a str) -> Result<Named<'a>> {
    let cuts = text.match_indices('@').map(|(at, _)| (&text[..at], Some(&text[at + 1..])));
    let mut readings = std::iter::once((text, None)).chain(cuts);
    let known = |(run, subject): (&'a str, Option<&'a str>)| {
        let path = find_run(workspace, run).ok()?;
        Some(Named { path, run, subject })
    };
    let run = text.split_once('@').map_or(text, |(run, _)| run);
    match readings.find_map(known) {
        Some(named) => Ok(named),
        None => find_run(workspace, run).map(|path| Named { path, run, subject: None }),
    }
}

/// The folder below `reports` in which `ci/gate.sh` leaves its run, replacing the previous one.
const GATE: &str = "gate";

/// The run files below `reports`, newest first, sorted by the time in the folder name. Folders with
/// other names (an example, say) hold no runs of this machine, except that of `ci/gate.sh`.
pub(crate) fn newest_runs(reports: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(reports).into_iter().flatten().flatten();
    let by_time = |name: &OsStr| name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
    let mut runs: Vec<(OsString, PathBuf)> = entries
        .filter(|entry| by_time(&entry.file_name()))
        .map(|entry| (entry.file_name(), entry.path().join("run.jsonl")))
        .filter(|(_, path)| path.is_file())
        .collect();
    let gate = reports.join(GATE).join("run.jsonl");
    runs.extend(id_in(&gate).map(|id| (OsString::from(id), gate)));
    runs.sort();
    runs.into_iter().rev().map(|(_, path)| path).collect()
}

/// The id of the run in a file; it begins with the run's time, as folder names do. None if there is
/// no run.
fn id_in(run: &Path) -> Option<String> {
    let mut line = String::new();
    BufReader::new(File::open(run).ok()?).read_line(&mut line).ok()?;
    let line: serde_json::Value = serde_json::from_str(&line).ok()?;
    Some(line["run"]["id"].as_str()?.to_owned())
}

/// The page of a file of records: `report.html` beside a `run.jsonl`.
pub(crate) fn page_of(run: &Path) -> PathBuf {
    match run.file_name() {
        Some(name) if name == "run.jsonl" => run.with_file_name("report.html"),
        _ => run.with_extension("html"),
    }
}

/// Writes the page of the run in the file `run`, beside that file.
pub(crate) fn write_report(
    workspace: &Workspace,
    contents: &Contents,
    run: &Path,
) -> Result<PathBuf> {
    let page = page_of(run);
    write_page(workspace, contents, history::where_known(workspace, run).as_ref(), &page)?;
    Ok(page)
}

/// Writes the page of a run, and updates the index of all pages if the page belongs to it.
pub(crate) fn write_page(
    workspace: &Workspace,
    contents: &Contents,
    history: Option<&History>,
    page: &Path,
) -> Result<()> {
    let html = match history {
        Some(history) => windtunnel_report::render_with_history(contents, history),
        None => windtunnel_report::render(contents),
    };
    whole::replace(page, html.context("cannot render the report")?.as_bytes())
        .with_context(|| format!("cannot write report `{}`", page.display()))?;
    index::refresh(workspace, page);
    Ok(())
}

//! `windtunnel upstream sync`: adds the upstream's commits after the newest considered to the log
//! as `new`, with what the rules propose.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use windtunnel_ledger::upstream::{Commit, Hash, Log, State};
use windtunnel_ledger::whole;

use super::repository::{Change, Repository};
use super::{parse, rules};
use crate::args::SyncArgs;
use crate::workspace::Workspace;
use crate::{exit, show};

/// Shows the new commits, and adds them to the log unless it is a dry run.
pub(super) fn sync(workspace: &Workspace, path: &Path, log: &Log, args: &SyncArgs) -> Result<u8> {
    let repository = Repository::open(workspace, &args.repo)?;
    let considered = repository.resolve(log.considered.as_str()).with_context(|| {
        format!("the log considers commits up to {}, and it is not there", log.considered)
    })?;
    let head = repository.resolve(&args.head)?;
    let entries = proposals(&repository, log, &considered, &head, args.limit)?;
    show::result(&show::proposals(log, &entries, &head))?;
    if entries.is_empty() || args.dry_run {
        return Ok(exit::PASS);
    }
    enter(workspace, path, log, &entries)?;
    let count = show::count(entries.len(), "commit");
    show::result(&format!("\nentered {count} as new in {}\n", show::path(path)))?;
    Ok(exit::PASS)
}

/// Entries for the commits between the two that the log does not have yet, oldest first.
fn proposals(
    repository: &Repository,
    log: &Log,
    considered: &str,
    head: &str,
    limit: Option<usize>,
) -> Result<Vec<Commit>> {
    let changes = repository.changes(considered, head)?;
    let known = |change: &&Change| {
        log.commits.iter().any(|commit| change.hash.starts_with(commit.hash.as_str()))
    };
    let new: Vec<Change> = changes.iter().filter(|change| !known(change)).cloned().collect();
    let new = &new[..limit.unwrap_or(new.len()).min(new.len())];
    let propose = |(place, change): (usize, &Change)| {
        let needs = repository.needs(considered, change, &new[..place])?;
        entry(change, needs)
    };
    new.iter().enumerate().map(propose).collect()
}

fn entry(change: &Change, needs: impl IntoIterator<Item = String>) -> Result<Commit> {
    let (subject, pr) = rules::without_number(&change.subject);
    let area = rules::area(subject, &change.files);
    let hash = |text: String| Hash::try_from(text).context("git returned an invalid hash");
    Ok(Commit {
        hash: hash(change.hash.clone())?,
        pr,
        date: change.date.clone(),
        subject: Some(subject.to_owned()),
        area: area.to_owned(),
        priority: rules::priority(subject, area),
        state: State::New,
        change: "not read yet".to_owned(),
        reason: "not decided yet".to_owned(),
        needs: needs.into_iter().map(hash).collect::<Result<_>>()?,
        guards: Vec::new(),
        files: change.files.clone(),
    })
}

/// Appends entries to the log's file, and leaves the rest of it untouched.
fn enter(workspace: &Workspace, path: &Path, log: &Log, entries: &[Commit]) -> Result<()> {
    let file = workspace.root().join(path);
    let mut text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read `{}`", show::path(path)))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    entries.iter().for_each(|entry| text.push_str(&written(entry)));
    // A log that cannot be parsed must not replace one that could.
    let again = parse(path, &text)?;
    ensure!(
        again.commits.len() == log.commits.len() + entries.len(),
        "`{}` was changed meanwhile: run it again",
        show::path(path)
    );
    whole::replace(&file, text.as_bytes())
        .with_context(|| format!("cannot write `{}`", show::path(path)))
}

/// An entry in the style of the log's file: keys aligned, lists of several items with one item per
/// line.
fn written(commit: &Commit) -> String {
    let Commit {
        hash,
        pr,
        date,
        subject,
        area,
        priority,
        state,
        change,
        reason,
        needs,
        guards,
        files,
    } = commit;
    let mut text = "\n[[commit]]\n".to_owned();
    let mut put = |key: &str, value: String| {
        let _ = writeln!(text, "{key:<8} = {value}");
    };
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    put("hash", quoted(hash.as_str()));
    if let Some(pr) = pr {
        put("pr", pr.to_string());
    }
    put("date", quoted(date));
    if let Some(subject) = subject {
        put("subject", quoted(subject));
    }
    put("area", quoted(area));
    put("priority", quoted(&priority.to_string()));
    put("state", quoted(&state.to_string()));
    put("change", quoted(change));
    put("reason", quoted(reason));
    let mut list = |key: &str, items: Vec<String>| match items.as_slice() {
        [] => (),
        [one] => put(key, format!("[{one}]")),
        several => {
            let lines: String = several.iter().map(|item| format!("    {item},\n")).collect();
            put(key, format!("[\n{lines}]"));
        }
    };
    list("needs", needs.iter().map(|needs| quoted(needs.short())).collect());
    list("guards", guards.iter().map(|guard| quoted(&guard.to_string())).collect());
    list("files", files.iter().map(|file| quoted(file)).collect());
    text
}

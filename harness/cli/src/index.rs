//! The list of all pages below `reports`, built from what the pages say about themselves.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use windtunnel_ledger::whole;
use windtunnel_report::index::{Card, Entry};

use crate::args::IndexArgs;
use crate::workspace::Workspace;
use crate::{exit, show};

/// The file of the list. A page of this name is not listed.
const LIST: &str = "index.html";
/// The leading bytes of a page that are sure to contain what it says about itself.
const HEAD: u64 = 64 * 1024;

/// Rewrites the list.
pub(crate) fn index(workspace: &Workspace, args: &IndexArgs) -> Result<u8> {
    let reports = args.folder.clone().unwrap_or_else(|| workspace.reports());
    let (list, count) = write(&reports)?;
    show::result(&format!("{} in {}\n", show::count(count, "report"), show::path(&list)))?;
    Ok(exit::PASS)
}

/// Updates the list after `page` was written, if it is a page below `reports`. A failure is only
/// reported, because it costs nothing that was measured.
pub(crate) fn refresh(workspace: &Workspace, page: &Path) {
    let reports = workspace.reports();
    let page = std::path::absolute(page).unwrap_or_else(|_| page.to_owned());
    if page.starts_with(&reports)
        && let Err(error) = write(&reports)
    {
        show::note(&format!(
            "the list of all reports is not up to date: {error:#}; `windtunnel index` rewrites it"
        ));
    }
}

/// Writes the list of the pages below `folder`, and returns its path and their number.
fn write(folder: &Path) -> Result<(PathBuf, usize)> {
    let entries = entries(folder)
        .with_context(|| format!("cannot look for reports in `{}`", folder.display()))?;
    let list = folder.join(LIST);
    let failed = || format!("cannot write the list `{}`", list.display());
    let page = windtunnel_report::render_index(&entries);
    whole::replace(&list, page.as_bytes()).with_context(failed)?;
    Ok((list, entries.len()))
}

/// The pages in `folder` and in its immediate subfolders.
fn entries(folder: &Path) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        if path.is_dir() {
            let inner = std::fs::read_dir(&path).into_iter().flatten().flatten();
            entries.extend(inner.filter_map(|item| entry(folder, &item.path())));
        } else {
            entries.extend(entry(folder, &path).filter(|entry| entry.path != LIST));
        }
    }
    Ok(entries)
}

fn entry(folder: &Path, page: &Path) -> Option<Entry> {
    if page.extension()? != "html" {
        return None;
    }
    let path = page.strip_prefix(folder).ok()?.to_str()?.to_owned();
    let mut head = Vec::new();
    File::open(page).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    Some(Entry { path, card: Card::of(&String::from_utf8_lossy(&head)) })
}

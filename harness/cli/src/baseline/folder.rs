//! A folder in which sessions are kept.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use windtunnel_ledger::whole;

use super::shelf::{Placed, Shelf};

/// A folder of sessions.
pub(crate) struct Folder {
    path: PathBuf,
    /// Its name in messages.
    shown: String,
}

impl Folder {
    pub(crate) fn new(path: PathBuf, shown: &str) -> Folder {
        Folder { path, shown: shown.trim_end_matches('/').to_owned() }
    }

    /// Deletes a file, and the folders that become empty.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        std::fs::remove_file(&path)
            .with_context(|| format!("cannot delete `{}`", self.place(name)))?;
        let below = path.ancestors().skip(1).take_while(|dir| *dir != self.path);
        let _ = below.map(std::fs::remove_dir).take_while(Result::is_ok).count();
        Ok(())
    }
}

impl Shelf for Folder {
    fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        if self.path.is_dir() {
            walk(&self.path, "", &mut names)
                .with_context(|| format!("cannot list `{}`", self.shown))?;
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read(self.path.join(name))
            .with_context(|| format!("cannot read `{}`", self.place(name)))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Placed> {
        let created = whole::create(&self.path.join(name), bytes);
        match created.with_context(|| format!("cannot write `{}`", self.place(name)))? {
            true => Ok(Placed::Now),
            false => Ok(Placed::Before),
        }
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.shown)
    }
}

/// Adds the names of all files below `dir` that are not hidden.
fn walk(dir: &Path, prefix: &str, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        match entry.file_type()?.is_dir() {
            true => walk(&entry.path(), &format!("{prefix}{name}/"), names)?,
            false => names.push(format!("{prefix}{name}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::shelf::behaves;

    #[test]
    fn a_folder_behaves_as_a_shelf_does() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("baselines"), "baselines");
        behaves(&folder);
        folder.delete("a/b/one.jsonl").unwrap();
        assert_eq!(folder.list().unwrap()[0], "a/two.jsonl");
        assert!(!dir.path().join("baselines/a/b").exists(), "an empty folder goes too");
    }

    #[test]
    fn twenty_writers_of_one_name_leave_one_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned(), "baselines");
        let text = |writer: usize| vec![b'a' + writer as u8; 100_000];
        let placed: Vec<Placed> = std::thread::scope(|scope| {
            let writers = (0..20).map(|writer| {
                let folder = &folder;
                scope.spawn(move || folder.create("x/s.jsonl", &text(writer)).unwrap())
            });
            let writers: Vec<_> = writers.collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(placed.iter().filter(|placed| **placed == Placed::Now).count(), 1);
        let winner = placed.iter().position(|placed| *placed == Placed::Now).unwrap();
        assert_eq!(folder.read("x/s.jsonl").unwrap(), text(winner));
        assert_eq!(folder.list().unwrap(), ["x/s.jsonl"]);
    }
}

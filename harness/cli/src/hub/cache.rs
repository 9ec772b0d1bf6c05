//! The cache of a repository, in the layout of the `huggingface_hub` Python library, so that each
//! finds what the other downloaded.
//!
//! ```text
//! models--OWNER--NAME/
//!   blobs/TAG                     the contents of a file; TAG.incomplete during the download
//!   refs/REVISION                 the commit of a branch or tag when it was looked up
//!   snapshots/COMMIT/config.json  → ../../blobs/TAG
//! .locks/models--OWNER--NAME/TAG.lock
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo};
use serde::Deserialize;
use windtunnel_ledger::case::{Files, Snapshot};
use windtunnel_ledger::whole;

use super::HubError;
use super::files::with_parts;

/// The cache of one repository.
pub(super) struct Kept {
    layout: CacheRepo,
    folder: PathBuf,
    locks: PathBuf,
}

/// How complete a snapshot in the cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything that the model needs is there, at this commit.
    Whole(String),
    /// The commit is known, but this file of it is missing.
    Part(String),
    /// Nothing is known about it.
    Absent,
}

impl Kept {
    pub(super) fn of(cache: &Cache, repository: &str) -> Kept {
        let repo = Repo::model(repository.to_owned());
        let name = repo.folder_name();
        Kept {
            folder: cache.path().join(&name),
            locks: cache.path().join(".locks").join(&name),
            layout: cache.repo(repo),
        }
    }

    /// The folder of all repositories.
    pub(super) fn root(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// The folder with the files of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// Whether a file of a commit is completely there.
    pub(super) fn has(&self, commit: &str, path: &str) -> bool {
        self.snapshot(commit).join(path).is_file()
    }

    pub(super) fn blob(&self, tag: &str) -> PathBuf {
        self.folder.join("blobs").join(tag)
    }

    /// The file for the part of a blob that has been downloaded so far.
    pub(super) fn partial(&self, tag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{tag}.incomplete"))
    }

    /// How many bytes of a blob have been downloaded so far.
    pub(super) fn come(&self, tag: &str) -> u64 {
        fs::metadata(self.partial(tag)).map_or(0, |meta| meta.len())
    }

    /// How much of a snapshot is there, as far as can be told offline: its format implies which
    /// files a model cannot do without.
    pub(super) fn standing(&self, wanted: &Snapshot) -> Standing {
        let commit = match wanted.is_pinned() {
            true => Some(wanted.revision.clone()),
            false => fs::read_to_string(self.folder.join("refs").join(&wanted.revision)).ok(),
        };
        let pinned =
            |commit: String| Snapshot { revision: commit.trim().to_owned(), ..wanted.clone() };
        let Some(Snapshot { revision: commit, .. }) =
            commit.map(pinned).filter(Snapshot::is_pinned)
        else {
            return Standing::Absent;
        };
        let folder = self.snapshot(&commit);
        if !folder.is_dir() {
            return Standing::Absent;
        }
        let needed = match &wanted.files {
            Files::Gguf(file) => with_parts(file),
            Files::Matching(_) => needed_in(&folder),
        };
        match needed.into_iter().find(|path| !folder.join(path).is_file()) {
            None => Standing::Whole(commit),
            Some(missing) => Standing::Part(missing),
        }
    }

    /// Waits until no other process is downloading this blob, calling `waiting` if it has to wait.
    /// The lock ends when the file is closed, however this process ends; the Python library takes
    /// the same lock.
    pub(super) fn lock(&self, tag: &str, waiting: impl FnOnce()) -> Result<File, HubError> {
        let path = self.locks.join(format!("{tag}.lock"));
        let unwritable = |cause| HubError::unwritable(&path, cause);
        create(&self.locks)?;
        let open = File::options().write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                waiting();
                file.lock().map(|()| file).map_err(unwritable)
            }
            Err(TryLockError::Error(cause)) => Err(unwritable(cause)),
        }
    }

    /// Creates the folder for blobs.
    pub(super) fn prepare(&self) -> Result<(), HubError> {
        create(&self.folder.join("blobs"))
    }

    /// Links a blob into the folder of a commit.
    pub(super) fn link(&self, commit: &str, path: &str, tag: &str) -> Result<(), HubError> {
        if self.has(commit, path) {
            return Ok(());
        }
        let link = self.snapshot(commit).join(path);
        create(link.parent().unwrap_or(&link))?;
        // A dangling link, whose blob was deleted.
        match fs::remove_file(&link) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(HubError::unwritable(&link, cause));
            }
            Ok(()) | Err(_) => (),
        }
        let up = "../".repeat(path.split('/').count() + 1);
        let linked = symlink(Path::new(&format!("{up}blobs/{tag}")), &link);
        match linked.or_else(|_| fs::hard_link(self.blob(tag), &link)) {
            // Another process was faster.
            Err(_) if self.has(commit, path) => Ok(()),
            Err(cause) => Err(HubError::unwritable(&link, cause)),
            Ok(()) => Ok(()),
        }
    }

    /// Records the commit of a branch or tag, for use when the hub cannot be asked.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.folder.join("refs").join(revision);
        if revision == commit || fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        let written = whole::replace(&path, commit.as_bytes());
        written.map_err(|cause| HubError::unwritable(&path, cause))
    }
}

/// The files that a model in a folder needs at least: its configuration, and the weights that the
/// engine loads, which are the single file if it exists, otherwise the files named by the index.
fn needed_in(folder: &Path) -> Vec<String> {
    const SINGLE: &str = "model.safetensors";
    const INDEX: &str = "model.safetensors.index.json";
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index = fs::read_to_string(folder.join(INDEX)).ok();
    let index: Option<Index> = index.and_then(|text| serde_json::from_str(&text).ok());
    let mut weights: Vec<String> = match index {
        Some(index) if !folder.join(SINGLE).exists() => index.weight_map.into_values().collect(),
        Some(_) | None => vec![SINGLE.to_owned()],
    };
    weights.sort();
    weights.dedup();
    [vec!["config.json".to_owned()], weights].concat()
}

fn create(folder: &Path) -> Result<(), HubError> {
    fs::create_dir_all(folder).map_err(|cause| HubError::unwritable(folder, cause))
}

#[cfg(unix)]
fn symlink(to: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, link)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn wanted(revision: &str) -> Snapshot {
        Snapshot {
            repository: "someone/tiny".into(),
            revision: revision.into(),
            files: crate::hub::files::usual(),
        }
    }

    #[test]
    fn a_snapshot_is_whole_when_all_shards_of_its_index_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::of(&Cache::new(dir.path().to_owned()), "someone/tiny");
        assert_eq!(kept.standing(&wanted("main")), Standing::Absent);
        kept.remember("main", COMMIT).unwrap();
        assert_eq!(kept.standing(&wanted("main")), Standing::Absent);

        let index =
            r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#;
        kept.prepare().unwrap();
        for (path, text) in
            [("config.json", "{}"), ("model.safetensors.index.json", index), ("1.safetensors", "w")]
        {
            fs::write(kept.blob(path), text).unwrap();
            kept.link(COMMIT, path, path).unwrap();
        }
        let missing = Standing::Part("2.safetensors".into());
        assert_eq!(kept.standing(&wanted("main")), missing);
        assert_eq!(kept.standing(&wanted(COMMIT)), missing);
        fs::write(kept.blob("2"), "w").unwrap();
        kept.link(COMMIT, "2.safetensors", "2").unwrap();
        assert_eq!(kept.standing(&wanted("main")), Standing::Whole(COMMIT.into()));
        fs::remove_file(kept.blob("2")).unwrap();
        assert_eq!(kept.standing(&wanted("main")), missing, "the link leads nowhere");

        // The file that the engine loads is there; the index is left over.
        fs::write(kept.blob("all"), "w").unwrap();
        kept.link(COMMIT, "model.safetensors", "all").unwrap();
        assert_eq!(kept.standing(&wanted("main")), Standing::Whole(COMMIT.into()));
    }

    #[test]
    fn links_are_relative_so_that_a_cache_can_be_moved() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::of(&Cache::new(dir.path().to_owned()), "someone/tiny");
        kept.prepare().unwrap();
        fs::write(kept.blob("tag"), "dense").unwrap();
        for path in ["a.json", "2_Dense/config.json"] {
            kept.link(COMMIT, path, "tag").unwrap();
            let link = kept.snapshot(COMMIT).join(path);
            assert!(fs::read_link(&link).unwrap().is_relative());
            assert_eq!(fs::read_to_string(&link).unwrap(), "dense");
        }
        kept.remember("refs/pr/1", COMMIT).unwrap();
        let known = dir.path().join("models--someone--tiny/refs/refs/pr/1");
        assert_eq!(fs::read_to_string(known).unwrap(), COMMIT);
    }
}

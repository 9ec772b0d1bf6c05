//! Downloads files: several at once, each resumed where it broke off, verified against its tag, and
//! only then moved into place.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ureq::http::StatusCode;
use ureq::http::header::CONTENT_RANGE;
use windtunnel_ledger::unit::Bytes;

use super::HubError;
use super::api::Remote;
use super::cache::Kept;
use super::client::{About, Client, Question, Tries, Trouble};
use super::digest::{Algorithm, Digest};
use crate::progress::DownloadBar;

/// How many files are downloaded at once.
const AT_ONCE: usize = 4;
const CHUNK: usize = 256 << 10;

/// Runs `work` on several of `items` at once, until all are done or one fails. Results are in the
/// order of the items.
pub(super) fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T, &AtomicBool) -> Result<R, HubError> + Sync,
) -> Result<Vec<R>, HubError> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return };
            let result = work(item, &stop);
            let failed = result.is_err();
            results.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
            // Set only after the push, so that workers stopped by it come later in the list.
            if failed {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            scope.spawn(worker);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // The first failure is the cause of those that were stopped because of it.
    if let Some(first) = results.iter().position(|(_, result)| result.is_err()) {
        results.swap(0, first);
    } else {
        results.sort_by_key(|(place, _)| *place);
    }
    results.into_iter().map(|(_, result)| result).collect()
}

/// Fails if the missing bytes do not fit on the disk.
pub(super) fn check_space(kept: &Kept, files: &[Remote]) -> Result<(), HubError> {
    let mut needed: u64 = 0;
    let mut tags: Vec<&str> = Vec::new();
    for file in files {
        if !tags.contains(&file.tag.as_str()) && !kept.blob(&file.tag).is_file() {
            tags.push(&file.tag);
            let rest = file.size.saturating_sub(kept.come(&file.tag));
            needed = needed.saturating_add(rest);
        }
    }
    match free(kept.root()) {
        Some(free) if free < needed => Err(HubError::DiskFull {
            folder: kept.root().to_owned(),
            needed: Bytes(needed),
            free: Bytes(free),
        }),
        _ => Ok(()),
    }
}

/// Free bytes on the disk of `folder`, if the system reports them.
fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Downloads the contents of a file into the cache of a repository.
pub(super) fn bring(
    client: &Client,
    repository: &str,
    kept: &Kept,
    file: &Remote,
    (bar, stop): (&DownloadBar, &AtomicBool),
) -> Result<(), HubError> {
    let _lock = kept.lock(&file.tag, || {
        bar.say(&format!("waiting for {}, which another process downloads", file.path));
    })?;
    let blob = kept.blob(&file.tag);
    if blob.is_file() {
        bar.add(file.size);
        return Ok(());
    }
    let mut partial = Partial::open(kept.partial(&file.tag), file)?;
    bar.add(partial.come);
    let mut tries = Tries::of(client.patience);
    while partial.come < file.size {
        let before = partial.come;
        if let Err(trouble) = more(client, repository, &mut partial, file, (bar, stop)) {
            // A server that starts from the beginning each time makes no progress.
            if partial.come > before {
                tries.start_over();
            }
            tries.again(trouble)?;
        }
    }
    partial.settle(repository, file, &blob)
}

/// The part of a file that has been downloaded.
struct Partial {
    path: PathBuf,
    file: File,
    come: u64,
    digest: Digest,
}

impl Partial {
    /// Opens what an earlier try left, reading it again for the digest, or an empty file.
    fn open(path: PathBuf, of: &Remote) -> Result<Partial, HubError> {
        let unwritable = |cause| HubError::unwritable(&path, cause);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(unwritable)?;
        let mut left = file.metadata().map_err(unwritable)?.len();
        let digest = Digest::begin(Algorithm::of(&of.tag), of.size);
        // If it is longer than the file, it cannot be part of it.
        if left > of.size {
            file.set_len(0).map_err(unwritable)?;
            left = 0;
        }
        let mut chunk = vec![0; CHUNK];
        let mut partial = Partial { file, come: 0, digest, path };
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = partial.file.read(&mut chunk[..most]);
            let read = read.map_err(|cause| HubError::unwritable(&partial.path, cause))?;
            if read == 0 {
                break;
            }
            partial.digest.add(&chunk[..read]);
            partial.come += read as u64;
            left -= read as u64;
        }
        Ok(partial)
    }

    /// Starts again from the beginning.
    fn empty(&mut self, of: &Remote) -> Result<(), HubError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|cause| HubError::unwritable(&self.path, cause))?;
        self.come = 0;
        self.digest = Digest::begin(Algorithm::of(&of.tag), of.size);
        Ok(())
    }

    fn add(&mut self, bytes: &[u8], of: &Remote) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(|cause| match cause.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                let folder = self.path.parent().unwrap_or(&self.path);
                HubError::DiskFull {
                    needed: Bytes(of.size.saturating_sub(self.come)),
                    free: Bytes(free(folder).unwrap_or(0)),
                    folder: folder.to_owned(),
                }
            }
            _ => HubError::unwritable(&self.path, cause),
        })?;
        self.digest.add(bytes);
        self.come += bytes.len() as u64;
        Ok(())
    }

    /// Verifies the download and moves it into place.
    fn settle(self, repository: &str, of: &Remote, blob: &Path) -> Result<(), HubError> {
        let Partial { path, file, digest, .. } = self;
        let unwritable = |cause| HubError::unwritable(&path, cause);
        if let Some(found) = digest.finish()
            && !found.eq_ignore_ascii_case(&of.tag)
        {
            fs::remove_file(&path).map_err(unwritable)?;
            return Err(HubError::Corrupt {
                repository: repository.to_owned(),
                file: of.path.clone(),
                algorithm: Algorithm::of(&of.tag).name(),
                found,
                expected: of.tag.clone(),
            });
        }
        // Synced before the rename: nobody verifies it again.
        file.sync_all().and_then(|()| fs::rename(&path, blob)).map_err(unwritable)
    }
}

/// Requests the missing bytes and writes them as they arrive.
fn more(
    client: &Client,
    repository: &str,
    partial: &mut Partial,
    of: &Remote,
    (bar, stop): (&DownloadBar, &AtomicBool),
) -> Result<(), Trouble> {
    let question = Question { repository, about: About::File };
    let answer = client.get(&of.url, partial.come, question)?;
    let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {}-", partial.come)));
    // A server without range support sends the whole file, so what was there is discarded.
    if partial.come > 0 && !goes_on {
        bar.take_back(partial.come);
        partial.empty(of)?;
        if answer.status() != StatusCode::OK {
            return Err(breaks_off(client, repository, partial, of));
        }
    }
    let mut body = answer.into_body().into_reader();
    let mut chunk = vec![0; CHUNK];
    while partial.come < of.size {
        if stop.load(Ordering::Relaxed) {
            return Err(Trouble::from(unfinished(client, repository, partial, of)));
        }
        let most = usize::try_from(of.size - partial.come).unwrap_or(CHUNK).min(CHUNK);
        match body.read(&mut chunk[..most]) {
            Ok(0) | Err(_) => return Err(breaks_off(client, repository, partial, of)),
            Ok(read) => {
                partial.add(&chunk[..read], of)?;
                bar.add(read as u64);
            }
        }
    }
    Ok(())
}

fn breaks_off(client: &Client, repository: &str, partial: &Partial, of: &Remote) -> Trouble {
    Trouble::passing(unfinished(client, repository, partial, of))
}

fn unfinished(client: &Client, repository: &str, partial: &Partial, of: &Remote) -> HubError {
    HubError::BreaksOff {
        repository: repository.to_owned(),
        file: of.path.clone(),
        got: Bytes(partial.come),
        size: Bytes(of.size),
        tries: client.patience.tries(),
    }
}

//! Atomic file writes: a file is written under a temporary name beside its place and moved there
//! once it is on disk. A kill or a full disk leaves what was there before, and at most a hidden
//! file.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `bytes` to the file `path`, replacing its contents; missing folders are created. A link
/// is followed; anything but a regular file (a terminal, a pipe) is written to directly.
///
/// # Errors
/// On an I/O error; the file is then unchanged.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        // The link's target does not exist yet.
        Err(_) if path.is_symlink() => return fs::write(path, bytes),
        Err(_) => path.to_owned(),
    };
    if path.exists() && !path.is_file() {
        return fs::write(path, bytes);
    }
    let partial = Partial::of(&path, bytes)?;
    fs::rename(&partial.0, &path)?;
    // It is renamed now, and its old name may already belong to another process.
    std::mem::forget(partial);
    Ok(())
}

/// Creates the file `path` with `bytes` if it does not exist, and returns whether it did; missing
/// folders are created. If several processes try at once, one succeeds. On a file system without
/// hard links, a kill can leave a truncated file.
///
/// # Errors
/// On an I/O error.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let partial = Partial::of(path, bytes)?;
    match fs::hard_link(&partial.0, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(_) => match File::create_new(path) {
            Ok(mut file) => {
                let written = file.write_all(bytes).and_then(|()| file.sync_all());
                written.inspect_err(|_| drop(fs::remove_file(path))).map(|()| true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
    }
}

/// A hidden file that is deleted on drop, unless it was renamed.
struct Partial(PathBuf);

impl Partial {
    /// Writes `bytes` to disk beside `path`.
    fn of(path: &Path, bytes: &[u8]) -> io::Result<Partial> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::create_dir_all(folder.unwrap_or(Path::new(".")))?;
        loop {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".{}-{next}.partial", std::process::id());
            let partial = path.with_file_name(name);
            let mut file = match File::create_new(&partial) {
                // Left by a killed process with the same id, or by one on another machine.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            let partial = Partial(partial);
            file.write_all(bytes)?;
            file.sync_all()?;
            return Ok(partial);
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// The names of all files in a folder, hidden or not.
    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_there_is_replaced_or_left_alone_and_nothing_else_remains() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/one");
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        replace(&path, b"third").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(names(path.parent().unwrap()), ["one"]);

        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain), "others may read it, if they may read any file");
    }

    #[test]
    fn a_link_stays_one_and_what_keeps_nothing_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "before").unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"after").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"after");

        let early = dir.path().join("early");
        symlink(dir.path().join("later"), &early).unwrap();
        replace(&early, b"text").unwrap();
        assert_eq!(fs::read(dir.path().join("later")).unwrap(), b"text");

        let device = dir.path().join("device");
        symlink("/dev/null", &device).unwrap();
        replace(&device, b"nothing").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(replace(&folder, b"text").is_err());
        assert!(replace(&folder.join("file/of/a/file"), b"text").is_ok());
        assert!(replace(&folder.join("file/of/a/file/too"), b"text").is_err());
        assert_eq!(names(dir.path()), ["folder"]);
    }
}

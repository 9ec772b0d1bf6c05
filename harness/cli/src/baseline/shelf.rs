//! Where sessions are kept: a folder or a cloud bucket.
//!
//! A shelf holds whole files under names with slashes. A file is created by exactly one writer and
//! never changes: neither concurrent writers nor a kill can leave half a file or replace one.

use anyhow::{Result, bail};

use super::folder::Folder;
use super::settings::Settings;
use crate::workspace::Workspace;

/// Where sessions are kept.
pub(crate) trait Shelf {
    /// The names of all files.
    fn list(&self) -> Result<Vec<String>>;
    /// The contents of a file.
    fn read(&self, name: &str) -> Result<Vec<u8>>;
    /// Creates a file, unless one of that name exists.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Placed>;
    /// Where a file is, for messages.
    fn place(&self, name: &str) -> String;
}

/// Result of creating a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It was created.
    Now,
    /// One of that name existed and was kept.
    Before,
}

/// The shelf of the workspace: its folder `baselines`.
pub(crate) fn own(workspace: &Workspace) -> Folder {
    Folder::new(workspace.baselines(), "baselines")
}

/// The shelf that `url` names.
pub(crate) fn at(url: &str, settings: &Settings) -> Result<Box<dyn Shelf>> {
    match url.split_once("://") {
        None => Ok(Box::new(Folder::new(url.into(), url))),
        Some(("s3" | "gs" | "az", _)) => bucket(url, settings),
        Some((scheme, _)) => bail!(
            "`{scheme}://` is not a place for baselines: name a folder, or `s3://`, `gs://` or `az://` with a bucket and a prefix"
        ),
    }
}

#[cfg(feature = "cloud")]
fn bucket(url: &str, settings: &Settings) -> Result<Box<dyn Shelf>> {
    Ok(Box::new(super::bucket::Bucket::new(url, &settings.options)?))
}

#[cfg(not(feature = "cloud"))]
fn bucket(url: &str, _: &Settings) -> Result<Box<dyn Shelf>> {
    bail!(
        "`{url}` is a bucket, and this `windtunnel` was built without them: build it with `--features cloud`, or name a folder"
    )
}

/// The behaviour that every shelf must have; its test passes an empty one.
#[cfg(test)]
pub(crate) fn behaves(shelf: &dyn Shelf) {
    assert!(shelf.list().unwrap().is_empty());
    assert_eq!(shelf.create("a/b/one.jsonl", b"one").unwrap(), Placed::Now);
    assert_eq!(shelf.create("a/two.jsonl", b"two").unwrap(), Placed::Now);
    assert_eq!(shelf.create("a/b/one.jsonl", b"other").unwrap(), Placed::Before);
    let mut names = shelf.list().unwrap();
    names.sort();
    assert_eq!(names, ["a/b/one.jsonl", "a/two.jsonl"]);
    let odd = "odd/x~y[1]#2%7E {π}.jsonl";
    shelf.create(odd, b"odd").unwrap();
    assert!(shelf.list().unwrap().iter().any(|name| name == odd));
    assert_eq!(shelf.read(odd).unwrap(), b"odd");
    assert_eq!(shelf.read("a/b/one.jsonl").unwrap(), b"one");
    let gone = format!("{:#}", shelf.read("a/no.jsonl").unwrap_err());
    assert!(gone.starts_with(&format!("cannot read `{}`", shelf.place("a/no.jsonl"))), "{gone}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(url: &str) -> String {
        at(url, &Settings::default()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_no_place_is_told() {
        assert_eq!(complaint("some/folder"), "");
        assert_eq!(
            complaint("ftp://host/x"),
            "`ftp://` is not a place for baselines: name a folder, or `s3://`, `gs://` or `az://` with a bucket and a prefix"
        );
    }

    #[cfg(not(feature = "cloud"))]
    #[test]
    fn a_build_without_buckets_says_how_to_get_them() {
        assert_eq!(
            complaint("s3://team/baselines"),
            "`s3://team/baselines` is a bucket, and this `windtunnel` was built without them: build it with `--features cloud`, or name a folder"
        );
    }
}

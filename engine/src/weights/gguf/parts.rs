//! [`Parts`]: a model in one file, or split over several.
//!
//! The first file has the metadata and perhaps tensors, the others only tensors. Each states how
//! many there are and which one it is, and its name ends accordingly: `model-00002-of-00003.gguf`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::GgufError;
use super::file::{File, Stored};
use crate::error::Result;

const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// Most files that a model may have.
const MOST: u64 = 10_000;

/// A model in one GGUF file or several.
#[derive(Debug)]
pub(crate) struct Parts {
    files: Vec<File>,
    /// Index into `files` by tensor.
    places: BTreeMap<String, usize>,
}

impl Parts {
    /// Opens `path`, any file of a model, and all files that belong with it.
    ///
    /// # Errors
    ///
    /// As [`File::open`], and when a file is missing or belongs to another model.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let named = File::open(path)?;
        let files = match named.get::<u64>(COUNT)? {
            None | Some(0 | 1) => vec![named],
            Some(count) => siblings(path, &named, count)?,
        };
        let mut places = BTreeMap::new();
        for (part, file) in files.iter().enumerate() {
            for name in file.tensors().keys() {
                if places.insert(name.clone(), part).is_some() {
                    return Err(split(file, format!("it repeats tensor `{name}` of another file")));
                }
            }
        }
        let parts = Self { files, places };
        let (head, found) = (parts.head(), parts.places.len() as u64);
        match head.get::<u64>(TENSORS)? {
            Some(expected) if expected != found => Err(split(
                head,
                format!("`{TENSORS}` is {expected}, but all files together have {found} tensors"),
            )),
            _ => Ok(parts),
        }
    }

    /// The file with the metadata.
    pub(crate) fn head(&self) -> &File {
        &self.files[0]
    }

    /// The tensor `name`, with the file that holds it.
    pub(super) fn tensor(&self, name: &str) -> Option<(&File, &Stored)> {
        let file = &self.files[*self.places.get(name)?];
        Some((file, file.tensors().get(name)?))
    }

    /// Whether there is a tensor `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }
}

/// All `count` files of the model that `named`, at `path`, belongs to.
fn siblings(path: &Path, named: &File, count: u64) -> Result<Vec<File>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = |part: u64| format!("-{:05}-of-{count:05}.gguf", part.saturating_add(1));
    let own: u64 = named.need(NO)?;
    let Some(stem) = name.strip_suffix(&ending(own)).filter(|_| own < count && count <= MOST)
    else {
        let problem = format!(
            "`{NO}` is {own} and `{COUNT}` {count}, but its name does not end in `{}`",
            ending(own)
        );
        return Err(split(named, problem));
    };
    let mut files = Vec::new();
    for part in 0..count {
        let sibling: PathBuf = path.with_file_name(format!("{stem}{}", ending(part)));
        if !sibling.exists() {
            let (file, missing) = (named.name().into(), sibling.display().to_string());
            return Err(GgufError::MissingPart { file, count, missing }.into());
        }
        let file = File::open(&sibling)?;
        let (no, of): (u64, u64) = (file.need(NO)?, file.need(COUNT)?);
        if (no, of) != (part, count) {
            let problem = format!(
                "`{NO}` is {no} and `{COUNT}` {of}, but its name makes it {part} of {count} beside `{}`",
                named.name()
            );
            return Err(split(&file, problem));
        }
        files.push(file);
    }
    Ok(files)
}

fn split(file: &File, problem: String) -> crate::error::Error {
    GgufError::Split { file: file.name().into(), problem }.into()
}

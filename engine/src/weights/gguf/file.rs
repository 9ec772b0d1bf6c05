//! [`File`]: one file, mapped: its metadata, and where its tensors lie.
//!
//! ```text
//! GGUF version tensors keys │ key kind value … │ name rank dims type offset … │ padding │ numbers
//! ```
//!
//! candle reads this format too, but panics on some damaged files and spends 32 bytes on every
//! number of an array. Here nothing is trusted before it is checked against the length of the file,
//! and arrays stay where they are until somebody asks for them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use memmap2::Mmap;

use super::cursor::Cursor;
use super::value::{Array, FromValue, Value};
use super::{GgufError, kind};
use crate::error::{Error, Result};

const MAGIC: [u8; 4] = *b"GGUF";
/// Highest rank of a tensor, as everywhere in ggml.
const RANK: u32 = 4;
/// Alignment of the numbers if a file does not state it.
const ALIGNMENT: u64 = 32;

/// One mapped GGUF file.
#[derive(Debug)]
pub(crate) struct File {
    name: String,
    bytes: Mmap,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor as stored in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) kind: GgmlDType,
    /// Outermost dim first; files have it last.
    pub(super) shape: Vec<usize>,
    at: Range<usize>,
}

/// The value of a key for all layers at once, or for each.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Many<T> {
    /// The same for all.
    All(T),
    /// One for each.
    Each(Vec<T>),
}

impl File {
    /// Maps `path` and reads what precedes the numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Load`] when the system cannot open it, [`GgufError`] when it is not a whole GGUF
    /// file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let load = |e: std::io::Error| Error::Load { path: path.into(), problem: e.to_string() };
        let file = std::fs::File::open(path).map_err(load)?;
        if file.metadata().map_err(load)?.is_dir() {
            return Err(load(std::io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: the mapping is sound while nobody changes the file. Nothing writes to a model
        // while it is being read; if a user truncates one meanwhile, which cannot be prevented from
        // here, the process ends with a bus error rather than silently.
        let bytes = unsafe { Mmap::map(&file) }.map_err(load)?;
        let name = path.display().to_string();
        let (metadata, tensors) = directory(&name, &bytes)?;
        Ok(Self { name, bytes, metadata, tensors })
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its tensors by name.
    pub(super) const fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.tensors
    }

    /// The bytes of `tensor`, which lies in this file.
    pub(super) fn bytes(&self, tensor: &Stored) -> &[u8] {
        &self.bytes[tensor.at.clone()]
    }

    /// The value of `key`, if it is there.
    ///
    /// # Errors
    ///
    /// [`GgufError::WrongKey`] when it is not a `T`.
    pub(crate) fn get<T: FromValue>(&self, key: &str) -> Result<Option<T>, GgufError> {
        let read = |value| T::from_value(value).ok_or_else(|| self.wrong(key, value, T::NAME));
        self.metadata.get(key).map(read).transpose()
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and [`GgufError::MissingKey`] when it is not there.
    pub(crate) fn need<T: FromValue>(&self, key: &str) -> Result<T, GgufError> {
        self.get(key)?.ok_or_else(|| self.missing(key))
    }

    /// All values of the array `key`, if it is there.
    ///
    /// # Errors
    ///
    /// [`GgufError::WrongKey`] when it is not an array of `T`.
    pub(crate) fn list<T: FromValue>(&self, key: &str) -> Result<Option<Vec<T>>, GgufError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => self.read(key, array).map(Some),
            Some(other) => Err(self.wrong(key, other, "an array")),
        }
    }

    /// As [`list`](Self::list), or a single value for all.
    pub(super) fn many<T: FromValue>(&self, key: &str) -> Result<Option<Many<T>>, GgufError> {
        Ok(match self.metadata.get(key) {
            Some(Value::Array(array)) => Some(Many::Each(self.read(key, array)?)),
            _ => self.get(key)?.map(Many::All),
        })
    }

    fn read<T: FromValue>(&self, key: &str, array: &Array) -> Result<Vec<T>, GgufError> {
        let mut cursor = Cursor::new(&self.name, &self.bytes[array.at.clone()]);
        let one = |index| {
            let value = cursor.single(array.kind, key)?;
            T::from_value(&value).ok_or_else(|| {
                let found = format!("an array with {value} at index {index}");
                self.wrong(key, found, T::NAME)
            })
        };
        (0..array.count).map(one).collect()
    }

    /// An error about the value of `key`.
    pub(crate) fn wrong(&self, key: &str, found: impl ToString, expected: &str) -> GgufError {
        GgufError::WrongKey {
            file: self.name.clone(),
            key: key.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    /// An error about a missing key.
    pub(crate) fn missing(&self, key: &str) -> GgufError {
        GgufError::MissingKey { file: self.name.clone(), key: key.into() }
    }
}

type Directory = (BTreeMap<String, Value>, BTreeMap<String, Stored>);

fn directory(file: &str, bytes: &[u8]) -> Result<Directory, GgufError> {
    let mut cursor = Cursor::new(file, bytes);
    let (tensors, keys) = header(file, bytes, &mut cursor)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..keys {
        let key = cursor.name("the name of a key")?;
        let value = cursor.value(&format!("key `{key}`"))?;
        let again = cursor.damaged(format!("it has key `{key}` twice"));
        if metadata.insert(key, value).is_some() {
            return Err(again);
        }
    }
    let mut claims = Vec::new();
    for _ in 0..tensors {
        claims.push(Claim::read(file, &mut cursor)?);
    }
    let alignment = alignment(&cursor, &metadata)?;
    let first = (cursor.at() as u64).next_multiple_of(alignment);
    let mut places = BTreeMap::new();
    for claim in claims {
        let stored = claim.check(&cursor, bytes.len() as u64, first, alignment)?;
        let again = cursor.damaged(format!("it has tensor `{}` twice", claim.name));
        if places.insert(claim.name, stored).is_some() {
            return Err(again);
        }
    }
    Ok((metadata, places))
}

/// The numbers of tensors and of keys that follow.
fn header(file: &str, bytes: &[u8], cursor: &mut Cursor<'_>) -> Result<(u64, u64), GgufError> {
    if !bytes.starts_with(&MAGIC) {
        let begin = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        let found = match begin {
            [] => "nothing".to_owned(),
            _ => format!("`{}`", begin.escape_ascii()),
        };
        return Err(GgufError::Foreign { file: file.into(), found });
    }
    cursor.take(MAGIC.len() as u64, "its beginning")?;
    match cursor.u32("its version")? {
        2 | 3 => {}
        other if matches!(other.swap_bytes(), 1..=3) => {
            return Err(GgufError::BigEndian { file: file.into() });
        }
        found => return Err(GgufError::Version { file: file.into(), found }),
    }
    Ok((cursor.u64("the number of tensors")?, cursor.u64("the number of keys")?))
}

fn alignment(cursor: &Cursor<'_>, metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(ALIGNMENT) };
    // Blocks are read in place, and some contain an f32.
    let sensible =
        |alignment: &u64| alignment.is_power_of_two() && (8..=1 << 20).contains(alignment);
    u64::from_value(value)
        .filter(sensible)
        .ok_or_else(|| cursor.damaged(format!("key `general.alignment` is {value}")))
}

/// What a file states about a tensor.
struct Claim {
    name: String,
    kind: GgmlDType,
    shape: Vec<u64>,
    offset: u64,
}

impl Claim {
    fn read(file: &str, cursor: &mut Cursor<'_>) -> Result<Self, GgufError> {
        let name = cursor.name("the name of a tensor")?;
        let what = format!("tensor `{name}`");
        let rank = cursor.u32(&what)?;
        if !(1..=RANK).contains(&rank) {
            return Err(cursor.damaged(format!("{what} has {rank} dims, not 1 to {RANK}")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.insert(0, cursor.u64(&what)?);
        }
        let kind = kind::numbered(cursor.u32(&what)?).map_err(|found| GgufError::UnknownType {
            file: file.into(),
            tensor: name.clone(),
            found,
            known: kind::readable(),
        })?;
        Ok(Self { name, kind, shape, offset: cursor.u64(&what)? })
    }

    /// The place that this claims in a file of `length` bytes whose numbers begin at `first`.
    fn check(
        &self,
        cursor: &Cursor<'_>,
        length: u64,
        first: u64,
        alignment: u64,
    ) -> Result<Stored, GgufError> {
        let Self { name, kind, shape, offset } = self;
        let what = format!("tensor `{name}`");
        let block = kind.block_size() as u64;
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(block) {
            return Err(cursor.damaged(format!(
                "{what} has rows of {row} numbers, but its type has blocks of {block}"
            )));
        }
        if !offset.is_multiple_of(alignment) {
            return Err(cursor.damaged(format!("{what} is not aligned to {alignment} bytes")));
        }
        let count = shape.iter().try_fold(1u64, |count, dim| count.checked_mul(*dim));
        let size = count.and_then(|count| (count / block).checked_mul(kind.type_size() as u64));
        let start = first.checked_add(*offset);
        let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
        match (start, end) {
            (Some(start), Some(end)) if end <= length => Ok(Stored {
                kind: *kind,
                shape: shape.iter().map(|dim| *dim as usize).collect(),
                at: start as usize..end as usize,
            }),
            (_, Some(end)) => Err(cursor.truncated(&what, end - length)),
            (_, None) => {
                Err(cursor.damaged(format!("{what} of shape {shape:?} is larger than any file")))
            }
        }
    }
}

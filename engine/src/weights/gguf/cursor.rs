//! [`Cursor`]: walks the bytes of a file, never beyond its end.

use super::GgufError;
use super::value::{Array, Kind, Value};

/// Deepest allowed nesting of arrays. Real files have at most one inside another.
const DEPTH: usize = 4;
/// Characters of a name that messages repeat.
const SHOWN: usize = 64;

/// A position in a file.
pub(super) struct Cursor<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`, called `file` in messages.
    pub(super) const fn new(file: &'a str, bytes: &'a [u8]) -> Self {
        Self { file, bytes, at: 0 }
    }

    /// Bytes passed so far.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// An error about this file.
    pub(super) fn damaged(&self, problem: impl Into<String>) -> GgufError {
        GgufError::Damaged { file: self.file.into(), problem: problem.into() }
    }

    /// An error: `what` needs `needed` bytes more than there are.
    pub(super) fn truncated(&self, what: &str, needed: u64) -> GgufError {
        let (file, length) = (self.file.into(), self.bytes.len() as u64);
        GgufError::Truncated { file, length, what: what.into(), needed }
    }

    /// The next `count` bytes, which belong to `what`.
    pub(super) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], GgufError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(count).ok().and_then(|count| rest.get(..count)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.truncated(what, count - rest.len() as u64)),
        }
    }

    fn number<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut number = [0; N];
        number.copy_from_slice(self.take(N as u64, what)?);
        Ok(number)
    }

    /// A `u32` that belongs to `what`.
    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.number(what)?))
    }

    /// A `u64` that belongs to `what`.
    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.number(what)?))
    }

    /// A string that belongs to `what`. Some writers end it with zeros, and tokens of some
    /// vocabularies are not UTF-8.
    fn text(&mut self, what: &str) -> Result<String, GgufError> {
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// The name of a key or of a tensor.
    pub(super) fn name(&mut self, what: &str) -> Result<String, GgufError> {
        let name = self.text(what)?;
        match name.is_empty() || name.chars().any(char::is_control) {
            true => {
                let shown: String = name.chars().take(SHOWN).collect();
                Err(self.damaged(format!("{what} is {shown:?}")))
            }
            false => Ok(name),
        }
    }

    /// A value of `key`, preceded by its kind.
    pub(super) fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        match self.kind(key)? {
            Kind::Array => self.array(key).map(Value::Array),
            kind => self.single(kind, key),
        }
    }

    fn kind(&mut self, key: &str) -> Result<Kind, GgufError> {
        let number = self.u32(key)?;
        let unknown = || self.damaged(format!("{key} has a value of unknown type {number}"));
        Kind::numbered(number).ok_or_else(unknown)
    }

    /// One value of `kind`, not an array.
    pub(super) fn single(&mut self, kind: Kind, key: &str) -> Result<Value, GgufError> {
        Ok(match kind {
            Kind::U8 => Value::Unsigned(u8::from_le_bytes(self.number(key)?).into()),
            Kind::I8 => Value::Signed(i8::from_le_bytes(self.number(key)?).into()),
            Kind::U16 => Value::Unsigned(u16::from_le_bytes(self.number(key)?).into()),
            Kind::I16 => Value::Signed(i16::from_le_bytes(self.number(key)?).into()),
            Kind::U32 => Value::Unsigned(self.u32(key)?.into()),
            Kind::I32 => Value::Signed(i32::from_le_bytes(self.number(key)?).into()),
            Kind::U64 => Value::Unsigned(self.u64(key)?),
            Kind::I64 => Value::Signed(i64::from_le_bytes(self.number(key)?)),
            Kind::F32 => Value::Float(f32::from_le_bytes(self.number(key)?).into()),
            Kind::F64 => Value::Float(f64::from_le_bytes(self.number(key)?)),
            Kind::Bool => match self.number(key)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => {
                    return Err(self.damaged(format!("{key} is {other}, neither true nor false")));
                }
            },
            Kind::Text => Value::Text(self.text(key)?),
            Kind::Array => return Err(self.damaged(format!("{key} holds arrays of arrays"))),
        })
    }

    /// Where an array lies. Its contents are not kept: callers that only want the weights never
    /// read a vocabulary, and the count may be false.
    fn array(&mut self, key: &str) -> Result<Array, GgufError> {
        let (kind, count) = (self.kind(key)?, self.u64(key)?);
        let first = self.at;
        self.skip(kind, count, key, DEPTH)?;
        Ok(Array { kind, count, at: first..self.at })
    }

    /// Skips `count` values of `kind`.
    fn skip(&mut self, kind: Kind, count: u64, key: &str, depth: usize) -> Result<(), GgufError> {
        match (kind.width(), depth) {
            (Some(width), _) => self.take(count.saturating_mul(width), key).map(drop),
            (None, 0) => {
                Err(self.damaged(format!("{key} holds arrays that are nested too deeply")))
            }
            // Each takes bytes of the file, so an absurd count ends with the file.
            (None, _) => (0..count).try_for_each(|_| match kind {
                Kind::Array => {
                    let (kind, count) = (self.kind(key)?, self.u64(key)?);
                    self.skip(kind, count, key, depth - 1)
                }
                _ => {
                    let length = self.u64(key)?;
                    self.take(length, key).map(drop)
                }
            }),
        }
    }
}

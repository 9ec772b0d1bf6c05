//! [`Value`]: the value of a key.

use std::fmt;
use std::ops::Range;

/// Characters of a text that messages repeat.
const SHOWN: usize = 64;

/// A value of the metadata. Widths are dropped: writers disagree on them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `u8` to `u64`.
    Unsigned(u64),
    /// `i8` to `i64`.
    Signed(i64),
    /// `f32` or `f64`.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A string.
    Text(String),
    /// Values of one kind, not read yet.
    Array(Array),
}

/// An array that is still in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    /// The kind of its values.
    pub(super) kind: Kind,
    /// Number of values.
    pub(super) count: u64,
    /// Its bytes in the file.
    pub(super) at: Range<usize>,
}

/// How a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    /// The kind with this number in files.
    pub(super) const fn numbered(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Text,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of one value, if all of the kind have the same size.
    pub(super) const fn width(self) -> Option<u64> {
        Some(match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Text | Self::Array => return None,
        })
    }
}

impl fmt::Display for Value {
    /// For messages: long values are only described.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => write!(f, "{number}"),
            Self::Signed(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Text(text) if text.chars().nth(SHOWN).is_some() => f.write_str("a long string"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Array(array) => write!(f, "an array of {} values", array.count),
        }
    }
}

/// A type that a value can be read as.
pub(crate) trait FromValue: Sized {
    /// Its name in messages.
    const NAME: &'static str;

    /// `value` as this type, if it is one.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for u64 {
    const NAME: &'static str = "a whole number of at least 0";

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => number.try_into().ok(),
            _ => None,
        }
    }
}

impl FromValue for u32 {
    const NAME: &'static str = "a token id";

    fn from_value(value: &Value) -> Option<Self> {
        u64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for f64 {
    const NAME: &'static str = "a number";

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Float(number) if number.is_finite() => Some(number),
            Value::Unsigned(number) => Some(number as Self),
            Value::Signed(number) => Some(number as Self),
            _ => None,
        }
    }
}

impl FromValue for bool {
    const NAME: &'static str = "true or false";

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }
}

impl FromValue for String {
    const NAME: &'static str = "a string";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

//! [`Json`], and JSON as Python writes it.
//!
//! Templates embed tools and arguments as text, and models were trained on the output of Python's
//! `json.dumps`: a space after each comma and colon, keys in their original order, floats as in
//! `repr`, nothing escaped for HTML.

use std::io::{self, Write};
use std::str::FromStr;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::ser::{CharEscape, Formatter};

use super::TextError;

/// Most levels of a value that is written. A namespace can contain itself.
const LEVELS: usize = 200;
/// Most values in it: if each list holds another list twice, each level doubles the count.
const VALUES: usize = 1 << 20;

/// Any JSON value; objects keep the order of their keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(pub(super) Value);

impl FromStr for Json {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        serde_json::from_str(text).map_err(|e| TextError::Json(e.to_string()))
    }
}

/// The filter `tojson`, with the arguments of that in transformers.
pub(super) fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let indent = options.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none());
    let indent = match indent {
        None => None,
        Some(text) if text.kind() == ValueKind::String => Some(text.to_string()),
        Some(count) => Some(" ".repeat(i64::try_from(count)?.clamp(0, 16) as usize)),
    };
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    options.assert_all_used()?;
    let (comma, colon) = match separators.as_deref() {
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => return Err(refused("`separators` must be two strings".into())),
    };
    if value.is_undefined() {
        return Err(refused("an undefined value has no JSON".into()));
    }
    check_extent(&value)?;
    let value = if sort { sorted(value)? } else { value };
    let python = Python { comma, colon, indent, ascii, depth: 0, filled: false };
    let mut out = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, python))
        .map_err(|e| refused(e.to_string()))?;
    Ok(String::from_utf8_lossy(&out).into_owned().into())
}

/// Refuses a value that could not be written, or would take too long.
pub(super) fn check_extent(value: &Value) -> Result<(), Error> {
    let mut left = VALUES;
    visit(value, LEVELS, &mut left)
}

/// Refuses a `value` with more than `levels` levels, or with more than `left` values in it.
fn visit(value: &Value, levels: usize, left: &mut usize) -> Result<(), Error> {
    let is_map = match value.kind() {
        ValueKind::Map => true,
        ValueKind::Seq | ValueKind::Iterable => false,
        _ => return Ok(()),
    };
    if levels == 0 {
        return Err(refused(format!("a value has more than {LEVELS} levels, or contains itself")));
    }
    for held in value.try_iter().into_iter().flatten() {
        *left = left
            .checked_sub(1)
            .ok_or_else(|| refused(format!("a value contains more than {VALUES} others")))?;
        let held = if is_map { value.get_item(&held)? } else { held };
        visit(&held, levels - 1, left)?;
    }
    Ok(())
}

fn refused(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

/// `value` with the keys of all its objects sorted.
fn sorted(value: Value) -> Result<Value, Error> {
    Ok(match value.kind() {
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            keys.sort();
            let entry = |key: Value| Ok((key.clone(), sorted(value.get_item(&key)?)?));
            Value::from_pairs(keys.into_iter().map(entry).collect::<Result<Vec<_>, Error>>()?)
        }
        ValueKind::Seq => {
            value.try_iter()?.map(sorted).collect::<Result<Vec<_>, Error>>()?.into_iter().collect()
        }
        _ => value,
    })
}

/// The format of `json.dumps`.
struct Python {
    comma: String,
    colon: String,
    /// Indentation per level; if `None`, everything is on one line.
    indent: Option<String>,
    /// Whether characters outside ASCII are escaped.
    ascii: bool,
    depth: usize,
    /// Whether the innermost list or object has an entry.
    filled: bool,
}

impl Python {
    fn line<W: Write + ?Sized>(&self, out: &mut W) -> io::Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(indent.as_bytes()))
    }

    fn open<W: Write + ?Sized>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(bracket)
    }

    fn close<W: Write + ?Sized>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(out)?;
        }
        self.filled = true;
        out.write_all(bracket)
    }

    fn entry<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(self.comma.as_bytes())?;
        }
        self.filled = true;
        self.line(out)
    }
}

impl Formatter for Python {
    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.entry(out, first)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.entry(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.colon.as_bytes())
    }

    fn write_f64<W: Write + ?Sized>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        // Rust and Python agree on when to use an exponent, but not on its form.
        let text = format!("{value:?}");
        match text.split_once('e').map(|(digits, power)| (digits, power.parse::<i32>())) {
            Some((digits, Ok(power))) => write!(out, "{digits}e{power:+03}"),
            _ => out.write_all(text.as_bytes()),
        }
    }

    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ascii {
            return out.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte @ b' '..=b'~') => out.write_all(&[byte])?,
                _ => write!(out, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => out.write_all(b"\\\""),
            CharEscape::ReverseSolidus => out.write_all(b"\\\\"),
            CharEscape::Solidus => out.write_all(b"/"),
            CharEscape::Backspace => out.write_all(b"\\b"),
            CharEscape::FormFeed => out.write_all(b"\\f"),
            CharEscape::LineFeed => out.write_all(b"\\n"),
            CharEscape::CarriageReturn => out.write_all(b"\\r"),
            CharEscape::Tab => out.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(out, "\\u{byte:04x}"),
        }
    }
}

//! The text of a TOML file, and errors about it: with file, line, an excerpt that marks the place,
//! and the word that was probably meant.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::ScenarioError;

/// A file, for error messages.
pub(super) struct SourceText<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl SourceText<'_> {
    /// An error about the part `span` of the text.
    pub(super) fn error(&self, span: Range<usize>, message: String) -> ScenarioError {
        let before = &self.text[..span.start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let shown = self.text[start..].lines().next().unwrap_or_default();
        let margin = " ".repeat(line.to_string().len());
        let width = self
            .text
            .get(span.clone())
            .map_or(1, |t| t.lines().next().unwrap_or("").chars().count());
        let indent = " ".repeat(before[start..].chars().count());
        let carets = "^".repeat(width.max(1));
        let excerpt = format!("{margin} |\n{line} | {shown}\n{margin} | {indent}{carets}");
        ScenarioError::Invalid { path: self.path.to_owned(), line, message, excerpt }
    }
}

/// Parses a file, and rewords serde's errors.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(
    path: &Path,
    text: &str,
) -> Result<T, ScenarioError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let span = error.span().unwrap_or(0..0);
        SourceText { path, text }.error(span, reworded(error.message()))
    })
}

/// serde's error in our words, with the known word that was probably meant.
pub(crate) fn reworded(complaint: &str) -> String {
    // serde says: unknown field `x`, expected one of `a`, `b`
    let words: Vec<&str> = complaint.split('`').skip(1).step_by(2).collect();
    match words.split_first() {
        Some((found, expected)) if complaint.starts_with("unknown field") => {
            unknown("key", found, expected.iter().copied())
        }
        Some((found, expected)) if complaint.starts_with("unknown variant") => {
            unknown("value", found, expected.iter().copied())
        }
        _ if complaint.starts_with("missing field") => complaint.replacen("field", "key", 1),
        _ => match complaint.rsplit_once(", expected ") {
            Some((found, expected)) => format!("{found}, expected {}", plain(expected)),
            None => complaint.to_owned(),
        },
    }
}

/// A type that serde expects, in the words of a user.
fn plain(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list, `[…]`",
        "f64" | "f32" => "a number",
        "a string" | "path string" => "text in quotes",
        "u32" | "u64" | "usize" => "a whole number that is not too large",
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number above 0 that is not too large"
        }
        other => other,
    }
}

/// An error that `found` is not in `known`.
pub(super) fn unknown<'a>(
    what: &str,
    found: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    match nearest(found, known.clone()) {
        Some(near) => format!("unknown {what} `{found}`, did you mean `{near}`?"),
        None => {
            format!("unknown {what} `{found}`; known: {}", known.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    const CLOSE: f64 = 0.69;
    known
        .map(|word| (strsim::jaro_winkler(found, word), word))
        .filter(|(closeness, _)| *closeness >= CLOSE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word.to_owned())
}

//! [`Subject`]: what is measured.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::is_zero;
use crate::upstream::Hash;

/// What is measured: one build of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// As the user named it: `.`, `rev:v0.2`, `probe:./old`.
    pub name: String,
    /// The engine's commit; none for a probe whose origin is unknown.
    pub commit: Option<String>,
    /// Whether files differed from that commit when it was built.
    pub dirty: bool,
    /// The Cargo features that it was built with, sorted.
    pub features: Vec<String>,
    /// The hash of the probe's executable file; empty if it could not be built.
    pub binary: String,
    /// The files that differed from that commit, sorted; only the first [`Subject::CHANGED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// How many further files differed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changed_besides: u32,
    /// The upstream commit up to which the integration log it was built from is complete; none
    /// without such a log, and for a probe whose origin is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Hash>,
    /// The candle that it was built on instead of its own: a version or a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candle: Option<String>,
    /// Hashes of the executable files of its benches, by `package/bench`; only of benches that were
    /// built for the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub benches: BTreeMap<String, String>,
}

impl Subject {
    /// How many changed files a record lists.
    pub const CHANGED: usize = 20;

    /// Everything known about its origin, in one line: `. (012345678+), 2 files changed, upstream
    /// 2bcf0e9e3`.
    #[must_use]
    pub fn origin(&self) -> String {
        let mut text = self.to_string();
        match self.changed.len() + self.changed_besides as usize {
            0 => (),
            1 => text.push_str(", 1 file changed"),
            n => text.push_str(&format!(", {n} files changed")),
        }
        if let Some(upstream) = &self.upstream {
            text.push_str(&format!(", upstream {upstream}"));
        }
        text
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(commit) = &self.commit {
            let dirty = if self.dirty { "+" } else { "" };
            write!(f, " ({}{dirty})", commit.get(..9).unwrap_or(commit))?;
        }
        if !self.features.is_empty() {
            write!(f, " [{}]", self.features.join(","))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[test]
    fn a_subject_from_before_it_told_its_changes_is_read_and_written_as_it_was() {
        let old = r#"{"name":".","commit":"0123456789","dirty":true,"features":[],"binary":"b"}"#;
        let subject: Subject = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&subject).unwrap(), old);
    }

    #[test]
    fn a_subject_shows_its_commit_and_whether_that_is_all() {
        let mut subject = record(".", "a", 1, &[]).subject;
        assert_eq!(subject.to_string(), ".");
        subject.commit = Some("0123456789abcdef".into());
        subject.dirty = true;
        subject.features = vec!["cuda".into()];
        assert_eq!(subject.to_string(), ". (012345678+) [cuda]");
        assert_eq!(subject.origin(), subject.to_string(), "nothing more is known");
        subject.changed = vec!["a".into()];
        assert_eq!(subject.origin(), ". (012345678+) [cuda], 1 file changed");
        subject.changed_besides = 4;
        subject.upstream = Some(String::from("2bcf0e9e3a0c").try_into().unwrap());
        let origin = ". (012345678+) [cuda], 5 files changed, upstream 2bcf0e9e3";
        assert_eq!(subject.origin(), origin);
        subject.commit = Some("01234567é".into());
        assert_eq!(subject.to_string(), ". (01234567é+) [cuda]", "a record can say anything");
    }
}

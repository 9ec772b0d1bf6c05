//! [`Snapshot`]: what a model of a hub is made of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Files of a repository of a hub, as they are at one revision of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Snapshot {
    /// Its name, `OWNER/NAME`.
    pub repository: String,
    /// A branch, a tag or the hash of a commit. What has been measured was pinned to a commit, so in
    /// a record it is always a hash, in full.
    pub revision: String,
    /// Which of its files.
    pub files: Files,
}

/// Files of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// A folder of those whose paths match one of these patterns, in which `*` stands for anything.
    Matching(Vec<String>),
    /// A GGUF file, and where it is one of several over which a model is split, those too.
    Gguf(String),
}

/// Hexadecimal digits of the hash of a commit.
const HASH: usize = 40;

impl Snapshot {
    /// Whether the revision is the hash of a commit, so that it can never mean other files.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.revision.len() == HASH && self.revision.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

/// `OWNER/NAME at 7ae557604adf`, with the file where it is one.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ENOUGH: usize = 12;
        let Snapshot { repository, revision, files } = self;
        let revision = if self.is_pinned() { &revision[..ENOUGH] } else { revision };
        match files {
            Files::Matching(_) => f.pad(&format!("{repository} at {revision}")),
            Files::Gguf(file) => f.pad(&format!("{file} of {repository} at {revision}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hash_of_a_commit_pins_and_it_is_shown_by_its_beginning() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let snapshot = |revision: &str, files: Files| Snapshot {
            repository: "someone/tiny".into(),
            revision: revision.into(),
            files,
        };
        let all = || Files::Matching(vec!["*".into()]);
        assert!(snapshot(commit, all()).is_pinned());
        for revision in ["main", "0123456", "refs/pr/1", &commit.replace('0', "g")] {
            assert!(!snapshot(revision, all()).is_pinned(), "{revision}");
        }
        assert_eq!(snapshot(commit, all()).to_string(), "someone/tiny at 0123456789ab");
        assert_eq!(
            snapshot("main", Files::Gguf("q4.gguf".into())).to_string(),
            "q4.gguf of someone/tiny at main"
        );
    }
}

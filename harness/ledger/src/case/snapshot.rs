//! [`Snapshot`]: the files that make up a model on a hub.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Files of a hub repository at one revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Snapshot {
    /// Its name, `OWNER/NAME`.
    pub repository: String,
    /// A branch, a tag or a commit hash. Whatever is measured is pinned to a commit first, so in a
    /// record this is always a full hash.
    pub revision: String,
    /// Which of its files.
    pub files: Files,
}

/// Files of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// A folder of the files whose paths match one of these patterns; `*` matches anything.
    Matching(Vec<String>),
    /// A GGUF file, together with the others if the model is split over several.
    Gguf(String),
}

/// Hexadecimal digits of a commit hash.
const HASH: usize = 40;

impl Snapshot {
    /// Whether the revision is a commit hash, which can never come to mean other files.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.revision.len() == HASH && self.revision.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

/// `OWNER/NAME at 7ae557604adf`; a GGUF file is named before it.
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

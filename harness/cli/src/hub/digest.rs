//! Verifies that the bytes of a file are those that the hub promised.
//!
//! The hub tags a file by its contents: large files by SHA-256, small ones by git's blob hash, the
//! SHA-1 of `blob LENGTH\0` followed by the contents.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// How the tag of a file depends on its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    GitBlob,
    /// A tag of another kind, so that only the length can be checked.
    Unknown,
}

impl Algorithm {
    pub(super) fn of(tag: &str) -> Algorithm {
        let is_hex = tag.bytes().all(|b| b.is_ascii_hexdigit());
        match tag.len() {
            64 if is_hex => Algorithm::Sha256,
            40 if is_hex => Algorithm::GitBlob,
            _ => Algorithm::Unknown,
        }
    }

    /// Its name in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::GitBlob => "git blob",
            Algorithm::Unknown => "unknown",
        }
    }
}

/// The digest of a file whose bytes arrive piece by piece.
pub(super) struct Digest(Option<Context>);

impl Digest {
    /// Starts the digest of a file of `size` bytes.
    pub(super) fn begin(algorithm: Algorithm, size: u64) -> Digest {
        Digest(match algorithm {
            Algorithm::Sha256 => Some(Context::new(&SHA256)),
            Algorithm::GitBlob => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                Some(context)
            }
            Algorithm::Unknown => None,
        })
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        if let Some(context) = &mut self.0 {
            context.update(bytes);
        }
    }

    /// The digest in hexadecimal; none for a tag of another kind.
    pub(super) fn finish(self) -> Option<String> {
        let digest = self.0?.finish();
        Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(algorithm: Algorithm, text: &str) -> Option<String> {
        let mut digest = Digest::begin(algorithm, text.len() as u64);
        text.as_bytes().chunks(2).for_each(|bytes| digest.add(bytes));
        digest.finish()
    }

    #[test]
    fn digests_are_those_of_sha256sum_and_of_git() {
        // printf hello | sha256sum; printf hello | git hash-object --stdin
        let sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        assert_eq!(digest(Algorithm::of(sha), "hello").as_deref(), Some(sha));
        assert_eq!(digest(Algorithm::of(git), "hello").as_deref(), Some(git));
        for other in ["", "W-12", &"z".repeat(64)] {
            assert_eq!(digest(Algorithm::of(other), "hello"), None);
        }
    }
}

//! [`Digest`]: a fingerprint of inputs and outputs.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// A fingerprint of tokens: equal for equal tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of the output tokens of several requests, in the order of their submission.
    #[must_use]
    pub fn of_outputs<'a>(outputs: impl IntoIterator<Item = &'a [u32]>) -> Digest {
        Digest::of_prompts(outputs)
    }

    /// The digest of the prompts of several requests, in the order of their submission. They are
    /// consumed one by one, so that they need not all be in memory.
    #[must_use]
    pub fn of_prompts(prompts: impl IntoIterator<Item = impl AsRef<[u32]>>) -> Digest {
        let mut hash = Xxh3::new();
        for prompt in prompts {
            let tokens = prompt.as_ref();
            hash.update(&(tokens.len() as u64).to_le_bytes());
            for token in tokens {
                hash.update(&token.to_le_bytes());
            }
        }
        Digest(format!("{:016x}", hash.digest()))
    }

    /// The digest of vectors: the indices of the four largest components of each, by absolute
    /// value. Rounding errors change the components, but hardly ever their order.
    #[must_use]
    pub fn of_vectors<'a>(vectors: impl IntoIterator<Item = &'a [f32]>) -> Digest {
        const LARGEST: usize = 4;
        let largest = |vector: &[f32]| -> Vec<u32> {
            let mut order: Vec<u32> = (0..vector.len() as u32).collect();
            let size = |i: u32| vector.get(i as usize).map_or(0.0, |component| component.abs());
            order.sort_by(|a, b| size(*b).total_cmp(&size(*a)).then(a.cmp(b)));
            order.truncate(LARGEST);
            order
        };
        let largest: Vec<Vec<u32>> = vectors.into_iter().map(largest).collect();
        Digest::of_outputs(largest.iter().map(Vec::as_slice))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_which_request_a_token_belongs_to() {
        let of = |outputs: &[&[u32]]| Digest::of_outputs(outputs.iter().copied());
        assert_eq!(of(&[&[1, 2], &[3]]), of(&[&[1, 2], &[3]]));
        assert_ne!(of(&[&[1, 2], &[3]]), of(&[&[1], &[2, 3]]));
        assert_ne!(of(&[&[1, 2]]), of(&[&[2, 1]]));
        assert_ne!(of(&[]), of(&[&[]]));
        assert_eq!(Digest::of_prompts([vec![1, 2], vec![3]]), of(&[&[1, 2], &[3]]));
    }

    #[test]
    fn a_digest_of_vectors_sees_no_rounding_and_every_other_text() {
        let of = |vector: &[f32]| Digest::of_vectors([vector]);
        let vector = [0.1, -0.5, 0.3, 0.05, 0.2, 0.01];
        assert_eq!(of(&vector), of(&vector.map(|component| component * 1.000_01 + 1e-6)));
        assert_ne!(of(&vector), of(&[0.1, -0.5, 0.3, 0.25, 0.2, 0.01]));
        assert_ne!(of(&vector), Digest::of_vectors([&vector[..], &vector[..]]));
        assert_eq!(of(&[]), of(&[]));
    }
}

//! [`Tolerance`]: how large an error may be.

use serde::{Deserialize, Serialize};

/// The largest acceptable error, as a share of the largest number of the reference (by absolute
/// value); exact to a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tolerance {
    millionths: u64,
}

impl Tolerance {
    /// The tolerance `share`; none unless it is between a millionth and 1.
    #[must_use]
    pub fn new(share: f64) -> Option<Tolerance> {
        let millionths = (share * 1e6).round();
        (1.0..=1e6).contains(&millionths).then_some(Tolerance { millionths: millionths as u64 })
    }

    /// As a share of the largest number of the reference.
    #[must_use]
    pub fn share(self) -> f64 {
        self.millionths as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_a_part_of_a_whole() {
        assert_eq!(Tolerance::new(0.0001).unwrap().share(), 0.0001);
        for senseless in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY, 1e-9] {
            assert_eq!(Tolerance::new(senseless), None, "{senseless}");
        }
    }
}

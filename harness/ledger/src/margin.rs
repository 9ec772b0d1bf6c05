//! The smallest change of a series that matters.

use serde::{Deserialize, Serialize};

/// The smallest change that matters: a share of the base, and an absolute amount. A change must
/// reach both: 5 % of a small number is noise, and 64 MiB of a large one is little.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MarginFile")]
pub struct Margin {
    relative: f64,
    absolute: f64,
}

/// A margin as written in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MarginFile {
    relative: f64,
    #[serde(default)]
    absolute: f64,
}

/// Why numbers do not make a margin.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MarginError {
    /// The relative part is not a sensible share.
    #[error("a relative margin of `{0}`: write a share above 0 and below 10, `0.03` for 3 %")]
    Relative(f64),
    /// The absolute part is negative or not finite.
    #[error("an absolute margin of `{0}`: write an amount in the unit of the values, 0 for none")]
    Absolute(f64),
}

impl Margin {
    /// A margin of the share `relative` of the base, and of at least `absolute` in the unit of the
    /// values.
    ///
    /// # Errors
    /// If `relative` is not between 0 and 10 (exclusive), or `absolute` is negative or not finite.
    pub fn new(relative: f64, absolute: f64) -> Result<Margin, MarginError> {
        if !(relative > 0.0 && relative < 10.0) {
            return Err(MarginError::Relative(relative));
        }
        if !(absolute >= 0.0 && absolute.is_finite()) {
            return Err(MarginError::Absolute(absolute));
        }
        Ok(Margin { relative, absolute })
    }

    /// The share of a positive `base` that matters.
    #[must_use]
    pub fn share_of(self, base: f64) -> f64 {
        self.relative.max(self.absolute / base)
    }

    /// How much `base` must grow before it matters.
    #[must_use]
    pub fn growth_of(self, base: f64) -> f64 {
        self.absolute.max(base * self.relative)
    }

    /// How much `base` must shrink before it matters: the change that undoes a growth by the
    /// margin.
    #[must_use]
    pub fn shrinkage_of(self, base: f64) -> f64 {
        self.absolute.max(base * self.relative / (1.0 + self.relative))
    }

    /// The larger of the two, in each part.
    #[must_use]
    pub fn or_larger(self, other: Margin) -> Margin {
        Margin {
            relative: self.relative.max(other.relative),
            absolute: self.absolute.max(other.absolute),
        }
    }
}

impl TryFrom<MarginFile> for Margin {
    type Error = MarginError;

    fn try_from(file: MarginFile) -> Result<Margin, MarginError> {
        Margin::new(file.relative, file.absolute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_absolute_part_rules_over_small_numbers_only() {
        let margin = Margin::new(0.02, 64.0).unwrap();
        assert_eq!((margin.share_of(640.0), margin.share_of(6400.0)), (0.1, 0.02));
        assert_eq!((margin.growth_of(0.0), margin.growth_of(6400.0)), (64.0, 128.0));
        assert_eq!(margin.shrinkage_of(640.0), 64.0);
    }

    #[test]
    fn shrinking_by_the_margin_undoes_growing_by_it() {
        let margin = Margin::new(0.25, 0.0).unwrap();
        let grown = 100.0 + margin.growth_of(100.0);
        assert_eq!(grown - margin.shrinkage_of(grown), 100.0);
    }

    #[test]
    fn what_is_no_margin_is_refused() {
        for relative in [0.0, -0.03, 30.0, f64::NAN] {
            assert!(matches!(Margin::new(relative, 0.0), Err(MarginError::Relative(_))));
        }
        for absolute in [-1.0, f64::INFINITY, f64::NAN] {
            assert!(matches!(Margin::new(0.03, absolute), Err(MarginError::Absolute(_))));
        }
        let typed = serde_json::from_str::<Margin>(r#"{"relative": 3}"#).unwrap();
        assert_eq!(typed, Margin::new(3.0, 0.0).unwrap());
        let complaint = serde_json::from_str::<Margin>(r#"{"relative": 30}"#).unwrap_err();
        assert!(complaint.to_string().contains("`0.03` for 3 %"), "{complaint}");
    }
}

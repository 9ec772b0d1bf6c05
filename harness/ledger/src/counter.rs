//! [`Counter`]: what is counted rather than timed, and hardly varies.
//!
//! Times need rounds and statistics; for two builds that do the same work these numbers differ
//! little or not at all. They are taken in attribution rounds, because counting costs time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::unit::{Bytes, prefixed, three_digits};

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counter {
    /// Number of memory allocations.
    Allocations,
    /// Total bytes allocated.
    Allocated,
    /// The most bytes held at once, beyond those held before.
    Highest,
    /// Instructions executed by all threads in user space.
    Instructions,
    /// Page faults.
    PageFaults,
}

/// A count, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Count {
    /// The exact number.
    Known(u64),
    /// Not counted, for this reason.
    Absent(String),
}

/// The counts of one iteration: the last, when caches and pools have reached their sizes.
pub type Counts = BTreeMap<Counter, Count>;

impl Counter {
    /// Its name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Counter::Allocations => "allocations",
            Counter::Allocated => "bytes allocated",
            Counter::Highest => "most bytes at once",
            Counter::Instructions => "instructions",
            Counter::PageFaults => "page faults",
        }
    }

    /// Formats a count for people.
    #[must_use]
    pub fn show(self, count: u64) -> String {
        match self {
            Counter::Allocated | Counter::Highest => Bytes(count).to_string(),
            Counter::Allocations | Counter::Instructions | Counter::PageFaults => match count {
                0..10_000 => count.to_string(),
                _ => {
                    let (value, prefix) = prefixed(count as f64);
                    format!("{} {prefix}", three_digits(value))
                }
            },
        }
    }
}

impl Count {
    /// The number, if there is one.
    #[must_use]
    pub const fn known(&self) -> Option<u64> {
        match self {
            Count::Known(count) => Some(*count),
            Count::Absent(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_and_its_absence_a_reason() {
        let counts = Counts::from([
            (Counter::Allocations, Count::Known(3)),
            (Counter::Instructions, Count::Absent("no permission".into())),
        ]);
        let text = serde_json::to_string(&counts).unwrap();
        assert_eq!(text, r#"{"allocations":3,"instructions":"no permission"}"#);
        assert_eq!(serde_json::from_str::<Counts>(&text).unwrap(), counts);
    }

    #[test]
    fn counts_are_shown_in_their_units() {
        assert_eq!(Counter::Allocations.show(812), "812");
        assert_eq!(Counter::Instructions.show(12_345_678_901), "12.3 G");
        assert_eq!(Counter::Instructions.show(999_900_000), "1.00 G");
        assert_eq!(Counter::Highest.show(3 << 20), "3.00 MiB");
    }
}

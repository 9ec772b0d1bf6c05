//! [`Counter`]: what is counted of a computation instead of timed, and hardly varies.
//!
//! Times need rounds and statistics; of two builds that do the same work, these numbers differ by a
//! little or not at all. They are taken in attribution rounds, because counting costs time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::unit::{Bytes, prefixed, three_digits};

/// One thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counter {
    /// How often memory was asked for.
    Allocations,
    /// Bytes that were asked for, all together.
    Allocated,
    /// The most bytes that were held at once, beyond those that were held before.
    Highest,
    /// Instructions that all threads carried out, outside the kernel.
    Instructions,
    /// Pages that the kernel had to provide.
    PageFaults,
}

/// What was counted, or why nothing was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Count {
    /// A number, exactly.
    Known(u64),
    /// Nothing, for this reason.
    Absent(String),
}

/// What was counted in one iteration: the last, when caches and pools have their sizes.
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

    /// A number of it for people.
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

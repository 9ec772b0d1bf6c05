//! The verdict on a series, a case or a run, and which verdict takes precedence.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of a comparison, in order of precedence: of several verdicts, the first one in this
/// order stands.
///
/// Broken and invalid are decided before any statistics: such a case has no other verdicts. Across
/// the cases of a run, a detected regression outweighs a case that could not be compared, which
/// outweighs one that could not be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Wrong output, a crash, a hang or out of memory in the head.
    Broken,
    /// Worse by at least the margin.
    Regressed,
    /// Incomparable, or nothing was compared.
    Invalid,
    /// Too much noise or too few rounds for any of the others.
    Inconclusive,
    /// Better by at least the margin.
    Improved,
    /// Not worse by the margin or more.
    Pass,
}

impl Verdict {
    /// Every verdict, in the order of precedence.
    pub const ALL: [Verdict; 6] = [
        Verdict::Broken,
        Verdict::Regressed,
        Verdict::Invalid,
        Verdict::Inconclusive,
        Verdict::Improved,
        Verdict::Pass,
    ];

    /// The verdict on all of `parts`: the rows of a case, or the cases of a run. If nothing was
    /// compared it is invalid, never a pass.
    #[must_use]
    pub fn on_all(parts: impl IntoIterator<Item = Verdict>) -> Verdict {
        parts.into_iter().min().unwrap_or(Verdict::Invalid)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Broken => "broken",
            Verdict::Regressed => "regressed",
            Verdict::Invalid => "invalid",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Improved => "improved",
            Verdict::Pass => "pass",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_the_order_of_precedence_stands() {
        for (i, first) in Verdict::ALL.into_iter().enumerate() {
            let rest = Verdict::ALL[i..].iter().rev().copied();
            assert_eq!(Verdict::on_all(rest), first);
        }
    }

    #[test]
    fn nothing_compared_is_never_green() {
        assert_eq!(Verdict::on_all([]), Verdict::Invalid);
    }

    #[test]
    fn files_and_people_read_the_same_word() {
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_string(&verdict).unwrap(), format!("\"{verdict}\""));
        }
    }
}

//! Quantities with their units. No arithmetic crosses units, except that tokens divided by time is
//! a rate.

use std::fmt;
use std::ops::Div;

use serde::{Deserialize, Serialize};

/// A duration, or a point on a monotonic clock with any fixed origin, in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nanos(pub u64);

/// An amount of memory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A number of tokens.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tokens(pub u64);

/// Tokens per second.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(pub f64);

impl Nanos {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// From seconds; negative and non-finite values become zero.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Nanos {
        Nanos((seconds * 1e9) as u64)
    }
}

impl Div<Nanos> for Tokens {
    type Output = Rate;

    fn div(self, time: Nanos) -> Rate {
        Rate(self.0 as f64 / time.seconds())
    }
}

/// A share in per cent: `9.1%`, or `∞` if infinite.
#[must_use]
pub fn share(share: f64) -> String {
    if share.is_infinite() {
        return if share > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    // An absolute margin over a small number: it is enough to know that it is large.
    if share > 10.0 {
        return ">1000%".to_owned();
    }
    let text = format!("{:.1}%", share * 100.0);
    if text == "-0.0%" { "0.0%".to_owned() } else { text }
}

/// A change as a share in per cent, always with its sign: `+9.1%`, or `+∞` if infinite.
#[must_use]
pub fn signed(share: f64) -> String {
    if share.is_infinite() {
        return if share > 0.0 { "+∞" } else { "-∞" }.to_owned();
    }
    let text = format!("{:+.1}%", share * 100.0);
    if text == "-0.0%" { "+0.0%".to_owned() } else { text }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&time(self.0 as f64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut step = 0;
        while value >= 1024.0 && step + 1 < STEPS.len() {
            value /= 1024.0;
            step += 1;
        }
        f.pad(&format!("{} {}", three_digits(value), STEPS[step]))
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} tok", self.0))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} tok/s", rate(self.0)))
    }
}

/// A time in nanoseconds, in the largest unit of which it is at least one; what repeats millions of
/// times may take a fraction of a nanosecond.
pub(crate) fn time(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A rate. Large models answer less than one request per second: there, two decimals would hide a
/// change of several per cent.
pub(crate) fn rate(value: f64) -> String {
    match value.abs() {
        v if v == 0.0 || v >= 0.9995 => three_digits(value),
        v if v >= 0.09995 => format!("{value:.3}"),
        v if v >= 0.009995 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// Three digits, without decimals that a reader cannot use: two at most.
pub(crate) fn three_digits(value: f64) -> String {
    match value.abs() {
        v if v == 0.0 || !v.is_finite() || v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `value` scaled to the largest power of a thousand that it reaches when rounded to three digits,
/// and the prefix for it.
pub(crate) fn prefixed(value: f64) -> (f64, &'static str) {
    const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let step = STEPS.into_iter().find(|(step, _)| value >= 0.9995 * step);
    let (scale, prefix) = step.unwrap_or((1.0, ""));
    (value / scale, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_shown_with_three_digits_and_their_unit() {
        let shown = [
            Nanos(12).to_string(),
            Nanos(1_234).to_string(),
            Nanos(99_960_000).to_string(),
            Nanos(1_500_000_000).to_string(),
            Bytes(0).to_string(),
            Bytes(1023).to_string(),
            Bytes(1 << 20).to_string(),
            Bytes(1_987_654_321).to_string(),
            Tokens(128).to_string(),
            Rate(7.123).to_string(),
            Rate(1234.5).to_string(),
            Rate(0.0).to_string(),
            Rate(0.9996).to_string(),
            Rate(0.1234).to_string(),
            Rate(0.0567).to_string(),
            Rate(0.00123).to_string(),
        ];
        let expected = [
            "12.0 ns",
            "1.23 µs",
            "100 ms",
            "1.50 s",
            "0 B",
            "1023 B",
            "1.00 MiB",
            "1.85 GiB",
            "128 tok",
            "7.12 tok/s",
            "1234 tok/s",
            "0 tok/s",
            "1.00 tok/s",
            "0.123 tok/s",
            "0.0567 tok/s",
            "1.23e-3 tok/s",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn shares_are_shown_without_the_sign_of_nothing_and_what_is_huge_as_that_alone() {
        let shares = [0.0912, -0.003, 0.0, -0.0004, 10.0, 341.333, f64::INFINITY];
        let expected = ["9.1%", "-0.3%", "0.0%", "0.0%", "1000.0%", ">1000%", "∞"];
        assert_eq!(shares.map(share), expected);
        let changes = [0.0912, -0.003, 0.0, -0.0004, f64::INFINITY, f64::NEG_INFINITY];
        let expected = ["+9.1%", "-0.3%", "+0.0%", "+0.0%", "+∞", "-∞"];
        assert_eq!(changes.map(signed), expected);
    }

    #[test]
    fn tokens_over_time_is_a_rate() {
        assert_eq!(Tokens(10) / Nanos(2_000_000_000), Rate(5.0));
    }

    #[test]
    fn time_never_runs_backwards() {
        assert_eq!(Nanos(5).since(Nanos(9)), Nanos(0));
        assert_eq!(Nanos::from_seconds(-1.0), Nanos(0));
        assert_eq!(Nanos::from_seconds(f64::NAN), Nanos(0));
    }
}

//! Values as they are typed, for which the types of the ledger or of serde would be too strict or
//! give unhelpful errors.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use windtunnel_ledger::case::Tolerance;
use windtunnel_ledger::unit::Nanos;

/// A value parsed from text, or from a number written without quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Typed<T>(pub(crate) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Typed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map(Typed).map_err(serde::de::Error::custom)
    }
}

impl<T: fmt::Display> fmt::Display for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share in per cent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerCent(pub(crate) u32);

impl FromStr for PerCent {
    type Err = String;

    fn from_str(text: &str) -> Result<PerCent, String> {
        let share = text.parse().ok().filter(|share| *share <= 100).map(PerCent);
        share.ok_or_else(|| format!("`{text}` is not a whole number of per cent from 0 to 100"))
    }
}

impl fmt::Display for PerCent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of rounds, limited to what a machine can finish.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "NonZeroU32")]
pub(crate) struct Rounds(pub(crate) NonZeroU32);

/// The most rounds that a case may have.
pub(crate) const MOST_ROUNDS: u32 = 100_000;

impl TryFrom<NonZeroU32> for Rounds {
    type Error = String;

    fn try_from(rounds: NonZeroU32) -> Result<Rounds, String> {
        match rounds.get() {
            ..=MOST_ROUNDS => Ok(Rounds(rounds)),
            _ => Err(format!("{rounds} rounds are too many: at most {MOST_ROUNDS}")),
        }
    }
}

/// A time typed in seconds, above zero.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Seconds(pub(crate) Nanos);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Seconds, String> {
        match Nanos::from_seconds(seconds) {
            time if seconds.is_finite() && time > Nanos(0) => Ok(Seconds(time)),
            _ => Err(format!("`{seconds}` is not a positive number of seconds")),
        }
    }
}

/// A tolerance, as a share of the largest number.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Wrong(pub(crate) Tolerance);

impl TryFrom<f64> for Wrong {
    type Error = String;

    fn try_from(share: f64) -> Result<Wrong, String> {
        let tolerance = Tolerance::new(share).map(Wrong);
        tolerance.ok_or_else(|| format!("`{share}` is not a share from 0.000001 to 1"))
    }
}

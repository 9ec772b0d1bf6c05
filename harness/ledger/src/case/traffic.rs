//! The traffic that a service receives: when requests arrive, how long they are, and how fast an
//! answer must come to count as good.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NotOneOf;
use crate::unit::{Nanos, Tokens};

/// When requests arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Arrival {
    /// Closed loop: a new request arrives as soon as one has finished, so that as many are in
    /// flight as the engine runs at once.
    Closed,
    /// Open loop, at independent random times: the gaps are exponential.
    Poisson(RequestRate),
    /// Open loop, at equal intervals.
    Fixed(RequestRate),
}

/// Requests per second, exact to a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestRate {
    thousandths: u64,
}

/// The distribution of prompt or answer lengths, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Lengths {
    /// Always this many.
    Fixed(Tokens),
    /// Uniform from the first to the second number, both included.
    Uniform(Tokens, Tokens),
    /// Lognormal with the first number as median and the second as 99th percentile; longer lengths
    /// are cut to the second.
    Lognormal(Tokens, Tokens),
    /// One or the other, equally likely.
    Mixed(Tokens, Tokens),
}

/// The targets that an answer must meet to count as good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slo {
    /// Longest time to the first token.
    pub time_to_first_token: Nanos,
    /// Longest time per output token.
    pub time_per_output_token: Nanos,
    /// Longest time to the last token.
    pub end_to_end: Nanos,
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_99: f64 = 2.326_347_874_040_841;

impl RequestRate {
    /// The mean time between two requests.
    #[must_use]
    pub fn interval(self) -> Nanos {
        Nanos(1_000_000_000_000 / self.thousandths)
    }
}

impl Lengths {
    /// The greatest possible length.
    #[must_use]
    pub const fn most(self) -> Tokens {
        match self {
            Lengths::Fixed(length) => length,
            Lengths::Uniform(_, most) | Lengths::Lognormal(_, most) => most,
            Lengths::Mixed(a, b) => {
                if a.0 > b.0 {
                    a
                } else {
                    b
                }
            }
        }
    }

    /// The length of one request; at least 1.
    ///
    /// `level` is a draw from the uniform distribution over `0..1`, `normal` one from the standard
    /// normal distribution.
    #[must_use]
    pub fn at(self, level: f64, normal: f64) -> Tokens {
        match self {
            Lengths::Fixed(length) => length,
            Lengths::Uniform(least, most) => {
                let count = (most.0 - least.0 + 1) as f64;
                Tokens((least.0 + (level * count) as u64).min(most.0))
            }
            Lengths::Lognormal(median, most) => {
                let sigma = (most.0 as f64 / median.0 as f64).ln() / NORMAL_99;
                let length = median.0 as f64 * (sigma * normal).exp();
                Tokens((length.round() as u64).clamp(1, most.0))
            }
            Lengths::Mixed(a, b) => {
                if level < 0.5 {
                    a
                } else {
                    b
                }
            }
        }
    }
}

impl fmt::Display for RequestRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.thousandths / 1000, self.thousandths % 1000);
        match part {
            0 => write!(f, "{whole}"),
            part => write!(f, "{whole}.{}", format!("{part:03}").trim_end_matches('0')),
        }
    }
}

impl FromStr for RequestRate {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 3 {
            return Err(());
        }
        let part: u64 = format!("{part:0<3}").parse().map_err(|_| ())?;
        let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(1000));
        match whole.ok_or(())?.checked_add(part) {
            None | Some(0) => Err(()),
            Some(thousandths) => Ok(RequestRate { thousandths }),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arrival::Closed => f.pad("closed"),
            Arrival::Poisson(rate) => f.pad(&format!("poisson-{rate}")),
            Arrival::Fixed(rate) => f.pad(&format!("fixed-{rate}")),
        }
    }
}

impl FromStr for Arrival {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Self, NotOneOf> {
        let rate = |prefix| text.strip_prefix(prefix).and_then(|rate| rate.parse().ok());
        if text == "closed" {
            return Ok(Arrival::Closed);
        }
        let open = rate("poisson-").map(Arrival::Poisson);
        open.or_else(|| rate("fixed-").map(Arrival::Fixed)).ok_or_else(|| NotOneOf {
            found: text.to_owned(),
            expected: "closed, poisson-R, fixed-R with R requests a second, as in poisson-2.5",
        })
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lengths::Fixed(length) => f.pad(&length.0.to_string()),
            Lengths::Uniform(a, b) => f.pad(&format!("uniform-{}-{}", a.0, b.0)),
            Lengths::Lognormal(a, b) => f.pad(&format!("lognormal-{}-{}", a.0, b.0)),
            Lengths::Mixed(a, b) => f.pad(&format!("mixed-{}-{}", a.0, b.0)),
        }
    }
}

impl FromStr for Lengths {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Self, NotOneOf> {
        let two = |prefix: &str| -> Option<(Tokens, Tokens)> {
            let (a, b) = text.strip_prefix(prefix)?.split_once('-')?;
            Some((count(a)?, count(b)?))
        };
        let rising = |(a, b): &(Tokens, Tokens)| a < b;
        let fixed = count(text).map(Lengths::Fixed);
        fixed
            .or_else(|| two("uniform-").filter(rising).map(|(a, b)| Lengths::Uniform(a, b)))
            .or_else(|| two("lognormal-").filter(rising).map(|(a, b)| Lengths::Lognormal(a, b)))
            .or_else(|| two("mixed-").map(|(a, b)| Lengths::Mixed(a, b)))
            .ok_or_else(|| NotOneOf {
                found: text.to_owned(),
                expected: "a number of tokens, uniform-LEAST-MOST, lognormal-MEDIAN-MOST, \
                           mixed-ONE-OTHER, all of at least 1 and at most 4294967295",
            })
    }
}

fn count(text: &str) -> Option<Tokens> {
    text.parse::<u32>().ok().filter(|n| *n > 0).map(|n| Tokens(n.into()))
}

macro_rules! as_text {
    ($kind:ty) => {
        impl TryFrom<String> for $kind {
            type Error = NotOneOf;

            fn try_from(text: String) -> Result<Self, NotOneOf> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> String {
                value.to_string()
            }
        }
    };
}

as_text!(Arrival);
as_text!(Lengths);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["closed", "poisson-0.5", "poisson-2.125", "fixed-40"] {
            assert_eq!(text.parse::<Arrival>().unwrap().to_string(), text);
        }
        for text in ["128", "uniform-16-512", "lognormal-128-1024", "mixed-512-16"] {
            assert_eq!(text.parse::<Lengths>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in ["", "open", "poisson-", "poisson-0", "fixed--1", "fixed-1e3", "fixed-1.2345"] {
            assert!(text.parse::<Arrival>().is_err(), "{text}");
        }
        for text in
            ["", "0", "-1", "uniform-16", "uniform-9-9", "lognormal-9-1", "mixed-0-5", "1.5"]
        {
            assert!(text.parse::<Lengths>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_exact_to_a_thousandth() {
        let rate: RequestRate = "2.5".parse().unwrap();
        assert_eq!(rate.interval(), Nanos(400_000_000));
        assert_eq!("0.001".parse::<RequestRate>().unwrap().interval(), Nanos(1_000_000_000_000));
    }

    #[test]
    fn lengths_stay_within_their_borders() {
        let of = |text: &str| text.parse::<Lengths>().unwrap();
        let at = |text: &str, level, normal| of(text).at(level, normal).0;
        assert_eq!((at("uniform-3-5", 0.0, 0.0), at("uniform-3-5", 0.999, 0.0)), (3, 5));
        assert_eq!((at("mixed-7-2", 0.49, 0.0), at("mixed-7-2", 0.5, 0.0)), (7, 2));
        assert_eq!(at("lognormal-100-1000", 0.0, 0.0), 100, "half lie below the median");
        assert_eq!(at("lognormal-100-1000", 0.0, NORMAL_99), 1000, "one in a hundred is cut");
        assert_eq!(at("lognormal-100-1000", 0.0, 9.0), 1000);
        assert_eq!(at("lognormal-2-1000", 0.0, -9.0), 1);
        assert_eq!((of("mixed-7-2").most(), of("uniform-3-5").most()), (Tokens(7), Tokens(5)));
    }
}

//! A series: one metric at one quantile. Each is a column of a table, a strip of a plot, and what a
//! judge decides about.
//!
//! A round gives one number per series. Tails need samples: a 95th percentile of twenty values says
//! hardly more than their maximum.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::metric::{Metric, Tails};
use crate::record::Samples;
use crate::stats;

/// One metric at one quantile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The metric.
    pub metric: Metric,
    /// Which of a round's samples represents them.
    pub quantile: Quantile,
}

/// Which of a round's samples represents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantile {
    /// Half of the samples are above it.
    Median,
    /// One sample in twenty is above it.
    P95,
    /// One sample in a hundred is above it.
    P99,
}

impl Quantile {
    /// Every quantile.
    pub const ALL: [Quantile; 3] = [Quantile::Median, Quantile::P95, Quantile::P99];

    /// The fewest samples of a round that it needs.
    #[must_use]
    pub const fn needs(self) -> usize {
        match self {
            Quantile::Median => 1,
            Quantile::P95 => 100,
            Quantile::P99 => 1000,
        }
    }

    /// This quantile of `samples`; none if there are too few.
    #[must_use]
    pub fn of(self, samples: &[f64]) -> Option<f64> {
        if samples.len() < self.needs() {
            return None;
        }
        match self {
            Quantile::Median => stats::median(samples),
            Quantile::P95 => stats::percentile(samples, 0.95),
            Quantile::P99 => stats::percentile(samples, 0.99),
        }
    }
}

impl Series {
    /// The median of `metric`.
    #[must_use]
    pub const fn median(metric: Metric) -> Series {
        Series { metric, quantile: Quantile::Median }
    }

    /// Every series of `metric`.
    pub fn of(metric: Metric) -> impl Iterator<Item = Series> {
        let quantiles = match metric.spec().tails {
            Tails::Matter => Quantile::ALL.len(),
            Tails::Silent => 1,
        };
        Quantile::ALL.into_iter().take(quantiles).map(move |quantile| Series { metric, quantile })
    }

    /// Every series, in the order of [`Metric::ALL`].
    pub fn all() -> impl Iterator<Item = Series> {
        Metric::ALL.into_iter().flat_map(Series::of)
    }

    /// The value of a round; none if the round has too few samples.
    #[must_use]
    pub fn of_round(self, samples: &Samples) -> Option<f64> {
        self.quantile.of(&samples.of(self.metric))
    }

    /// The label above a column or a plot: `TTFT`, `TTFT p95`.
    #[must_use]
    pub fn label(self) -> String {
        let label = self.metric.spec().label;
        match self.quantile {
            Quantile::Median => label.to_owned(),
            Quantile::P95 => format!("{label} p95"),
            Quantile::P99 => format!("{label} p99"),
        }
    }
}

/// The name in files: `inter-token`, `inter-token-p99`.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric.spec().name;
        match self.quantile {
            Quantile::Median => f.pad(name),
            Quantile::P95 => f.pad(&format!("{name}-p95")),
            Quantile::P99 => f.pad(&format!("{name}-p99")),
        }
    }
}

impl Serialize for Series {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Series {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = || serde::de::Error::custom(format!("there is no series `{name}`"));
        Series::all().find(|series| series.to_string() == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_told_of_enough_samples_only() {
        let samples: Vec<f64> = (1..=1000).map(f64::from).collect();
        let tails = |n: usize| Quantile::ALL.map(|quantile| quantile.of(&samples[..n]));
        assert_eq!(tails(0), [None, None, None]);
        assert_eq!(tails(99), [Some(50.0), None, None]);
        assert_eq!(tails(100), [Some(50.5), Some(95.0), None]);
        assert_eq!(tails(1000), [Some(500.5), Some(950.0), Some(990.0)]);
    }

    #[test]
    fn names_and_labels_are_unique() {
        let all: Vec<Series> = Series::all().collect();
        assert!(all.len() > Metric::ALL.len());
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a.to_string(), b.to_string());
                assert_ne!(a.label(), b.label());
            }
        }
    }
}

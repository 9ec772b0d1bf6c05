//! What users of a service feel: the tails of its latencies, and how these grow with its throughput.
//!
//! Elsewhere a round is one number. Here the samples of all rounds stand together, because a user
//! meets requests and no rounds.

use std::fmt;

use windtunnel_ledger::case::{Arrival, Case, Workload};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Outcome, Record, Subject};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::stats;

use super::{CaseView, Scenario, SubjectResult};

/// The percentiles that are shown, by name and level.
pub(crate) const LEVELS: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

/// Whose tails are shown.
const LATENCIES: [Metric; 5] = [
    Metric::TimeToFirstToken,
    Metric::InterToken,
    Metric::TimePerOutputToken,
    Metric::EndToEnd,
    Metric::QueueTime,
];

/// Where the samples of one metric lie, those of all rounds together.
pub(crate) struct Tail {
    /// Which metric.
    pub(crate) metric: Metric,
    /// How many samples there are.
    pub(crate) samples: usize,
    /// Each of [`LEVELS`]; none where no sample would lie above it.
    pub(crate) at: [Option<f64>; LEVELS.len()],
}

/// One service under growing load: a line of the plot.
pub(crate) struct Curve {
    /// Which subject.
    pub(crate) subject: usize,
    /// What tells its cases from those of other curves.
    pub(crate) name: String,
    /// Its cases, the lowest load first.
    pub(crate) points: Vec<Point>,
}

/// One case on a curve.
pub(crate) struct Point {
    /// How hard it worked.
    pub(crate) load: Load,
    /// The median of the series of either axis.
    pub(crate) at: (f64, f64),
}

/// What makes a service work harder: first more arrivals, then more of them at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Load {
    arrival: Arrival,
    batch: u32,
}

/// The tails of what `subject` did in `case`, if that is a service.
pub(super) fn tails(case: &Case, subject: &Subject, records: &[Record]) -> Vec<Tail> {
    if !matches!(case.workload, Workload::Serve { .. }) {
        return Vec::new();
    }
    let rounds = records.iter().filter(|r| r.case.id == case.id && r.subject == *subject);
    let measured: Vec<_> = rounds
        .filter_map(|record| match &record.outcome {
            Outcome::Measured(samples) => Some(samples),
            Outcome::Void { .. } | Outcome::Failed(_) | Outcome::Skipped(_) => None,
        })
        .collect();
    let tail = |metric| {
        let samples: Vec<f64> = measured.iter().flat_map(|round| round.of(metric)).collect();
        tail(metric, &samples)
    };
    LATENCIES.into_iter().map(tail).filter(|tail| tail.samples > 0).collect()
}

fn tail(metric: Metric, samples: &[f64]) -> Tail {
    let some_above = |level: f64| (1.0 - level) * samples.len() as f64 >= 1.0 - 1e-9;
    let at = LEVELS.map(|(_, level)| match level {
        0.5 => stats::median(samples),
        1.0 => stats::percentile(samples, level),
        level => stats::percentile(samples, level).filter(|_| some_above(level)),
    });
    Tail { metric, samples: samples.len(), at }
}

impl<'a> Scenario<'a> {
    /// The cases of a service that were measured.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&CaseView<'a>, &SubjectResult<'a>)> {
        let results =
            self.cases.iter().flat_map(|case| case.results.iter().map(move |r| (case, r)));
        results.filter(|(_, result)| !result.tails.is_empty())
    }

    /// `y` over `x` for each service, through its loads.
    pub(crate) fn curves(&self, x: Series, y: Series) -> Vec<Curve> {
        let mut curves: Vec<Curve> = Vec::new();
        for (case, result) in self.services() {
            let both = result.location(x).zip(result.location(y));
            let Some((load, (x, y))) = Load::of(case.case).zip(both) else { continue };
            let point = Point { load, at: (x.median, y.median) };
            let (subject, name) = (result.subject, self.service_name(case, load));
            match curves.iter_mut().find(|c| c.subject == subject && c.name == name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { subject, name, points: vec![point] }),
            }
        }
        for curve in &mut curves {
            curve.points.sort_by_key(|point| point.load);
        }
        curves
    }

    /// What tells the service of a case from the others, whatever its load and how long it lasts.
    fn service_name(&self, case: &CaseView<'_>, load: Load) -> String {
        let closed = load.arrival == Arrival::Closed;
        let named = self.varying.iter().zip(&case.values);
        let words =
            named.filter(|(name, _)| !(**name == "requests" || closed && **name == "batch"));
        let words = words.map(|(name, value)| match *name {
            "model" => value.clone(),
            "arrival" => value.split('-').next().unwrap_or_default().to_owned(),
            name => format!("{name} {value}"),
        });
        words.collect::<Vec<_>>().join(" · ")
    }
}

impl Load {
    fn of(case: &Case) -> Option<Load> {
        match case.workload {
            Workload::Serve { arrival, batch, .. } => Some(Load { arrival, batch }),
            _ => None,
        }
    }
}

/// Requests at once in a closed loop, requests a second in an open one.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arrival {
            Arrival::Closed => write!(f, "{}", self.batch),
            Arrival::Poisson(rate) | Arrival::Fixed(rate) => write!(f, "{rate}/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_shown_if_a_sample_may_lie_above_it() {
        let at = |count: u32| {
            let samples: Vec<f64> = (1..=count).map(f64::from).collect();
            tail(Metric::EndToEnd, &samples).at
        };
        assert_eq!(at(0), [None; 5]);
        assert_eq!(at(3), [Some(2.0), None, None, None, Some(3.0)]);
        assert_eq!(at(10), [Some(5.5), Some(9.0), None, None, Some(10.0)]);
        assert_eq!(at(100), [Some(50.5), Some(90.0), Some(95.0), Some(99.0), Some(100.0)]);
    }
}

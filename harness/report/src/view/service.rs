//! What users of a service experience: how its latencies grow with its throughput.

use std::fmt;

use windtunnel_ledger::case::{Arrival, Case, Workload};
use windtunnel_ledger::series::Series;

use super::{CaseView, Scenario, SubjectResult};

/// One service under increasing load: a line of the plot.
pub(crate) struct Curve {
    /// The index of the subject.
    pub(crate) subject: usize,
    /// What distinguishes its cases from those of other curves.
    pub(crate) name: String,
    /// Its cases, the lowest load first.
    pub(crate) points: Vec<Point>,
}

/// One case on a curve.
pub(crate) struct Point {
    /// How hard the service worked.
    pub(crate) load: Load,
    /// The medians of the two series, x and y.
    pub(crate) at: (f64, f64),
}

/// The load on a service, ordered by arrivals first, then by the number of requests at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Load {
    arrival: Arrival,
    batch: u32,
}

impl<'a> Scenario<'a> {
    /// The measured cases of services.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&CaseView<'a>, &SubjectResult<'a>)> {
        let results =
            self.cases.iter().flat_map(|case| case.results.iter().map(move |r| (case, r)));
        results.filter(|(case, result)| {
            let is_service = matches!(case.case.workload, Workload::Serve { .. });
            is_service && !result.tails.is_empty()
        })
    }

    /// `y` over `x` for each service, over its loads.
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

    /// What distinguishes the service of a case from others, regardless of its load and duration.
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

/// Concurrent requests in a closed loop, requests per second in an open one.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arrival {
            Arrival::Closed => write!(f, "{}", self.batch),
            Arrival::Poisson(rate) | Arrival::Fixed(rate) => write!(f, "{rate}/s"),
        }
    }
}

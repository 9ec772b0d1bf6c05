//! What users of a service feel: how its latencies grow with its throughput.

use std::fmt;

use windtunnel_ledger::case::{Arrival, Case, Workload};
use windtunnel_ledger::series::Series;

use super::{CaseView, Scenario, SubjectResult};

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

impl<'a> Scenario<'a> {
    /// The cases of a service that were measured.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&CaseView<'a>, &SubjectResult<'a>)> {
        let results =
            self.cases.iter().flat_map(|case| case.results.iter().map(move |r| (case, r)));
        results.filter(|(case, result)| {
            let is_service = matches!(case.case.workload, Workload::Serve { .. });
            is_service && !result.tails.is_empty()
        })
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

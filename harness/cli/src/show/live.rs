//! The results of a case while its run is still going on.

use windtunnel_ledger::case::Case;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Record, Subject};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::summary::{Location, Summary};

use super::{count, per_cent};

/// The main series of a case on each subject, over the rounds so far; empty before the first round.
pub(crate) fn so_far(case: &Case, records: &[Record], subjects: &[Subject]) -> String {
    let metric = case.workload.metrics().first().copied().unwrap_or(Metric::LoadTime);
    let series = Series::median(metric);
    let of = |subject: &Subject| -> Option<Location> {
        let own = |record: &&Record| record.case.id == case.id && record.subject == *subject;
        let own: Vec<&Record> = records.iter().filter(own).collect();
        let known = Summary::of(&own)?.series.into_iter().find(|(known, _)| *known == series);
        known.map(|(_, location)| location)
    };
    let known: Vec<String> = subjects
        .iter()
        .filter_map(|subject| {
            let place =
                if subjects.len() > 1 { format!(" {}", subject.name) } else { String::new() };
            Some(format!("{place} {}", estimate(metric, &of(subject)?)))
        })
        .collect();
    match known.is_empty() {
        true => String::new(),
        false => format!("so far {}{}", series.label(), known.join(",")),
    }
}

/// `41.2 tok/s (40.9 tok/s to 41.6 tok/s with 95 %, 7 rounds)`.
fn estimate(metric: Metric, location: &Location) -> String {
    let rounds = count(location.rounds.len(), "round");
    let sure = match (location.interval(), location.spread) {
        (Some((low, high)), _) => {
            format!("{} to {} with 95 %, {rounds}", metric.show(low), metric.show(high))
        }
        (None, Some(spread)) => format!("±{}, {rounds}", per_cent(spread)),
        (None, None) => rounds,
    };
    format!("{} ({sure})", metric.show(location.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_how_sure_it_is_as_soon_as_that_can_be_said() {
        let of = |rounds: &[f64]| {
            estimate(Metric::DecodeRate, &Location::of(rounds.to_vec()).expect("there are rounds"))
        };
        assert_eq!(of(&[41.0]), "41.0 tok/s (1 round)");
        assert_eq!(of(&[41.0, 41.2]), "41.1 tok/s (±0.4%, 2 rounds)");
        assert_eq!(
            of(&[41.0, 41.2, 40.8, 41.1, 40.9]),
            "41.0 tok/s (40.8 tok/s to 41.2 tok/s with 95 %, 5 rounds)"
        );
    }
}

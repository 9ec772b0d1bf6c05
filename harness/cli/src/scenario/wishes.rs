//! Catches scenarios that cannot work before hours are spent on them.

use windtunnel_ledger::Switch;
use windtunnel_ledger::case::{Arrival, KvLayout, Workload};
use windtunnel_ledger::unit::{Nanos, Tokens};

use super::{Point, Scenario};

/// The pause before each request of `idle`, rounded up.
const PAUSE: Nanos = Nanos(250_000_000);

/// Why a workload cannot give its result at this point of the matrix, and the axes to blame.
pub(super) fn impossible(
    scenario: &Scenario,
    point: &Point,
) -> Option<(&'static [&'static str], String)> {
    let deadline = scenario.deadline;
    let workload = (scenario.kind.at)(point, &scenario.bounds);
    if point.prefix_cache.0 == Switch::On && point.kv == KvLayout::Contiguous {
        let message =
            "a `prefix-cache` that is `on` needs blocks to share, and a `contiguous` `kv` \
                       has none: choose a `paged` one"
                .to_owned();
        return Some((&["prefix-cache", "kv"], message));
    }
    match workload {
        Workload::Context { shallow, depth, .. } if depth <= shallow => {
            let message = format!(
                "a `depth` of {depth} is not deeper than a `shallow` of {shallow}: \
                 what context costs is the difference between the two"
            );
            Some((&["depth", "shallow"], message))
        }
        Workload::Idle { duration, requests }
            if duration.0.saturating_add(PAUSE.0.saturating_mul(requests.into())) >= deadline.0 =>
        {
            let message = format!(
                "a `duration` of {duration} and the pauses between {requests} `requests` do not end \
                 before the `deadline` of {deadline}: raise `deadline`"
            );
            Some((&["duration", "requests"], message))
        }
        Workload::Soak { duration, .. } if duration >= deadline => {
            let message = format!(
                "a `duration` of {duration} does not end before the `deadline` of {deadline}: \
                 raise `deadline`"
            );
            Some((&["duration"], message))
        }
        Workload::Serve {
            arrival: Arrival::Poisson(rate) | Arrival::Fixed(rate),
            requests,
            ..
        } => {
            let iterations = u64::from(scenario.warmup) + u64::from(scenario.iterations.get());
            let all = u64::from(requests).saturating_mul(iterations);
            let message = format!(
                "{requests} `requests` at {rate} a second, in {iterations} iterations, do not all \
                 arrive before the `deadline` of {deadline}: raise `deadline`"
            );
            let late = rate.interval().0.saturating_mul(all) >= deadline.0;
            late.then_some((&["arrival", "requests"], message))
        }
        Workload::Quality { prompt: Tokens(..2), .. } => {
            let message = "a `prompt` of 1 token is a window that predicts nothing: raise it";
            Some((&["prompt"], message.to_owned()))
        }
        _ => None,
    }
}

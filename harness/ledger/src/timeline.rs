//! From the arrival times of tokens to metrics.
//!
//! The probe records when it submitted each request and when each of its tokens arrived; everything
//! that follows from that is computed here, once, for every workload and every kind of subject.

use std::collections::BTreeMap;

use crate::case::Slo;
use crate::metric::Metric;
use crate::stats;
use crate::unit::{Nanos, Tokens};

/// When one request was submitted and when each of its tokens arrived, on one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The length of the prompt.
    pub prompt: Tokens,
    /// Just before the request was passed to the engine; in an open loop, when it was due.
    pub submitted: Nanos,
    /// When the engine began the first step that computed a part of it, if known.
    pub started: Option<Nanos>,
    /// When each output token was observed, in order.
    pub tokens: Vec<Nanos>,
}

/// Raw values by metric, each in the metric's unit.
pub type Values = BTreeMap<Metric, Vec<f64>>;

/// All metrics that follow from the requests of one iteration. A metric that does not exist for
/// them (the time per output token of a single token, the decode rate of requests that never ran
/// together) is absent.
#[must_use]
pub fn metrics(requests: &[Timeline]) -> Values {
    let mut values = Values::new();
    let mut put = |metric, value: f64| values.entry(metric).or_default().push(value);

    for request in requests {
        let (Some(first), Some(last)) = (request.tokens.first(), request.tokens.last()) else {
            continue;
        };
        put(Metric::TimeToFirstToken, first.since(request.submitted).0 as f64);
        put(Metric::EndToEnd, last.since(request.submitted).0 as f64);
        if let Some(started) = request.started {
            put(Metric::QueueTime, started.since(request.submitted).0 as f64);
        }
        for pair in request.tokens.windows(2) {
            put(Metric::InterToken, pair[1].since(pair[0]).0 as f64);
        }
        let intervals = request.tokens.len() - 1;
        if intervals > 0 {
            put(Metric::TimePerOutputToken, last.since(*first).0 as f64 / intervals as f64);
        }
    }
    if let Some(rate) = prefill_rate(requests) {
        put(Metric::PrefillRate, rate);
    }
    if let Some(rate) = decode_rate(requests) {
        put(Metric::DecodeRate, rate);
    }
    values
}

/// The throughput of a service over the requests of one iteration, in addition to the [`metrics`]
/// of each: requests and output tokens per second, and requests per second that met `slo`. Requests
/// without tokens do not count as answered.
#[must_use]
pub fn service(requests: &[Timeline], slo: &Slo) -> Values {
    let begin = requests.iter().map(|request| request.submitted).min();
    let end = requests.iter().filter_map(|request| request.tokens.last()).max();
    let Some(time) = begin.zip(end).map(|(begin, end)| end.since(begin).seconds()) else {
        return Values::new();
    };
    let answered = requests.iter().filter(|request| !request.tokens.is_empty());
    let tokens: usize = requests.iter().map(|request| request.tokens.len()).sum();
    let good = answered.clone().filter(|request| request.meets(slo)).count();
    let rates = [
        (Metric::SystemRate, tokens),
        (Metric::RequestRate, answered.count()),
        (Metric::Goodput, good),
    ];
    let rates = rates.map(|(metric, count)| (metric, count as f64 / time));
    rates.into_iter().filter(|(_, r)| r.is_finite()).map(|(m, r)| (m, vec![r])).collect()
}

/// How much longer a token takes, in nanoseconds, per 1,000 more tokens in the cache, from the
/// median gaps of two decodes at different depths, the lengths of their prompts.
#[must_use]
pub fn context_slope(shallow: &Timeline, deep: &Timeline) -> Option<f64> {
    let gap = |request: &Timeline| {
        let gaps = request.tokens.windows(2).map(|pair| pair[1].since(pair[0]).0 as f64);
        stats::median(&gaps.collect::<Vec<_>>())
    };
    let distance = deep.prompt.0 as f64 - shallow.prompt.0 as f64;
    Some((gap(deep)? - gap(shallow)?) / distance * 1000.0).filter(|slope| slope.is_finite())
}

impl Timeline {
    /// Whether the answer was as fast as `slo` requires.
    #[must_use]
    pub fn meets(&self, slo: &Slo) -> bool {
        let (Some(first), Some(last)) = (self.tokens.first(), self.tokens.last()) else {
            return false;
        };
        let intervals = (self.tokens.len() as u64 - 1).max(1);
        first.since(self.submitted) <= slo.time_to_first_token
            && Nanos(last.since(*first).0 / intervals) <= slo.time_per_output_token
            && last.since(self.submitted) <= slo.end_to_end
    }
}

/// The part of each request during which all of them decode: from when the last request gets its
/// first token to when the first request gets its last.
#[must_use]
pub fn together(requests: &[Timeline]) -> Vec<Timeline> {
    let begin = requests.iter().filter_map(|request| request.tokens.first()).max();
    let end = requests.iter().filter_map(|request| request.tokens.last()).min();
    let within = |moment: &&Nanos| begin <= Some(moment) && Some(*moment) <= end;
    let part = |request: &Timeline| Timeline {
        tokens: request.tokens.iter().filter(within).copied().collect(),
        ..*request
    };
    requests.iter().map(part).collect()
}

/// Prompt tokens per second, from the first submit to the last first token.
fn prefill_rate(requests: &[Timeline]) -> Option<f64> {
    let begin = requests.iter().map(|request| request.submitted).min()?;
    let end = every(requests, |request| request.tokens.first())?.max()?;
    let prompt = requests.iter().map(|request| request.prompt.0);
    let prompt = Tokens(prompt.fold(0, u64::saturating_add));
    finite((prompt / end.since(begin)).0)
}

/// Tokens per second while all requests decode.
fn decode_rate(requests: &[Timeline]) -> Option<f64> {
    let begin = every(requests, |request| request.tokens.first())?.max()?;
    let end = every(requests, |request| request.tokens.last())?.min()?;
    let between = |moment: &&Nanos| begin < **moment && **moment <= end;
    let tokens =
        requests.iter().map(|request| request.tokens.iter().filter(between).count()).sum::<usize>();
    finite((Tokens(tokens as u64) / end.since(begin)).0)
}

/// One moment of every request; none if any request lacks it.
fn every<'a>(
    requests: &'a [Timeline],
    moment: impl Fn(&'a Timeline) -> Option<&'a Nanos>,
) -> Option<impl Iterator<Item = Nanos>> {
    let moments: Option<Vec<Nanos>> = requests.iter().map(|r| moment(r).copied()).collect();
    moments.map(Vec::into_iter)
}

fn finite(rate: f64) -> Option<f64> {
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn request(prompt: u64, submitted: u64, tokens: &[u64]) -> Timeline {
        Timeline {
            prompt: Tokens(prompt),
            submitted: Nanos(submitted * MS),
            started: None,
            tokens: tokens.iter().map(|t| Nanos(t * MS)).collect(),
        }
    }

    #[test]
    fn one_request_gives_every_metric_by_its_definition() {
        let values = metrics(&[request(100, 0, &[50, 60, 80, 90])]);
        assert_eq!(values[&Metric::TimeToFirstToken], [50.0 * MS as f64]);
        assert_eq!(values[&Metric::EndToEnd], [90.0 * MS as f64]);
        assert_eq!(values[&Metric::InterToken], [10.0, 20.0, 10.0].map(|ms| ms * MS as f64));
        assert_eq!(values[&Metric::TimePerOutputToken], [40.0 * MS as f64 / 3.0]);
        assert_eq!(values[&Metric::PrefillRate], [2000.0]);
        assert_eq!(values[&Metric::DecodeRate], [75.0], "three tokens in 40 ms: not four");
    }

    #[test]
    fn the_decode_rate_of_a_batch_counts_the_time_in_which_all_decode() {
        let values =
            metrics(&[request(8, 0, &[10, 20, 30, 40, 50]), request(8, 0, &[20, 30, 40, 50, 60])]);
        assert_eq!(values[&Metric::DecodeRate], [200.0], "6 tokens between 20 ms and 50 ms");
    }

    #[test]
    fn what_a_request_does_while_others_are_in_their_prompt_can_be_left_out() {
        // The first request decodes once during the prefill of the second, which takes 80 ms.
        let requests = [request(8, 0, &[10, 90, 100, 110]), request(8, 0, &[90, 100, 110, 120])];
        let values = metrics(&together(&requests));
        assert_eq!(values[&Metric::InterToken], [10.0 * MS as f64; 4]);
        assert_eq!(values[&Metric::TimePerOutputToken], [10.0 * MS as f64; 2]);
        assert_eq!(values[&Metric::DecodeRate], metrics(&requests)[&Metric::DecodeRate]);
        assert!(together(&[]).is_empty());
    }

    #[test]
    fn requests_that_never_ran_together_have_no_decode_rate() {
        let values = metrics(&[request(8, 0, &[10, 20]), request(8, 0, &[30, 40])]);
        assert!(!values.contains_key(&Metric::DecodeRate));
        assert_eq!(values[&Metric::PrefillRate], [16.0 / 0.030]);
    }

    #[test]
    fn one_token_has_no_time_per_output_token() {
        let values = metrics(&[request(8, 0, &[10])]);
        assert!(!values.contains_key(&Metric::TimePerOutputToken));
        assert!(!values.contains_key(&Metric::InterToken));
        assert!(!values.contains_key(&Metric::DecodeRate));
    }

    #[test]
    fn a_request_waits_until_a_step_takes_it() {
        let waited = Timeline { started: Some(Nanos(30 * MS)), ..request(8, 10, &[50, 60]) };
        assert_eq!(metrics(&[waited])[&Metric::QueueTime], [20.0 * MS as f64]);
        assert!(!metrics(&[request(8, 10, &[50])]).contains_key(&Metric::QueueTime));
    }

    const SLO: Slo = Slo {
        time_to_first_token: Nanos(100 * MS),
        time_per_output_token: Nanos(10 * MS),
        end_to_end: Nanos(150 * MS),
    };

    #[test]
    fn a_service_is_judged_by_all_that_it_answered() {
        let requests = [
            request(8, 0, &[100, 110, 120]),   // Good, with nothing to spare.
            request(8, 100, &[201, 202, 203]), // Its first token is late.
            request(8, 300, &[310, 330, 350]), // Its tokens are far apart.
            request(8, 849, &[949, 955, 960, 970, 980, 990, 1000]), // All is well but the end.
            request(8, 900, &[]),              // Never answered.
        ];
        let values = service(&requests, &SLO);
        assert_eq!(values[&Metric::SystemRate], [16.0]);
        assert_eq!(values[&Metric::RequestRate], [4.0]);
        assert_eq!(values[&Metric::Goodput], [1.0]);
        assert!(service(&[], &SLO).is_empty());
        assert!(service(&[request(8, 0, &[])], &SLO).is_empty());
    }

    #[test]
    fn the_slope_is_the_difference_of_the_median_gaps_for_a_thousand_tokens() {
        let (shallow, deep) =
            (request(500, 0, &[10, 20, 30, 90]), request(2500, 0, &[50, 64, 78, 92]));
        assert_eq!(context_slope(&shallow, &deep), Some(2.0 * MS as f64));
        assert_eq!(context_slope(&deep, &shallow), Some(2.0 * MS as f64));
        assert_eq!(context_slope(&shallow, &shallow), None);
        assert_eq!(context_slope(&shallow, &request(9, 0, &[1])), None);
    }

    #[test]
    fn a_request_without_tokens_gives_nothing() {
        assert!(metrics(&[request(8, 0, &[])]).is_empty());
        assert!(metrics(&[]).is_empty());
    }
}

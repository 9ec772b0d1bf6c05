//! What a count of events says about their probability.

use special::Beta;

/// The upper bound, at `confidence`, on the probability of an event after `events` in `trials`: the
/// exact one-sided bound of Clopper and Pearson (1934). Without trials it is 1.
#[must_use]
pub fn upper_bound(events: u64, trials: u64, confidence: f64) -> f64 {
    if events >= trials {
        return 1.0;
    }
    let (a, b) = (events as f64 + 1.0, (trials - events) as f64);
    confidence.inv_inc_beta(a, b, a.ln_beta(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without any event the bound has a closed form: 1 − (1 − confidence)^(1 / trials).
    #[test]
    fn no_event_leaves_the_rule_of_three() {
        for trials in [1, 20, 60, 1000] {
            let closed = 1.0 - 0.05_f64.powf(1.0 / trials as f64);
            assert!((upper_bound(0, trials, 0.95) - closed).abs() < 1e-12);
        }
    }

    /// The two-sided 95 % limits for 10 of 100, as widely printed: 4.90 % to 17.62 %.
    #[test]
    fn the_bound_is_that_of_the_printed_example() {
        assert!((upper_bound(10, 100, 0.975) - 0.1762).abs() < 5e-5);
    }

    #[test]
    fn nothing_tried_and_nothing_but_events_bound_nothing() {
        assert_eq!(upper_bound(0, 0, 0.95), 1.0);
        assert_eq!(upper_bound(5, 5, 0.95), 1.0);
    }
}

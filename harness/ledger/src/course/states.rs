//! Series with two states: each session, or round, lands in one or the other.

use crate::course::States;
use crate::judge::split;

/// The most changes that a series may have before it counts as one with states.
const CHANGES: usize = 3;
/// The smallest share of values that those changes must leave unexplained.
const UNEXPLAINED: f64 = 0.1;
/// The fewest such values.
const FEWEST: usize = 2;

/// The two states of `values`, which are in order; none if there is one state, or if the series
/// moved from one to another for good.
///
/// Whether values fall into two clusters does not depend on their order. The values of a series
/// that changed do so too; but then a few changes explain which cluster every value is in.
pub(super) fn states(values: &[f64], margin: f64) -> Option<States> {
    let modes = split(values, margin)?;
    let middle = (modes.low.value * modes.high.value).sqrt();
    let high: Vec<bool> = values.iter().map(|value| *value > middle).collect();
    let least = FEWEST.max((UNEXPLAINED * values.len() as f64).ceil() as usize);
    let switches = high.windows(2).filter(|pair| pair[0] != pair[1]).count();
    (unexplained(&high) >= least).then_some(States { modes, switches })
}

/// How many of `labels` the best sequence with few changes gets wrong.
fn unexplained(labels: &[bool]) -> usize {
    // By number of changes so far and current label of the sequence: how many labels it got wrong.
    let mut wrong = [[0; 2]; CHANGES + 1];
    for label in labels {
        let before = wrong;
        for changes in 0..=CHANGES {
            for own in 0..2 {
                let stayed = before[changes][own];
                let came = changes.checked_sub(1).map_or(usize::MAX, |less| before[less][1 - own]);
                wrong[changes][own] = stayed.min(came) + usize::from(usize::from(*label) != own);
            }
        }
    }
    wrong[CHANGES].into_iter().min().unwrap_or(0)
}

/// `logs` with the rarer state shifted onto the more frequent one: what remains is what happens to
/// both.
pub(super) fn laid_over(values: &[f64], logs: &[f64], states: &States) -> Vec<f64> {
    let States { modes, .. } = states;
    let middle = (modes.low.value * modes.high.value).sqrt();
    let high_is_rare = modes.high.share < modes.low.share;
    let of = |high: bool| {
        let own = values.iter().zip(logs).filter(move |(value, _)| (**value > middle) == high);
        crate::stats::median(&own.map(|(_, log)| *log).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let shift = of(!high_is_rare) - of(high_is_rare);
    let moved = values.iter().zip(logs);
    moved
        .map(|(value, log)| if (*value > middle) == high_is_rare { log + shift } else { *log })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_a_state_and_what_stays_is_a_change() {
        let of = |pattern: &str| {
            let value = |(place, letter): (usize, char)| {
                let noise = 1.0 + 0.002 * (place * 7 % 5) as f64;
                noise * if letter == 'B' { 20.0 } else { 10.0 }
            };
            let values: Vec<f64> = pattern.chars().enumerate().map(value).collect();
            states(&values, 0.03).map(|states| states.switches)
        };
        assert_eq!(of("AABABBABAABABBAABAAB"), Some(13));
        assert_eq!(of("AAAABBBBAAAABBBBAAAABBBB"), Some(5));
        assert_eq!(of("AAAAAAAAAABBBBBBBBBB"), None, "it changed");
        assert_eq!(of("AAAAAAABBBBBBAAAAAAA"), None, "it changed and was mended");
        assert_eq!(of("AAAAABBBBBAAAAABBBBB"), None, "it changed three times");
        assert_eq!(of("AAAAAAAAAAAAAAAAAABA"), None, "a bad day is no state");
    }

    #[test]
    fn states_that_are_laid_over_leave_what_happens_to_both() {
        let values = [10.0, 20.0, 10.0, 10.0, 20.0, 11.0, 11.0, 22.0, 11.0, 22.0];
        let logs: Vec<f64> = values.iter().map(|value: &f64| value.ln()).collect();
        let states = states(&values, 0.03).unwrap();
        let laid = laid_over(&values, &logs, &states);
        let spread = |part: &[f64]| {
            part.iter().copied().fold(f64::MIN, f64::max)
                - part.iter().copied().fold(f64::MAX, f64::min)
        };
        assert!(spread(&laid[..5]) < 0.06 && spread(&laid[5..]) < 0.06, "{laid:?}");
    }
}

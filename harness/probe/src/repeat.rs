//! How often the iteration of a case is repeated: a fixed number of times, or until it is precise.

use windtunnel_ledger::case::Case;
use windtunnel_ledger::precision::{Enough, Stopped, half_width};
use windtunnel_ledger::record::IterationKind;
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::{Nanos, stats};

/// The iterations of a case, one after another.
#[derive(Debug)]
pub struct Repeat<'a> {
    case: &'a Case,
    /// How many have begun.
    begun: u32,
    /// When the first timed one began.
    since: Option<Nanos>,
    /// The median of the main metric of each timed one.
    numbers: Vec<f64>,
    stopped: Option<Stopped>,
}

impl<'a> Repeat<'a> {
    /// The iterations of `case`, of which none has begun.
    #[must_use]
    pub const fn of(case: &'a Case) -> Self {
        Repeat { case, begun: 0, since: None, numbers: Vec::new(), stopped: None }
    }

    /// The next iteration, which begins at `now`: its index and kind; none if there are enough.
    pub fn next(&mut self, now: Nanos) -> Option<(u32, IterationKind)> {
        let Case { warmup, iterations, enough, .. } = *self.case;
        let certain = warmup.saturating_add(iterations.get());
        let index = self.begun;
        if index >= certain {
            let Enough::Precise(precision) = enough else { return None };
            let elapsed = now.since(self.since.unwrap_or(now));
            if let Some(by) = precision.ends(&self.numbers, elapsed) {
                let half_width = half_width(&self.numbers);
                self.stopped = Some(Stopped { by, half_width, certain });
                return None;
            }
        }
        self.begun = self.begun.saturating_add(1);
        if index < warmup {
            return Some((index, IterationKind::WarmUp));
        }
        self.since.get_or_insert(now);
        Some((index, IterationKind::Timed))
    }

    /// Notes the values of an iteration.
    pub fn note(&mut self, kind: IterationKind, values: &Values) {
        let main = self.case.workload.metrics().first();
        let number = main.and_then(|metric| stats::median(values.get(metric)?));
        if kind == IterationKind::Timed {
            self.numbers.extend(number);
        }
    }

    /// How it ended, if it was to reach a precision and has ended.
    #[must_use]
    pub const fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use windtunnel_ledger::Metric;
    use windtunnel_ledger::case::Workload;
    use windtunnel_ledger::precision::{Cause, Precision};

    use super::*;

    const MS: u64 = 1_000_000;

    /// A case with one warm-up iteration and two or more timed ones.
    fn case(enough: Enough) -> Case {
        let text = include_str!("repeat/case.json");
        let case: Case = serde_json::from_str(text).unwrap();
        Case { warmup: 1, iterations: NonZeroU32::new(2).unwrap(), enough, ..case }
    }

    /// The number of iterations if each takes 100 ms and gives the next of `numbers`, and how they
    /// ended.
    fn run(enough: Enough, numbers: &[f64]) -> (u32, Option<Stopped>) {
        let case = case(enough);
        assert!(matches!(case.workload, Workload::Prefill { .. }));
        let mut repeat = Repeat::of(&case);
        let mut now = Nanos(7 * MS);
        let mut done = 0;
        while let Some((index, kind)) = repeat.next(now) {
            assert_eq!(index, done);
            assert_eq!(kind == IterationKind::WarmUp, index == 0);
            let number = numbers[index as usize % numbers.len()];
            repeat.note(kind, &Values::from([(Metric::PrefillRate, vec![number])]));
            now.0 += 100 * MS;
            done += 1;
        }
        (done, repeat.stopped())
    }

    fn precise(target: f64, seconds: f64) -> Enough {
        Enough::Precise(Precision::new(target, Nanos::from_seconds(seconds)).unwrap())
    }

    #[test]
    fn a_case_that_says_how_often_is_repeated_as_often() {
        assert_eq!(run(Enough::Counted, &[1.0]), (3, None));
    }

    #[test]
    fn what_is_steady_ends_when_it_is_known_and_its_warm_up_tells_nothing() {
        let (done, stopped) = run(precise(0.01, 60.0), &[9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let expected = Stopped { by: Cause::Precise, half_width: Some(0.0), certain: 3 };
        assert_eq!((done, stopped), (7, Some(expected)));
    }

    #[test]
    fn what_is_not_ends_with_its_budget_and_never_before_the_iterations_that_are_certain() {
        let wild = [1.0, 2.0, 3.0];
        let (done, stopped) = run(precise(0.01, 0.95), &wild);
        assert_eq!((done, stopped.unwrap().by), (11, Cause::Budget), "ten of 100 ms each");
        let (done, stopped) = run(precise(0.01, 0.05), &wild);
        let expected = Stopped { by: Cause::Budget, half_width: None, certain: 3 };
        assert_eq!((done, stopped), (3, Some(expected)));
    }
}

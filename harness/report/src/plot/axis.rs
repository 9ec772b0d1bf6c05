//! The axis of values: its range, linear or logarithmic, with ticks that a person would choose.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use windtunnel_ledger::metric::Unit;

/// Values that span more than this factor get a logarithmic axis.
const WIDE: f64 = 20.0;
/// The axis spans at least this fraction of its middle, so that noise looks as small as it is.
const NARROW: f64 = 0.1;
/// Room at either end, as a fraction of the span.
const MARGIN: f64 = 0.04;

/// The axis of one quantity.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    unit: Unit,
    range: Range<f64>,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis with room for all `values`, and at most `ticks` ticks.
    pub(super) fn over(unit: Unit, values: impl Iterator<Item = f64>, ticks: usize) -> Axis {
        let (low, high) = bounds(values).unwrap_or((0.0, 1.0));
        match low > 0.0 && high > WIDE * low {
            true => Axis::logarithmic(unit, low..high, ticks),
            false => {
                let range = linear(low, high);
                let ticks = linear_ticks(unit, &range, ticks);
                Axis { unit, range, logarithmic: false, ticks }
            }
        }
    }

    /// A logarithmic axis over `range`, which begins above zero.
    pub(super) fn logarithmic(unit: Unit, range: Range<f64>, ticks: usize) -> Axis {
        let margin = ((range.end.ln() - range.start.ln()) * MARGIN).exp();
        let range =
            (range.start / margin).max(f64::MIN_POSITIVE)..(range.end * margin).min(f64::MAX);
        let ticks = logarithmic_ticks(unit, &range, ticks);
        Axis { unit, range, logarithmic: true, ticks }
    }

    /// The position of `value`: 0 at the low end, 1 at the high end.
    fn fraction(&self, value: f64) -> f64 {
        let Range { start, end } = self.range;
        match self.logarithmic {
            true => (value.ln() - start.ln()) / (end.ln() - start.ln()),
            false => (value - start) / (end - start),
        }
    }
}

/// The least and the greatest finite value; none if there is no finite value.
pub(super) fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |bounds, value| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// From zero if the lowest value is not negative and below half of the highest, or if all are zero;
/// else around the values.
fn linear(low: f64, high: f64) -> Range<f64> {
    if low == 0.0 && high == 0.0 {
        return 0.0..1.0;
    }
    if low >= 0.0 && low < high / 2.0 {
        return 0.0..high * (1.0 + MARGIN);
    }
    let middle = f64::midpoint(low, high);
    let half = (high - low).max(NARROW * middle.abs()) / 2.0 * (1.0 + 2.0 * MARGIN);
    match half > 0.0 {
        true => middle - half..middle + half,
        false => middle - 0.5..middle + 0.5,
    }
}

/// The factor to the next larger unit name: 1000 ns are a µs, 1024 B are a KiB.
fn step(unit: Unit) -> f64 {
    match unit {
        Unit::Nanoseconds
        | Unit::TokensPerSecond
        | Unit::RequestsPerSecond
        | Unit::ElementsPerSecond
        | Unit::Share
        | Unit::Ratio
        | Unit::Operations
        | Unit::Joules
        | Unit::Count
        | Unit::Nats
        | Unit::Number => 1000.0,
        Unit::Bytes | Unit::BytesPerSecond => 1024.0,
    }
}

fn linear_ticks(unit: Unit, range: &Range<f64>, most: usize) -> Vec<f64> {
    let step = step(unit);
    let scale = step.powf(range.end.abs().max(1.0).log(step).floor());
    // Counts get no fractional ticks.
    let least = if unit == Unit::Count { 1.0 } else { 0.0 };
    let rough = ((range.end - range.start) / most as f64).max(least) / scale;
    let decade = 10f64.powf(rough.log10().floor());
    // One of these is at least `rough`, and at most 2.5 times as much.
    let nice = [1.0, 2.0, 5.0, 10.0].map(|nice| nice * decade);
    let width = nice.into_iter().find(|nice| *nice >= rough).unwrap_or(rough) * scale;
    let first = (range.start / width).ceil();
    (0..most).map(|i| (first + i as f64) * width).filter(|tick| *tick <= range.end).collect()
}

fn logarithmic_ticks(unit: Unit, range: &Range<f64>, most: usize) -> Vec<f64> {
    let (base, finer): (f64, &[&[f64]]) = match unit {
        Unit::Bytes | Unit::BytesPerSecond => (2.0, &[]),
        Unit::Nanoseconds
        | Unit::TokensPerSecond
        | Unit::RequestsPerSecond
        | Unit::ElementsPerSecond
        | Unit::Share
        | Unit::Ratio
        | Unit::Operations
        | Unit::Joules
        | Unit::Count
        | Unit::Nats
        | Unit::Number => (10.0, &[&[1.0, 2.0, 5.0], &[1.0, 3.0]]),
    };
    let exponents = range.start.log(base).floor() as i32..=range.end.log(base).ceil() as i32;
    let within = |stride: usize, parts: &[f64]| -> Vec<f64> {
        let powers = exponents.clone().step_by(stride).map(|exponent| base.powi(exponent));
        let ticks = powers.flat_map(|power| parts.iter().map(move |part| part * power));
        ticks.filter(|tick| range.contains(tick)).collect()
    };
    let finer = finer.iter().map(|parts| within(1, parts));
    finer
        .chain((1..).map(|stride| within(stride, &[1.0])))
        .find(|ticks| ticks.len() <= most)
        .unwrap_or_default()
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let length = f64::from(limit.1 - limit.0);
        limit.0 + (length * self.fraction(*value).clamp(0.0, 1.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // All ticks are bold; if given light points too, the library would draw lighter lines
        // between them.
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.unit.show(*value)
    }
}

#[cfg(test)]
mod tests {
    use windtunnel_ledger::metric::Metric;

    use super::*;

    #[track_caller]
    fn check(metric: Metric, values: &[f64], expected: &[&str]) {
        let axis = Axis::over(metric.spec().unit, values.iter().copied(), 5);
        let labels: Vec<String> = axis.ticks.iter().map(|tick| axis.format_ext(tick)).collect();
        assert_eq!(labels, expected);
        for value in values {
            assert!((0.0..=1.0).contains(&axis.fraction(*value)), "{value} is off the axis");
        }
    }

    #[test]
    fn ticks_are_round_numbers_of_the_unit_that_is_shown() {
        check(
            Metric::DecodeRate,
            &[80.0, 100.0],
            &["80.0 tok/s", "85.0 tok/s", "90.0 tok/s", "95.0 tok/s", "100 tok/s"],
        );
        check(
            Metric::TimeToFirstToken,
            &[1.2e6, 9e6],
            &["0 ns", "2.00 ms", "4.00 ms", "6.00 ms", "8.00 ms"],
        );
        check(
            Metric::PeakRss,
            &[900.0 * 1048576.0, 1000.0 * 1048576.0],
            &["900 MiB", "950 MiB", "1000 MiB"],
        );
    }

    #[test]
    fn values_far_apart_have_a_logarithmic_axis() {
        check(Metric::EndToEnd, &[1e6, 1e9], &["1.00 ms", "10.0 ms", "100 ms", "1.00 s"]);
        check(
            Metric::KvBytes,
            &[1024.0, 1048576.0 * 64.0],
            &["4.00 KiB", "32.0 KiB", "256 KiB", "2.00 MiB", "16.0 MiB"],
        );
    }

    #[test]
    fn noise_looks_as_small_as_it_is() {
        let axis = Axis::over(Unit::TokensPerSecond, [100.0, 100.1].into_iter(), 5);
        assert!(axis.fraction(100.1) - axis.fraction(100.0) < 0.02);
    }

    #[test]
    fn strange_values_have_an_axis_too() {
        for values in [
            &[][..],
            &[0.0],
            &[f64::NAN, f64::INFINITY],
            &[-5.0, 5.0],
            &[5e-324],
            &[1e308],
            &[1e-200, 1e200],
        ] {
            let axis = Axis::over(Unit::Bytes, values.iter().copied(), 5);
            assert!(axis.range.start < axis.range.end, "{values:?}: {axis:?}");
            assert!(axis.ticks.len() <= 5, "{values:?}: {axis:?}");
            let places = values.iter().filter(|value| value.is_finite());
            let places: Vec<f64> = places.map(|value| axis.fraction(*value)).collect();
            assert!(
                places.iter().all(|place| (0.0..=1.0).contains(place)),
                "{values:?}: {places:?}"
            );
            assert!(places.is_sorted_by(|a, b| a < b), "{values:?}: {places:?}");
        }
    }
}

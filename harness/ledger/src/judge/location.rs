//! The centre of some values and its standard error, robust against a single bad process.

use crate::stats;

/// The centre of some values, with what a t statistic needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Location {
    pub(crate) centre: f64,
    pub(crate) se: f64,
    pub(crate) df: f64,
}

/// The fewest values that have a location.
pub(crate) const FEWEST: usize = 5;
/// The fewest values among which outliers can be identified.
const FEWEST_TO_CLIP: usize = 10;
/// The smallest standard error: clocks and counters have finite steps, so equal values do not mean
/// certainty.
pub(crate) const SMALLEST_SE: f64 = 1e-6;

/// The location of `values` by a t statistic winsorised at three scaled median absolute deviations
/// (Tukey and McLaughlin 1963, Dixon and Tukey 1968; the scale is widened by 1 + 1.2 / n for small
/// n). None if there are fewer than [`FEWEST`].
///
/// If more than a fifth would be clipped, or there are too few values to judge, nothing is clipped:
/// the extreme values may be the second mode of a bimodal series, and clipping them would judge one
/// mode alone.
pub(crate) fn locate(values: &[f64]) -> Option<Location> {
    let n = values.len();
    if n < FEWEST {
        return None;
    }
    let (kept, winsorised) = match winsorise(values) {
        (clipped, winsorised) if n >= FEWEST_TO_CLIP && clipped <= n / 5 => {
            (n - clipped, winsorised)
        }
        _ => (n, values.to_vec()),
    };
    let count = n as f64;
    let centre = winsorised.iter().sum::<f64>() / count;
    let squares: f64 = winsorised.iter().map(|value| (value - centre).powi(2)).sum();
    let sd = (squares / (count - 1.0)).sqrt();
    let df = kept as f64 - 1.0;
    let se = (sd / count.sqrt() * (count - 1.0) / df).max(SMALLEST_SE);
    Some(Location { centre, se, df })
}

/// How `values` are clipped; none if there are no values.
pub(crate) fn clipping(values: &[f64]) -> Option<Clipping> {
    let (median, mad) = (stats::median(values)?, stats::mad(values)?);
    let scale = mad * (1.0 + 1.2 / values.len() as f64);
    let (out, _) = winsorise(values);
    let n = values.len();
    let clipped = if n >= FEWEST_TO_CLIP && out <= n / 5 { out } else { 0 };
    Some(Clipping { median, scale, clipped })
}

/// How outliers are clipped: values beyond three scales from the median are moved in to that
/// distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipping {
    /// The median.
    pub median: f64,
    /// The scaled median absolute deviation, widened for small samples.
    pub scale: f64,
    /// How many values were moved in.
    pub clipped: usize,
}

/// The number of outliers, and `values` with them moved in.
fn winsorise(values: &[f64]) -> (usize, Vec<f64>) {
    let (Some(median), Some(mad)) = (stats::median(values), stats::mad(values)) else {
        return (0, Vec::new());
    };
    if mad == 0.0 {
        return (0, values.to_vec());
    }
    let reach = 3.0 * mad * (1.0 + 1.2 / values.len() as f64);
    let winsorised: Vec<f64> =
        values.iter().map(|value| value.clamp(median - reach, median + reach)).collect();
    let clipped = values.iter().zip(&winsorised).filter(|(before, after)| before != after).count();
    (clipped, winsorised)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(n: usize) -> Vec<f64> {
        (0..n).map(|i| i as f64 - (n as f64 - 1.0) / 2.0).collect()
    }

    #[test]
    fn well_behaved_values_give_the_plain_t() {
        let location = locate(&spread(11)).unwrap();
        assert_eq!((location.centre, location.df), (0.0, 10.0));
        assert!((location.se - 1.0).abs() < 1e-12, "variance 11 over 11 values: {location:?}");
    }

    #[test]
    fn one_bad_process_is_moved_in_and_costs_a_degree_of_freedom() {
        let mut values = spread(15);
        values[3] = 1e6;
        let location = locate(&values).unwrap();
        assert!(location.centre.abs() < 2.0, "{location:?}");
        assert_eq!(location.df, 13.0);
    }

    #[test]
    fn a_second_mode_is_no_outlier() {
        let mut values = spread(15);
        values[..4].fill(1e3);
        let location = locate(&values).unwrap();
        assert!(location.centre > 200.0, "{location:?}");
        assert_eq!(location.df, 14.0);
    }

    #[test]
    fn of_few_values_none_is_called_an_outlier() {
        let mut values = spread(9);
        values[0] = 1e3;
        assert!(locate(&values).unwrap().centre > 100.0);
        assert_eq!(locate(&values[..4]), None);
        assert_eq!(locate(&[]), None);
    }

    #[test]
    fn equal_values_are_no_certainty() {
        let location = locate(&[0.5; 20]).unwrap();
        assert_eq!((location.centre, location.se), (0.5, SMALLEST_SE));
    }
}

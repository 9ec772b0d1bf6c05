//! Student's t distribution: tail and quantile, by the regularised incomplete beta function.

use special::Beta;

/// P(T > t) with `df` degrees of freedom.
pub(crate) fn tail(t: f64, df: f64) -> f64 {
    let (a, b) = (df / 2.0, 0.5);
    let beyond = 0.5 * (df / (df + t * t)).inc_beta(a, b, a.ln_beta(b));
    if t > 0.0 { beyond } else { 1.0 - beyond }
}

/// The t that is exceeded with probability `p`, which must be above 0 and at most one half.
pub(crate) fn quantile(p: f64, df: f64) -> f64 {
    let (a, b) = (df / 2.0, 0.5);
    let x = (2.0 * p).inv_inc_beta(a, b, a.ln_beta(b));
    (df * (1.0 - x) / x).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upper quantiles as printed in the NIST/SEMATECH e-Handbook of Statistical Methods, table
    /// 1.3.6.7.2.
    const PRINTED: [(f64, [(f64, f64); 5]); 4] = [
        (1.0, [(0.1, 3.078), (0.05, 6.314), (0.025, 12.706), (0.01, 31.821), (0.001, 318.313)]),
        (5.0, [(0.1, 1.476), (0.05, 2.015), (0.025, 2.571), (0.01, 3.365), (0.001, 5.893)]),
        (9.0, [(0.1, 1.383), (0.05, 1.833), (0.025, 2.262), (0.01, 2.821), (0.001, 4.297)]),
        (29.0, [(0.1, 1.311), (0.05, 1.699), (0.025, 2.045), (0.01, 2.462), (0.001, 3.396)]),
    ];

    #[test]
    fn quantiles_are_those_of_the_printed_tables() {
        for (df, row) in PRINTED {
            for (p, printed) in row {
                let found = quantile(p, df);
                assert!((found - printed).abs() < 5.1e-4 * printed.max(1.0), "{df} {p}: {found}");
            }
        }
    }

    #[test]
    fn tail_and_quantile_undo_one_another_far_out() {
        for df in [2.0, 5.0, 14.0, 29.0, 200.0] {
            for p in [0.5, 0.1, 1e-3, 1e-5, 1e-8] {
                let back = tail(quantile(p, df), df);
                assert!((back / p - 1.0).abs() < 1e-9, "{df} {p}: {back}");
            }
        }
    }

    #[test]
    fn the_distribution_is_symmetric() {
        assert_eq!(tail(0.0, 7.0), 0.5);
        assert!((tail(-1.5, 7.0) + tail(1.5, 7.0) - 1.0).abs() < 1e-15);
        assert_eq!(quantile(0.5, 7.0), 0.0);
    }
}

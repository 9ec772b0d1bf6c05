//! The order in which a reader sees the series.

use std::cmp::Reverse;

use crate::gate::{CaseReport, Report, Row};
use crate::verdict::Verdict;

impl Report {
    /// Every series with its case, worst first: by verdict, then by how many margins it is worse;
    /// of the improved ones, the most improved first. Ties keep the order of the plan.
    #[must_use]
    pub fn worst_first(&self) -> Vec<(&CaseReport, &Row)> {
        let rows = self.cases.iter().flat_map(|case| case.rows.iter().map(move |row| (case, row)));
        let mut rows: Vec<(&CaseReport, &Row)> = rows.collect();
        rows.sort_by_key(|(_, row)| (row.verdict, Reverse(thousandths(weight(row)))));
        rows
    }
}

impl Row {
    /// How many margins it is worse; 0 if there is no finding.
    #[must_use]
    pub fn margins(&self) -> f64 {
        self.finding.map_or(0.0, |finding| in_margins(finding.effect, finding.margin))
    }
}

/// The rank of a series within its verdict, in margins.
fn weight(row: &Row) -> f64 {
    match row.verdict {
        Verdict::Improved => -row.margins(),
        _ => row.margins(),
    }
}

/// A change as a multiple of the margin, on the log scale on which the gate decides: there halving
/// is as far as doubling. A change from zero is infinite, whatever the margin.
#[must_use]
pub fn in_margins(change: f64, margin: f64) -> f64 {
    if change.is_infinite() {
        return change;
    }
    let log = if change <= -1.0 { f64::NEG_INFINITY } else { change.ln_1p() };
    let margins = log / margin.ln_1p();
    if margins.is_nan() { 0.0 } else { margins }
}

/// The margins as an integer, which has a total order.
fn thousandths(margins: f64) -> i64 {
    (margins * 1000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_counted_on_logarithms_and_what_came_from_nothing_is_without_end() {
        let near = |change: f64, margin: f64, expected: f64| {
            let found = in_margins(change, margin);
            assert!((found - expected).abs() < 1e-9, "{change} of {margin}: {found}");
        };
        near(0.03, 0.03, 1.0);
        near(1.0, 0.03, 2.0_f64.ln() / 1.03_f64.ln());
        near(-0.5, 0.03, -in_margins(1.0, 0.03));
        near(0.0, f64::INFINITY, 0.0);
        near(f64::NAN, 0.03, 0.0);
        let endless = f64::INFINITY;
        assert_eq!(in_margins(endless, endless), endless);
        assert_eq!(in_margins(endless, 0.02), endless);
        assert_eq!(in_margins(-1.0, 0.02), -endless);
    }
}

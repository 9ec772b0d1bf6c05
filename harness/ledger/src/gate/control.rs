//! The control arm: the base once more in every block of rounds, so that a run shows by itself
//! whether its machine treats identical code equally.
//!
//! A block is two pairs: base, head, head, base. The control round stands at its start or, in every
//! second block, at its end, next to a round of the base with which it forms a control pair. The
//! differences within those pairs are divided by the margin θ of each series, so that all cases and
//! all series of a class can be pooled: a few blocks of one case tell little.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::gate::{Sides, Terms};
use crate::judge::location::locate;
use crate::judge::student::quantile;
use crate::metric::{Better, Class};
use crate::policy::Policy;
use crate::record::{Outcome, Record};
use crate::series::Series;

/// The allowed probability that identical code is called different in any class.
const ERROR: f64 = 0.05;
/// How many margins identical code may differ by.
const FAR: f64 = 0.5;

/// How much the base differed from itself in one class of metrics, in margins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Control {
    /// The class.
    pub class: Class,
    /// The number of control pairs.
    pub pairs: usize,
    /// Lower end of the confidence interval, in margins.
    pub low: f64,
    /// Upper end of the confidence interval, in margins.
    pub high: f64,
}

impl Control {
    /// Whether identical code surely differs by more than half a margin: the confidence interval
    /// lies entirely outside the accepted range.
    #[must_use]
    pub fn is_astray(&self) -> bool {
        self.low > FAR || self.high < -FAR
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Control { class, pairs, low, high } = self;
        write!(
            f,
            "the base differed from itself by {low:.1} to {high:.1} margins in {pairs} pairs of rounds ({class}): this machine was not quiet enough to tell"
        )
    }
}

/// The round of the base next to the control round of `block`, counted from 1.
#[must_use]
pub const fn partner(block: u32) -> u32 {
    match block % 2 {
        1 => block.saturating_mul(2) - 1,
        _ => block.saturating_mul(2),
    }
}

/// How much the base differed from itself, in each class with enough pairs.
pub(super) fn measured(sides: &[Sides<'_>], terms: &Terms) -> Vec<Control> {
    let mut by_class: BTreeMap<Class, Vec<f64>> = BTreeMap::new();
    for sides in sides.iter().filter(|sides| sides.obstacle(terms).is_none()) {
        for control in &sides.control {
            let near = sides.base.iter().find(|base| base.round == partner(control.round));
            let differences = near.map(|base| differences(base, control, &terms.policy));
            for (class, of_class) in differences.unwrap_or_default() {
                let mean = of_class.iter().sum::<f64>() / of_class.len() as f64;
                by_class.entry(class).or_default().push(mean);
            }
        }
    }
    let classes = by_class.len().max(1) as f64;
    let control = |(class, differences): (Class, Vec<f64>)| {
        let location = locate(&differences)?;
        let reach = quantile(ERROR / 2.0 / classes, location.df) * location.se;
        let (low, high) = (location.centre - reach, location.centre + reach);
        Some(Control { class, pairs: differences.len(), low, high })
    };
    by_class.into_iter().filter_map(control).collect()
}

/// How many margins worse each series is in `control` than in `base`, by class. Series of one class
/// often measure the same time in different ways, so a class counts as one.
fn differences(base: &Record, control: &Record, policy: &Policy) -> BTreeMap<Class, Vec<f64>> {
    let mut differences: BTreeMap<Class, Vec<f64>> = BTreeMap::new();
    let (Outcome::Measured(base), Outcome::Measured(control)) = (&base.outcome, &control.outcome)
    else {
        return differences;
    };
    for series in Series::all().filter(|series| series.metric.spec().class.is_timed()) {
        let (Some(from), Some(to)) = (series.of_round(base), series.of_round(control)) else {
            continue;
        };
        let worse = match series.metric.spec().better {
            Better::Lower => (to / from).ln(),
            Better::Higher => (from / to).ln(),
        };
        let theta = policy.margin(series).share_of(from).ln_1p();
        if from > 0.0 && to > 0.0 && worse.is_finite() {
            differences.entry(series.metric.spec().class).or_default().push(worse / theta);
        }
    }
    differences
}

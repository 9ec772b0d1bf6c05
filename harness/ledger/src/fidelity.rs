//! How near the logits of an engine are to those of a reference.

use crate::metric::Metric;
use crate::timeline::Values;

/// Gathers the logits of a text position by position, beside those of the reference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fidelity {
    positions: usize,
    /// Positions with the same likeliest token.
    same: usize,
    /// Sum of the divergences, in nats.
    divergence: f64,
    /// The largest logit of the reference, by its absolute value.
    scale: f64,
    /// The largest error, and where it is.
    worst: (f64, usize),
}

impl Fidelity {
    /// Adds the next position: logits of all tokens as the engine `found` them and as they were
    /// `expected`. Rows of different lengths have nothing in common, and are infinitely wrong.
    pub fn add(&mut self, found: &[f32], expected: &[f32]) {
        let error = match found.len() == expected.len() {
            true => {
                let errors = found.iter().zip(expected).map(|(f, e)| f64::from((f - e).abs()));
                // A logit that is no number is infinitely wrong.
                errors.map(|e| if e.is_nan() { f64::INFINITY } else { e }).fold(0.0, f64::max)
            }
            false => f64::INFINITY,
        };
        if self.positions == 0 || error > self.worst.0 {
            self.worst = (error, self.positions);
        }
        let scale = expected.iter().map(|e| f64::from(e.abs())).fold(0.0, f64::max);
        self.scale = self.scale.max(scale);
        self.same += usize::from(likeliest(found) == likeliest(expected));
        self.divergence += divergence(expected, found);
        self.positions += 1;
    }

    /// How many positions were added.
    #[must_use]
    pub const fn positions(&self) -> usize {
        self.positions
    }

    /// The largest logit of the reference, by its absolute value.
    #[must_use]
    pub const fn scale(&self) -> f64 {
        self.scale
    }

    /// The largest error as a share of the largest logit of the reference, and its position.
    #[must_use]
    pub fn worst(&self) -> (f64, usize) {
        (self.worst.0 / self.scale, self.worst.1)
    }

    /// What this is in metrics; nothing of no position.
    #[must_use]
    pub fn values(&self) -> Values {
        if self.positions == 0 {
            return Values::new();
        }
        let positions = self.positions as f64;
        Values::from([
            (Metric::LogitError, vec![self.worst().0]),
            (Metric::Divergence, vec![self.divergence / positions]),
            (Metric::TopAgreement, vec![self.same as f64 / positions]),
        ])
    }
}

/// The index of the largest logit; the first of equals.
#[must_use]
pub fn likeliest(logits: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (i, logit) in logits.iter().copied().enumerate() {
        if best.is_none_or(|(_, most)| logit > most) {
            best = Some((i, logit));
        }
    }
    best.map(|(i, _)| i)
}

/// Kullback–Leibler divergence of the softmax of `found` from that of `expected`, in nats: Σ p ln
/// (p / q). Rounding can make it a little negative; then it is 0.
fn divergence(expected: &[f32], found: &[f32]) -> f64 {
    let (p_norm, q_norm) = (log_sum(expected), log_sum(found));
    let terms = expected.iter().zip(found).map(|(&p, &q)| {
        let (p, q) = (f64::from(p) - p_norm, f64::from(q) - q_norm);
        p.exp() * (p - q)
    });
    terms.sum::<f64>().max(0.0)
}

/// ln Σ exp x, without overflow.
fn log_sum(logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    f64::from(most) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_are_as_near_as_can_be() {
        let mut fidelity = Fidelity::default();
        fidelity.add(&[1.0, -3.0, 2.0], &[1.0, -3.0, 2.0]);
        let values = fidelity.values();
        assert_eq!(values[&Metric::LogitError], [0.0]);
        assert_eq!(values[&Metric::Divergence], [0.0]);
        assert_eq!(values[&Metric::TopAgreement], [1.0]);
    }

    #[test]
    fn the_worst_error_has_its_place_and_the_others_their_mean() {
        let mut fidelity = Fidelity::default();
        fidelity.add(&[0.0, 0.0], &[0.0, 0.0]);
        // Likeliest is the second, not the first; ln 3 apart: 1/4 and 3/4 instead of 3/4 and 1/4.
        let ln_3 = 3.0_f32.ln();
        fidelity.add(&[0.0, ln_3], &[ln_3, 0.0]);
        assert_eq!(fidelity.worst(), (1.0, 1));
        let values = fidelity.values();
        assert_eq!(values[&Metric::TopAgreement], [0.5]);
        let expected = 0.5 * (0.75 * 3.0_f64.ln() - 0.25 * 3.0_f64.ln());
        assert!((values[&Metric::Divergence][0] - expected).abs() < 1e-7);
    }

    #[test]
    fn what_is_no_number_is_infinitely_wrong() {
        for found in [&[f32::NAN, 0.0][..], &[f32::INFINITY, 0.0], &[1.0]] {
            let mut fidelity = Fidelity::default();
            fidelity.add(found, &[1.0, 0.0]);
            assert_eq!(fidelity.worst(), (f64::INFINITY, 0), "{found:?}");
        }
        assert!(Fidelity::default().values().is_empty());
    }
}

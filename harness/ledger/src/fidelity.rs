//! How close the numbers of an engine are to those of a reference.

use crate::metric::Metric;
use crate::timeline::Values;

/// Accumulates errors against a reference, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors {
    rows: usize,
    /// The largest number of the reference, by its absolute value.
    scale: f64,
    /// The largest error and its row.
    worst: (f64, usize),
}

impl Errors {
    /// Adds the next row as the engine `found` it and as it was `expected`. Rows of different
    /// lengths are not comparable, and infinitely wrong.
    pub fn add(&mut self, found: &[f32], expected: &[f32]) {
        let error = match found.len() == expected.len() {
            true => {
                let errors = found.iter().zip(expected).map(|(f, e)| f64::from((f - e).abs()));
                // NaN is infinitely wrong.
                errors.map(|e| if e.is_nan() { f64::INFINITY } else { e }).fold(0.0, f64::max)
            }
            false => f64::INFINITY,
        };
        if self.rows == 0 || error > self.worst.0 {
            self.worst = (error, self.rows);
        }
        let scale = expected.iter().map(|e| f64::from(e.abs())).fold(0.0, f64::max);
        self.scale = self.scale.max(scale);
        self.rows += 1;
    }

    /// How many rows were added.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The largest number of the reference, by its absolute value.
    #[must_use]
    pub const fn scale(&self) -> f64 {
        self.scale
    }

    /// The largest error.
    #[must_use]
    pub const fn largest(&self) -> f64 {
        self.worst.0
    }

    /// The row of the largest error.
    #[must_use]
    pub const fn row(&self) -> usize {
        self.worst.1
    }

    /// The largest error as a share of the largest number of the reference. No error is 0, whatever
    /// the numbers are.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.worst.0 == 0.0 { 0.0 } else { self.worst.0 / self.scale }
    }
}

/// Accumulates errors of the logits against a reference, position by position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fidelity {
    errors: Errors,
    /// Positions where the likeliest token agrees.
    same: usize,
    /// Sum of the divergences, in nats.
    divergence: f64,
}

impl Fidelity {
    /// Adds the next position: the logits of the whole vocabulary as the engine `found` them and as
    /// they were `expected`.
    pub fn add(&mut self, found: &[f32], expected: &[f32]) {
        self.errors.add(found, expected);
        self.same += usize::from(likeliest(found) == likeliest(expected));
        self.divergence += divergence(expected, found);
    }

    /// Errors of the logits themselves; one row per position.
    #[must_use]
    pub const fn errors(&self) -> &Errors {
        &self.errors
    }

    /// The resulting metrics; empty if no position was added.
    #[must_use]
    pub fn values(&self) -> Values {
        if self.errors.rows == 0 {
            return Values::new();
        }
        let positions = self.errors.rows as f64;
        Values::from([
            (Metric::LogitError, vec![self.errors.share()]),
            (Metric::LargestError, vec![self.errors.largest()]),
            (Metric::Divergence, vec![self.divergence / positions]),
            (Metric::TopAgreement, vec![self.same as f64 / positions]),
        ])
    }
}

/// The cosine distance of `found` from `expected`: 1 − the cosine of the angle between them.
/// Infinite for a vector without direction, or for different numbers of components.
#[must_use]
pub fn cosine_distance(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let cosine = dot(found, expected) / (dot(found, found) * dot(expected, expected)).sqrt();
    // Rounding can give equal directions a cosine slightly above 1.
    if cosine.is_finite() { (1.0 - cosine).max(0.0) } else { f64::INFINITY }
}

/// How much a text surprises a model: accumulates the negative log likelihood of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Surprise {
    tokens: usize,
    /// Sum of the negative log likelihoods.
    nats: f64,
}

impl Surprise {
    /// Adds the next token, for which the model predicted these logits. One outside the vocabulary
    /// is infinitely surprising.
    pub fn add(&mut self, logits: &[f32], token: u32) {
        self.tokens += 1;
        self.nats += match logits.get(token as usize) {
            Some(logit) => log_sum(logits) - f64::from(*logit),
            None => f64::INFINITY,
        };
    }

    /// How many tokens were added.
    #[must_use]
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// The perplexity: the exponential of the mean negative log likelihood. None if no token was
    /// added.
    #[must_use]
    pub fn perplexity(&self) -> Option<f64> {
        (self.tokens > 0).then(|| (self.nats / self.tokens as f64).exp())
    }
}

/// The index of the largest logit; the first if several are equal.
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
/// (p / q). Rounding can make it slightly negative; then it is 0. NaN becomes infinite.
fn divergence(expected: &[f32], found: &[f32]) -> f64 {
    let (p_norm, q_norm) = (log_sum(expected), log_sum(found));
    let terms = expected.iter().zip(found).map(|(&p, &q)| {
        let (p, q) = (f64::from(p) - p_norm, f64::from(q) - q_norm);
        p.exp() * (p - q)
    });
    let sum: f64 = terms.sum();
    if sum.is_nan() { f64::INFINITY } else { sum.max(0.0) }
}

/// ln Σ exp x, without overflow.
fn log_sum(logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - f64::from(most)).exp()).sum();
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
        // The second is likeliest instead of the first, by ln 3: 1/4 and 3/4 instead of 3/4 and
        // 1/4.
        let ln_3 = 3.0_f32.ln();
        fidelity.add(&[0.0, ln_3], &[ln_3, 0.0]);
        assert_eq!((fidelity.errors().share(), fidelity.errors().row()), (1.0, 1));
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
            assert_eq!(fidelity.errors().share(), f64::INFINITY, "{found:?}");
            if found.len() == 2 {
                assert_eq!(fidelity.values()[&Metric::Divergence], [f64::INFINITY], "{found:?}");
            }
        }
        assert!(Fidelity::default().values().is_empty());
    }

    #[test]
    fn nothing_wrong_with_zeros_is_no_error() {
        let mut errors = Errors::default();
        errors.add(&[0.0, 0.0], &[0.0, 0.0]);
        assert_eq!((errors.share(), errors.largest(), errors.rows()), (0.0, 0.0, 1));
        errors.add(&[0.0, 1.0], &[4.0, 1.0]);
        assert_eq!((errors.share(), errors.largest(), errors.row()), (1.0, 4.0, 1));
    }

    #[test]
    fn a_direction_has_no_length_and_nothing_has_no_direction() {
        assert!(cosine_distance(&[3.0, 4.0], &[0.6, 0.8]) < 1e-7);
        assert_eq!(cosine_distance(&[1.0, 0.0], &[0.0, 2.0]), 1.0);
        assert_eq!(cosine_distance(&[1.0], &[-1.0]), 2.0);
        for nowhere in [&[0.0, 0.0][..], &[f32::NAN, 1.0], &[1.0]] {
            assert_eq!(cosine_distance(nowhere, &[1.0, 0.0]), f64::INFINITY, "{nowhere:?}");
        }
    }

    #[test]
    fn equally_likely_tokens_are_as_perplexing_as_there_are_many() {
        let mut surprise = Surprise::default();
        assert_eq!(surprise.perplexity(), None);
        for token in [0, 3, 7] {
            surprise.add(&[500.0; 8], token);
        }
        assert_eq!(surprise.tokens(), 3);
        assert!((surprise.perplexity().unwrap() - 8.0).abs() < 1e-12);
    }

    /// One token that is certain and one with a chance of a quarter: the geometric mean of 1 and 4.
    #[test]
    fn perplexity_is_the_geometric_mean_of_the_odds() {
        let mut surprise = Surprise::default();
        surprise.add(&[900.0, 0.0], 0);
        surprise.add(&[3.0_f32.ln(), 0.0], 1);
        assert!((surprise.perplexity().unwrap() - 2.0).abs() < 1e-7);
        surprise.add(&[0.0, 0.0], 2);
        assert_eq!(surprise.perplexity(), Some(f64::INFINITY));
    }
}

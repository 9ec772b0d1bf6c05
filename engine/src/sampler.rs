//! From a row of logits to one token id.
//!
//! Each sequence owns its random numbers, so that what it draws does not depend on its company.

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token, larger values flatten the distribution.
    pub temperature: f32,
    /// Seed of the sequence's own random numbers.
    pub seed: u64,
}

impl Sampling {
    /// The most likely token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, seed: 0 };
}

/// The logits of a sequence hold a NaN, or nothing but −∞.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model produced logits that are not finite")]
pub struct NotFinite;

/// Chooses a token from `logits` (`[vocabulary]`); ties of the greedy choice go to the lowest id.
///
/// # Errors
///
/// [`NotFinite`] when no token is more likely than −∞ or any of them is NaN.
pub fn sample(logits: &[f32], sampling: &Sampling, rng: &mut Rng) -> Result<u32, NotFinite> {
    let (best, max) = argmax(logits)?;
    if sampling.temperature == 0.0 {
        return Ok(best);
    }
    let weight = |logit: f32| f64::from((logit - max) / sampling.temperature).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut left = rng.uniform() * total;
    for (id, &logit) in (0u32..).zip(logits) {
        left -= weight(logit);
        if left < 0.0 {
            return Ok(id);
        }
    }
    // Rounding can leave a crumb behind the last token; the likeliest one takes it.
    Ok(best)
}

fn argmax(logits: &[f32]) -> Result<(u32, f32), NotFinite> {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in (0u32..).zip(logits) {
        if logit.is_nan() {
            return Err(NotFinite);
        }
        if logit > best.1 {
            best = (id, logit);
        }
    }
    if best.1.is_finite() { Ok(best) } else { Err(NotFinite) }
}

/// A stream of random numbers (SplitMix64): one word of state, the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Scrambles 64 bits: every input bit reaches every output bit.
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_ties_go_to_the_lowest_id() {
        let drawn = sample(&[1.0, 3.0, 3.0], &Sampling::GREEDY, &mut Rng::new(1));
        assert_eq!(drawn, Ok(1));
    }

    #[test]
    fn logits_that_are_not_finite_are_refused() {
        for logits in [&[f32::NAN, 1.0][..], &[1.0, f32::NAN], &[f32::NEG_INFINITY; 3], &[]] {
            assert_eq!(sample(logits, &Sampling::GREEDY, &mut Rng::new(1)), Err(NotFinite));
        }
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0, -1.0, 0.5];
        let temperature = 0.7;
        let total: f64 = logits.iter().map(|l| f64::from(l / temperature).exp()).sum();
        let draws = 10_000;
        let mut counts = [0u32; 5];
        let mut rng = Rng::new(7);
        for _ in 0..draws {
            let id = sample(&logits, &Sampling { temperature, seed: 7 }, &mut rng).unwrap();
            counts[id as usize] += 1;
        }
        let chi2: f64 = logits
            .iter()
            .zip(counts)
            .map(|(l, count)| {
                let expected = f64::from(l / temperature).exp() / total * f64::from(draws);
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi2 < 18.5, "chi² of {chi2} is beyond the 0.1 % quantile of 4 degrees of freedom");
    }

    #[test]
    fn a_seed_gives_the_same_draws_again() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            let sampling = Sampling { temperature: 1.0, seed };
            (0..32).map(|_| sample(&[0.0; 50], &sampling, &mut rng).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}

//! Random numbers that are the same on every machine, forever.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draw {
    /// The stream for `seed` and `purpose`. Streams of neighbouring numbers are unrelated.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Draw {
        // Mixed twice, because neighbouring states of the generator give shifted copies of one
        // stream.
        let mut draw = Draw { state: seed };
        draw.state = draw.bits() ^ purpose;
        draw.state = draw.bits();
        draw
    }

    /// The next number, uniform over all 64-bit values: SplitMix64 (Steele, Lea, Flood 2014), which
    /// maps every state to a different value.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from the uniform distribution over `0..1`.
    pub fn level(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from the exponential distribution with mean 1: the gaps of a Poisson process.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.level()).ln()
    }

    /// A number from the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.level()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distributions_have_their_moments() {
        const N: usize = 100_000;
        let mut draw = Draw::new(1, 2);
        let mut moments = |f: fn(&mut Draw) -> f64| {
            let values: Vec<f64> = (0..N).map(|_| f(&mut draw)).collect();
            let mean = values.iter().sum::<f64>() / N as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / N as f64;
            (mean, variance)
        };
        // Within five standard errors, for this seed.
        let near = |found: (f64, f64), mean: f64, variance: f64| {
            assert!((found.0 - mean).abs() < 0.016, "{found:?}");
            assert!((found.1 - variance).abs() < 0.045, "{found:?}");
        };
        near(moments(Draw::level), 0.5, 1.0 / 12.0);
        near(moments(Draw::exponential), 1.0, 1.0);
        near(moments(Draw::normal), 0.0, 1.0);
    }
}

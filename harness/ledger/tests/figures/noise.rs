//! Rounds as on real machines: six kinds of noise, from a fixed seed.

use std::f64::consts::TAU;

/// A kind of noise between the rounds of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Noise {
    /// 0.5 %, normal.
    Quiet,
    /// 1.5 %, normal.
    Rough,
    /// 1 %, with the tails of Student's t with 3 degrees of freedom.
    Heavy,
    /// 0.5 %, and three processes in ten land in a mode 5 % slower.
    TwoModes,
    /// 1 %, on a machine that warms up and wanders.
    Drift,
    /// 1 %, and one process in twenty is 30 % slower.
    BadProcess,
}

impl Noise {
    pub(crate) const ALL: [Noise; 6] = [
        Noise::Quiet,
        Noise::Rough,
        Noise::Heavy,
        Noise::TwoModes,
        Noise::Drift,
        Noise::BadProcess,
    ];

    /// A day of consecutive rounds.
    pub(crate) fn day(self, random: &mut Random) -> Day {
        let wander = if self == Noise::Drift { 0.003 } else { 0.0 };
        Day { noise: self, wander, drift: wander * random.normal() }
    }
}

/// A day of consecutive rounds.
pub(crate) struct Day {
    noise: Noise,
    wander: f64,
    drift: f64,
}

impl Day {
    /// The next round: milliseconds around 10.
    pub(crate) fn round(&mut self, random: &mut Random) -> f64 {
        self.drift += self.wander * random.normal();
        let luck = match self.noise {
            Noise::Quiet => 0.005 * random.normal(),
            Noise::Rough => 0.015 * random.normal(),
            Noise::Heavy => {
                let squares: f64 = (0..3).map(|_| random.normal().powi(2)).sum();
                0.01 * random.normal() / (squares / 3.0).sqrt()
            }
            Noise::TwoModes => {
                0.005 * random.normal() + if random.happens(0.3) { 0.05 } else { 0.0 }
            }
            Noise::Drift => 0.01 * random.normal(),
            Noise::BadProcess => {
                0.01 * random.normal() + if random.happens(0.05) { 0.3 } else { 0.0 }
            }
        };
        10.0 * (self.drift + luck).exp()
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014), and what is drawn from it.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// From the standard normal distribution, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Uniform over `0..1`.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

//! How weights are quantised while they are loaded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NotOneOf;

/// The GGML block format to which a model's matrices are quantised while they are loaded.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum Quant {
    /// Not quantised.
    #[default]
    None,
    /// 4 bits; blocks of 32 with a scale.
    Q4_0,
    /// 4 bits; blocks of 32 with a scale and an offset.
    Q4_1,
    /// 5 bits; blocks of 32 with a scale.
    Q5_0,
    /// 5 bits; blocks of 32 with a scale and an offset.
    Q5_1,
    /// 8 bits; blocks of 32 with a scale.
    Q8_0,
    /// 2 bits; super-blocks of 256.
    Q2K,
    /// 3 bits; super-blocks of 256.
    Q3K,
    /// 4 bits; super-blocks of 256.
    Q4K,
    /// 5 bits; super-blocks of 256.
    Q5K,
    /// 6 bits; super-blocks of 256.
    Q6K,
}

impl Quant {
    /// All formats.
    pub const ALL: [Quant; 11] = [
        Quant::None,
        Quant::Q4_0,
        Quant::Q4_1,
        Quant::Q5_0,
        Quant::Q5_1,
        Quant::Q8_0,
        Quant::Q2K,
        Quant::Q3K,
        Quant::Q4K,
        Quant::Q5K,
        Quant::Q6K,
    ];

    /// For serde: the value for records from before this field existed.
    pub(super) const fn is_none(&self) -> bool {
        matches!(self, Quant::None)
    }

    /// Its name in scenarios and in the engine.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Quant::None => "none",
            Quant::Q4_0 => "q4_0",
            Quant::Q4_1 => "q4_1",
            Quant::Q5_0 => "q5_0",
            Quant::Q5_1 => "q5_1",
            Quant::Q8_0 => "q8_0",
            Quant::Q2K => "q2k",
            Quant::Q3K => "q3k",
            Quant::Q4K => "q4k",
            Quant::Q5K => "q5k",
            Quant::Q6K => "q6k",
        }
    }

    /// Bits per weight, including its share of the block's scales and offsets; none for weights
    /// that are not quantised, whose size is not known here.
    #[must_use]
    pub const fn bits(self) -> Option<f64> {
        Some(match self {
            Quant::None => return None,
            Quant::Q4_0 => 4.5,
            Quant::Q4_1 => 5.0,
            Quant::Q5_0 => 5.5,
            Quant::Q5_1 => 6.0,
            Quant::Q8_0 => 8.5,
            Quant::Q2K => 2.625,
            Quant::Q3K => 3.4375,
            Quant::Q4K => 4.5,
            Quant::Q5K => 5.5,
            Quant::Q6K => 6.5625,
        })
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Quant {
    type Err = NotOneOf;

    /// Parses a name, also in GGML's spelling (`Q4_K`), or a number of bits.
    fn from_str(text: &str) -> Result<Self, NotOneOf> {
        let name = text.to_ascii_lowercase().replace("_k", "k");
        let by_bits = match name.as_str() {
            "2" => Some(Quant::Q2K),
            "3" => Some(Quant::Q3K),
            "4" => Some(Quant::Q4K),
            "5" => Some(Quant::Q5K),
            "6" => Some(Quant::Q6K),
            "8" => Some(Quant::Q8_0),
            _ => None,
        };
        let by_name = Quant::ALL.into_iter().find(|quant| quant.name() == name);
        by_name.or(by_bits).ok_or_else(|| NotOneOf {
            found: text.to_owned(),
            expected: "none, q4_0, q4_1, q5_0, q5_1, q8_0, q2k, q3k, q4k, q5k, q6k, or the bits \
                       2, 3, 4, 5, 6, 8",
        })
    }
}

impl TryFrom<String> for Quant {
    type Error = NotOneOf;

    fn try_from(text: String) -> Result<Self, NotOneOf> {
        text.parse()
    }
}

impl From<Quant> for String {
    fn from(quant: Quant) -> String {
        quant.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantisation_is_read_as_it_is_written() {
        for quant in Quant::ALL {
            assert_eq!(quant.name().parse(), Ok(quant));
            let json = serde_json::to_string(&quant).unwrap();
            assert_eq!(serde_json::from_str::<Quant>(&json).unwrap(), quant);
        }
        assert_eq!("Q4_K".parse(), Ok(Quant::Q4K));
        assert_eq!("8".parse(), Ok(Quant::Q8_0));
        let unknown = "7".parse::<Quant>().unwrap_err().to_string();
        assert_eq!(
            unknown,
            "`7` is none of: none, q4_0, q4_1, q5_0, q5_1, q8_0, q2k, q3k, q4k, q5k, q6k, or the bits 2, 3, 4, 5, 6, 8"
        );
    }
}

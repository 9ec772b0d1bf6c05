//! Quantised weights: the block formats, and which matrix gets which.
//!
//! A block holds 32 or 256 neighbours of a row as small integers, beside the factors that they
//! share. The formats are those of GGML, so weights quantised elsewhere are read as they are.
//! [`Quantised`] is a matrix of blocks; [`QuantPlan`] says which matrices become one on load.

use std::fmt;
use std::str::FromStr;

use candle_core::DType;
use candle_core::quantized::GgmlDType;

use crate::config::{UnknownWord, serde_as_text};

mod matrix;
mod plan;
mod widen;

pub use matrix::Quantised;
pub use plan::{LayerQuant, QuantPlan, Role};
pub(crate) use widen::{Dot, ROWS, Widen};

/// A block format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QuantType {
    /// 4 bits; 32 numbers share a scale.
    Q4_0,
    /// 4 bits; 32 numbers share a scale and an offset.
    Q4_1,
    /// 5 bits; 32 numbers share a scale.
    Q5_0,
    /// 5 bits; 32 numbers share a scale and an offset.
    Q5_1,
    /// 8 bits; 32 numbers share a scale.
    Q8_0,
    /// 2 bits; 16 numbers share a scale and an offset of 4 bits each.
    Q2K,
    /// 3 bits; 16 numbers share a scale of 6 bits.
    Q3K,
    /// 4 bits; 32 numbers share a scale and an offset of 6 bits each.
    Q4K,
    /// 5 bits; 32 numbers share a scale and an offset of 6 bits each.
    Q5K,
    /// 6 bits; 16 numbers share a scale of 8 bits.
    Q6K,
}

impl QuantType {
    /// Every format.
    pub const ALL: [Self; 10] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Its name, as configurations and records write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q2K => "q2k",
            Self::Q3K => "q3k",
            Self::Q4K => "q4k",
            Self::Q5K => "q5k",
            Self::Q6K => "q6k",
        }
    }

    /// The best format with `bits` bits per number: 2, 3, 4, 5, 6 or 8.
    pub const fn of_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            2 => Self::Q2K,
            3 => Self::Q3K,
            4 => Self::Q4K,
            5 => Self::Q5K,
            6 => Self::Q6K,
            8 => Self::Q8_0,
            _ => return None,
        })
    }

    /// The same format as candle's type.
    pub const fn candle(self) -> GgmlDType {
        match self {
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q2K => GgmlDType::Q2K,
            Self::Q3K => GgmlDType::Q3K,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q6K => GgmlDType::Q6K,
        }
    }

    /// The format that candle calls `dtype`, if it is supported here.
    pub fn of_candle(dtype: GgmlDType) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.candle() == dtype)
    }

    /// Numbers in a block.
    pub fn block(self) -> usize {
        self.candle().block_size()
    }

    /// Bytes of `rows` rows of `inputs` numbers, which must be whole blocks.
    pub fn bytes(self, rows: usize, inputs: usize) -> u64 {
        (rows * (inputs / self.block()) * self.candle().type_size()) as u64
    }

    /// The format for rows of `inputs` numbers: this one if its blocks divide them, else the
    /// nearest one with blocks of 32 numbers if those do, else none, and the matrix stays dense.
    ///
    /// | asked | instead |
    /// |---|---|
    /// | `q2k`, `q3k` | `q4_0` |
    /// | `q4k` | `q4_1` |
    /// | `q5k` | `q5_0` |
    /// | `q6k` | `q5_1` |
    pub fn fitting(self, inputs: usize) -> Option<Self> {
        let smaller = match self {
            Self::Q2K | Self::Q3K => Self::Q4_0,
            Self::Q4K => Self::Q4_1,
            Self::Q5K => Self::Q5_0,
            Self::Q6K => Self::Q5_1,
            other => other,
        };
        [self, smaller].into_iter().find(|kind| inputs.is_multiple_of(kind.block()))
    }
}

impl fmt::Display for QuantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the numbers of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As floats.
    Floats(DType),
    /// In blocks.
    Blocks(QuantType),
}

impl Format {
    /// Whether launches that multiply by such weights on a GPU can be recorded and replayed: they
    /// must find their memory where it was. For products with blocks candle keeps a scratch buffer
    /// on each device, and frees it when a product needs a larger one; a replay would go on writing
    /// there.
    pub const fn is_recordable(self) -> bool {
        matches!(self, Self::Floats(_))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floats(dtype) => f.write_str(dtype.as_str()),
            Self::Blocks(kind) => kind.fmt(f),
        }
    }
}

/// What becomes of a matrix that is stored as floats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Quant {
    /// It stays dense, in the dtype of the model.
    #[default]
    Dense,
    /// It is quantised while it is read.
    Blocks(QuantType),
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense => f.write_str("none"),
            Self::Blocks(kind) => kind.fmt(f),
        }
    }
}

impl FromStr for Quant {
    type Err = UnknownWord;

    /// A format by name, also in GGML's spelling (`Q4_K`), or by its bits; or `none`.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let name = word.to_ascii_lowercase().replace("_k", "k");
        if name == "none" {
            return Ok(Self::Dense);
        }
        let by_bits = || name.parse().ok().and_then(QuantType::of_bits);
        let by_name = QuantType::ALL.into_iter().find(|kind| kind.name() == name);
        by_name.or_else(by_bits).map(Self::Blocks).ok_or_else(|| UnknownWord {
            word: word.into(),
            kind: "a quantisation",
            accepted: "`none`, one of `q4_0`, `q4_1`, `q5_0`, `q5_1`, `q8_0`, `q2k`, `q3k`, `q4k`, `q5k`, `q6k`, or bits: `2`, `3`, `4`, `5`, `6` or `8`",
        })
    }
}

serde_as_text!(Quant);

#[cfg(test)]
mod tests;

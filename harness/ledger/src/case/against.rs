//! [`Against`]: what the predictions of a model are compared with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NotOneOf;

/// What the predictions of a model are compared with, besides the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The text alone.
    Nothing,
    /// The predictions of the same weights in f32 before any quantisation, computed by the
    /// reference attention backend.
    F32,
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Against::Nothing => "nothing",
            Against::F32 => "f32",
        })
    }
}

impl FromStr for Against {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Self, NotOneOf> {
        match text {
            "nothing" => Ok(Against::Nothing),
            "f32" => Ok(Against::F32),
            _ => Err(NotOneOf { found: text.to_owned(), expected: "nothing, f32" }),
        }
    }
}

//! [`Against`]: what the predictions of a model are held to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NotOneOf;

/// What the predictions of a model are held to, beside the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The text alone.
    Nothing,
    /// Those of the same weights in f32, as they were before anything was quantised, computed by
    /// the backend that all others are held to.
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

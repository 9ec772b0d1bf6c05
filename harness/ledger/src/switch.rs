//! [`Switch`]: whether something is on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::case::NotOneOf;

/// Whether something is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// It is not.
    Off,
    /// It is.
    On,
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Switch::Off => "off",
            Switch::On => "on",
        })
    }
}

impl FromStr for Switch {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Self, NotOneOf> {
        match text {
            "off" => Ok(Switch::Off),
            "on" => Ok(Switch::On),
            _ => Err(NotOneOf { found: text.to_owned(), expected: "off, on" }),
        }
    }
}

//! [`DeviceName`]: the logical name of a device, and the real device behind it.

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, utils};

use super::PlacementError;
use super::error::nearest;
use crate::cuda::{Fault, driver};
use crate::error::{Error, Result, Unsupported};

/// The logical name of a device. All CPUs are one real device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceName {
    /// `cpu:N`.
    Cpu(usize),
    /// `cuda:N`, the GPU of that ordinal.
    Cuda(usize),
}

/// A word, and the kind of device that it names.
type Kind = (&'static str, fn(usize) -> DeviceName);

const KINDS: [Kind; 2] = [("cpu", DeviceName::Cpu), ("cuda", DeviceName::Cuda)];

/// Other words for a kind.
const ALIASES: [(&str, &str); 3] = [("gpu", "cuda"), ("nvidia", "cuda"), ("host", "cpu")];

impl DeviceName {
    /// The real device.
    ///
    /// # Errors
    ///
    /// When it does not exist, or this build cannot use it.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu(_) => Ok(Device::Cpu),
            Self::Cuda(_) if !utils::cuda_is_available() => Err(Unsupported {
                what: "this build of the engine, which has no CUDA,".into(),
                which: format!("anything on `{self}`"),
                remedy: "choose `cpu:0`, or build with `--features cuda`".into(),
            }
            .into()),
            Self::Cuda(ordinal) => driver::open(ordinal).map_err(|cause| {
                let fault = Fault::of(&Error::from(cause).to_string());
                PlacementError::Unusable { device: self, fault }.into()
            }),
        }
    }
}

/// Opened devices, each opened once: tensor comparisons would treat a GPU that was opened again as
/// a different device.
#[derive(Debug, Clone, Default)]
pub struct Opened(Vec<(DeviceName, Device)>);

impl Opened {
    /// Opens `names`.
    ///
    /// # Errors
    ///
    /// When one does not exist or cannot be used by this build.
    pub fn all(names: impl Iterator<Item = DeviceName>) -> Result<Self> {
        let mut opened = Self::default();
        for name in names {
            let device = opened.get(name)?;
            if !opened.0.iter().any(|(known, _)| *known == name) {
                opened.0.push((name, device));
            }
        }
        Ok(opened)
    }

    /// The device `name`; opened now if it was not before.
    ///
    /// # Errors
    ///
    /// When it does not exist or cannot be used by this build.
    pub fn get(&self, name: DeviceName) -> Result<Device> {
        match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, device)) => Ok(device.clone()),
            None => name.open(),
        }
    }

    /// All of them.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.0.iter().map(|(_, device)| device)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, ordinal) = match self {
            Self::Cpu(ordinal) => ("cpu", ordinal),
            Self::Cuda(ordinal) => ("cuda", ordinal),
        };
        f.pad(&format!("{kind}:{ordinal}"))
    }
}

impl FromStr for DeviceName {
    type Err = PlacementError;

    /// Parses `cpu:1` and its equivalents: `cpu[1]`, and `cpu` for `cpu:0`.
    fn from_str(word: &str) -> Result<Self, PlacementError> {
        let (kind, ordinal) = match word.strip_suffix(']').and_then(|word| word.split_once('[')) {
            Some((kind, ordinal)) => (kind, ordinal),
            None => word.split_once(':').unwrap_or((word, "0")),
        };
        let Some((_, name)) = KINDS.iter().find(|(known, _)| *known == kind) else {
            let near = near(kind).map(|kind| format!("{kind}:{ordinal}"));
            return Err(PlacementError::UnknownDevice { word: word.into(), near });
        };
        match ordinal.parse() {
            Ok(ordinal) => Ok(name(ordinal)),
            Err(_) => Err(PlacementError::UnknownOrdinal { word: word.into(), kind: kind.into() }),
        }
    }
}

/// The kind that was probably meant.
fn near(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == word).map(|(_, kind)| *kind);
    alias.or_else(|| nearest(&word, KINDS.iter().map(|(kind, _)| *kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_and_may_be_written_in_other_ways() {
        for name in [DeviceName::Cpu(0), DeviceName::Cpu(7), DeviceName::Cuda(1)] {
            assert_eq!(name.to_string().parse::<DeviceName>().unwrap(), name);
        }
        for (word, name) in [
            ("cpu", DeviceName::Cpu(0)),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda[3]", DeviceName::Cuda(3)),
        ] {
            assert_eq!(word.parse::<DeviceName>().unwrap(), name);
        }
    }
}

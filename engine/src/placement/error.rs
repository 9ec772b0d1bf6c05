//! Why a model cannot be placed as requested.

use super::DeviceName;
use super::automatic::Shortage;
use crate::cuda::Fault;

/// An invalid device, map or topology, or a model that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// A word that is not a kind of device.
    #[error("`{word}` is not a device{}", meant(near.as_deref()))]
    UnknownDevice {
        /// What was written.
        word: String,
        /// What was probably meant.
        near: Option<String>,
    },
    /// A kind of device followed by something other than a number.
    #[error("`{word}` is not a device; devices are counted from 0, as in `{kind}:1`")]
    UnknownOrdinal {
        /// What was written.
        word: String,
        /// The kind of device.
        kind: String,
    },
    /// A device that cannot be used, or that this machine does not have.
    #[error("cannot use `{device}`: {fault}")]
    Unusable {
        /// Its name.
        device: DeviceName,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A device whose free memory the engine cannot query.
    #[error(
        "the free memory of `{device}` is not known; say how much of it may be used, as in `auto:{device}=20GiB,cpu:0`"
    )]
    UnknownMemory {
        /// Its name.
        device: DeviceName,
    },
    /// A device map that cannot be read, or does not fit the model.
    #[error("device map `{map}`: {problem}")]
    Map {
        /// As it was written.
        map: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A topology that cannot be read, or does not fit the model.
    #[error("`{file}`, line {line}: {problem}")]
    Topology {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Layers that fit on no device.
    #[error(transparent)]
    Shortage(#[from] Shortage),
}

/// The end of a message: what was probably meant, or else what is known.
fn meant(near: Option<&str>) -> String {
    match near {
        Some(near) => format!(", did you mean `{near}`?"),
        None => "; devices are `cpu:N` and `cuda:N`, counted from 0".into(),
    }
}

/// The word in `known` that was probably meant by `found`.
pub(in crate::placement) fn nearest<'a>(
    found: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    const CLOSE: f64 = 0.69;
    known
        .map(|word| (strsim::jaro_winkler(found, word), word))
        .filter(|(closeness, _)| *closeness >= CLOSE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

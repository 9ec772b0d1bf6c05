//! A GPU, as far as it can change a result.

use serde::{Deserialize, Serialize};

use crate::switch::Switch;
use crate::unit::Bytes;

/// One GPU. What NVML does not tell of it is an empty string, zero or none, and is never equal to
/// anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// Its product name.
    pub name: String,
    /// The one name that no other GPU has.
    pub uuid: String,
    /// Version of its firmware.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vbios: String,
    /// Its memory, what the driver keeps for itself included.
    pub memory: Bytes,
    /// Version of the driver.
    pub driver: String,
    /// The newest CUDA version that the driver runs, as in `13.0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cuda: String,
    /// Clocks of its multiprocessors.
    pub sm_clock: ClockLimits,
    /// Clocks of its memory.
    pub memory_clock: ClockLimits,
    /// Milliwatts that it may draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_limit: Option<u32>,
    /// Whether the driver stays loaded while nobody uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Switch>,
    /// Whether it is divided into instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<Switch>,
    /// Whether its memory corrects errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc: Option<Switch>,
    /// Lanes of its link to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_width: Option<u32>,
}

/// Clocks in MHz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockLimits {
    /// What it runs applications at if nobody says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<u32>,
    /// The highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// What it was told to run applications at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<u32>,
    /// What it is held at, busy or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<u32>,
}

impl Gpu {
    /// What makes it give the results that it gives: product, memory, and whether that is divided.
    #[must_use]
    pub fn kind(&self) -> String {
        let mig = if self.mig == Some(Switch::On) { " divided by MIG" } else { "" };
        format!("{} {}{mig}", self.name, self.memory)
    }
}

impl std::fmt::Display for ClockLimits {
    /// As in `1980 of 1980 MHz`: what applications run at, of the highest; `held at 1500 MHz`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(held) = self.held {
            return write!(f, "held at {held} MHz");
        }
        match (self.application.or(self.default), self.max) {
            (Some(now), Some(max)) => write!(f, "{now} of {max} MHz"),
            (None, Some(max)) => write!(f, "up to {max} MHz"),
            (Some(now), None) => write!(f, "{now} MHz"),
            (None, None) => Ok(()),
        }
    }
}

/// The name without its maker, for file names.
pub(super) fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words
        .map(str::to_ascii_lowercase)
        .filter(|word| !["nvidia", "geforce", "tesla"].contains(&word.as_str()))
        .take(3)
        .collect();
    if words.is_empty() { "gpu".into() } else { words.join("-") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn gpu() -> Gpu {
        Gpu {
            name: "NVIDIA H100 80GB HBM3".into(),
            uuid: "GPU-2f5d8a2e-0000-0000-0000-000000000001".into(),
            vbios: "96.00.89.00.01".into(),
            memory: Bytes(85_520_809_984),
            driver: "580.95.05".into(),
            cuda: "13.0".into(),
            sm_clock: ClockLimits {
                default: Some(1980),
                max: Some(1980),
                ..ClockLimits::default()
            },
            memory_clock: ClockLimits { max: Some(2619), ..ClockLimits::default() },
            power_limit: Some(700_000),
            persistence: Some(Switch::On),
            mig: Some(Switch::Off),
            ecc: Some(Switch::On),
            pcie_width: Some(16),
        }
    }

    #[test]
    fn a_gpu_is_known_by_its_name_and_memory() {
        assert_eq!(gpu().kind(), "NVIDIA H100 80GB HBM3 79.6 GiB");
        assert_eq!(slug("NVIDIA GeForce RTX 4090"), "rtx-4090");
        assert_eq!(slug("?"), "gpu");
        assert_eq!(gpu().sm_clock.to_string(), "1980 of 1980 MHz");
        let held = ClockLimits { held: Some(1500), ..gpu().sm_clock };
        assert_eq!(held.to_string(), "held at 1500 MHz");
    }

    #[test]
    fn a_gpu_that_tells_little_survives_serde() {
        let gpu = Gpu { name: "x".into(), ..Gpu::default() };
        let json = serde_json::to_string(&gpu).unwrap();
        assert_eq!(serde_json::from_str::<Gpu>(&json).unwrap(), gpu);
    }
}

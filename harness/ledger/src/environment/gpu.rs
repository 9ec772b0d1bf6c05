//! A GPU, as far as it can change a result.

use serde::{Deserialize, Serialize};

use crate::switch::Switch;
use crate::unit::Bytes;

/// One GPU. Facts that NVML does not report are an empty string, zero or none, and never equal to
/// anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// Its product name.
    pub name: String,
    /// Its unique identifier.
    pub uuid: String,
    /// Version of its firmware.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vbios: String,
    /// Its memory, including what the driver reserves.
    pub memory: Bytes,
    /// Version of the driver.
    pub driver: String,
    /// The newest CUDA version that the driver supports, as in `13.0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cuda: String,
    /// Clocks of its multiprocessors.
    pub sm_clock: ClockLimits,
    /// Clocks of its memory.
    pub memory_clock: ClockLimits,
    /// Power limit in milliwatts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_limit: Option<u32>,
    /// Persistence mode: whether the driver stays loaded while the GPU is unused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Switch>,
    /// MIG: whether it is divided into instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<Switch>,
    /// ECC: whether its memory corrects errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc: Option<Switch>,
    /// PCIe lanes to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_width: Option<u32>,
}

/// Clocks in MHz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockLimits {
    /// The default application clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<u32>,
    /// The highest clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// The application clock that was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<u32>,
    /// The clock that it is locked at, busy or idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<u32>,
}

impl Gpu {
    /// The facts that determine its results: product, memory, and whether it is divided.
    #[must_use]
    pub fn kind(&self) -> String {
        let mig = if self.mig == Some(Switch::On) { " divided by MIG" } else { "" };
        format!("{} {}{mig}", self.name, self.memory)
    }
}

impl std::fmt::Display for ClockLimits {
    /// As in `1980 of 1980 MHz` (the application clock out of the highest) or `held at 1500 MHz`.
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

/// The name without vendor and brand, for file names.
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

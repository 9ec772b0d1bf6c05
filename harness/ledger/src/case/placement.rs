//! Which layer runs on which device, in the engine's syntax.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where the layers of a model live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Placement {
    /// Which layer lives on which device.
    pub devices: DeviceMap,
    /// Overrides for individual layers and tensors.
    #[serde(skip_serializing_if = "Topology::is_none")]
    pub topology: Topology,
}

impl Placement {
    /// For serde: the value for records from before this field existed.
    pub(super) fn is_default(&self) -> bool {
        *self == Placement::default()
    }

    /// Whether anything of a model lives on a GPU.
    #[must_use]
    pub fn names_gpu(&self) -> bool {
        self.devices.names_gpu() || self.topology.names_gpu()
    }
}

/// A device map as the engine reads it: `cpu:0`, `cuda:0=20+cpu:0=8`, `auto`.
///
/// A comma between devices becomes a `+`, because commas separate axes in a case id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceMap(String);

impl DeviceMap {
    /// The map as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names a GPU.
    #[must_use]
    pub fn names_gpu(&self) -> bool {
        self.0.contains(GPU)
    }
}

/// Names of GPUs begin with this.
const GPU: &str = "cuda";

impl Default for DeviceMap {
    fn default() -> DeviceMap {
        DeviceMap("cpu:0".into())
    }
}

impl fmt::Display for DeviceMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A device map without a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a device map: write `cpu:0`, layers for each device as in `cpu:0=12,cpu:1`, or `auto`"
)]
pub struct NoDeviceMap(String);

impl FromStr for DeviceMap {
    type Err = NoDeviceMap;

    fn from_str(text: &str) -> Result<DeviceMap, NoDeviceMap> {
        let map: String = text.replace(',', "+").chars().filter(|c| !c.is_whitespace()).collect();
        let is_named = map.split('+').all(|entry| entry.starts_with(|c: char| c.is_alphabetic()));
        if is_named { Ok(DeviceMap(map)) } else { Err(NoDeviceMap(text.to_owned())) }
    }
}

impl TryFrom<String> for DeviceMap {
    type Error = NoDeviceMap;

    fn try_from(text: String) -> Result<DeviceMap, NoDeviceMap> {
        text.parse()
    }
}

impl From<DeviceMap> for String {
    fn from(map: DeviceMap) -> String {
        map.0
    }
}

/// A topology file with its contents: the file may change after the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Its name in scenarios and tables.
    pub name: String,
    /// Its contents.
    pub text: String,
}

impl Topology {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it names a GPU.
    #[must_use]
    pub fn names_gpu(&self) -> bool {
        self.text.contains(GPU)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_no_commas_so_that_an_id_can_be_taken_apart() {
        let map = |text: &str| text.parse::<DeviceMap>().map(|map| map.to_string());
        assert_eq!(map("cuda:0=20, cpu:0=8").unwrap(), "cuda:0=20+cpu:0=8");
        assert_eq!(map("auto:cpu:0=1GiB+cpu:1").unwrap(), "auto:cpu:0=1GiB+cpu:1");
        for none in ["", "20", "cpu:0,,cpu:1", "cpu:0,"] {
            let complaint = map(none).unwrap_err().to_string();
            assert!(complaint.starts_with(&format!("`{none}` is not a device map")), "{complaint}");
        }
    }

    #[test]
    fn a_placement_survives_and_says_no_more_than_needed() {
        let json = serde_json::to_string(&Placement::default()).unwrap();
        assert_eq!(json, r#"{"devices":"cpu:0"}"#);
        assert_eq!(serde_json::from_str::<Placement>(&json).unwrap(), Placement::default());
        assert_eq!(serde_json::from_str::<Placement>("{}").unwrap(), Placement::default());
    }

    #[test]
    fn a_gpu_is_named_by_the_map_or_by_the_topology() {
        let placement = |devices: &str, text: &str| Placement {
            devices: devices.parse().unwrap(),
            topology: Topology { name: "t".into(), text: text.into() },
        };
        assert!(!placement("cpu:0", "0-2: { isq: Q4K }").names_gpu());
        assert!(placement("cpu:0=1,cuda:0", "").names_gpu());
        assert!(placement("cpu:0", "0-2: { device: \"cuda:0\" }").names_gpu());
    }
}

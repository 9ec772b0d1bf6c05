//! [`DeviceMap`]: what a user says about where layers go, and its text form.
//!
//! `cuda:0=20,cpu:0=8` gives the first 20 layers to one device and the next 8 to another; in
//! `cuda:0=20,cpu:0` the one without a number gets the rest, and `cpu:0` alone gets all. With
//! `auto:cuda:0=8GiB,cpu:0` the sizes decide, on these devices and with at most that much memory;
//! `auto` is short for `auto:cpu:0`. A `+` may replace a comma where commas have another meaning.

use std::fmt;
use std::str::FromStr;

use super::automatic::{self, Offer};
use super::{DeviceName, Estimate, Opened, PlacementError};
use crate::cuda::driver;
use crate::error::Result;

/// Which layers go where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeviceMap {
    /// A number of layers for each device, starting from the first layer; together they cover all
    /// layers.
    Manual(Vec<Share>),
    /// As many layers as fit on each device, in this order, besides those that a topology puts
    /// there; if no device is named, everything goes to the CPU. An accelerator is used only if it
    /// is named.
    Automatic(Vec<Budget>),
}

/// A device's part of a manual map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Share {
    /// The device.
    pub device: DeviceName,
    /// How many layers it gets; `None` means those that the others leave.
    pub layers: Option<usize>,
}

/// A device for an automatic map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Budget {
    /// The device.
    pub device: DeviceName,
    /// Bytes to count as free; an accelerator keeps a reserve of them. `None` means all of its free
    /// memory, and no limit on a CPU.
    pub limit: Option<u64>,
}

impl DeviceMap {
    /// Everything on the CPU.
    pub fn cpu() -> Self {
        Self::Manual(vec![Share { device: DeviceName::Cpu(0), layers: None }])
    }

    /// The devices that it names or implies.
    pub(super) fn names(&self) -> impl Iterator<Item = DeviceName> {
        let named: Vec<DeviceName> = match self {
            Self::Manual(shares) => shares.iter().map(|share| share.device).collect(),
            Self::Automatic(budgets) if budgets.is_empty() => vec![DeviceName::Cpu(0)],
            Self::Automatic(budgets) => budgets.iter().map(|budget| budget.device).collect(),
        };
        named.into_iter()
    }

    /// The device of everything outside the layers, and that of each layer, for a model of the size
    /// in `estimate`. Layers with an entry in `pins` already have a device.
    ///
    /// # Errors
    ///
    /// When the map does not fit the number of layers, or the model does not fit the devices.
    pub fn layers(
        &self,
        estimate: &Estimate,
        pins: &[Option<DeviceName>],
        opened: &Opened,
    ) -> Result<(DeviceName, Vec<DeviceName>)> {
        match self {
            Self::Manual(shares) => {
                let layers = self.dealt(shares, estimate.layers.len())?;
                let first = shares.first().map_or(DeviceName::Cpu(0), |share| share.device);
                let layers = pins.iter().zip(layers).map(|(pin, device)| pin.unwrap_or(device));
                Ok((first, layers.collect()))
            }
            Self::Automatic(budgets) => {
                let named = match budgets.is_empty() {
                    true => &[Budget { device: DeviceName::Cpu(0), limit: None }],
                    false => &budgets[..],
                };
                let offers = named.iter().map(|budget| budget.offer(opened));
                let offers = offers.collect::<Result<Vec<_>>>()?;
                let (rest, offers) = beside(pins, estimate, &offers);
                let placed = automatic::place(&rest, &offers).map_err(PlacementError::from)?;
                let first = placed.first().copied().unwrap_or(named[0].device);
                let mut placed = placed.into_iter();
                let layers = pins.iter().map(|pin| pin.or_else(|| placed.next()).unwrap_or(first));
                Ok((first, layers.collect()))
            }
        }
    }

    /// The device of each of `layers` layers, by the numbers in `shares`, which are this map's.
    fn dealt(&self, shares: &[Share], layers: usize) -> Result<Vec<DeviceName>, PlacementError> {
        let refuse = |problem| Err(PlacementError::Map { map: self.to_string(), problem });
        let given = shares.iter().filter_map(|share| share.layers).fold(0, usize::saturating_add);
        let is_open = shares.iter().any(|share| share.layers.is_none());
        let rest = match layers.checked_sub(given) {
            None => {
                return refuse(format!("it places {given} layers, but the model has {layers}"));
            }
            Some(rest) if rest > 0 && !is_open => {
                return refuse(format!(
                    "it places {given} of the model's {layers} layers; give {rest} more to a device, or leave out the number of the one that takes the rest"
                ));
            }
            Some(rest) => rest,
        };
        let dealt = |share: &Share| vec![share.device; share.layers.unwrap_or(rest)];
        Ok(shares.iter().flat_map(dealt).collect())
    }
}

/// What remains of `estimate` and `offers` without the layers that have a device in `pins`.
fn beside(
    pins: &[Option<DeviceName>],
    estimate: &Estimate,
    offers: &[Offer],
) -> (Estimate, Vec<Offer>) {
    let layers = || estimate.layers.iter().zip(pins);
    let rest = layers().filter(|(_, pin)| pin.is_none()).map(|(layer, _)| *layer).collect();
    let left = |offer: &Offer| {
        let pinned = layers().filter(|(_, pin)| **pin == Some(offer.device));
        let bytes = |available: u64| {
            pinned.fold(available, |left, (layer, _)| {
                left.saturating_sub(layer.weights).saturating_sub(layer.kv)
            })
        };
        Offer { available: offer.available.map(bytes), ..*offer }
    };
    (Estimate { layers: rest, ..estimate.clone() }, offers.iter().map(left).collect())
}

impl Budget {
    /// What the device has to offer: for a GPU without a limit, its free memory.
    fn offer(&self, opened: &Opened) -> Result<Offer> {
        let Self { device, limit } = *self;
        match (device, limit) {
            (DeviceName::Cpu(_), _) | (_, Some(_)) => Ok(Offer { device, available: limit }),
            (DeviceName::Cuda(_), None) => match driver::memory(&opened.get(device)?) {
                Some(memory) => Ok(Offer { device, available: Some(memory.free) }),
                None => Err(PlacementError::UnknownMemory { device }.into()),
            },
        }
    }
}

impl fmt::Display for DeviceMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |entries: Vec<(DeviceName, Option<String>)>| {
            let entry = |(device, value): (DeviceName, Option<String>)| match value {
                Some(value) => format!("{device}={value}"),
                None => device.to_string(),
            };
            entries.into_iter().map(entry).collect::<Vec<_>>().join(",")
        };
        match self {
            Self::Manual(shares) => {
                let entry = |share: &Share| (share.device, share.layers.map(|n| n.to_string()));
                f.pad(&joined(shares.iter().map(entry).collect()))
            }
            Self::Automatic(budgets) if budgets.is_empty() => f.pad("auto"),
            Self::Automatic(budgets) => {
                let entry = |budget: &Budget| (budget.device, budget.limit.map(exact));
                f.pad(&format!("auto:{}", joined(budgets.iter().map(entry).collect())))
            }
        }
    }
}

impl FromStr for DeviceMap {
    type Err = PlacementError;

    fn from_str(map: &str) -> Result<Self, PlacementError> {
        let refused = |problem| PlacementError::Map { map: map.into(), problem };
        if map == "auto" {
            return Ok(Self::Automatic(Vec::new()));
        }
        match map.strip_prefix("auto:") {
            Some(list) => Ok(Self::Automatic(budgets(list).map_err(refused)?)),
            None => Ok(Self::Manual(shares(map).map_err(refused)?)),
        }
    }
}

/// The devices in a list, each with the text of its value, if any.
fn entries(list: &str) -> Result<Vec<(DeviceName, Option<&str>)>, String> {
    let mut entries: Vec<(DeviceName, Option<&str>)> = Vec::new();
    for entry in list.split([',', '+']) {
        let (word, value) = match entry.split_once('=') {
            Some((word, value)) => (word.trim(), Some(value.trim())),
            None => (entry.trim(), None),
        };
        if word.is_empty() {
            return Err("a device is missing; write `cpu:0`, or `cuda:0=20,cpu:0=8`".into());
        }
        let device: DeviceName = word.parse().map_err(|error: PlacementError| error.to_string())?;
        if entries.iter().any(|(known, _)| *known == device) {
            return Err(format!("`{device}` is named twice; name each device once"));
        }
        entries.push((device, value));
    }
    Ok(entries)
}

/// The devices of a manual map.
fn shares(list: &str) -> Result<Vec<Share>, String> {
    let mut open = None;
    let share = |(device, value): (DeviceName, Option<&str>)| match (value, open) {
        (Some(value), _) => match value.parse() {
            Ok(layers) => Ok(Share { device, layers: Some(layers) }),
            Err(_) => Err(format!(
                "`{value}` is not a number of layers; write `{device}=20`, or `{device}` for the rest"
            )),
        },
        (None, Some(other)) => Err(format!(
            "neither `{other}` nor `{device}` has a number, but only one device can take the rest"
        )),
        (None, None) => {
            open = Some(device);
            Ok(Share { device, layers: None })
        }
    };
    entries(list)?.into_iter().map(share).collect()
}

/// The devices of an automatic map.
fn budgets(list: &str) -> Result<Vec<Budget>, String> {
    let budget = |(device, value): (DeviceName, Option<&str>)| {
        let limit = value.map(|value| {
            bytes(value).ok_or_else(|| {
                format!("`{value}` is not a size; write how much of `{device}` counts as free, as in `{device}=8GiB`")
            })
        });
        Ok(Budget { device, limit: limit.transpose()? })
    };
    entries(list)?.into_iter().map(budget).collect()
}

/// Units of size, largest first.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `bytes` in the largest unit that divides them.
fn exact(bytes: u64) -> String {
    let [.., smallest] = UNITS;
    let unit = UNITS.into_iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    let (unit, size) = unit.unwrap_or(smallest);
    format!("{}{unit}", bytes / size)
}

/// The inverse of [`exact`].
fn bytes(text: &str) -> Option<u64> {
    let (number, size) =
        UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(*size)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn refusal(map: &str) -> String {
        map.parse::<DeviceMap>().unwrap_err().to_string()
    }

    fn dealt(map: &str, layers: usize) -> Result<String, String> {
        let map: DeviceMap = map.parse().unwrap();
        let DeviceMap::Manual(shares) = &map else { panic!("{map} is a manual one") };
        let names = map.dealt(shares, layers).map_err(|error| error.to_string())?;
        Ok(names.iter().map(DeviceName::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_map_survives_as_text() {
        for text in [
            "cpu:0",
            "cuda:0=20,cpu:0=8",
            "cpu:0=1,cpu:1,cuda:0=0",
            "auto",
            "auto:cuda:0=8GiB,cuda:1=1500MiB,cpu:0",
            "auto:cpu:0=0B,cpu:1=1025B",
        ] {
            assert_eq!(text.parse::<DeviceMap>().unwrap().to_string(), text);
        }
        for (other, text) in [
            ("cpu", "cpu:0"),
            ("cuda=20+cpu=8", "cuda:0=20,cpu:0=8"),
            (" cpu:0 = 3 , cpu:1", "cpu:0=3,cpu:1"),
            ("auto:cpu[1]=2048 KiB", "auto:cpu:1=2MiB"),
        ] {
            assert_eq!(other.parse::<DeviceMap>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_automatic_map_uses_the_devices_that_it_names_and_the_cpu_if_it_names_none() {
        let names = |map: &str| map.parse::<DeviceMap>().unwrap().names().collect::<Vec<_>>();
        assert_eq!(names("auto"), [DeviceName::Cpu(0)]);
        assert_eq!(names("auto:cuda:0=8GiB,cpu:1"), [DeviceName::Cuda(0), DeviceName::Cpu(1)]);
    }

    #[test]
    fn layers_are_dealt_in_order_and_the_rest_goes_where_no_number_stands() {
        assert_eq!(dealt("cpu:0", 3).unwrap(), "cpu:0 cpu:0 cpu:0");
        assert_eq!(dealt("cuda:0=2,cpu:0=1", 3).unwrap(), "cuda:0 cuda:0 cpu:0");
        assert_eq!(dealt("cpu:1=1,cpu:0,cpu:2=1", 4).unwrap(), "cpu:1 cpu:0 cpu:0 cpu:2");
        assert_eq!(dealt("cpu:0=0,cpu:1", 2).unwrap(), "cpu:1 cpu:1");
        assert_eq!(dealt("cpu:0,cpu:1=2", 2).unwrap(), "cpu:1 cpu:1");
    }

    #[test]
    fn a_map_that_makes_no_sense_is_told_why() {
        assert_snapshot!(refusal("gpu:0"), @"device map `gpu:0`: `gpu:0` is not a device, did you mean `cuda:0`?");
        assert_snapshot!(refusal("cdua"), @"device map `cdua`: `cdua` is not a device, did you mean `cuda:0`?");
        assert_snapshot!(refusal("tpu:0"), @"device map `tpu:0`: `tpu:0` is not a device, did you mean `cpu:0`?");
        assert_snapshot!(refusal("cpu:one"), @"device map `cpu:one`: `cpu:one` is not a device; devices are counted from 0, as in `cpu:1`");
        assert_snapshot!(refusal(""), @"device map ``: a device is missing; write `cpu:0`, or `cuda:0=20,cpu:0=8`");
        assert_snapshot!(refusal("cuda:0=20,"), @"device map `cuda:0=20,`: a device is missing; write `cpu:0`, or `cuda:0=20,cpu:0=8`");
        assert_snapshot!(refusal("cuda:0=20,cuda[0]=8"), @"device map `cuda:0=20,cuda[0]=8`: `cuda:0` is named twice; name each device once");
        assert_snapshot!(refusal("cpu:0,cpu:1"), @"device map `cpu:0,cpu:1`: neither `cpu:0` nor `cpu:1` has a number, but only one device can take the rest");
        assert_snapshot!(refusal("cpu:0=-1"), @"device map `cpu:0=-1`: `-1` is not a number of layers; write `cpu:0=20`, or `cpu:0` for the rest");
        assert_snapshot!(refusal("cpu:0=8GiB"), @"device map `cpu:0=8GiB`: `8GiB` is not a number of layers; write `cpu:0=20`, or `cpu:0` for the rest");
        assert_snapshot!(refusal("auto:cpu:0=8"), @"device map `auto:cpu:0=8`: `8` is not a size; write how much of `cpu:0` counts as free, as in `cpu:0=8GiB`");
        assert_snapshot!(refusal("auto:cpu:0=99999999999GiB"), @"device map `auto:cpu:0=99999999999GiB`: `99999999999GiB` is not a size; write how much of `cpu:0` counts as free, as in `cpu:0=8GiB`");
        assert_snapshot!(refusal("automatic"), @"device map `automatic`: `automatic` is not a device; devices are `cpu:N` and `cuda:N`, counted from 0");
        assert_snapshot!(dealt("cuda:0=20,cpu:0=8", 24).unwrap_err(), @"device map `cuda:0=20,cpu:0=8`: it places 28 layers, but the model has 24");
        assert_snapshot!(dealt("cuda:0=20,cpu:0=2", 24).unwrap_err(), @"device map `cuda:0=20,cpu:0=2`: it places 22 of the model's 24 layers; give 2 more to a device, or leave out the number of the one that takes the rest");
        assert_snapshot!(dealt("cpu:0=18446744073709551615,cpu:1=1", 24).unwrap_err(), @"device map `cpu:0=18446744073709551615,cpu:1=1`: it places 18446744073709551615 layers, but the model has 24");
    }
}

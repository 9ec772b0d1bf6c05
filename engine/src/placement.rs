//! Which device holds what.
//!
//! Devices have logical names: `cpu:0`, `cpu:1`, `cuda:0`. Several of them may be one real device,
//! as all CPUs are. Each still has its own weights, keys and values, and whatever passes between
//! them is copied and counted, so that maps can be tested and measured without accelerators.
//!
//! A layer lives entirely on one device, with its keys and values. Embedding, final norm and head
//! live on the first device. Users write a [`DeviceMap`], whose choice for individual layers a
//! [`Topology`] may override; [`Placement::plan`] turns both into a [`Placement`], and where sizes
//! decide, lets [`automatic`](automatic::place) weigh the sizes in an [`Estimate`].

use candle_core::Device;

pub mod automatic;
mod device;
mod error;
mod estimate;
mod exhausted;
mod map;
mod topology;

pub use device::{DeviceName, Opened};
pub use error::PlacementError;
pub use estimate::{Estimate, Widths};
pub use exhausted::{Exhausted, Occupied, Wanted};
pub use map::{Budget, DeviceMap, Share};
pub use topology::Topology;

use crate::cuda::driver;
use crate::error::Result;
use crate::kv::KvStore;
use crate::telemetry::{Footprint, Holding};
use crate::weights::Tally;

/// Which device each layer lives on.
#[derive(Debug, Clone)]
pub struct Placement {
    devices: Vec<(DeviceName, Device)>,
    /// Index into `devices` by layer; a layer beyond its end lives on the first device.
    layers: Vec<usize>,
}

/// A part of a model that is assigned a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spot {
    /// Everything outside the layers: embedding, final norm, head.
    Fixed,
    /// Layer `n`.
    Layer(usize),
}

impl Spot {
    /// The layer, if it is one.
    pub const fn layer(self) -> Option<usize> {
        match self {
            Self::Fixed => None,
            Self::Layer(layer) => Some(layer),
        }
    }
}

impl Placement {
    /// Everything on the CPU.
    pub fn cpu() -> Self {
        Self { devices: vec![(DeviceName::Cpu(0), Device::Cpu)], layers: Vec::new() }
    }

    /// Places a model of the size in `estimate` by `map`, except for layers whose device `topology`
    /// sets. `tensors` are the names of all of its tensors with their spots, and `opened` is the
    /// result of [`candidates`](Self::candidates).
    ///
    /// # Errors
    ///
    /// When map or topology do not fit the model, the model does not fit the devices, or a device
    /// does not exist or cannot be used by this build.
    pub fn plan(
        map: &DeviceMap,
        topology: &Topology,
        estimate: &Estimate,
        tensors: &[(Spot, String)],
        opened: &Opened,
    ) -> Result<Self> {
        let pins = topology.pins(estimate.layers.len(), tensors)?;
        let (first, layers) = map.layers(estimate, &pins, opened)?;
        Self::new(first, &layers, opened)
    }

    /// The devices on which `map` and `topology` may place something.
    ///
    /// # Errors
    ///
    /// When one does not exist or cannot be used by this build.
    pub fn candidates(map: &DeviceMap, topology: &Topology) -> Result<Opened> {
        Opened::all(map.names().chain(topology.names()))
    }

    /// Places everything outside the layers on `first`, and each layer on its device in `layers`.
    /// Devices already in `opened` are reused.
    ///
    /// # Errors
    ///
    /// When a device does not exist or cannot be used by this build.
    pub fn new(first: DeviceName, layers: &[DeviceName], opened: &Opened) -> Result<Self> {
        let mut names = vec![first];
        for name in layers {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        let index = |name| names.iter().position(|known| known == name).unwrap_or(0);
        let layers = layers.iter().map(index).collect();
        let open = |name: &DeviceName| Ok((*name, opened.get(*name)?));
        Ok(Self { devices: names.iter().map(open).collect::<Result<_>>()?, layers })
    }

    /// The device of embedding, final norm and head.
    pub fn first(&self) -> &Device {
        self.at(Spot::Fixed)
    }

    /// The device of `layer`.
    pub fn layer(&self, layer: usize) -> &Device {
        self.at(Spot::Layer(layer))
    }

    /// The device of `spot`.
    pub fn at(&self, spot: Spot) -> &Device {
        &self.devices[self.index(spot)].1
    }

    /// Index of the device of `spot` in [`devices`](Self::devices).
    pub fn index(&self, spot: Spot) -> usize {
        match spot {
            Spot::Fixed => 0,
            Spot::Layer(layer) => self.layers.get(layer).copied().unwrap_or(0),
        }
    }

    /// The devices, the first one first. All have at least one layer, except perhaps the first.
    pub fn devices(&self) -> impl Iterator<Item = &Device> + Clone {
        self.devices.iter().map(|(_, device)| device)
    }

    /// What each device was expected to hold by `estimate`, and what it holds of the weights
    /// counted by `tally` and of `kv`, if the cache exists yet.
    pub(crate) fn holdings(
        &self,
        estimate: &Estimate,
        tally: &Tally,
        kv: Option<&KvStore>,
    ) -> Vec<Holding> {
        let empty = |device| Holding {
            device,
            layers: 0,
            estimated: Footprint::default(),
            held: Footprint::default(),
        };
        let mut holdings: Vec<Holding> = self.names().map(empty).collect();
        holdings[0].estimated.weights += estimate.fixed;
        holdings[0].held.weights += tally.bytes_at(Spot::Fixed);
        for (layer, expected) in estimate.layers.iter().enumerate() {
            let spot = Spot::Layer(layer);
            let holding = &mut holdings[self.index(spot)];
            holding.layers += 1;
            holding.estimated.weights += expected.weights;
            holding.estimated.kv += expected.kv;
            holding.held.weights += tally.bytes_at(spot);
        }
        for (layer, bytes) in kv.into_iter().flat_map(KvStore::bytes).enumerate() {
            holdings[self.index(Spot::Layer(layer))].held.kv += bytes;
        }
        holdings
    }

    /// The accelerators in their current state, with what `holdings` says about each.
    pub(crate) fn occupied(&self, holdings: &[Holding]) -> Vec<Occupied> {
        let own = self.devices.iter().zip(holdings);
        let occupied = |((name, device), holding): (&(DeviceName, Device), &Holding)| Occupied {
            device: *name,
            memory: driver::memory(device),
            held: holding.held,
        };
        own.filter(|((_, device), _)| !device.is_cpu()).map(occupied).collect()
    }

    /// Logical names of the devices.
    pub fn names(&self) -> impl Iterator<Item = DeviceName> {
        self.devices.iter().map(|(name, _)| *name)
    }
}

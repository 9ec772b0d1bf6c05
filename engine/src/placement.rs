//! Which device holds what.
//!
//! Devices have logical names (`cpu:0`). A layer lives on one device; embedding, final norm and
//! head live on the first one. Today the first is the only one.

use candle_core::Device;

/// Where each layer lives.
#[derive(Debug, Clone)]
pub struct Placement {
    devices: Vec<(String, Device)>,
    /// Index into `devices` by layer; a layer beyond its end lives on the first device.
    layers: Vec<usize>,
}

impl Placement {
    /// Everything on the CPU.
    pub fn cpu() -> Self {
        Self { devices: vec![("cpu:0".into(), Device::Cpu)], layers: Vec::new() }
    }

    /// The device of embedding, final norm and head.
    pub fn first(&self) -> &Device {
        &self.devices[0].1
    }

    /// The device of layer `layer`.
    pub fn layer(&self, layer: usize) -> &Device {
        let device = self.layers.get(layer).copied().unwrap_or(0);
        &self.devices[device].1
    }

    /// Logical names of the devices, the first one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(|(name, _)| &name[..])
    }
}

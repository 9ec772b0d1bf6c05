//! Stands in for `driver` in a build without the feature `cuda`.
//!
//! No GPU device can exist in such a build, so these answers never mislead.

use candle_core::{CudaStorage, Device, Result, Tensor, bail};

use super::{Capability, DeviceMemory};
use crate::sampler::NoToken;

/// The GPU with an ordinal.
pub(crate) fn open(_: usize) -> Result<Device> {
    bail!("this build has no kernels for GPUs")
}

/// Makes one device wait for the work submitted to another.
pub(crate) const fn follow(_: &Device, _: &Device) -> Result<()> {
    Ok(())
}

/// How many numbers a storage holds.
pub(crate) const fn numbers_in(_: &CudaStorage) -> Option<usize> {
    None
}

/// Waits for every GPU that was opened.
pub(crate) const fn wait_for_all() {}

/// The compute capability of a device.
pub(crate) const fn capability(_: &Device) -> Option<Capability> {
    None
}

/// Multiprocessors of a device.
pub(crate) const fn multiprocessors(_: &Device) -> Option<u32> {
    None
}

/// The memory of a device.
pub(crate) const fn memory(_: &Device) -> Option<DeviceMemory> {
    None
}

/// Peak bytes allocated on the GPUs that were opened.
pub(crate) const fn most_allocated() -> Option<u64> {
    None
}

/// Loads the engine's own kernels on a device.
pub(crate) fn prepare(_: &Device) -> Result<()> {
    bail!("this build has no kernels for GPUs")
}

/// Writes keys and values to a cache.
pub(crate) fn store(_: &Tensor, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<()> {
    bail!("this build has no kernels for GPUs")
}

/// The likeliest token of each row of logits.
pub(crate) fn likeliest(_: &Tensor) -> Result<Vec<std::result::Result<u32, NoToken>>> {
    bail!("this build has no kernels for GPUs")
}

/// The angles of rotary embeddings.
pub(crate) fn angles(_: &Tensor, _: [&[f32]; 2], _: u32, _: f32) -> Result<Tensor> {
    bail!("this build has no kernels for GPUs")
}

/// A recording of launches, which cannot exist.
#[derive(Debug)]
pub(crate) enum Recording {}

impl Recording {
    /// Records launches on a device.
    pub(crate) fn of(_: &Device, _: impl FnMut() -> Result<()>) -> Result<Self> {
        bail!("this build has no kernels for GPUs")
    }

    /// Launches all of it again.
    pub(crate) fn replay(&mut self) -> Result<()> {
        match *self {}
    }
}

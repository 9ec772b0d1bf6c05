//! What a build without the feature `cuda` knows of GPUs: nothing.
//!
//! No device of a GPU can exist in such a build, so nobody is ever misled by these answers.

use candle_core::{CudaStorage, Device, Result, Tensor, bail};

use super::{Capability, DeviceMemory};
use crate::sampler::NoToken;

/// The GPU of that `ordinal`.
pub(crate) fn open(_: usize) -> Result<Device> {
    bail!("this build has no kernels for GPUs")
}

/// Lets `from` wait for what `to` was asked for.
pub(crate) const fn follow(_: &Device, _: &Device) -> Result<()> {
    Ok(())
}

/// How many numbers lie in `storage`.
pub(crate) const fn numbers_in(_: &CudaStorage) -> Option<usize> {
    None
}

/// Waits for every GPU that was opened.
pub(crate) const fn wait_for_all() {}

/// The compute capability of `device`.
pub(crate) const fn capability(_: &Device) -> Option<Capability> {
    None
}

/// Multiprocessors of `device`.
pub(crate) const fn multiprocessors(_: &Device) -> Option<u32> {
    None
}

/// The memory of `device`.
pub(crate) const fn memory(_: &Device) -> Option<DeviceMemory> {
    None
}

/// Most bytes that were allocated at once.
pub(crate) const fn most_allocated() -> Option<u64> {
    None
}

/// Makes `device` ready for the engine's own kernels.
pub(crate) fn prepare(_: &Device) -> Result<()> {
    bail!("this build has no kernels for GPUs")
}

/// Stores keys and values in a cache.
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

/// A recording of launches, of which there can be none.
#[derive(Debug)]
pub(crate) enum Recording {}

impl Recording {
    /// Records what `launches` asks of a device.
    pub(crate) fn of(_: &Device, _: impl FnMut() -> Result<()>) -> Result<Self> {
        bail!("this build has no kernels for GPUs")
    }

    /// Asks for all of it again.
    pub(crate) fn replay(&mut self) -> Result<()> {
        match *self {}
    }
}

//! What a driver tells of its GPUs.

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::result;
use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute;

use super::{Capability, DeviceMemory};

pub(crate) use super::kernels::{likeliest, prepare, store};

/// The compute capability of `device`; none if it is no GPU, or its driver does not tell.
pub(crate) fn capability(device: &Device) -> Option<Capability> {
    let of = |part| attribute(device, part);
    let major = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Some(Capability::new(major, minor))
}

/// Multiprocessors of `device`; likewise.
pub(crate) fn multiprocessors(device: &Device) -> Option<u32> {
    attribute(device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
}

fn attribute(device: &Device, attribute: CUdevice_attribute) -> Option<u32> {
    let Device::Cuda(device) = device else { return None };
    u32::try_from(device.cuda_stream().context().attribute(attribute).ok()?).ok()
}

/// The memory of `device`; none if it is no GPU, or its driver does not tell.
pub(crate) fn memory(device: &Device) -> Option<DeviceMemory> {
    let Device::Cuda(device) = device else { return None };
    // The driver answers for the context of the thread that asks.
    device.cuda_stream().context().bind_to_thread().ok()?;
    let (free, total) = result::mem_get_info().ok()?;
    Some(DeviceMemory { free: free as u64, total: total as u64 })
}

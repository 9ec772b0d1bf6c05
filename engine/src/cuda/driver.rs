//! GPUs as their driver has them: how they are opened, and what it reports of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::result;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice_attribute, CUmemPool_attribute, CUmemoryPool,
};
use candle_core::{Device, Result};

use super::{Capability, DeviceMemory};

pub(crate) use super::angles::angles;
pub(crate) use super::kernels::{likeliest, prepare, store};
pub(crate) use super::recording::Recording;

/// The GPU of that `ordinal`, with one stream on which everything happens in the order in which it was
/// asked for, by whatever thread: steps are computed on threads of a pool, and a stream for each of
/// them would let a step begin before the one before has ended.
///
/// # Errors
///
/// When there is no such GPU, or it cannot be used.
pub(crate) fn open(ordinal: usize) -> Result<Device> {
    let opened = Device::new_cuda_with_stream(ordinal)?;
    if let Device::Cuda(device) = &opened {
        // SAFETY: events keep streams from overtaking each other where they share memory. Whatever
        // is allocated here is used on this one stream alone, in the order of the calls.
        unsafe { device.disable_event_tracking() };
        keep_freed_memory(ordinal)?;
        OPENED.lock().unwrap_or_else(PoisonError::into_inner).push(opened.clone());
    }
    Ok(opened)
}

/// Every GPU that was opened, once for each time. None of them is ever closed: whoever ends a stage
/// waits for all GPUs, because it does not know on which of them the stage ran; and what was allocated
/// at most is asked for when the engine may be gone. A process loads one model, as a rule: each further
/// one leaves a stream, handles of cuBLAS and cuRAND and its kernels behind, but no tensor.
static OPENED: Mutex<Vec<Device>> = Mutex::new(Vec::new());

/// Waits for every GPU that was opened. One that fails says so to those who use it.
pub(crate) fn wait_for_all() {
    for device in OPENED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = device.synchronize();
    }
}

/// Lets the driver keep what is freed, for what is allocated next. Otherwise it gives it back to the
/// system whenever somebody waits for the GPU, at the end of each step, and maps it anew in the next.
fn keep_freed_memory(ordinal: usize) -> Result<()> {
    let mut threshold = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the driver reads a u64 where this attribute is set.
    unsafe {
        result::mem_pool::set_attribute(pool(ordinal)?, attribute, (&raw mut threshold).cast())
    }
    .w()
}

/// Most bytes that were allocated at once on each GPU that was opened, together; none if none was, or
/// a driver does not report it.
pub(crate) fn most_allocated() -> Option<u64> {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let ordinal = |device: &Device| match device {
        Device::Cuda(device) => Some(device.cuda_stream().context().ordinal()),
        _ => None,
    };
    let ordinals: BTreeSet<usize> = opened.iter().filter_map(ordinal).collect();
    let most = ordinals.into_iter().map(most_allocated_on).collect::<Option<Vec<u64>>>()?;
    (!most.is_empty()).then(|| most.iter().sum())
}

fn most_allocated_on(ordinal: usize) -> Option<u64> {
    let mut most = 0u64;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the driver writes a u64 where it is asked for this attribute.
    unsafe {
        let most = (&raw mut most).cast();
        result::mem_pool::get_attribute(pool(ordinal).ok()?, attribute, most).ok()?;
    }
    Some(most)
}

/// The pool out of which memory of the GPU of that ordinal is allocated.
fn pool(ordinal: usize) -> Result<CUmemoryPool> {
    let device = result::device::get(ordinal as i32).w()?;
    // SAFETY: the GPU exists, since its driver has named it; its pool lives as long as the driver.
    unsafe { result::device::get_default_mem_pool(device) }.w()
}

/// The compute capability of `device`; none if it is no GPU, or its driver does not report it.
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

/// The memory of `device`; none if it is no GPU, or its driver does not report it.
pub(crate) fn memory(device: &Device) -> Option<DeviceMemory> {
    let Device::Cuda(device) = device else { return None };
    // The driver answers for the context of the thread that asks.
    device.cuda_stream().context().bind_to_thread().ok()?;
    let (free, total) = result::mem_get_info().ok()?;
    Some(DeviceMemory { free: free as u64, total: total as u64 })
}

//! GPUs as their driver has them: how they are opened, and what it reports of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice, CUdevice_attribute, CUgraphMem_attribute, CUmemPool_attribute, CUmemoryPool,
    cuDeviceGetGraphMemAttribute,
};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, result};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr, kernels};
use candle_core::{CudaStorage, Device, Result};

use super::{Capability, DeviceMemory, countable, is_built_for};

pub(crate) use super::angles::angles;
pub(crate) use super::kernels::{likeliest, prepare, store};
pub(crate) use super::recording::Recording;

/// The GPU of that `ordinal`, with one stream on which everything happens in the order in which it was
/// asked for, by whatever thread: steps are computed on threads of a pool, and a stream for each of
/// them would let a step begin before the one before has ended.
///
/// # Errors
///
/// When there is no such GPU, or it cannot be used, or this was built for other ones.
pub(crate) fn open(ordinal: usize) -> Result<Device> {
    let opened = Device::new_cuda_with_stream(countable(ordinal)?)?;
    if let Some(capability) = capability(&opened) {
        is_built_for(capability, kernels::AFFINE.ptx())?;
    }
    if let Device::Cuda(device) = &opened {
        // SAFETY: events keep streams from overtaking each other where they share memory. Whatever
        // is allocated here is used on this one stream, in the order of the calls, but for what is
        // copied to another GPU. The stream of that one waits for this one before it copies, as cudarc
        // has it do, and this one waits for the copy before it goes on: see `follow`.
        unsafe { device.disable_event_tracking() };
        keep_freed_memory(device.cuda_stream().context())?;
        OPENED.lock().unwrap_or_else(PoisonError::into_inner).push(opened.clone());
    }
    Ok(opened)
}

/// Every GPU that was opened, once for each time. None of them is ever closed: whoever ends a stage
/// waits for all GPUs, because it does not know on which of them the stage ran; and what was allocated
/// at most is asked for when the engine may be gone. A process loads one model, as a rule: each further
/// one leaves a stream, handles of cuBLAS and cuRAND and its kernels behind, and the memory that candle
/// keeps for a device as long as the process lives: what kernels that were recorded read of shapes, and
/// the scratch of products with blocks.
static OPENED: Mutex<Vec<Device>> = Mutex::new(Vec::new());

/// Waits for every GPU that was opened. One that fails says so to those who use it.
pub(crate) fn wait_for_all() {
    for device in OPENED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = device.synchronize();
    }
}

/// Lets `from` wait until `to` has done what it was asked for so far, if both are GPUs: what `to`
/// copies out of the memory of `from` may then be freed there. Nobody else waits.
///
/// # Errors
///
/// When one of them fails.
pub(crate) fn follow(from: &Device, to: &Device) -> Result<()> {
    match (from, to) {
        (Device::Cuda(from), Device::Cuda(to)) => from.cuda_stream().join(&to.cuda_stream()).w(),
        _ => Ok(()),
    }
}

/// How many numbers lie in `storage`; none where they have a type that no model has.
pub(crate) fn numbers_in(storage: &CudaStorage) -> Option<usize> {
    match &storage.slice {
        CudaStorageSlice::U32(numbers) => Some(numbers.len()),
        CudaStorageSlice::BF16(numbers) => Some(numbers.len()),
        CudaStorageSlice::F16(numbers) => Some(numbers.len()),
        CudaStorageSlice::F32(numbers) => Some(numbers.len()),
        _ => None,
    }
}

/// Lets the driver keep what is freed, for what is allocated next. Otherwise it gives it back to the
/// system whenever somebody waits for the GPU, at the end of each step, and maps it anew in the next. A
/// GPU without pools of memory keeps nothing.
fn keep_freed_memory(context: &CudaContext) -> Result<()> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let pool = pool(context.cu_device())?;
    let mut threshold = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the driver reads a u64 where this attribute is set.
    unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast()) }.w()
}

/// Most bytes that were allocated at once on each GPU that was opened, together; none if none was, or
/// a driver does not report it.
pub(crate) fn most_allocated() -> Option<u64> {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let gpu = |device: &Device| match device {
        Device::Cuda(device) => Some(device.cuda_stream().context().cu_device()),
        _ => None,
    };
    let gpus: BTreeSet<CUdevice> = opened.iter().filter_map(gpu).collect();
    let most = gpus.into_iter().map(most_allocated_on).collect::<Option<Vec<u64>>>()?;
    (!most.is_empty()).then(|| most.iter().sum())
}

/// The most out of the pool of `gpu`, and the most in recorded launches: never more than that at once.
fn most_allocated_on(gpu: CUdevice) -> Option<u64> {
    let in_pool = in_pool(gpu, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
    let mut recorded = 0u64;
    let attribute = CUgraphMem_attribute::CU_GRAPH_MEM_ATTR_USED_MEM_HIGH;
    // SAFETY: the GPU exists, since it is open; the driver writes a u64 where it is asked for this
    // attribute.
    let told = unsafe { cuDeviceGetGraphMemAttribute(gpu, attribute, (&raw mut recorded).cast()) };
    told.result().ok()?;
    Some(in_pool + recorded)
}

/// The bytes that `attribute` counts of the pool of `gpu`; none where a driver does not report it.
fn in_pool(gpu: CUdevice, attribute: CUmemPool_attribute) -> Option<u64> {
    let pool = pool(gpu).ok()?;
    let mut bytes = 0u64;
    // SAFETY: the driver writes a u64 where it is asked for an attribute that counts bytes.
    unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }.ok()?;
    Some(bytes)
}

/// The pool out of which memory of `gpu` is allocated.
fn pool(gpu: CUdevice) -> Result<CUmemoryPool> {
    // SAFETY: the GPU exists, since it is open; its pool lives as long as the driver.
    unsafe { result::device::get_default_mem_pool(gpu) }.w()
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
    let stream = device.cuda_stream();
    let context = stream.context();
    // What was freed is in use until the GPU has come that far. If it fails, others hear of it.
    let _ = context.synchronize();
    let (free, total) = context.mem_get_info().ok()?;
    let of_pool = |attribute| in_pool(context.cu_device(), attribute);
    let held = of_pool(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    let used = of_pool(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    // To the driver it is taken, but the next to get it are we.
    let kept = held.zip(used).map_or(0, |(held, used)| held.saturating_sub(used));
    Some(DeviceMemory { free: free as u64 + kept, total: total as u64 })
}

//! GPUs through their driver: opening them, and what the driver reports about them.

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

/// The GPU with this `ordinal`, with a single stream that does everything in the order of the
/// calls, whichever thread makes them. Steps run on threads of a pool, and with a stream per thread
/// a step could begin before the previous one has ended.
///
/// # Errors
///
/// When there is no such GPU, it cannot be used, or this build is for other GPUs.
pub(crate) fn open(ordinal: usize) -> Result<Device> {
    let opened = Device::new_cuda_with_stream(countable(ordinal)?)?;
    if let Some(capability) = capability(&opened) {
        is_built_for(capability, kernels::AFFINE.ptx())?;
    }
    if let Device::Cuda(device) = &opened {
        // SAFETY: events order streams that share memory. Memory allocated here is used only on
        // this stream, in the order of the calls, except for copies to another GPU. For those,
        // cudarc makes the other stream wait for this one before it copies, and `follow` makes this
        // one wait for the copy.
        unsafe { device.disable_event_tracking() };
        keep_freed_memory(device.cuda_stream().context())?;
        OPENED.lock().unwrap_or_else(PoisonError::into_inner).push(opened.clone());
    }
    Ok(opened)
}

/// Every GPU that was opened, once per opening. None is ever closed: the end of a stage waits for
/// all GPUs, because it does not know which of them the stage ran on, and the peak memory may be
/// asked for after the engine is gone. A process normally loads one model. Each further one leaks a
/// stream, handles of cuBLAS and cuRAND, its kernels, and the memory that candle keeps per device
/// for the life of the process: the shapes that recorded kernels read, and the scratch of quantised
/// matrix products.
static OPENED: Mutex<Vec<Device>> = Mutex::new(Vec::new());

/// Waits for every GPU that was opened. Errors are ignored: they surface where the GPU is used.
pub(crate) fn wait_for_all() {
    for device in OPENED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = device.synchronize();
    }
}

/// If both are GPUs, makes the stream of `from` wait for all work submitted to `to` so far, so that
/// `from` may free memory that `to` copies out of it. Nothing else waits.
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

/// How many numbers `storage` holds; none if it has a dtype that no model uses.
pub(crate) fn numbers_in(storage: &CudaStorage) -> Option<usize> {
    match &storage.slice {
        CudaStorageSlice::U32(numbers) => Some(numbers.len()),
        CudaStorageSlice::BF16(numbers) => Some(numbers.len()),
        CudaStorageSlice::F16(numbers) => Some(numbers.len()),
        CudaStorageSlice::F32(numbers) => Some(numbers.len()),
        _ => None,
    }
}

/// Makes the driver keep freed memory for later allocations. Otherwise it returns that memory to
/// the system at every synchronisation, at the end of each step, and maps it again in the next. A
/// GPU without memory pools keeps nothing.
fn keep_freed_memory(context: &CudaContext) -> Result<()> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let pool = pool(context.cu_device())?;
    let mut threshold = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the driver reads a u64 for this attribute.
    unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast()) }.w()
}

/// Peak bytes allocated on each GPU that was opened, summed; none if none was opened, or a driver
/// does not report it.
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

/// The peak in the pool of `gpu` plus the peak in CUDA graphs: an upper bound of the joint peak.
fn most_allocated_on(gpu: CUdevice) -> Option<u64> {
    let in_pool = in_pool(gpu, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
    let mut recorded = 0u64;
    let attribute = CUgraphMem_attribute::CU_GRAPH_MEM_ATTR_USED_MEM_HIGH;
    // SAFETY: the GPU exists, since it is open; the driver writes a u64 for this attribute.
    let told = unsafe { cuDeviceGetGraphMemAttribute(gpu, attribute, (&raw mut recorded).cast()) };
    told.result().ok()?;
    Some(in_pool + recorded)
}

/// The bytes that `attribute` counts in the pool of `gpu`; none if the driver does not report them.
fn in_pool(gpu: CUdevice, attribute: CUmemPool_attribute) -> Option<u64> {
    let pool = pool(gpu).ok()?;
    let mut bytes = 0u64;
    // SAFETY: the driver writes a u64 for attributes that count bytes.
    unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }.ok()?;
    Some(bytes)
}

/// The pool from which memory of `gpu` is allocated.
fn pool(gpu: CUdevice) -> Result<CUmemoryPool> {
    // SAFETY: the GPU exists, since it is open; its pool lives as long as the driver.
    unsafe { result::device::get_default_mem_pool(gpu) }.w()
}

/// The compute capability of `device`; none if it is not a GPU, or its driver does not report it.
pub(crate) fn capability(device: &Device) -> Option<Capability> {
    let of = |part| attribute(device, part);
    let major = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Some(Capability::new(major, minor))
}

/// Multiprocessors of `device`; none in the same cases.
pub(crate) fn multiprocessors(device: &Device) -> Option<u32> {
    attribute(device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
}

fn attribute(device: &Device, attribute: CUdevice_attribute) -> Option<u32> {
    let Device::Cuda(device) = device else { return None };
    u32::try_from(device.cuda_stream().context().attribute(attribute).ok()?).ok()
}

/// The memory of `device`; none if it is not a GPU, or its driver does not report it.
pub(crate) fn memory(device: &Device) -> Option<DeviceMemory> {
    let Device::Cuda(device) = device else { return None };
    let stream = device.cuda_stream();
    let context = stream.context();
    // Freed memory stays in use until the GPU reaches the call that frees it. Errors surface
    // elsewhere.
    let _ = context.synchronize();
    let (free, total) = context.mem_get_info().ok()?;
    let of_pool = |attribute| in_pool(context.cu_device(), attribute);
    let held = of_pool(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    let used = of_pool(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    // The driver counts it as taken, but this process gets it next.
    let kept = held.zip(used).map_or(0, |(held, used)| held.saturating_sub(used));
    Some(DeviceMemory { free: free as u64 + kept, total: total as u64 })
}

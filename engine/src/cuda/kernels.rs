//! Launches the engine's own kernels, whose source is `kernels.cu`.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage, WrapErr};
use candle_core::{CpuStorage, DType, Device, InplaceOp3, Layout, Result, Storage, Tensor, bail};
use half::{bf16, f16};

use super::likeliest;
use crate::sampler::NoToken;

const SOURCE: &str = include_str!("kernels.cu");
/// The name under which candle keeps the compiled kernels of a device.
pub(super) const MODULE: &str = "windtunnel";
/// Threads per block.
const THREADS: u32 = 256;
/// The most blocks of a launch with a grid-stride loop.
const BLOCKS: u32 = 4096;
/// Blocks that search a row for the likeliest token.
const BLOCKS_A_ROW: u32 = 8;

/// Compiles the kernels, once per process, and loads them on `device`.
///
/// # Errors
///
/// When NVRTC is missing, or the driver rejects its output.
pub(crate) fn prepare(device: &Device) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    device.get_or_load_custom_func("likeliest", MODULE, ptx()?).map(drop)
}

/// The kernels as PTX.
pub(super) fn ptx() -> Result<&'static str> {
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compiled = PTX.get_or_init(|| match compile_ptx(SOURCE) {
        Ok(ptx) => Ok(ptx.to_src()),
        Err(error) => Err(error.to_string()),
    });
    match compiled {
        Ok(ptx) => Ok(ptx),
        Err(error) => bail!("NVRTC cannot compile the engine's kernels: {error}"),
    }
}

/// Writes `k` and `v`, `[tokens, kv_heads, dim]`, to the slots `slots` (`[tokens]`, u32) of
/// `cache`, `[2, blocks, block, kv_heads, dim]`, in one launch.
///
/// # Errors
///
/// When shapes, dtypes or devices do not fit one another.
pub(crate) fn store(cache: &Tensor, k: &Tensor, v: &Tensor, slots: &Tensor) -> Result<()> {
    let (k, v) = (k.contiguous()?, v.contiguous()?);
    let (two, blocks, block, kv_heads, dim) = cache.dims5()?;
    let tokens = slots.dim(0)?;
    let rows = [tokens, kv_heads, dim];
    if two != 2 || k.dims() != rows || v.dims() != rows {
        bail!(
            "keys {:?} and values {:?} do not fit {tokens} slots of {cache:?}",
            k.dims(),
            v.dims()
        );
    }
    if tokens == 0 {
        return Ok(());
    }
    cache.inplace_op3(&k, &v, &Store { slots, half: blocks * block * kv_heads * dim })
}

/// See [`store`].
struct Store<'a> {
    slots: &'a Tensor,
    /// Offset of the values from the keys, in numbers.
    half: usize,
}

impl InplaceOp3 for Store<'_> {
    fn name(&self) -> &'static str {
        "store"
    }

    fn cpu_fwd(
        &self,
        _: &mut CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        bail!("a cache on the CPU is written run by run")
    }

    fn cuda_fwd(
        &self,
        cache: &mut CudaStorage,
        cache_layout: &Layout,
        k: &CudaStorage,
        k_layout: &Layout,
        v: &CudaStorage,
        v_layout: &Layout,
    ) -> Result<()> {
        let news = [(k, k_layout), (v, v_layout)];
        match cache.dtype() {
            DType::F32 => self.launch::<f32>(cache, cache_layout, news),
            DType::F16 => self.launch::<f16>(cache, cache_layout, news),
            DType::BF16 => self.launch::<bf16>(cache, cache_layout, news),
            other => bail!("a cache holds f32, f16 or bf16, not {}", other.as_str()),
        }
    }
}

impl Store<'_> {
    fn launch<T: CudaDType + DeviceRepr>(
        &self,
        cache: &mut CudaStorage,
        cache_layout: &Layout,
        [(k, k_layout), (v, v_layout)]: [(&CudaStorage, &Layout); 2],
    ) -> Result<()> {
        let (tokens, kv_heads, dim) = k_layout.shape().dims3()?;
        let starts = [cache_layout, k_layout, v_layout].map(Layout::start_offset);
        let bytes = |numbers: usize| numbers * size_of::<T>();
        // 16 bytes at a time if all rows begin at a multiple of 16 bytes.
        let row = bytes(kv_heads * dim);
        let wide = starts.into_iter().map(bytes).chain([row]).all(|at| at.is_multiple_of(16));
        let (name, unit) = if wide { ("store_sixteen", 16) } else { ("store_two", 2) };

        let device = cache.device().clone();
        let (storage, layout) = self.slots.storage_and_layout();
        let Storage::Cuda(slots) = &*storage else { bail!("slots must be on the device") };
        let slots = slots.as_cuda_slice::<u32>()?.slice(layout.start_offset()..);
        let k = k.as_cuda_slice::<T>()?.slice(starts[1]..);
        let v = v.as_cuda_slice::<T>()?.slice(starts[2]..);
        let mut cache = cache.as_cuda_slice_mut::<T>()?.slice_mut(starts[0]..);

        let (tokens, width) = (tokens as u32, (row / unit) as u32);
        let values = (bytes(self.half) / unit) as u64;
        let kernel = device.get_or_load_custom_func(name, MODULE, ptx()?)?;
        let mut launch = kernel.builder();
        launch.arg(&mut cache).arg(&k).arg(&v).arg(&slots).arg(&tokens).arg(&width).arg(&values);
        // SAFETY: the arguments match the kernel's, in order. It reads `tokens` rows of `width`
        // units of `k` and `v`, whose shapes `store` has checked. It writes as many to slots, which
        // are within the pool because their blocks were allocated from it, and again at the same
        // slots of the values, half a cache further. The cache is borrowed mutably, so nothing else
        // uses it. Every address is a multiple of the unit: 16 is checked above, and all numbers
        // have at least 2 bytes.
        unsafe { launch.launch(in_turns(u64::from(tokens) * u64::from(width))) }.w()?;
        Ok(())
    }
}

/// A launch with a grid-stride loop over `units`.
pub(super) fn in_turns(units: u64) -> LaunchConfig {
    let blocks = units.div_ceil(THREADS.into()).clamp(1, BLOCKS.into());
    LaunchConfig {
        grid_dim: (blocks as u32, 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// The likeliest token of each row of `logits`, `[rows, vocabulary]`. Only 8 bytes per row are
/// copied to the host.
///
/// # Errors
///
/// When the logits are not on a GPU, or it fails.
pub(crate) fn likeliest(logits: &Tensor) -> Result<Vec<std::result::Result<u32, NoToken>>> {
    let (rows, vocabulary) = logits.dims2()?;
    if rows == 0 || vocabulary == 0 {
        return Ok(vec![Err(NoToken::NotFinite); rows]);
    }
    let logits = logits.to_dtype(DType::F32)?.contiguous()?;
    let (storage, layout) = logits.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("the logits must be on a GPU") };
    let device: &CudaDevice = storage.device();
    let numbers = storage.as_cuda_slice::<f32>()?.slice(layout.start_offset()..);
    let mut best = device.alloc_zeros::<u64>(rows)?;
    let vocabulary = vocabulary as u32;
    let kernel = device.get_or_load_custom_func("likeliest", MODULE, ptx()?)?;
    let mut launch = kernel.builder();
    launch.arg(&mut best).arg(&numbers).arg(&vocabulary);
    let config = LaunchConfig {
        grid_dim: (BLOCKS_A_ROW, rows as u32, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the arguments match the kernel's, in order. Each row of the grid reads the
    // `vocabulary` numbers of its row of logits, which is contiguous, and writes its own of the
    // `rows` numbers of `best`, which is borrowed mutably.
    unsafe { launch.launch(config) }.w()?;
    let best: Vec<u64> = device.clone_dtoh(&best)?;
    Ok(best.into_iter().map(likeliest::token).collect())
}

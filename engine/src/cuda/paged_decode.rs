//! Attention of one query per sequence to its keys in a paged KV cache, split over as many thread
//! blocks as keep the GPU busy. The flash kernels use one per head, however long the sequence.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::{CpuStorage, CudaStorage, CustomOp3, DType, Layout, Result, Shape, Storage};
use candle_core::{Tensor, bail};
use half::{bf16, f16};

use super::driver;
use crate::attention::{Heads, Mask};
use crate::kv::{DeviceTables, KvView};

const SOURCE: &str = include_str!("paged_decode.cu");
/// Threads per thread block.
const THREADS: u32 = 128;
/// The most query heads per thread block.
const MOST_HEADS: usize = 8;
/// How many keys are worth a thread block of their own.
const WORTH: usize = 128;
/// Thread blocks that keep a multiprocessor busy.
const BUSY: usize = 4;

/// Whether the kernel supports heads of `dim` numbers.
pub(crate) const fn takes_heads_of(dim: usize) -> bool {
    dim.is_power_of_two() && dim >= 8 && dim <= 256
}

/// `q`: `[sequences, heads, dim]`, f16 or bf16, one query per sequence; same shape and dtype out.
///
/// # Errors
///
/// When shapes or dtypes do not fit one another, NVRTC is missing, or the GPU fails.
pub(crate) fn attend(
    q: &Tensor,
    kv: &KvView<'_>,
    tables: &DeviceTables,
    mask: Mask,
) -> Result<Tensor> {
    let (sequences, heads, dim) = q.dims3()?;
    let Heads { kv_heads, scale, softcap, .. } = *kv.heads;
    let (blocks, block, ..) = kv.keys.dims4()?;
    let pool = [blocks, block, kv_heads, dim];
    let fits = takes_heads_of(dim) && kv_heads > 0 && heads % kv_heads == 0;
    if !fits || kv.keys.dims() != pool || kv.values.dims() != pool {
        bail!("{heads} heads of {dim} numbers do not fit keys {:?}", kv.keys.dims());
    }
    if tables.blocks.dim(0)? != sequences {
        bail!("{sequences} queries do not fit tables {:?}", tables.blocks.dims());
    }
    let group = heads / kv_heads;
    let together = (1..=MOST_HEADS.min(group)).rev().find(|it| group % it == 0).unwrap_or(1);
    let multiprocessors = driver::multiprocessors(q.device()).unwrap_or(1) as usize;
    let rows = sequences * (heads / together);
    let op = Decode {
        tables,
        block,
        together,
        parts: parts(tables.most_keys, rows, multiprocessors),
        scale,
        cap: softcap.unwrap_or(0.0),
        before: before(mask, tables.most_keys),
    };
    q.contiguous()?.apply_op3_no_bwd(kv.keys, kv.values, &op)
}

/// How many parts to split sequences of up to `keys` keys into, with `rows` thread blocks per part:
/// as many as keep `multiprocessors` busy, while each part has enough to do.
fn parts(keys: usize, rows: usize, multiprocessors: usize) -> usize {
    let wanted = (BUSY * multiprocessors).div_ceil(rows.max(1));
    wanted.min(keys.div_ceil(WORTH)).max(1)
}

/// How many keys before its own a query sees under `mask`, as the kernel takes it, which adds 1 to
/// it: -1, meaning all, if the `keys` of the longest sequence fit in the window.
fn before(mask: Mask, keys: usize) -> i32 {
    let before = mask.reach()[0].filter(|before| *before < keys.saturating_sub(1));
    before.and_then(|before| i32::try_from(before).ok()).unwrap_or(-1)
}

/// See [`attend`].
struct Decode<'a> {
    tables: &'a DeviceTables,
    block: usize,
    /// Query heads per thread block.
    together: usize,
    parts: usize,
    scale: f32,
    cap: f32,
    before: i32,
}

impl CustomOp3 for Decode<'_> {
    fn name(&self) -> &'static str {
        "paged-decode"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("this op runs on GPUs only; cpu-flash attends on the CPU")
    }

    fn cuda_fwd(
        &self,
        q: &CudaStorage,
        q_layout: &Layout,
        k: &CudaStorage,
        k_layout: &Layout,
        v: &CudaStorage,
        v_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let all = [(q, q_layout), (k, k_layout), (v, v_layout)];
        match q.dtype() {
            DType::F16 => self.launch::<f16>(all, 1),
            DType::BF16 => self.launch::<bf16>(all, 0),
            other => bail!("there are kernels for f16 and bf16, not for {}", other.as_str()),
        }
    }
}

impl Decode<'_> {
    fn launch<T: CudaDType + DeviceRepr>(
        &self,
        all: [(&CudaStorage, &Layout); 3],
        half: u32,
    ) -> Result<(CudaStorage, Shape)> {
        let (sequences, heads, dim) = all[0].1.shape().dims3()?;
        let (_, _, kv_heads, _) = all[1].1.shape().dims4()?;
        let device = all[0].0.device();
        let range = |layout: &Layout| -> Result<_> {
            let Some((first, end)) = layout.contiguous_offsets() else {
                bail!("a paged decode needs contiguous tensors, not {layout:?}")
            };
            // The kernel reads 16 bytes at a time.
            if !(first * size_of::<T>()).is_multiple_of(16) {
                bail!("a paged decode needs tensors that are aligned to 16 bytes");
            }
            Ok(first..end)
        };
        let [q_range, k_range, v_range] = [range(all[0].1)?, range(all[1].1)?, range(all[2].1)?];
        let q = all[0].0.as_cuda_slice::<T>()?.slice(q_range);
        let k = all[1].0.as_cuda_slice::<T>()?.slice(k_range);
        let v = all[2].0.as_cuda_slice::<T>()?.slice(v_range);
        let numbers = |tensor: &Tensor| tensor.storage_and_layout().1.start_offset();
        let (ends_first, table_first) =
            (numbers(&self.tables.key_ends), numbers(&self.tables.blocks));
        let (ends, _) = self.tables.key_ends.storage_and_layout();
        let (table, _) = self.tables.blocks.storage_and_layout();
        let (Storage::Cuda(ends), Storage::Cuda(table)) = (&*ends, &*table) else {
            bail!("tables must be on the device")
        };
        let ends = ends.as_cuda_slice::<u32>()?.slice(ends_first..);
        let table = table.as_cuda_slice::<u32>()?.slice(table_first..);

        let kernels = Kernels::of(dim, self.together, self.block, half)?;
        let parts = self.parts as u32;
        // SAFETY: the kernels write all of it before it is read.
        let mut out = unsafe { device.alloc::<T>(sequences * heads * dim)? };
        // A single part is written to `out` directly.
        let scratch = if parts == 1 { 1 } else { sequences * heads * self.parts * (dim + 2) };
        // SAFETY: it is read only after it was written, each part by one thread block.
        let mut scratch = unsafe { device.alloc::<f32>(scratch)? };
        let width = self.tables.blocks.dim(1)? as u32;
        let kv_heads = kv_heads as u32;
        let grid = (parts, (heads / self.together) as u32, sequences as u32);
        let Kernels { module, ptx } = kernels;
        let kernel = device.get_or_load_custom_func("attend_parts", module, ptx)?;
        let mut launch = kernel.builder();
        launch.arg(&mut out).arg(&mut scratch).arg(&q).arg(&k).arg(&v).arg(&ends).arg(&table);
        launch.arg(&width).arg(&kv_heads).arg(&self.scale).arg(&self.cap).arg(&self.before);
        // SAFETY: the arguments match the kernel's, in order. It reads the one query of each
        // sequence, the `key_ends` of all, and the blocks in each sequence's row of the block
        // table, which are within the pool because they were allocated from it. It writes one row
        // of `out`, or one part, per thread block and head. All rows are aligned to 16 bytes: the
        // tensors are, as checked above, and heads are multiples of 8 numbers of 2 bytes.
        unsafe { launch.launch(blocks(grid)) }.w()?;
        if parts > 1 {
            let kernel = device.get_or_load_custom_func("join_parts", module, ptx)?;
            let mut launch = kernel.builder();
            launch.arg(&mut out).arg(&scratch).arg(&parts);
            // SAFETY: likewise; each thread block reads the parts of one head, which the previous
            // launch on this stream has written, and writes its row of `out`.
            unsafe { launch.launch(blocks(((sequences * heads) as u32, 1, 1))) }.w()?;
        }
        let shape = (sequences, heads, dim).into();
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), shape))
    }
}

const fn blocks(grid_dim: (u32, u32, u32)) -> LaunchConfig {
    LaunchConfig { grid_dim, block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

/// The kernels as PTX, for one size of heads and cache blocks.
#[derive(Debug, Clone, Copy)]
struct Kernels {
    /// The name under which candle keeps them.
    module: &'static str,
    ptx: &'static str,
}

impl Kernels {
    /// Compiles them, once per process.
    fn of(dim: usize, group: usize, block: usize, half: u32) -> Result<Self> {
        type Compiled = std::result::Result<Kernels, String>;
        static COMPILED: LazyLock<Mutex<HashMap<[usize; 4], Compiled>>> =
            LazyLock::new(Mutex::default);
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        let kernels = compiled.entry([dim, group, block, half as usize]).or_insert_with(|| {
            let defined =
                [("DIM", dim), ("GROUP", group), ("BLOCK", block), ("HALF", half as usize)];
            let options = CompileOptions {
                // The minimum for f16 and bf16; the driver compiles the PTX for its GPU.
                arch: Some("compute_80"),
                options: defined.map(|(name, value)| format!("-D{name}={value}")).to_vec(),
                ..CompileOptions::default()
            };
            let ptx = compile_ptx_with_opts(SOURCE, options).map_err(|error| error.to_string())?;
            // Bounded by the models of a process, and candle keeps them as long anyway.
            let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
            let module = leak(format!("windtunnel-decode-{dim}-{group}-{block}-{half}"));
            Ok(Kernels { module, ptx: leak(ptx.to_src()) })
        });
        match kernels {
            Ok(kernels) => Ok(*kernels),
            Err(error) => bail!("NVRTC cannot compile the engine's kernels: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_cut_as_far_as_it_takes_to_keep_a_gpu_busy() {
        // Few long sequences, many short ones, a short one, no keys, no rows.
        assert_eq!(parts(131_072, 8, 132), 66);
        assert_eq!(parts(1024, 64 * 8, 132), 2);
        assert_eq!(parts(256, 8, 132), 2);
        assert_eq!(parts(0, 8, 132), 1);
        assert_eq!(parts(1024, 0, 132), 8);
    }

    #[test]
    fn a_window_that_no_sequence_leaves_is_none() {
        let of = |window| before(Mask::SlidingWindow(window), 100);
        assert_eq!([1, 2, 99, 100, 101, 1 << 31, usize::MAX].map(of), [0, 1, 98, -1, -1, -1, -1]);
        assert_eq!(before(Mask::Causal, 100), -1);
        assert_eq!(before(Mask::SlidingWindow(1), 0), -1);
    }
}

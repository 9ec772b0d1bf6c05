//! The angles of rotary embeddings, computed on the GPU where queries and keys are rotated, so that
//! only the positions are copied there.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, PushKernelArg};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::kernels::{MODULE, in_turns, ptx};

/// Half the maximum number of rotated dims per head.
const MOST: usize = 256;

/// Frequencies as the kernel takes them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
struct Frequencies([f32; MOST]);

// SAFETY: it has the same layout as the array of numbers in C, and is passed by value.
unsafe impl DeviceRepr for Frequencies {}

impl Frequencies {
    fn of(numbers: &[f32]) -> Result<Self> {
        let mut all = [0.0; MOST];
        let Some(first) = all.get_mut(..numbers.len()) else {
            bail!("heads that rotate {} dims exceed the limit of {}", 2 * numbers.len(), 2 * MOST)
        };
        first.copy_from_slice(numbers);
        Ok(Self(all))
    }
}

/// Cosines and sines, `[2, tokens, half]`, f32, scaled by `magnitude`. `positions`, `[2, tokens]`,
/// u32, are the position of each token and the length of its sequence. Sequences of more than
/// `border` tokens use the second of the two `frequencies`, `[half]` each.
///
/// # Errors
///
/// When shapes do not fit one another, positions are not on a GPU, or it fails.
pub(crate) fn angles(
    positions: &Tensor,
    frequencies: [&[f32]; 2],
    border: u32,
    magnitude: f32,
) -> Result<Tensor> {
    let half = frequencies[0].len();
    if frequencies[1].len() != half || positions.dim(0)? != 2 {
        bail!("{:?} positions do not fit {half} frequencies", positions.dims());
    }
    let [within, beyond] = frequencies.map(Frequencies::of);
    let (within, beyond, magnitude) = (within?, beyond?, f64::from(magnitude));
    positions.apply_op1_no_bwd(&Angles { half, border, magnitude, within, beyond })
}

/// See [`angles`].
struct Angles {
    half: usize,
    border: u32,
    magnitude: f64,
    within: Frequencies,
    beyond: Frequencies,
}

impl CustomOp1 for Angles {
    fn name(&self) -> &'static str {
        "angles"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!(
            "this op runs on GPUs only; on the CPU, angles are computed where positions are known"
        )
    }

    fn cuda_fwd(&self, positions: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let Self { half, border, magnitude, within, beyond } = self;
        let (_, tokens) = layout.shape().dims2()?;
        let Some((first, end)) = layout.contiguous_offsets() else {
            bail!("positions must be contiguous, not {layout:?}")
        };
        let device = positions.device();
        let positions = positions.as_cuda_slice::<u32>()?.slice(first..end);
        // SAFETY: the kernel writes all of it before it is read.
        let mut out = unsafe { device.alloc::<f32>(2 * tokens * half)? };
        let shape = (2, tokens, *half).into();
        if tokens * half > 0 {
            let (tokens, half) = (tokens as u32, *half as u32);
            let kernel = device.get_or_load_custom_func("angles", MODULE, ptx()?)?;
            let mut launch = kernel.builder();
            launch.arg(&mut out).arg(&positions).arg(&tokens).arg(&half).arg(border);
            launch.arg(magnitude).arg(within).arg(beyond);
            // SAFETY: the arguments match the kernel's, in order. It reads the two rows of `tokens`
            // positions and the first `half` frequencies, all of which exist; it writes
            // `2 * tokens * half` numbers, as many as were allocated.
            unsafe { launch.launch(in_turns(u64::from(tokens) * u64::from(half))) }.w()?;
        }
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), shape))
    }
}

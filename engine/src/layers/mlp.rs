//! [`Mlp`]: the gated feed-forward block, `down(silu(gate(x)) · up(x))`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::cpu::{Element, LANES, by_dtype, exp};
use crate::layers::linear::Linear;

/// Gated feed-forward block.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// `[hidden]` to `[intermediate]`, through the activation.
    pub gate: Linear,
    /// `[hidden]` to `[intermediate]`.
    pub up: Linear,
    /// `[intermediate]` to `[hidden]`.
    pub down: Linear,
}

impl Mlp {
    /// `x`: `[tokens, hidden]`, same shape out.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes differ from the weights'.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (gate, up) = (self.gate.forward(x)?, self.up.forward(x)?);
        let product = match gate.device().is_cpu() {
            true => gate.apply_op2_no_bwd(&up, &SiluTimes)?,
            false => (gate.silu()? * up)?,
        };
        self.down.forward(&product)
    }
}

/// `silu(a) · b` in one sweep and on all cores: as two operations it would take a tenth of a
/// prefill's time.
struct SiluTimes;

impl CustomOp2 for SiluTimes {
    fn name(&self) -> &'static str {
        "silu-times"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (Some(a_range), Some(b_range)) =
            (a_layout.contiguous_offsets(), b_layout.contiguous_offsets())
        else {
            bail!("silu-times needs contiguous inputs, got {a_layout:?} and {b_layout:?}")
        };
        if a_layout.shape() != b_layout.shape() {
            bail!("silu-times needs equal shapes, got {a_layout:?} and {b_layout:?}");
        }
        let (a_range, b_range) = (a_range.0..a_range.1, b_range.0..b_range.1);
        let dtype = candle_core::backend::BackendStorage::dtype(a);
        let product = by_dtype!(dtype, silu_times(a, a_range, b, b_range))?;
        Ok((product, a_layout.shape().clone()))
    }
}

fn silu_times<T: Element>(
    a: &CpuStorage,
    a_range: std::ops::Range<usize>,
    b: &CpuStorage,
    b_range: std::ops::Range<usize>,
) -> Result<CpuStorage> {
    /// Numbers a task.
    const TASK: usize = 64 * LANES;
    let (a, b) = (&a.as_slice::<T>()?[a_range], &b.as_slice::<T>()?[b_range]);
    let mut out = vec![T::zero(); a.len()];
    let tasks = out.par_chunks_mut(TASK).zip(a.par_chunks(TASK)).zip(b.par_chunks(TASK));
    tasks.for_each(|((out, a), b)| {
        let (mut a_wide, mut b_wide, mut product) = ([0.0; TASK], [0.0; TASK], [0.0; TASK]);
        let a = T::widened(a, &mut a_wide[..a.len()]);
        let b = T::widened(b, &mut b_wide[..b.len()]);
        let product = &mut product[..a.len()];
        for ((product, a), b) in product.iter_mut().zip(a).zip(b) {
            *product = a / (1.0 + exp(-a)) * b;
        }
        T::narrow(product, out);
    });
    Ok(T::to_cpu_storage_owned(out))
}

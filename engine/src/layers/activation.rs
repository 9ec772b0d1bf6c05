//! [`Activation`]: the activation function of a feed-forward block.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::cpu::{Element, LANES, by_dtype, exp, mapped};
use crate::faults;
use crate::telemetry::Stage;

/// An elementwise activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)` with the tanh approximation of the normal CDF.
    GeluTanh,
}

impl Activation {
    /// The activation that `config.json` calls `name`.
    ///
    /// # Errors
    ///
    /// The names that are known.
    pub fn named(name: &str) -> std::result::Result<Self, String> {
        match name {
            "silu" => Ok(Self::Silu),
            "gelu_pytorch_tanh" => Ok(Self::GeluTanh),
            other => Err(format!("`{other}`; only `silu` and `gelu_pytorch_tanh` are implemented")),
        }
    }

    /// `f(x)`, in the shape of `x`. Halves are rounded once, except on a GPU: there candle's kernels
    /// round GELU after every operation, and SiLU in f16.
    ///
    /// # Errors
    ///
    /// When `x` is not contiguous, or the device does not have enough memory.
    pub fn of(self, x: &Tensor) -> Result<Tensor> {
        Stage::Elementwise.of(|| match (self, x.device().is_cpu()) {
            (Self::Silu, true) => mapped(x, silu),
            (Self::GeluTanh, true) => mapped(x, gelu_tanh),
            (Self::Silu, false) => x.silu(),
            (Self::GeluTanh, false) => x.gelu(),
        })
    }

    /// `f(a) · b`, both of the same shape.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes differ.
    pub fn times(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Stage::Elementwise.of(|| match a.device().is_cpu() {
            true => faults::on_a_pool(|| a.apply_op2_no_bwd(b, &Times(self))),
            false => self.of(a)? * b,
        })
    }
}

/// `f(a) · b` in one parallel pass: as two operations it would take a tenth of prefill time.
struct Times(Activation);

impl CustomOp2 for Times {
    fn name(&self) -> &'static str {
        "activation-times"
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
            bail!("activation-times needs contiguous inputs, got {a_layout:?} and {b_layout:?}")
        };
        if a_layout.shape() != b_layout.shape() {
            bail!("activation-times needs equal shapes, got {a_layout:?} and {b_layout:?}");
        }
        let (a_range, b_range) = (a_range.0..a_range.1, b_range.0..b_range.1);
        let product = by_dtype!(a.dtype(), times(self.0, a, a_range, b, b_range))?;
        Ok((product, a_layout.shape().clone()))
    }
}

fn times<T: Element>(
    f: Activation,
    a: &CpuStorage,
    a_range: Range<usize>,
    b: &CpuStorage,
    b_range: Range<usize>,
) -> Result<CpuStorage> {
    let (a, b) = (&a.as_slice::<T>()?[a_range], &b.as_slice::<T>()?[b_range]);
    Ok(T::to_cpu_storage_owned(match f {
        Activation::Silu => sweep(a, b, silu),
        Activation::GeluTanh => sweep(a, b, gelu_tanh),
    }))
}

/// `f(a) · b`, elementwise.
fn sweep<T: Element>(a: &[T], b: &[T], f: impl Fn(f32) -> f32 + Sync) -> Vec<T> {
    /// Elements per task.
    const TASK: usize = 64 * LANES;
    let mut out = vec![T::zero(); a.len()];
    let tasks = out.par_chunks_mut(TASK).zip(a.par_chunks(TASK)).zip(b.par_chunks(TASK));
    tasks.for_each(|((out, a), b)| {
        let (mut a_wide, mut b_wide, mut product) = ([0.0; TASK], [0.0; TASK], [0.0; TASK]);
        let a = T::widened(a, &mut a_wide[..a.len()]);
        let b = T::widened(b, &mut b_wide[..b.len()]);
        let product = &mut product[..a.len()];
        for ((product, a), b) in product.iter_mut().zip(a).zip(b) {
            *product = f(*a) * b;
        }
        T::narrow(product, out);
    });
    out
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `x/2 · (1 + tanh u)` with `u = √(2/π) · (x + 0.044715 x³)`, written as `x · sigmoid(2u)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const TWICE_ROOT: f32 = 1.595_769_2;
    let doubled = TWICE_ROOT * (x + 0.044_715 * x * x * x);
    x / (1.0 + exp(-doubled))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn one_sweep_gives_what_the_definitions_give() {
        let numbers: Vec<f32> = (-4000..4000).map(|i| i as f32 / 200.0).collect();
        for f in [Activation::Silu, Activation::GeluTanh] {
            let define = |x: f64| match f {
                Activation::Silu => x / (1.0 + (-x).exp()),
                Activation::GeluTanh => {
                    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                    0.5 * x * (1.0 + u.tanh())
                }
            };
            for (dtype, allowed) in [(DType::F32, 5e-7), (DType::F16, 5e-4), (DType::BF16, 4e-3)] {
                let x = Tensor::new(&numbers[..], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                let wide = |x: &Tensor| x.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
                let one = x.ones_like().unwrap();
                let (product, alone) = (f.times(&x, &one).unwrap(), f.of(&x).unwrap());
                for ((x, product), alone) in wide(&x).iter().zip(wide(&product)).zip(wide(&alone)) {
                    let truth = define(f64::from(*x));
                    for found in [product, alone] {
                        let error = (f64::from(found) - truth).abs();
                        assert!(
                            error <= allowed * truth.abs().max(1.0),
                            "{f:?} {dtype:?}: {found} instead of {truth} at {x}"
                        );
                    }
                }
            }
        }
    }
}

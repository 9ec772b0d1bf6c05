//! NVIDIA GPUs: their capabilities, their free memory, and the errors of their driver.
//!
//! Decisions about GPUs depend on numbers and names only, so that they are compiled and tested
//! whether or not a build can use a GPU; only `driver` asks a driver. Without the feature `cuda` it
//! knows nothing.

use std::fmt;

use candle_core::{DType, Device};

use crate::error::Unsupported;

mod fault;

#[cfg(feature = "cuda")]
mod angles;
#[cfg(feature = "cuda")]
pub(crate) mod driver;
#[cfg(not(feature = "cuda"))]
#[path = "cuda/no_driver.rs"]
pub(crate) mod driver;
#[cfg(feature = "cuda")]
mod kernels;
#[cfg(any(feature = "cuda", test))]
mod likeliest;
#[cfg(feature = "flash-attn")]
pub(crate) mod paged_decode;
#[cfg(feature = "cuda")]
mod recording;

pub use fault::Fault;

/// The compute capability of a GPU in NVIDIA's numbering: 9.0 is Hopper, 8.0 Ampere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// Before the point.
    pub major: u32,
    /// After the point.
    pub minor: u32,
}

impl Capability {
    /// `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Whether such a GPU computes in `dtype` natively, without widening it first.
    pub fn runs_well(self, dtype: DType) -> bool {
        match dtype {
            DType::BF16 => self >= Self::new(8, 0),
            DType::F16 => self >= Self::new(5, 3),
            _ => true,
        }
    }

    /// Refuses a `dtype` that such a GPU would have to widen: candle has no kernels for it there.
    ///
    /// # Errors
    ///
    /// [`Unsupported`], with what to choose instead.
    fn require(self, dtype: DType) -> Result<(), Unsupported> {
        match self.runs_well(dtype) {
            true => Ok(()),
            false => Err(Unsupported {
                what: format!("a GPU of compute capability {self}"),
                which: dtype.as_str().into(),
                remedy: "choose dtype `auto`".into(),
            }),
        }
    }

    /// Whether such a GPU runs machine code built for `target`, which must be of the same major
    /// version and not newer.
    #[cfg(any(feature = "cuda", test))]
    const fn runs_code_for(self, target: Self) -> bool {
        self.major == target.major && self.minor >= target.minor
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Peak bytes that this process had allocated on each GPU that it opened, summed over the GPUs, as
/// counted by the driver: weights, KV cache and the temporaries of steps, without what the driver
/// and libraries take for themselves. The driver counts the memory of CUDA graphs separately, and
/// the two peaks need not coincide, so where steps are recorded this is an upper bound. None where
/// no GPU was opened, or a driver does not report it.
pub fn most_allocated() -> Option<u64> {
    driver::most_allocated()
}

/// Refuses `dtype` on `device`, if that is a GPU without kernels for it.
///
/// # Errors
///
/// [`Unsupported`], with what to choose instead.
pub(crate) fn require(device: &Device, dtype: DType) -> Result<(), Unsupported> {
    driver::capability(device).map_or(Ok(()), |capability| capability.require(dtype))
}

/// Bytes of memory of a device, as its driver counts them across all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Not in use by any process. Memory that this process has freed but keeps in its pool counts
    /// as free.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// `ordinal`, if it fits the driver's `i32`: cudarc would truncate a larger one.
///
/// # Errors
///
/// The same as from a driver that has no such GPU.
#[cfg(any(feature = "cuda", test))]
fn countable(ordinal: usize) -> candle_core::Result<usize> {
    match i32::try_from(ordinal) {
        Ok(_) => Ok(ordinal),
        Err(_) => candle_core::bail!("CUDA_ERROR_INVALID_DEVICE: no driver counts to {ordinal}"),
    }
}

/// The compute capability that `ptx` was compiled for; none if it does not say.
#[cfg(any(feature = "cuda", test))]
fn target_of(ptx: &str) -> Option<Capability> {
    let (_, target) = ptx.split_once(".target sm_")?;
    let end = target.find(|c: char| !c.is_ascii_digit()).unwrap_or(target.len());
    let number: u32 = target[..end].parse().ok()?;
    Some(Capability::new(number / 10, number % 10))
}

/// Refuses a GPU of `capability` that cannot run the machine code of this build; `ptx` is any of
/// its kernels, and names the target. The driver translates PTX for newer GPUs, but the kernels of
/// flash attention and of matrix products with quantised blocks exist as machine code only. If one
/// of them fails to launch, no error is reported, and the result is whatever was in memory before.
///
/// # Errors
///
/// The same as from a driver without kernels for its GPU.
#[cfg(any(feature = "cuda", test))]
fn is_built_for(capability: Capability, ptx: &str) -> candle_core::Result<()> {
    match target_of(ptx) {
        Some(target) if !capability.runs_code_for(target) => candle_core::bail!(
            "CUDA_ERROR_NO_BINARY_FOR_GPU: a GPU of {capability} runs no kernels for {target}"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_run_where_the_generation_has_them() {
        let runs = |major, minor| {
            let capability = Capability::new(major, minor);
            [DType::BF16, DType::F16, DType::F32].map(|dtype| capability.runs_well(dtype))
        };
        assert_eq!(runs(5, 2), [false, false, true]);
        assert_eq!(runs(6, 1), [false, true, true]);
        assert_eq!(runs(7, 5), [false, true, true]);
        for (major, minor) in [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)] {
            assert_eq!(runs(major, minor), [true; 3], "{major}.{minor}");
        }
        assert_eq!(Capability::new(12, 1).to_string(), "12.1");
    }

    #[test]
    fn numbers_without_kernels_are_refused_with_what_to_choose() {
        let told = |major, minor, dtype| {
            let refusal = Capability::new(major, minor).require(dtype);
            refusal.map_err(|refusal| refusal.to_string())
        };
        for (major, minor, dtype) in [(8, 0, DType::BF16), (7, 5, DType::F16), (5, 2, DType::F32)] {
            assert_eq!(told(major, minor, dtype), Ok(()));
        }
        let refusal = "a GPU of compute capability 7.5 cannot run bf16; choose dtype `auto`";
        assert_eq!(told(7, 5, DType::BF16), Err(refusal.into()));
        assert_eq!(require(&Device::Cpu, DType::BF16), Ok(()));
    }

    #[test]
    fn an_ordinal_to_which_no_driver_counts_is_that_of_no_gpu() {
        let last = i32::MAX as usize;
        assert_eq!([0, last].map(|ordinal| countable(ordinal).unwrap()), [0, last]);
        for ordinal in [last + 1, usize::MAX] {
            let refusal = countable(ordinal).unwrap_err().to_string();
            assert_eq!(Fault::of(&refusal), Fault::NoSuchGpu, "{refusal}");
        }
    }

    /// The beginning of PTX compiled for `target`.
    fn assembly(target: &str) -> String {
        format!(
            "//\n// Generated by a compiler\n\n.version 9.0\n.target {target}\n.address_size 64\n"
        )
    }

    #[test]
    fn assembly_names_the_gpus_that_it_is_for() {
        let of = |target: &str| target_of(&assembly(target)).map(|gpu| gpu.to_string());
        let named = ["sm_75", "sm_80", "sm_89, debug", "sm_90a", "sm_100a", "sm_121f"].map(of);
        assert_eq!(named.map(Option::unwrap), ["7.5", "8.0", "8.9", "9.0", "10.0", "12.1"]);
        // The stand-in for NVIDIA's compiler emits empty PTX.
        for nothing in ["", ".target sm_", ".version 9.0\n"] {
            assert_eq!(target_of(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_gpu_whose_kernels_would_not_be_launched_is_refused_before_they_are_asked_for() {
        let takes = |gpu: (u32, u32), target: &str| {
            is_built_for(Capability::new(gpu.0, gpu.1), &assembly(target))
        };
        for (gpu, target) in [((8, 0), "sm_80"), ((8, 9), "sm_80"), ((9, 0), "sm_90a")] {
            takes(gpu, target).unwrap();
        }
        is_built_for(Capability::new(9, 0), "").unwrap();
        for (gpu, target) in
            [((9, 0), "sm_80"), ((10, 0), "sm_90a"), ((8, 0), "sm_86"), ((8, 0), "sm_90a")]
        {
            let refusal = takes(gpu, target).unwrap_err().to_string();
            assert_eq!(Fault::of(&refusal), Fault::OtherGpu, "{refusal}");
        }
    }
}

//! The seam between models and attention kernels.
//!
//! A backend is one file under `attention/` and one line in [`BACKENDS`]. Queries arrive packed;
//! keys and values are already in the cache; a mask is a rule, never a tensor. Projections, rotary
//! embeddings and cache writes happen elsewhere.

use std::ops::Range;

use candle_core::{DType, Device, Result as TensorResult, Tensor};

use crate::config::{Choice, KvLayout};
use crate::error::{Error, Result, Unsupported};
use crate::faults;
use crate::kv::KvView;

mod cpu_flash;
mod cuda_flash;
mod naive;

pub use cpu_flash::CpuFlash;
pub use cuda_flash::CudaFlash;
pub use naive::Naive;

/// Computes attention.
pub trait Attention: Send + Sync {
    /// The name used in configurations.
    fn name(&self) -> &'static str;

    /// Whether the backend is made for this kind of device. A refusal by any other backend is not
    /// reported.
    fn is_for(&self, device: &Device) -> bool;

    /// Whether the backend can run this model on this device. Asked once, at load.
    ///
    /// # Errors
    ///
    /// The reason and the remedy, both shown to the user.
    fn supports(
        &self,
        heads: &Heads,
        kv: KvLayout,
        device: &Device,
        dtype: DType,
    ) -> Result<(), Unsupported>;

    /// Whether, with blocks of `block` tokens, its launches depend only on shapes and on data
    /// already on the device, so that they can be recorded and replayed with other values.
    fn is_recordable(&self, block: usize) -> bool {
        let _ = block;
        false
    }

    /// `q`: `[tokens, heads, dim]`, returned in the same shape and dtype. The keys and values of
    /// these tokens are already in `kv`.
    ///
    /// # Errors
    ///
    /// When a tensor's shape, dtype or device is not the one that `supports` was asked about.
    fn attend(&self, q: &Tensor, kv: &KvView<'_>, mask: Mask) -> TensorResult<Tensor>;
}

/// Every backend, in the order in which [`Choice::Auto`] prefers them.
pub const BACKENDS: &[&dyn Attention] = &[&CudaFlash, &CpuFlash, &Naive];

/// The backends made for this kind of device.
pub fn backends_for(device: &Device) -> impl Iterator<Item = &'static dyn Attention> + Clone {
    BACKENDS.iter().copied().filter(|backend| backend.is_for(device))
}

/// What the cache and the kernels need to know about a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Elements per head.
    pub dim: usize,
    /// Factor applied to the scores.
    pub scale: f32,
    /// Scores become `softcap · tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// What a token may attend to, for each layer.
    pub masks: Vec<Mask>,
    /// How many layers, counted from the first, have their own keys and values. The rest read
    /// theirs.
    pub cached: usize,
}

impl Heads {
    /// Query heads per key head.
    pub const fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Which keys of its own sequence a token may attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mask {
    /// Itself and everything before it.
    Causal,
    /// Itself and the tokens before it, `window` in all: `i` sees `i − window < j ≤ i`.
    SlidingWindow(usize),
    /// Everything.
    Bidirectional,
    /// Tokens nearby on both sides: `i` sees `|i − j| < window`.
    BidirectionalWindow(usize),
}

impl Mask {
    /// The keys visible to the token at `position` in a sequence of `keys`.
    pub fn visible(self, position: usize, keys: usize) -> Range<usize> {
        match self {
            Self::Causal => 0..position + 1,
            Self::SlidingWindow(window) => {
                let window = faults::window(window, position);
                (position + 1).saturating_sub(window)..position + 1
            }
            Self::Bidirectional => 0..keys,
            Self::BidirectionalWindow(window) => {
                (position + 1).saturating_sub(window)..keys.min(position.saturating_add(window))
            }
        }
    }

    /// The most keys before and after its own position that a token may see; `None` means no limit.
    pub const fn reach(self) -> [Option<usize>; 2] {
        match self {
            Self::Causal => [None, Some(0)],
            Self::SlidingWindow(window) => [Some(window.saturating_sub(1)), Some(0)],
            Self::Bidirectional => [None, None],
            Self::BidirectionalWindow(window) => [Some(window.saturating_sub(1)); 2],
        }
    }
}

/// The backends in use, and why others were not chosen.
#[derive(Clone)]
pub struct Chosen {
    /// One per device, in device order.
    pub backends: Vec<&'static dyn Attention>,
    /// Refusals by backends that are made for the device and would have been preferred.
    pub declined: Vec<Unsupported>,
}

impl Chosen {
    /// Names of the backends in use, without duplicates, in device order.
    pub fn name(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for backend in &self.backends {
            if !names.contains(&backend.name()) {
                names.push(backend.name());
            }
        }
        names.join("+")
    }
}

/// The backend that `choice` selects for this model on each of `devices`.
///
/// # Errors
///
/// [`Error::UnknownAttention`], or the [`Unsupported`] of the named backend; with [`Choice::Auto`],
/// that of the last backend asked.
pub fn choose<'a>(
    choice: &Choice,
    heads: &Heads,
    kv: KvLayout,
    devices: impl Iterator<Item = &'a Device>,
    dtype: DType,
) -> Result<Chosen> {
    let wanted = |backend: &&&dyn Attention| match choice {
        Choice::Auto => true,
        Choice::Named(name) => backend.name() == name,
    };
    let mut chosen = Chosen { backends: Vec::new(), declined: Vec::new() };
    for device in devices {
        let mut refusal = Error::UnknownAttention {
            name: choice.to_string(),
            known: BACKENDS.iter().map(|backend| backend.name()).collect(),
        };
        let mut supports = |backend: &&&'static dyn Attention| {
            let Err(unsupported) = backend.supports(heads, kv, device, dtype) else { return true };
            if backend.is_for(device) && !chosen.declined.contains(&unsupported) {
                chosen.declined.push(unsupported.clone());
            }
            refusal = unsupported.into();
            false
        };
        match BACKENDS.iter().filter(wanted).find(|backend| supports(backend)) {
            Some(&backend) => chosen.backends.push(backend),
            None => return Err(refusal),
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;

//! The seam between models and attention kernels.
//!
//! A backend is one file under `attention/` and one line in [`BACKENDS`]. Queries come packed,
//! keys and values lie in the cache already; a mask is a rule, never a tensor. Projections,
//! rotary embeddings and the writing of the cache happen elsewhere.

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
    /// The name that configurations use.
    fn name(&self) -> &'static str;

    /// Whether the backend was made for devices such as this one. That others decline is no news.
    fn is_for(&self, device: &Device) -> bool;

    /// Whether the backend can run this model here. Asked once, at load.
    ///
    /// # Errors
    ///
    /// The reason and the remedy; both are shown to the user.
    fn supports(
        &self,
        heads: &Heads,
        kv: KvLayout,
        device: &Device,
        dtype: DType,
    ) -> Result<(), Unsupported>;

    /// Whether its launches depend on nothing but shapes and what is on the device, where blocks have
    /// `block` tokens: then they can be recorded and replayed on other numbers.
    fn is_recordable(&self, block: usize) -> bool {
        let _ = block;
        false
    }

    /// `q`: `[tokens, heads, dim]`, returned in the same shape and dtype. The keys and values of
    /// the same tokens are in `kv` already.
    ///
    /// # Errors
    ///
    /// When a tensor has another shape, dtype or device than `supports` was asked about.
    fn attend(&self, q: &Tensor, kv: &KvView<'_>, mask: Mask) -> TensorResult<Tensor>;
}

/// Every backend; the order is the preference of [`Choice::Auto`].
pub const BACKENDS: &[&dyn Attention] = &[&CudaFlash, &CpuFlash, &Naive];

/// Those of them that were made for devices such as this one.
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
    /// Length of a head.
    pub dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `softcap · tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// What a token may see, for each layer.
    pub masks: Vec<Mask>,
    /// How many layers have keys and values of their own: the first ones. The others read theirs.
    pub cached: usize,
}

impl Heads {
    /// Query heads that share a key head.
    pub const fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Which keys of its own sequence a token may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mask {
    /// Itself and everything before.
    Causal,
    /// Itself and what is before it, `window` tokens in all: `i` sees `i − window < j ≤ i`.
    SlidingWindow(usize),
    /// Everything.
    Bidirectional,
    /// What is near on both sides: `i` sees `|i − j| < window`.
    BidirectionalWindow(usize),
}

impl Mask {
    /// The keys that the token at `position` may see in a sequence of `keys`.
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

    /// How many keys before and after its own position a token may see at most; none for all.
    pub const fn reach(self) -> [Option<usize>; 2] {
        match self {
            Self::Causal => [None, Some(0)],
            Self::SlidingWindow(window) => [Some(window.saturating_sub(1)), Some(0)],
            Self::Bidirectional => [None, None],
            Self::BidirectionalWindow(window) => [Some(window.saturating_sub(1)); 2],
        }
    }
}

/// The backends that compute, and why others do not.
#[derive(Clone)]
pub struct Chosen {
    /// One for each device, in their order.
    pub backends: Vec<&'static dyn Attention>,
    /// Why those decline that were made for such a device and would have been preferred.
    pub declined: Vec<Unsupported>,
}

impl Chosen {
    /// Their names, each once, in the order of the devices.
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

/// The backends that `choice` means for this model on each of `devices`.
///
/// # Errors
///
/// [`Error::UnknownAttention`], or the [`Unsupported`] of the backend named; with
/// [`Choice::Auto`] that of the last one asked.
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

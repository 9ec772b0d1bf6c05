//! The flash kernels of candle-flash-attn, on NVIDIA GPUs.
//!
//! They read the paged pool in place if its blocks are multiples of 32 tokens, and packed copies of
//! the keys and values otherwise. The queries of all sequences go in one launch, prompt chunks and
//! decodes side by side. Inputs are f16 or bf16; sums accumulate in f32.
//!
//! Every build knows which GPUs, dtypes and heads have kernels; the kernels themselves come with
//! the feature `flash-attn`. They are those of FlashAttention 2: those of FlashAttention 3 are for
//! Hopper only, and support neither block tables nor, with a window, per-sequence lengths.

use candle_core::{DType, Device, Result, Tensor};

use super::{Attention, Heads, Mask};
use crate::config::KvLayout;
use crate::cuda::{Capability, driver};
use crate::error::Unsupported;
use crate::kv::KvView;

#[cfg(feature = "flash-attn")]
mod launch;

/// See the module documentation.
#[derive(Debug)]
pub struct CudaFlash;

impl Attention for CudaFlash {
    fn name(&self) -> &'static str {
        "cuda-flash"
    }

    fn is_for(&self, device: &Device) -> bool {
        device.is_cuda()
    }

    fn supports(
        &self,
        heads: &Heads,
        _: KvLayout,
        device: &Device,
        dtype: DType,
    ) -> std::result::Result<(), Unsupported> {
        let declines = |(which, remedy): (String, &str)| {
            Err(Unsupported { what: self.name().into(), which, remedy: remedy.into() })
        };
        if !self.is_for(device) {
            let remedy = "choose attention `auto`, or place the model on a GPU, as in `cuda:0`";
            return declines((format!("on {:?}", device.location()), remedy));
        }
        if !cfg!(feature = "flash-attn") {
            let remedy = "build with `--features flash-attn`, or choose attention `naive`";
            return declines(("in this build, which has none of its kernels".into(), remedy));
        }
        match refusal(driver::capability(device), heads.dim, dtype) {
            None => Ok(()),
            Some(why) => declines(why),
        }
    }

    fn is_recordable(&self, block: usize) -> bool {
        // For packed copies the host computes the slots.
        read_in_place(block)
    }

    #[cfg(feature = "flash-attn")]
    fn attend(&self, q: &Tensor, kv: &KvView<'_>, mask: Mask) -> Result<Tensor> {
        launch::attend(q, kv, mask)
    }

    #[cfg(not(feature = "flash-attn"))]
    fn attend(&self, _: &Tensor, _: &KvView<'_>, _: Mask) -> Result<Tensor> {
        candle_core::bail!("cuda-flash has no kernels in this build")
    }
}

/// The largest head dim with a kernel.
const LONGEST_HEAD: usize = 512;
/// Head dims with a kernel are multiples of this.
const HEAD_STEP: usize = 8;
/// Blocks that the kernels read in place are multiples of this many tokens.
const BLOCK_STEP: usize = 32;

/// Whether there are kernels for a GPU of `capability`.
fn run_on(capability: Capability) -> bool {
    capability >= Capability::new(8, 0)
}

/// Whether there is one for heads of `dim` numbers.
const fn take_heads_of(dim: usize) -> bool {
    dim > 0 && dim <= LONGEST_HEAD && dim.is_multiple_of(HEAD_STEP)
}

/// Whether there is one for `dtype`.
const fn take(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// Whether they read a pool with blocks of `block` tokens in place.
const fn read_in_place(block: usize) -> bool {
    block > 0 && block.is_multiple_of(BLOCK_STEP)
}

/// Why there is no kernel for this, and what to choose instead; `None` if there is one.
fn refusal(
    capability: Option<Capability>,
    dim: usize,
    dtype: DType,
) -> Option<(String, &'static str)> {
    match capability {
        Some(capability) if run_on(capability) => (),
        Some(capability) => {
            let which = format!("on a GPU of compute capability {capability}");
            return Some((which, "choose attention `naive`, or a GPU of 8.0 or later"));
        }
        None => {
            let which = "on a GPU that does not report its compute capability".into();
            return Some((which, "choose attention `naive`"));
        }
    }
    if !take(dtype) {
        let remedy = "choose dtype `bf16` or `f16`, or attention `naive`";
        return Some((dtype.as_str().into(), remedy));
    }
    (!take_heads_of(dim)).then(|| (format!("heads of {dim} numbers"), "choose attention `naive`"))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn linked(major: u32, minor: u32, dim: usize, dtype: DType) -> Option<String> {
        let capability = Some(Capability::new(major, minor));
        let refusal = refusal(capability, dim, dtype);
        refusal.map(|(which, remedy)| format!("{which}; {remedy}"))
    }

    #[test]
    fn kernels_run_on_the_generations_that_they_were_made_for() {
        let all = [
            (5, 3, false),
            (6, 1, false),
            (7, 0, false),
            (7, 5, false),
            (8, 0, true),
            (8, 6, true),
            (8, 9, true),
            (9, 0, true),
            (10, 0, true),
            (12, 0, true),
        ];
        for (major, minor, expected) in all {
            let capability = Capability::new(major, minor);
            assert_eq!(run_on(capability), expected, "{capability}");
        }
    }

    #[test]
    fn every_combination_is_taken_or_refused_as_the_table_says() {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            for (major, minor) in [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0)] {
                for dim in [1, 8, 32, 64, 72, 80, 96, 100, 128, 160, 192, 224, 256, 512, 520] {
                    let has_kernel = major >= 8
                        && matches!(dtype, DType::F16 | DType::BF16)
                        && dim % 8 == 0
                        && dim <= 512;
                    let refusal = linked(major, minor, dim, dtype);
                    assert_eq!(refusal.is_none(), has_kernel, "{dtype:?} {major}.{minor} {dim}");
                }
            }
        }
    }

    #[test]
    fn blocks_are_read_in_place_where_they_are_multiples_of_32() {
        let blocks = [0, 1, 16, 32, 48, 64, 100, 4096];
        let paged = blocks.map(read_in_place);
        assert_eq!(paged, [false, false, false, true, false, true, false, true]);
    }

    #[test]
    fn a_refusal_names_what_there_is_no_kernel_for_and_what_to_choose() {
        let shown = |refusal: Option<String>| refusal.unwrap();
        assert_snapshot!(shown(linked(9, 0, 128, DType::F32)), @"f32; choose dtype `bf16` or `f16`, or attention `naive`");
        assert_snapshot!(shown(linked(7, 5, 128, DType::F16)), @"on a GPU of compute capability 7.5; choose attention `naive`, or a GPU of 8.0 or later");
        assert_snapshot!(shown(linked(8, 0, 100, DType::BF16)), @"heads of 100 numbers; choose attention `naive`");
        let unknown = refusal(None, 64, DType::F16).unwrap();
        assert_snapshot!(unknown.0, @"on a GPU that does not report its compute capability");
    }
}

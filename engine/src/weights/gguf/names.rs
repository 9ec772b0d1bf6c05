//! Where a GGUF file has the tensor that a family asks for by the hub's name, and how its numbers
//! were changed when the file was written.

use super::architecture::{Architecture, Norms, Rows};

/// Where the numbers of a tensor are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The tensor's name in the file.
    pub(super) tensor: String,
    /// Which slice of it, if one tensor has all experts of a layer.
    pub(super) expert: Option<usize>,
    /// What must be undone.
    pub(super) change: Change,
}

/// How numbers were changed when the file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// 1 was added: families whose norms store their weight minus 1 add it themselves.
    PlusOne,
    /// The rows of each of `heads` heads were interleaved.
    Interleaved {
        /// Number of heads.
        heads: usize,
    },
}

/// Finds places in the files of one model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) architecture: &'static Architecture,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
}

/// Outside the layers.
const TOP: &[(&str, &str)] =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

/// Inside a layer, except for the norms.
const LAYER: &[(&str, &str)] = &[
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    // One fused matrix; files have no separate name for it.
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
    ("mlp.gate", "ffn_gate_inp"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
];

/// Inside an expert.
const EXPERT: &[(&str, &str)] = &[
    ("gate_proj", "ffn_gate_exps"),
    ("up_proj", "ffn_up_exps"),
    ("down_proj", "ffn_down_exps"),
    ("w1", "ffn_gate_exps"),
    ("w3", "ffn_up_exps"),
    ("w2", "ffn_down_exps"),
];

/// The norms of a layer that has one before each block.
const BEFORE: &[(&str, &str)] =
    &[("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];

/// The norms of a layer that has one before and one after each block.
const AROUND: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

impl Names {
    /// The place of the tensor that the hub calls `name`. Names unknown to these files are kept,
    /// and nothing will be found under them.
    pub(super) fn place(&self, name: &str) -> Place {
        self.known(name).unwrap_or_else(|| Place {
            tensor: name.into(),
            expert: None,
            change: Change::None,
        })
    }

    fn known(&self, name: &str) -> Option<Place> {
        // `module.weight` or `module.bias`.
        let (module, end) = name.rsplit_once('.')?;
        if let Some(tensor) = find(TOP, module) {
            let change = self.change(module);
            return Some(Place { tensor: format!("{tensor}.{end}"), expert: None, change });
        }
        let (layer, module) = module.strip_prefix("model.layers.")?.split_once('.')?;
        let (tensor, expert) = match module.split_once(".experts.") {
            Some((_, expert)) => {
                let (index, module) = expert.split_once('.')?;
                (find(EXPERT, module)?, Some(index.parse().ok()?))
            }
            None => (find(LAYER, module).or_else(|| find(self.norms(), module))?, None),
        };
        let tensor = format!("blk.{layer}.{tensor}.{end}");
        Some(Place { tensor, expert, change: self.change(module) })
    }

    const fn norms(&self) -> &'static [(&'static str, &'static str)] {
        match self.architecture.norms {
            Norms::Before => BEFORE,
            Norms::AroundPlusOne => AROUND,
        }
    }

    fn change(&self, module: &str) -> Change {
        let Architecture { norms, rows, .. } = self.architecture;
        match (module, norms, rows) {
            ("self_attn.q_proj", _, Rows::Interleaved) => Change::Interleaved { heads: self.heads },
            ("self_attn.k_proj", _, Rows::Interleaved) => {
                Change::Interleaved { heads: self.kv_heads }
            }
            (module, Norms::AroundPlusOne, _) if module.ends_with("norm") => Change::PlusOne,
            _ => Change::None,
        }
    }
}

fn find(table: &[(&str, &'static str)], module: &str) -> Option<&'static str> {
    table.iter().find(|(hub, _)| *hub == module).map(|(_, file)| *file)
}

//! A step as an attention backend sees it, without an engine: sequences of equal length, whose
//! blocks are consecutive in the pool.

use windtunnel_engine::attention::{Heads, Mask};
use windtunnel_engine::kv::{Run, Table, Tables};

/// Number of sequences of a step, and queries and keys of each.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// Number of sequences.
    pub(crate) sequences: usize,
    /// New tokens of each.
    pub(crate) queries: usize,
    /// All tokens of each, including the new ones.
    pub(crate) keys: usize,
}

impl Step {
    /// Blocks of `block` tokens over all sequences.
    pub(crate) fn blocks(self, block: usize) -> usize {
        self.sequences * self.keys.div_ceil(block)
    }

    /// Where the queries and keys of each sequence are, in blocks of `block` tokens, and where
    /// those of the new tokens go.
    pub(crate) fn tables(self, block: usize) -> Tables {
        let Step { sequences, queries, keys } = self;
        let blocks = keys.div_ceil(block);
        let table = |index: usize| Table {
            row: index * queries,
            queries,
            keys,
            gone: 0,
            blocks: (index * blocks..(index + 1) * blocks).map(|block| block as u32).collect(),
        };
        let mut tables =
            Tables { block, sequences: (0..sequences).map(table).collect(), runs: Vec::new() };
        let mut runs: Vec<Run> = Vec::new();
        for table in &tables.sequences {
            for (token, position) in (table.row..).zip(table.first_position()..keys) {
                let slot = tables.slot(table, position);
                match runs.last_mut() {
                    Some(run) if run.token + run.len == token && run.slot + run.len == slot => {
                        run.len += 1;
                    }
                    _ => runs.push(Run { token, slot, len: 1 }),
                }
            }
        }
        tables.runs = runs;
        tables
    }
}

/// Query heads, key heads and head dim, as in a model of one causal layer.
pub(crate) fn heads([heads, kv_heads, dim]: [usize; 3]) -> Heads {
    Heads {
        heads,
        kv_heads,
        dim,
        scale: (dim as f32).powf(-0.5),
        softcap: None,
        masks: vec![Mask::Causal],
        cached: 1,
    }
}

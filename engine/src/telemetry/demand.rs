//! [`Demand`]: what a computation asks of a machine, however it is carried out.

use std::cell::Cell;
use std::ops::{Add, AddAssign};

use crate::attention::{Heads, Mask};
use crate::kv::Table;

/// Bytes that must be read and operations that must be done, by shapes alone: each matrix that is
/// multiplied is read once, and each key and value that some query of a sequence sees is read once
/// for that sequence. Activations are not counted: speed is measured against the least that a
/// machine must do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of weights and cache.
    pub bytes: u64,
    /// Floating-point operations: a product and a sum are two.
    pub flops: u64,
}

/// The demand of tokens of one kind so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Number of tokens.
    pub tokens: u64,
    /// Their total demand.
    pub demand: Demand,
}

thread_local! {
    /// Demand of the computation under way on this thread. A pass runs on one thread; only its
    /// kernels use others.
    static ASKED: Cell<Demand> = const { Cell::new(Demand { bytes: 0, flops: 0 }) };
}

impl Demand {
    /// Adds this to the computation under way.
    pub(crate) fn note(self) {
        ASKED.set(ASKED.get() + self);
    }

    /// The result of `run`, and its own demand only: while it waits for a parallel loop, its thread
    /// may run a pass of another engine from beginning to end.
    pub(crate) fn during<T>(run: impl FnOnce() -> T) -> (T, Self) {
        let around = ASKED.take();
        let result = run();
        (result, ASKED.replace(around))
    }

    /// This without `part`.
    pub(crate) const fn less(self, part: Self) -> Self {
        let Self { bytes, flops } = part;
        Self { bytes: self.bytes.saturating_sub(bytes), flops: self.flops.saturating_sub(flops) }
    }

    /// For `rows` rows times a matrix of `numbers` numbers in `bytes` bytes.
    pub(crate) const fn of_product(rows: usize, numbers: usize, bytes: u64) -> Self {
        Self { bytes, flops: 2 * rows as u64 * numbers as u64 }
    }

    /// For the queries of `sequences` on their keys and values, whose numbers have `width` bytes.
    pub(crate) fn of_attention(
        sequences: &[Table],
        heads: &Heads,
        mask: Mask,
        width: usize,
    ) -> Self {
        let Heads { heads, kv_heads, dim, .. } = *heads;
        let (mut pairs, mut keys) = (0, 0);
        for table in sequences.iter().filter(|table| table.queries > 0) {
            let seen = |position| mask.visible(position, table.keys);
            let positions = table.first_position()..table.keys;
            keys += seen(table.keys - 1).end - seen(positions.start).start;
            pairs += positions.map(|position| seen(position).len()).sum::<usize>();
        }
        // Scores, and the weighted sum of the values.
        let flops = 2 * 2 * (pairs * heads * dim) as u64;
        Self { bytes: (2 * keys * kv_heads * dim * width) as u64, flops }
    }
}

impl Add for Demand {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, flops: self.flops + other.flops }
    }
}

impl AddAssign for Demand {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Heads {
        Heads {
            heads: 4,
            kv_heads: 2,
            dim: 8,
            scale: 1.0,
            softcap: None,
            masks: vec![Mask::Causal],
            cached: 1,
        }
    }

    fn sequence(queries: usize, keys: usize) -> Table {
        Table { row: 0, queries, keys, gone: 0, blocks: Vec::new() }
    }

    #[test]
    fn attention_asks_for_what_is_seen_pair_by_pair() {
        let decode = Demand::of_attention(&[sequence(1, 10)], &heads(), Mask::Causal, 2);
        assert_eq!(decode, Demand { bytes: 2 * 10 * 2 * 8 * 2, flops: 4 * 10 * 4 * 8 });
        // Keys are read once for all queries of a chunk: 1 + 2 + 3 pairs, 3 keys.
        let prefill = Demand::of_attention(&[sequence(3, 3)], &heads(), Mask::Causal, 4);
        assert_eq!(prefill, Demand { bytes: 2 * 3 * 2 * 8 * 4, flops: 4 * 6 * 4 * 8 });
        let both = [sequence(3, 3), sequence(0, 7), sequence(1, 10)];
        let both = Demand::of_attention(&both, &heads(), Mask::Causal, 4);
        assert_eq!(both.flops, prefill.flops + decode.flops);
    }

    #[test]
    fn a_window_asks_for_what_is_in_it() {
        let window = Mask::SlidingWindow(4);
        let decode = Demand::of_attention(&[sequence(1, 10)], &heads(), window, 4);
        assert_eq!(decode, Demand { bytes: 2 * 4 * 2 * 8 * 4, flops: 4 * 4 * 4 * 8 });
        // The second of two queries sees one key that the first does not.
        let two = Demand::of_attention(&[sequence(2, 10)], &heads(), window, 4);
        assert_eq!(two, Demand { bytes: 2 * 5 * 2 * 8 * 4, flops: 4 * 8 * 4 * 8 });
    }

    #[test]
    fn a_computation_in_the_midst_of_another_counts_for_itself() {
        let product = Demand::of_product(3, 10, 40);
        let (inner, outer) = Demand::during(|| {
            product.note();
            let ((), inner) = Demand::during(|| Demand { bytes: 2, flops: 1 }.note());
            product.note();
            inner
        });
        assert_eq!(inner, Demand { bytes: 2, flops: 1 });
        assert_eq!(outer, product + product);
        assert_eq!(Demand::during(|| ()), ((), Demand::default()));
    }
}

//! `paged_decode.cu`, tested against the definition of attention.

use half::{bf16, f16};

use super::Program;

/// The kernels for one size of heads and cache blocks.
struct Decode {
    program: Program,
    /// Numbers per head.
    dim: usize,
    /// Query heads per thread block.
    group: usize,
    /// Tokens per block of the cache.
    block: usize,
    is_f16: bool,
}

/// Sequences that decode one token each.
struct Step<'a> {
    /// Keys of each.
    lengths: &'a [usize],
    kv_heads: usize,
    /// Groups of query heads per key head.
    groups: usize,
    /// Thread blocks over which the keys of a head are split.
    parts: usize,
    /// How many keys before its own a query sees; `None` for all.
    before: Option<usize>,
    /// Softcap on scores; 0 for none.
    cap: f32,
}

impl Decode {
    fn compile(dim: usize, group: usize, block: usize, is_f16: bool) -> Self {
        let half = usize::from(is_f16);
        let defined = [("DIM", dim), ("GROUP", group), ("BLOCK", block), ("HALF", half)];
        let program = Program::compile(include_str!("decode.c"), "paged_decode.cu", &defined);
        Self { program, dim, group, block, is_f16 }
    }

    fn number(&self, bits: u16) -> f64 {
        match self.is_f16 {
            true => f16::from_bits(bits).to_f64(),
            false => bf16::from_bits(bits).to_f64(),
        }
    }

    /// The bits of `count` numbers from −2 to 2.
    fn numbers(&self, seed: u64, count: usize) -> Vec<u16> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let number = (state >> 40) as f32 / (1 << 22) as f32 - 2.0;
            match self.is_f16 {
                true => f16::from_f32(number).to_bits(),
                false => bf16::from_f32(number).to_bits(),
            }
        };
        (0..count).map(|_| next()).collect()
    }

    fn check(&self, step: &Step<'_>) {
        let Self { dim, group, block, .. } = *self;
        let Step { lengths, kv_heads, groups, parts, before, cap } = *step;
        let (sequences, heads) = (lengths.len(), kv_heads * groups * group);
        let taken: Vec<usize> = lengths.iter().map(|length| length.div_ceil(block)).collect();
        let (blocks, width) = (taken.iter().sum::<usize>(), *taken.iter().max().unwrap());
        // Dealt from the last one on; entries beyond the blocks of a sequence must not be read.
        let mut free = (0..blocks as u64).rev();
        let row = |count: usize| {
            let mut row: Vec<u64> = free.by_ref().take(count).collect();
            row.resize(width, u64::from(u32::MAX));
            row
        };
        let tables: Vec<Vec<u64>> = taken.into_iter().map(row).collect();
        let end = |sequences: usize| lengths[..sequences].iter().sum::<usize>() as u64;
        let q = self.numbers(1, sequences * heads * dim);
        let [keys, values] = [2, 3].map(|seed| self.numbers(seed, blocks * block * kv_heads * dim));
        let scale = 1.0 / (dim as f32).sqrt();

        let seen = before.map_or(0, |before| before + 1);
        let sizes = [sequences, kv_heads, heads, parts, blocks, width, seen];
        let input = sizes.into_iter().map(|size| size as u64);
        let input = input.chain([scale, cap].map(|number| u64::from(number.to_bits())));
        let input = input.chain((0..=sequences).map(end)).chain(tables.iter().flatten().copied());
        let halves = [&q, &keys, &values].into_iter().flatten();
        let found = self.program.run(input.chain(halves.map(|bits| u64::from(*bits))));
        assert_eq!(found.len(), q.len());

        // The error of rounding the output to half precision.
        let allowed = if self.is_f16 { 1e-3 } else { 5e-3 };
        for (at, found) in found.chunks(dim).enumerate() {
            let (sequence, head) = (at / heads, at % heads);
            let length = lengths[sequence];
            let first = before.map_or(0, |before| (length - 1).saturating_sub(before));
            let row = |position: usize| {
                let slot = tables[sequence][position / block] as usize * block + position % block;
                (slot * kv_heads + head / (heads / kv_heads)) * dim
            };
            let score = |position: usize| {
                let (query, key) = (&q[at * dim..][..dim], &keys[row(position)..][..dim]);
                let products =
                    query.iter().zip(key).map(|(q, k)| self.number(*q) * self.number(*k));
                products.sum::<f64>() * f64::from(scale)
            };
            let capped = |score: f64| match cap > 0.0 {
                true => f64::from(cap) * (score / f64::from(cap)).tanh(),
                false => score,
            };
            let weights: Vec<f64> =
                (first..length).map(|position| capped(score(position)).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (d, found) in found.iter().enumerate() {
                let value = |position: usize| self.number(values[row(position) + d]);
                let parts = (first..length).zip(&weights).map(|(at, weight)| weight * value(at));
                let expected = parts.sum::<f64>() / sum;
                let found = self.number(*found as u16);
                assert!(
                    (found - expected).abs() <= allowed,
                    "{found} instead of {expected}, head {head} of {heads}, {length} keys, {before:?}"
                );
            }
        }
    }
}

#[test]
fn a_decode_attends_to_what_its_queries_see_over_heads_groups_parts_and_windows() {
    for (dim, group, block, is_f16) in [
        (8, 7, 96, false),
        (32, 3, 32, true),
        (64, 4, 32, false),
        (128, 1, 64, true),
        (256, 8, 32, false),
    ] {
        let decode = Decode::compile(dim, group, block, is_f16);
        let step = Step {
            lengths: &[1, 33, 70],
            kv_heads: 2,
            groups: 1,
            parts: 1,
            before: None,
            cap: 0.0,
        };
        decode.check(&step);
        // More parts than the first sequence has keys: some find nothing to do.
        decode.check(&Step { parts: 5, lengths: &[1, 9, 70], cap: 3.0, ..step });
        let step = Step { kv_heads: 1, groups: 2, lengths: &[1, 33, 34, 40], ..step };
        for before in [0, 32] {
            decode.check(&Step { before: Some(before), parts: 3, ..step });
        }
    }
}

#[test]
fn a_key_that_is_not_a_number_shows_in_the_output() {
    // One sequence of three keys and one head, in one part and in two.
    let (dim, block) = (8, 32);
    let decode = Decode::compile(dim, 1, block, false);
    let q = decode.numbers(1, dim);
    let values = decode.numbers(3, block * dim);
    for parts in [1, 2] {
        for broken in 0..3 {
            let mut keys = decode.numbers(2, block * dim);
            keys[broken * dim] = bf16::NAN.to_bits();
            let sizes = [1, 1, 1, parts, 1, 1, 0].into_iter();
            let input = sizes.chain([1.0f32, 0.0].map(|number| u64::from(number.to_bits())));
            // The ends of the keys, then the only block of the table.
            let input = input.chain([0, 3]).chain([0]);
            let halves = [&q, &keys, &values].into_iter().flatten();
            let found = decode.program.run(input.chain(halves.map(|bits| u64::from(*bits))));
            assert_eq!(found.len(), dim);
            let is_nan = |bits: &u64| decode.number(*bits as u16).is_nan();
            assert!(found.iter().all(is_nan), "key {broken} in {parts} parts: {found:?}");
        }
    }
}

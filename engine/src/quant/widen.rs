//! Blocks to floats, sixteen numbers at a time: into memory for many rows of activations, and into
//! a register for a single one.
//!
//! Bytes are read where GGML's formats have them, and a number is computed as these define it, in
//! the same order, so that every reader of a block gets the same f32. So do candle's loops, one
//! number at a time: `benches/linear.rs` shows the difference.

use half::f16;

use super::QuantType;
use crate::cpu::{Bytes, LANES, Lanes};

/// Converts a run of blocks to floats. `to` must have room for exactly their numbers.
pub(crate) type Widen = fn(blocks: &[u8], to: &mut [f32]);

/// Rows that [`Dot`] takes at once, so that a sum need not wait for the previous one.
pub(crate) const ROWS: usize = 4;

/// `sums[i] += rows[i] · x`, lane by lane, without storing any float of the rows in memory. The
/// rows are blocks with as many numbers as `x`.
pub(crate) type Dot = fn(rows: [&[u8]; ROWS], x: &[f32], sums: &mut [Lanes; ROWS]);

/// Calls `$then!` with the reader of `$kind`'s blocks, and the number of sixteens in a block.
macro_rules! by_kind {
    ($kind:expr, $then:ident) => {
        match $kind {
            QuantType::Q4_0 => $then!(q4_0 2),
            QuantType::Q4_1 => $then!(q4_1 2),
            QuantType::Q5_0 => $then!(q5_0 2),
            QuantType::Q5_1 => $then!(q5_1 2),
            QuantType::Q8_0 => $then!(q8_0 2),
            QuantType::Q2K => $then!(q2k 16),
            QuantType::Q3K => $then!(q3k 16),
            QuantType::Q4K => $then!(q4k 16),
            QuantType::Q5K => $then!(q5k 16),
            QuantType::Q6K => $then!(q6k 16),
        }
    };
}

impl QuantType {
    /// Converts blocks of this format to floats.
    pub(crate) const fn widen(self) -> Widen {
        macro_rules! stored {
            ($numbers:ident $sixteens:literal) => {
                |from, to| {
                    each::<_, $sixteens>(from, to, |block, to| {
                        $numbers(block, |sixteen, lanes| lanes.store(&mut to[sixteen]));
                    });
                }
            };
        }
        by_kind!(self, stored)
    }

    /// Multiplies rows of this format.
    pub(crate) const fn dot(self) -> Dot {
        macro_rules! multiplied {
            ($numbers:ident $sixteens:literal) => {
                |rows, x, sums| {
                    dot::<_, $sixteens>(rows, x, sums, |block, x, sum| {
                        $numbers(block, |sixteen, lanes| {
                            *sum = lanes.fma(Lanes::load(&x[sixteen]), *sum);
                        });
                    });
                }
            };
        }
        by_kind!(self, multiplied)
    }
}

/// Calls `block` for each block, with the slots for its numbers, in sixteens.
#[inline(always)]
fn each<const B: usize, const N: usize>(
    from: &[u8],
    to: &mut [f32],
    block: impl Fn(&[u8; B], &mut [[f32; LANES]; N]),
) {
    let sixteens = to.as_chunks_mut().0.as_chunks_mut().0;
    for (from, to) in from.as_chunks().0.iter().zip(sixteens) {
        block(from, to);
    }
}

/// Calls `block` for each block of each row, with the numbers of `x` that it meets, in sixteens,
/// and the row's sum.
#[inline(always)]
fn dot<const B: usize, const N: usize>(
    rows: [&[u8]; ROWS],
    x: &[f32],
    sums: &mut [Lanes; ROWS],
    block: impl Fn(&[u8; B], &[[f32; LANES]; N], &mut Lanes),
) {
    let x: &[[[f32; LANES]; N]] = x.as_chunks().0.as_chunks().0;
    // Equal lengths, stated once, spare the loop its bounds checks.
    let rows = rows.map(|row| &row.as_chunks().0[..x.len()]);
    // A local copy stays in registers.
    let mut local = *sums;
    for (at, x) in x.iter().enumerate() {
        for (sum, row) in local.iter_mut().zip(rows) {
            block(&row[at], x, sum);
        }
    }
    *sums = local;
}

/// `N` bytes of a block, from `at` on.
#[inline(always)]
fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("blocks are as long as their format says")
}

#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes(*part(block, at)).to_f32()
}

/// `(q − zero) · scale`.
#[inline(always)]
fn scaled(q: Bytes, zero: u8, scale: f32) -> Lanes {
    q.minus(Bytes::splat(zero)).lanes().times(Lanes::splat(scale))
}

/// `q · scale + offset`.
#[inline(always)]
fn shifted(q: Bytes, scale: f32, offset: f32) -> Lanes {
    // No fused multiply-add: each operation rounds by itself.
    q.lanes().times(Lanes::splat(scale)).plus(Lanes::splat(offset))
}

/// The values of 4-bit integers that share a scale; `low` and `high` read the lower and the upper
/// four bits of each byte. The closure is evaluated once for all sixteen values, which are then
/// looked up; without the instruction for that, evaluating it for each number that comes is faster.
#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
struct Levels(Lanes);

#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
impl Levels {
    #[inline(always)]
    fn new(level: impl Fn(Bytes) -> Lanes) -> Self {
        Self(level(Bytes::load(&std::array::from_fn(|q| q as u8))))
    }

    #[inline(always)]
    fn low(&self, q: Bytes) -> Lanes {
        q.look_up::<0>(self.0)
    }

    #[inline(always)]
    fn high(&self, q: Bytes) -> Lanes {
        q.look_up::<4>(self.0)
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx512f")))]
struct Levels<F>(F);

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx512f")))]
impl<F: Fn(Bytes) -> Lanes> Levels<F> {
    #[inline(always)]
    fn new(level: F) -> Self {
        Self(level)
    }

    #[inline(always)]
    fn low(&self, q: Bytes) -> Lanes {
        (self.0)(q.bits::<0>(15))
    }

    #[inline(always)]
    fn high(&self, q: Bytes) -> Lanes {
        (self.0)(q.bits::<4>(15))
    }
}

/// `$body` with the constant `$name` set to each number of the list in turn, so that whatever
/// depends on it, above all shifts, is known to the compiler.
macro_rules! unrolled {
    ($name:ident in [$($number:literal)*] $body:block) => {
        $({
            const $name: usize = $number;
            $body
        })*
    };
}

#[inline(always)]
fn q8_0(block: &[u8; 34], mut put: impl FnMut(usize, Lanes)) {
    let d = half(block, 0);
    unrolled!(SIXTEEN in [0 1] {
        put(SIXTEEN, scaled(Bytes::load(part(block, 2 + 16 * SIXTEEN)), 0, d));
    });
}

/// Sixteen bytes: the low nibbles are the first half of the numbers, the high ones the second.
#[inline(always)]
fn q4_0(block: &[u8; 18], mut put: impl FnMut(usize, Lanes)) {
    let (d, q) = (half(block, 0), Bytes::load(part(block, 2)));
    let levels = Levels::new(|q| scaled(q, 8, d));
    put(0, levels.low(q));
    put(1, levels.high(q));
}

#[inline(always)]
fn q4_1(block: &[u8; 20], mut put: impl FnMut(usize, Lanes)) {
    let (d, m, q) = (half(block, 0), half(block, 2), Bytes::load(part(block, 4)));
    let levels = Levels::new(|q| shifted(q, d, m));
    put(0, levels.low(q));
    put(1, levels.high(q));
}

/// The fifth bits of sixteen numbers, from `at` on.
#[inline(always)]
fn fifth(block: &[u8], at: usize) -> Bytes {
    Bytes::each_bit(u16::from_le_bytes(*part(block, at)))
}

/// As `q4_0`, with a fifth bit for each number.
#[inline(always)]
fn q5_0(block: &[u8; 22], mut put: impl FnMut(usize, Lanes)) {
    let (d, q) = (half(block, 0), Bytes::load(part(block, 6)));
    put(0, scaled(q.bits::<0>(15).under::<4>(fifth(block, 2)), 16, d));
    put(1, scaled(q.bits::<4>(15).under::<4>(fifth(block, 4)), 16, d));
}

#[inline(always)]
fn q5_1(block: &[u8; 24], mut put: impl FnMut(usize, Lanes)) {
    let (d, m, q) = (half(block, 0), half(block, 2), Bytes::load(part(block, 8)));
    put(0, shifted(q.bits::<0>(15).under::<4>(fifth(block, 4)), d, m));
    put(1, shifted(q.bits::<4>(15).under::<4>(fifth(block, 6)), d, m));
}

/// Sixteen scales of a block at once: one by one they would take as long as its numbers.
#[inline(always)]
fn by_factors(q: Bytes, factors: Lanes) -> [f32; LANES] {
    let mut scales = [0.0; LANES];
    q.lanes().times(factors).store(&mut scales);
    scales
}

/// The three words of twelve bytes of 6-bit scales.
#[inline(always)]
fn words(packed: &[u8; 12]) -> [u32; 3] {
    std::array::from_fn(|word| u32::from_le_bytes(*part(packed, 4 * word)))
}

/// The sixteen bytes of four words.
#[inline(always)]
fn bytes(words: [u32; 4]) -> Bytes {
    let mut bytes = [0; 16];
    for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    Bytes::load(&bytes)
}

/// Masks for the low bits of each byte of a word.
const TWO_BITS: u32 = 0x0303_0303;
const FOUR_BITS: u32 = 0x0f0f_0f0f;
const SIX_BITS: u32 = 0x3f3f_3f3f;

/// Sixteen pairs of a 4-bit scale and offset, four 2-bit numbers per byte (32 bytes hold 128
/// numbers, 32 in each pair of bits), two factors.
#[inline(always)]
fn q2k(block: &[u8; 84], mut put: impl FnMut(usize, Lanes)) {
    let (d, dmin) = (half(block, 80), half(block, 82));
    let both = Bytes::load(part(block, 0));
    let scales = by_factors(both.bits::<0>(15), Lanes::splat(d));
    let offsets = by_factors(both.bits::<4>(15), Lanes::splat(-dmin));
    unrolled!(HALF in [0 1] {
        unrolled!(GROUP in [0 1 2 3] {
            unrolled!(SIDE in [0 1] {
                const SIXTEEN: usize = 8 * HALF + 2 * GROUP + SIDE;
                let q = Bytes::load(part(block, 16 + 32 * HALF + 16 * SIDE));
                let q = q.bits::<{ 2 * GROUP as i32 }>(3);
                put(SIXTEEN, shifted(q, scales[SIXTEEN], offsets[SIXTEEN]));
            });
        });
    });
}

/// Sixteen 6-bit scales, stored with 32 added: four bits in the first eight bytes, two in the last
/// four.
#[inline(always)]
fn sixteen_of_six(packed: &[u8; 12]) -> Bytes {
    let [a, b, high] = words(packed);
    let of = |low: u32, high: u32| low & FOUR_BITS | (high & TWO_BITS) << 4;
    let q = bytes([of(a, high), of(b, high >> 2), of(a >> 4, high >> 4), of(b >> 4, high >> 6)]);
    q.minus(Bytes::splat(32))
}

/// As `q2k`, with a third bit for each number in the first 32 bytes, and sixteen 6-bit scales.
#[inline(always)]
fn q3k(block: &[u8; 110], mut put: impl FnMut(usize, Lanes)) {
    let d = half(block, 108);
    let scales = by_factors(sixteen_of_six(part(block, 96)), Lanes::splat(d));
    unrolled!(HALF in [0 1] {
        unrolled!(GROUP in [0 1 2 3] {
            unrolled!(SIDE in [0 1] {
                const SIXTEEN: usize = 8 * HALF + 2 * GROUP + SIDE;
                let q = Bytes::load(part(block, 32 + 32 * HALF + 16 * SIDE));
                let third = Bytes::load(part(block, 16 * SIDE));
                let third = third.bits::<{ (4 * HALF + GROUP) as i32 }>(1);
                let q = q.bits::<{ 2 * GROUP as i32 }>(3).under::<2>(third);
                // A number without its third bit is four less.
                put(SIXTEEN, scaled(q, 4, scales[SIXTEEN]));
            });
        });
    });
}

/// Scales of eight groups, then their offsets, negated. `packed` has those of the first four groups
/// in six bits each; of the others, four bits in the last four bytes, two above those of the first.
#[inline(always)]
fn eight_and_eight(packed: &[u8; 12], d: f32, dmin: f32) -> [f32; LANES] {
    let [scale, offset, low] = words(packed);
    let of = |low: u32, high: u32| low & FOUR_BITS | (high >> 6 & TWO_BITS) << 4;
    let scales = [scale & SIX_BITS, of(low, scale)];
    let offsets = [offset & SIX_BITS, of(low >> 4, offset)];
    let factors = std::array::from_fn(|lane| if lane < LANES / 2 { d } else { -dmin });
    by_factors(bytes([scales[0], scales[1], offsets[0], offsets[1]]), Lanes::load(&factors))
}

/// Two factors, eight 6-bit scales and offsets; 32 bytes hold two groups of nibbles.
#[inline(always)]
fn q4k(block: &[u8; 144], mut put: impl FnMut(usize, Lanes)) {
    let scales = eight_and_eight(part(block, 4), half(block, 0), half(block, 2));
    unrolled!(PAIR in [0 1 2 3] {
        let levels = |group| Levels::new(move |q| shifted(q, scales[group], scales[8 + group]));
        let (low, high) = (levels(2 * PAIR), levels(2 * PAIR + 1));
        let q = [0, 16].map(|side| Bytes::load(part(block, 16 + 32 * PAIR + side)));
        put(4 * PAIR, low.low(q[0]));
        put(4 * PAIR + 1, low.low(q[1]));
        put(4 * PAIR + 2, high.high(q[0]));
        put(4 * PAIR + 3, high.high(q[1]));
    });
}

/// As `q4k`, with a fifth bit for each number: each of 32 bytes holds one bit per group.
#[inline(always)]
fn q5k(block: &[u8; 176], mut put: impl FnMut(usize, Lanes)) {
    let scales = eight_and_eight(part(block, 4), half(block, 0), half(block, 2));
    unrolled!(GROUP in [0 1 2 3 4 5 6 7] {
        unrolled!(SIDE in [0 1] {
            let q = Bytes::load(part(block, 48 + 32 * (GROUP / 2) + 16 * SIDE));
            let fifth = Bytes::load(part(block, 16 + 16 * SIDE)).bits::<{ GROUP as i32 }>(1);
            let q = q.bits::<{ 4 * (GROUP % 2) as i32 }>(15).under::<4>(fifth);
            put(2 * GROUP + SIDE, shifted(q, scales[GROUP], scales[8 + GROUP]));
        });
    });
}

/// Low nibbles of 256 numbers, their two high bits, sixteen scales, a factor. Each half of the
/// numbers has eight sixteens: nibbles in 64 bytes, high bits in 32.
#[inline(always)]
fn q6k(block: &[u8; 210], mut put: impl FnMut(usize, Lanes)) {
    let d = half(block, 208);
    let scales = by_factors(Bytes::load(part(block, 192)), Lanes::splat(d));
    unrolled!(HALF in [0 1] {
        unrolled!(AT in [0 1 2 3 4 5 6 7] {
            let low = Bytes::load(part(block, 64 * HALF + 16 * (AT % 4)));
            let high = Bytes::load(part(block, 128 + 32 * HALF + 16 * (AT % 2)));
            let low = low.bits::<{ 4 * (AT / 4) as i32 }>(15);
            let q = low.under::<4>(high.bits::<{ 2 * (AT / 2) as i32 }>(3));
            put(8 * HALF + AT, scaled(q, 32, scales[8 * HALF + AT]));
        });
    });
}

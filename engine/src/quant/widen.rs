//! Blocks to floats, sixteen numbers at a time: into memory for many rows of activations, and into
//! a register for a single one.
//!
//! Bytes are read where GGML's formats have them; a number is computed as those define it, in the
//! same order, so that everybody who reads a block sees the same f32. candle's loops do too, number
//! by number: `benches/linear.rs` shows the difference.

use half::f16;

use super::QuantType;
use crate::cpu::{Bytes, LANES, Lanes};

/// Makes floats of a run of blocks. There must be one number for each in the blocks.
pub(crate) type Widen = fn(blocks: &[u8], to: &mut [f32]);

/// Rows that [`Dot`] takes at once, so that one sum need not wait for the one before it.
pub(crate) const ROWS: usize = 4;

/// `sums[i] += rows[i] · x`, lane by lane, without a float of the rows ever in memory. The rows are
/// blocks of as many numbers as `x` has.
pub(crate) type Dot = fn(rows: [&[u8]; ROWS], x: &[f32], sums: &mut [Lanes; ROWS]);

/// Calls `$then!` with what makes numbers of a block of `$kind`, and how many sixteens there are in one.
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
    /// What makes floats of blocks of this format.
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

    /// What multiplies rows of this format.
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

/// Calls `block` for each block with the numbers it makes, in sixteens.
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

/// Calls `block` for each block of each row with the numbers of `x` that it meets, in sixteens, and
/// the row's sum.
#[inline(always)]
fn dot<const B: usize, const N: usize>(
    rows: [&[u8]; ROWS],
    x: &[f32],
    sums: &mut [Lanes; ROWS],
    block: impl Fn(&[u8; B], &[[f32; LANES]; N], &mut Lanes),
) {
    let x: &[[[f32; LANES]; N]] = x.as_chunks().0.as_chunks().0;
    // Equal lengths, stated once, free the loop of bounds checks.
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
    // A product with 1 is exact, so that each operation rounds by itself.
    let product = q.lanes().times(Lanes::splat(scale));
    product.fma(Lanes::splat(1.0), Lanes::splat(offset))
}

#[inline(always)]
fn q8_0(block: &[u8; 34], mut put: impl FnMut(usize, Lanes)) {
    let d = half(block, 0);
    for sixteen in 0..2 {
        let q = Bytes::load(part(block, 2 + 16 * sixteen));
        put(sixteen, scaled(q, 0, d));
    }
}

/// Sixteen bytes hold the low nibbles of the first half of the numbers, and high those of the other.
#[inline(always)]
fn q4_0(block: &[u8; 18], mut put: impl FnMut(usize, Lanes)) {
    let (d, q) = (half(block, 0), Bytes::load(part(block, 2)));
    for sixteen in 0..2 {
        put(sixteen, scaled(q.bits(4 * sixteen, 15), 8, d));
    }
}

#[inline(always)]
fn q4_1(block: &[u8; 20], mut put: impl FnMut(usize, Lanes)) {
    let (d, m, q) = (half(block, 0), half(block, 2), Bytes::load(part(block, 4)));
    for sixteen in 0..2 {
        put(sixteen, shifted(q.bits(4 * sixteen, 15), d, m));
    }
}

/// As `q4_0`, with a fifth bit for each number.
#[inline(always)]
fn q5_0(block: &[u8; 22], mut put: impl FnMut(usize, Lanes)) {
    let (d, q) = (half(block, 0), Bytes::load(part(block, 6)));
    for sixteen in 0..2 {
        let fifth = Bytes::each_bit(u16::from_le_bytes(*part(block, 2 + 2 * sixteen)));
        put(sixteen, scaled(q.bits(4 * sixteen, 15).under(fifth), 16, d));
    }
}

#[inline(always)]
fn q5_1(block: &[u8; 24], mut put: impl FnMut(usize, Lanes)) {
    let (d, m, q) = (half(block, 0), half(block, 2), Bytes::load(part(block, 8)));
    for sixteen in 0..2 {
        let fifth = Bytes::each_bit(u16::from_le_bytes(*part(block, 4 + 2 * sixteen)));
        put(sixteen, shifted(q.bits(4 * sixteen, 15).under(fifth), d, m));
    }
}

/// The bytes in which sixteen numbers have their two low bits: 32 bytes hold 128 numbers, one below
/// the other.
#[inline(always)]
fn two_bits(block: &[u8], at: usize, sixteen: usize) -> Bytes {
    let (half, group) = (sixteen / 8, sixteen % 8);
    Bytes::load(part(block, at + 32 * half + 16 * (group % 2))).bits(group / 2 * 2, 3)
}

/// Sixteen scales and offsets of four bits, four numbers of two bits in a byte, two factors.
#[inline(always)]
fn q2k(block: &[u8; 84], mut put: impl FnMut(usize, Lanes)) {
    let (d, dmin) = (half(block, 80), half(block, 82));
    for sixteen in 0..16 {
        let scale = d * f32::from(block[sixteen] & 15);
        let offset = dmin * f32::from(block[sixteen] >> 4);
        put(sixteen, shifted(two_bits(block, 16, sixteen), scale, -offset));
    }
}

/// As `q2k`, with a third bit for each number in the first 32 bytes, and sixteen scales of six bits.
#[inline(always)]
fn q3k(block: &[u8; 110], mut put: impl FnMut(usize, Lanes)) {
    let (d, packed): (_, &[u8; 12]) = (half(block, 108), part(block, 96));
    for sixteen in 0..16 {
        let low = packed[sixteen % 8] >> (4 * (sixteen / 8)) & 15;
        let high = packed[8 + sixteen % 4] >> (2 * (sixteen / 4)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let third = Bytes::load(part(block, 16 * (sixteen % 2))).bits(sixteen / 2, 1);
        let q = two_bits(block, 32, sixteen).lanes();
        // What lacks its third bit is four less.
        let q = third.lanes().fma(Lanes::splat(4.0), q).fma(Lanes::splat(1.0), Lanes::splat(-4.0));
        put(sixteen, q.times(Lanes::splat(scale)));
    }
}

/// Scale and offset of group `thirty_two`, of six bits each: twelve bytes hold eight of both.
#[inline(always)]
fn six_bits(packed: &[u8; 12], thirty_two: usize) -> (f32, f32) {
    let at = thirty_two % 4;
    let (scale, offset) = match thirty_two / 4 {
        0 => (packed[at] & 63, packed[at + 4] & 63),
        _ => {
            let both = packed[at + 8];
            ((both & 15) | (packed[at] >> 6 << 4), (both >> 4) | (packed[at + 4] >> 6 << 4))
        }
    };
    (f32::from(scale), f32::from(offset))
}

/// Two factors, eight scales and offsets of six bits; 32 bytes hold two groups of nibbles.
#[inline(always)]
fn q4k(block: &[u8; 144], mut put: impl FnMut(usize, Lanes)) {
    let (d, dmin, packed) = (half(block, 0), half(block, 2), part(block, 4));
    for group in 0..8 {
        let (scale, offset) = six_bits(packed, group);
        for sixteen in 0..2 {
            let q = Bytes::load(part(block, 16 + 32 * (group / 2) + 16 * sixteen));
            put(
                2 * group + sixteen,
                shifted(q.bits(4 * (group % 2), 15), d * scale, -(dmin * offset)),
            );
        }
    }
}

/// As `q4k`, with a fifth bit for each number: 32 bytes hold one of each group.
#[inline(always)]
fn q5k(block: &[u8; 176], mut put: impl FnMut(usize, Lanes)) {
    let (d, dmin, packed) = (half(block, 0), half(block, 2), part(block, 4));
    for group in 0..8 {
        let (scale, offset) = six_bits(packed, group);
        for sixteen in 0..2 {
            let q = Bytes::load(part(block, 48 + 32 * (group / 2) + 16 * sixteen));
            let fifth = Bytes::load(part(block, 16 + 16 * sixteen)).bits(group, 1);
            let q = q.bits(4 * (group % 2), 15).under(fifth);
            put(2 * group + sixteen, shifted(q, d * scale, -(dmin * offset)));
        }
    }
}

/// Low nibbles of 256 numbers, their two high bits, sixteen scales, a factor. Each half of the
/// numbers has eight sixteens: nibbles in 64 bytes, high bits in 32.
#[inline(always)]
fn q6k(block: &[u8; 210], mut put: impl FnMut(usize, Lanes)) {
    let d = half(block, 208);
    for sixteen in 0..16 {
        let (half, at) = (sixteen / 8, sixteen % 8);
        let low = Bytes::load(part(block, 64 * half + 16 * (at % 4))).bits(at / 4 * 4, 15);
        let high = Bytes::load(part(block, 128 + 32 * half + 16 * (at % 2))).bits(at / 2 * 2, 3);
        let scale = d * f32::from(block[192 + sixteen] as i8);
        put(sixteen, scaled(low.under(high), 32, scale));
    }
}

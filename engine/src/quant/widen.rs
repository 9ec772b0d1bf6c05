//! Blocks to floats, sixteen numbers at a time.
//!
//! Bytes are read where GGML's formats have them; a number is computed as those define it, in the
//! same order, so that everybody who reads a block sees the same f32. candle's loops do too, number
//! by number: `benches/linear.rs` shows the difference.

use half::f16;

use super::QuantType;
use crate::cpu::{Bytes, LANES, Lanes};

/// Makes floats of a run of blocks. There must be one number for each in the blocks.
pub(crate) type Widen = fn(blocks: &[u8], to: &mut [f32]);

impl QuantType {
    /// What makes floats of blocks of this format.
    pub(crate) const fn widen(self) -> Widen {
        match self {
            Self::Q4_0 => |from, to| each(from, to, q4_0),
            Self::Q4_1 => |from, to| each(from, to, q4_1),
            Self::Q5_0 => |from, to| each(from, to, q5_0),
            Self::Q5_1 => |from, to| each(from, to, q5_1),
            Self::Q8_0 => |from, to| each(from, to, q8_0),
            Self::Q2K => |from, to| each(from, to, q2k),
            Self::Q3K => |from, to| each(from, to, q3k),
            Self::Q4K => |from, to| each(from, to, q4k),
            Self::Q5K => |from, to| each(from, to, q5k),
            Self::Q6K => |from, to| each(from, to, q6k),
        }
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
fn scaled(q: Bytes, zero: f32, scale: f32, to: &mut [f32; LANES]) {
    // Products with 1 are exact, so that each operation rounds by itself.
    let whole = q.lanes().fma(Lanes::splat(1.0), Lanes::splat(-zero));
    whole.times(Lanes::splat(scale)).store(to);
}

/// `q · scale + offset`.
#[inline(always)]
fn shifted(q: Bytes, scale: f32, offset: f32, to: &mut [f32; LANES]) {
    let product = q.lanes().times(Lanes::splat(scale));
    product.fma(Lanes::splat(1.0), Lanes::splat(offset)).store(to);
}

#[inline(always)]
fn q8_0(block: &[u8; 34], to: &mut [[f32; LANES]; 2]) {
    let d = half(block, 0);
    for (sixteen, to) in to.iter_mut().enumerate() {
        let q = Bytes::load(part(block, 2 + 16 * sixteen));
        scaled(q.unsigned(), 128.0, d, to);
    }
}

/// Sixteen bytes hold the low nibbles of the first half of the numbers, and high those of the other.
#[inline(always)]
fn q4_0(block: &[u8; 18], to: &mut [[f32; LANES]; 2]) {
    let (d, q) = (half(block, 0), Bytes::load(part(block, 2)));
    for (sixteen, to) in to.iter_mut().enumerate() {
        scaled(q.bits(4 * sixteen, 15), 8.0, d, to);
    }
}

#[inline(always)]
fn q4_1(block: &[u8; 20], to: &mut [[f32; LANES]; 2]) {
    let (d, m, q) = (half(block, 0), half(block, 2), Bytes::load(part(block, 4)));
    for (sixteen, to) in to.iter_mut().enumerate() {
        shifted(q.bits(4 * sixteen, 15), d, m, to);
    }
}

/// As `q4_0`, with a fifth bit for each number.
#[inline(always)]
fn q5_0(block: &[u8; 22], to: &mut [[f32; LANES]; 2]) {
    let (d, q) = (half(block, 0), Bytes::load(part(block, 6)));
    for (sixteen, to) in to.iter_mut().enumerate() {
        let fifth = Bytes::each_bit(u16::from_le_bytes(*part(block, 2 + 2 * sixteen)));
        scaled(q.bits(4 * sixteen, 15).under(fifth), 16.0, d, to);
    }
}

#[inline(always)]
fn q5_1(block: &[u8; 24], to: &mut [[f32; LANES]; 2]) {
    let (d, m, q) = (half(block, 0), half(block, 2), Bytes::load(part(block, 8)));
    for (sixteen, to) in to.iter_mut().enumerate() {
        let fifth = Bytes::each_bit(u16::from_le_bytes(*part(block, 4 + 2 * sixteen)));
        shifted(q.bits(4 * sixteen, 15).under(fifth), d, m, to);
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
fn q2k(block: &[u8; 84], to: &mut [[f32; LANES]; 16]) {
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (sixteen, to) in to.iter_mut().enumerate() {
        let scale = d * f32::from(block[sixteen] & 15);
        let offset = dmin * f32::from(block[sixteen] >> 4);
        shifted(two_bits(block, 16, sixteen), scale, -offset, to);
    }
}

/// As `q2k`, with a third bit for each number in the first 32 bytes, and sixteen scales of six bits.
#[inline(always)]
fn q3k(block: &[u8; 110], to: &mut [[f32; LANES]; 16]) {
    let (d, packed): (_, &[u8; 12]) = (half(block, 108), part(block, 96));
    for (sixteen, to) in to.iter_mut().enumerate() {
        let low = packed[sixteen % 8] >> (4 * (sixteen / 8)) & 15;
        let high = packed[8 + sixteen % 4] >> (2 * (sixteen / 4)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let third = Bytes::load(part(block, 16 * (sixteen % 2))).bits(sixteen / 2, 1);
        let q = two_bits(block, 32, sixteen).lanes();
        // What lacks its third bit is four less.
        let q = third.lanes().fma(Lanes::splat(4.0), q).fma(Lanes::splat(1.0), Lanes::splat(-4.0));
        q.times(Lanes::splat(scale)).store(to);
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
fn q4k(block: &[u8; 144], to: &mut [[f32; LANES]; 16]) {
    let (d, dmin, packed) = (half(block, 0), half(block, 2), part(block, 4));
    for (group, to) in to.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (scale, offset) = six_bits(packed, group);
        for (sixteen, to) in to.iter_mut().enumerate() {
            let q = Bytes::load(part(block, 16 + 32 * (group / 2) + 16 * sixteen));
            shifted(q.bits(4 * (group % 2), 15), d * scale, -(dmin * offset), to);
        }
    }
}

/// As `q4k`, with a fifth bit for each number: 32 bytes hold one of each group.
#[inline(always)]
fn q5k(block: &[u8; 176], to: &mut [[f32; LANES]; 16]) {
    let (d, dmin, packed) = (half(block, 0), half(block, 2), part(block, 4));
    for (group, to) in to.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (scale, offset) = six_bits(packed, group);
        for (sixteen, to) in to.iter_mut().enumerate() {
            let q = Bytes::load(part(block, 48 + 32 * (group / 2) + 16 * sixteen));
            let fifth = Bytes::load(part(block, 16 + 16 * sixteen)).bits(group, 1);
            let q = q.bits(4 * (group % 2), 15).under(fifth);
            shifted(q, d * scale, -(dmin * offset), to);
        }
    }
}

/// Low nibbles of 256 numbers, their two high bits, sixteen scales, a factor. Each half of the
/// numbers has eight sixteens: nibbles in 64 bytes, high bits in 32.
#[inline(always)]
fn q6k(block: &[u8; 210], to: &mut [[f32; LANES]; 16]) {
    let d = half(block, 208);
    for (sixteen, to) in to.iter_mut().enumerate() {
        let (half, at) = (sixteen / 8, sixteen % 8);
        let low = Bytes::load(part(block, 64 * half + 16 * (at % 4))).bits(at / 4 * 4, 15);
        let high = Bytes::load(part(block, 128 + 32 * half + 16 * (at % 2))).bits(at / 2 * 2, 3);
        let scale = d * f32::from(block[192 + sixteen] as i8);
        scaled(low.under(high), 32.0, scale, to);
    }
}

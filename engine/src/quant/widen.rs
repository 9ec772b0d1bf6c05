//! Blocks to floats, in loops of fixed length that a compiler turns into vector code.
//!
//! Bytes are read where GGML's formats have them; a number is computed as those define it, in the
//! same order, so that everybody who reads a block sees the same f32. candle's loops do too, number
//! by number: `benches/linear.rs` shows the difference.

use half::f16;

use super::QuantType;

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

#[inline(always)]
fn each<const B: usize, const N: usize>(
    from: &[u8],
    to: &mut [f32],
    block: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
        block(from, to);
    }
}

/// `N` bytes of a block, from `at` on.
#[inline(always)]
fn bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| block[at + i])
}

#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes(bytes(block, at)).to_f32()
}

#[inline(always)]
fn q8_0(block: &[u8; 34], to: &mut [f32; 32]) {
    let (d, q) = (half(block, 0), bytes::<32>(block, 2));
    for (to, q) in to.iter_mut().zip(q) {
        *to = f32::from(q as i8) * d;
    }
}

/// Sixteen bytes hold the low nibbles of the first half of the numbers, and high those of the other.
#[inline(always)]
fn nibbles(q: [u8; 16]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { q[i] & 15 } else { q[i - 16] >> 4 })
}

/// As [`nibbles`], with a fifth bit for each from `high`.
#[inline(always)]
fn five_bits(high: [u8; 4], q: [u8; 16]) -> [u8; 32] {
    let (high, low) = (u32::from_le_bytes(high), nibbles(q));
    std::array::from_fn(|i| low[i] | ((((high >> i) & 1) as u8) << 4))
}

#[inline(always)]
fn q4_0(block: &[u8; 18], to: &mut [f32; 32]) {
    let (d, q) = (half(block, 0), nibbles(bytes(block, 2)));
    for (to, q) in to.iter_mut().zip(q) {
        *to = f32::from(q as i8 - 8) * d;
    }
}

#[inline(always)]
fn q4_1(block: &[u8; 20], to: &mut [f32; 32]) {
    let (d, m, q) = (half(block, 0), half(block, 2), nibbles(bytes(block, 4)));
    for (to, q) in to.iter_mut().zip(q) {
        *to = f32::from(q) * d + m;
    }
}

#[inline(always)]
fn q5_0(block: &[u8; 22], to: &mut [f32; 32]) {
    let (d, q) = (half(block, 0), five_bits(bytes(block, 2), bytes(block, 6)));
    for (to, q) in to.iter_mut().zip(q) {
        *to = f32::from(q as i8 - 16) * d;
    }
}

#[inline(always)]
fn q5_1(block: &[u8; 24], to: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    let q = five_bits(bytes(block, 4), bytes(block, 8));
    for (to, q) in to.iter_mut().zip(q) {
        *to = f32::from(q) * d + m;
    }
}

/// Sixteen scales and offsets of four bits, four numbers of two bits in a byte, two factors.
#[inline(always)]
fn q2k(block: &[u8; 84], to: &mut [f32; 256]) {
    let scales: [u8; 16] = bytes(block, 0);
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (sixteen, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[sixteen] & 15);
        let offset = dmin * f32::from(scales[sixteen] >> 4);
        let (shift, q) = two_bits(block, 16, sixteen);
        for (to, q) in to.iter_mut().zip(q) {
            *to = scale * f32::from((q >> shift) & 3) - offset;
        }
    }
}

/// The bytes in which the numbers of group `sixteen` have their two low bits, and where in a byte:
/// 32 bytes hold 128 numbers, one below the other.
#[inline(always)]
fn two_bits(block: &[u8], at: usize, sixteen: usize) -> (usize, [u8; 16]) {
    let (half, group) = (sixteen / 8, sixteen % 8);
    (group / 2 * 2, bytes(block, at + 32 * half + 16 * (group % 2)))
}

/// As `q2k`, with a third bit for each number in the first 32 bytes, and sixteen scales of six bits.
#[inline(always)]
fn q3k(block: &[u8; 110], to: &mut [f32; 256]) {
    let (d, packed): (_, [u8; 12]) = (half(block, 108), bytes(block, 96));
    for (sixteen, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = packed[sixteen % 8] >> (4 * (sixteen / 8)) & 15;
        let high = packed[8 + sixteen % 4] >> (2 * (sixteen / 4)) & 3;
        let scale = d * f32::from((low | high << 4) as i8 - 32);
        let (shift, q) = two_bits(block, 32, sixteen);
        let third: [u8; 16] = bytes(block, 16 * (sixteen % 2));
        let bit = sixteen / 2;
        for (to, (q, third)) in to.iter_mut().zip(q.into_iter().zip(third)) {
            let below = 4 - ((third >> bit & 1) << 2);
            *to = scale * f32::from(((q >> shift) & 3) as i8 - below as i8);
        }
    }
}

/// Scale and offset of group `thirty_two`, of six bits each: twelve bytes hold eight of both.
#[inline(always)]
fn six_bits(packed: [u8; 12], thirty_two: usize) -> (f32, f32) {
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
fn q4k(block: &[u8; 144], to: &mut [f32; 256]) {
    let (d, dmin, packed) = (half(block, 0), half(block, 2), bytes(block, 4));
    for (group, to) in to.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, offset) = six_bits(packed, group);
        let (scale, offset, shift) = (d * scale, dmin * offset, 4 * (group % 2));
        let q: [u8; 32] = bytes(block, 16 + 32 * (group / 2));
        for (to, q) in to.iter_mut().zip(q) {
            *to = scale * f32::from((q >> shift) & 15) - offset;
        }
    }
}

/// As `q4k`, with a fifth bit for each number: 32 bytes hold one of each group.
#[inline(always)]
fn q5k(block: &[u8; 176], to: &mut [f32; 256]) {
    let (d, dmin, packed) = (half(block, 0), half(block, 2), bytes(block, 4));
    let fifth: [u8; 32] = bytes(block, 16);
    for (group, to) in to.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, offset) = six_bits(packed, group);
        let (scale, offset, shift) = (d * scale, dmin * offset, 4 * (group % 2));
        let q: [u8; 32] = bytes(block, 48 + 32 * (group / 2));
        for (to, (q, fifth)) in to.iter_mut().zip(q.into_iter().zip(fifth)) {
            let q = ((q >> shift) & 15) | ((fifth >> group & 1) << 4);
            *to = scale * f32::from(q) - offset;
        }
    }
}

/// Low nibbles of 256 numbers, their two high bits, sixteen scales, a factor. Each half of the
/// numbers has four groups of 32: nibbles in 64 bytes, high bits in 32.
#[inline(always)]
fn q6k(block: &[u8; 210], to: &mut [f32; 256]) {
    let d = half(block, 208);
    for (group, to) in to.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (half, part) = (group / 4, group % 4);
        let low: [u8; 32] = bytes(block, 64 * half + 32 * (part % 2));
        let high: [u8; 32] = bytes(block, 128 + 32 * half);
        let (nibble, pair) = (4 * (part / 2), 2 * part);
        let scales: [f32; 2] =
            std::array::from_fn(|half| d * f32::from(block[192 + 2 * group + half] as i8));
        for (i, to) in to.iter_mut().enumerate() {
            let q = ((low[i] >> nibble) & 15) | ((high[i] >> pair & 3) << 4);
            *to = scales[i / 16] * f32::from(q as i8 - 32);
        }
    }
}

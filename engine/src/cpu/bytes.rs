//! [`Bytes`]: sixteen small integers that are shifted, masked and converted to [`Lanes`] together.
//!
//! As with lanes, the compiler on its own turns some of this into scalar code, ten times slower, so
//! on x86 with AVX2 they are one register.

use super::lanes::Lanes;

pub(crate) use implementation::Bytes;

#[cfg(all(
    target_arch = "x86_64",
    target_feature = "avx2",
    target_feature = "fma",
    target_feature = "f16c"
))]
mod implementation {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_or_si128, _mm_set1_epi8,
        _mm_set1_epi16, _mm_setr_epi8, _mm_shuffle_epi8, _mm_slli_epi16, _mm_srli_epi16,
        _mm_sub_epi8,
    };

    use super::Lanes;

    /// See the module documentation.
    #[derive(Clone, Copy)]
    pub(crate) struct Bytes(__m128i);

    // SAFETY, for every block here: this module is compiled only for targets with AVX2; the only
    // load reads sixteen bytes from a reference to sixteen, and requires no alignment.
    impl Bytes {
        #[inline(always)]
        pub(crate) fn load(from: &[u8; 16]) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
        }

        /// Each byte shifted right by `SHIFT` and masked with `mask`.
        #[inline(always)]
        pub(crate) fn bits<const SHIFT: i32>(self, mask: u8) -> Self {
            // Bits shifted in from a neighbour are masked off.
            debug_assert!(SHIFT < 8 && u32::from(mask) << SHIFT < 256);
            // SAFETY: as above.
            unsafe {
                let shifted = _mm_srli_epi16::<SHIFT>(self.0);
                Self(_mm_and_si128(shifted, _mm_set1_epi8(mask as i8)))
            }
        }

        /// Each byte with the bits of `other` above its own `BITS` bits; together they have at most
        /// eight.
        #[inline(always)]
        pub(crate) fn under<const BITS: i32>(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm_or_si128(self.0, _mm_slli_epi16::<BITS>(other.0)) })
        }

        /// One byte per bit: 1 or 0.
        #[inline(always)]
        pub(crate) fn each_bit(bits: u16) -> Self {
            // SAFETY: as above.
            unsafe {
                let spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
                let bit = _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
                let bytes = _mm_shuffle_epi8(_mm_set1_epi16(bits as i16), spread);
                let set = _mm_cmpeq_epi8(_mm_and_si128(bytes, bit), bit);
                Self(_mm_and_si128(set, _mm_set1_epi8(1)))
            }
        }

        /// Subtracts `zero` from each, modulo 256.
        #[inline(always)]
        pub(crate) fn minus(self, zero: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm_sub_epi8(self.0, zero.0) })
        }

        /// The same byte sixteen times.
        #[inline(always)]
        pub(crate) fn splat(byte: u8) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm_set1_epi8(byte as i8) })
        }

        /// Each byte, as a signed integer, converted to f32.
        #[inline(always)]
        pub(crate) fn lanes(self) -> Lanes {
            Lanes::of_bytes(self.0)
        }

        /// The lanes of `table` indexed by the four bits of each byte from `SHIFT` on.
        #[cfg(target_feature = "avx512f")]
        #[inline(always)]
        pub(crate) fn look_up<const SHIFT: u32>(self, table: Lanes) -> Lanes {
            table.at::<SHIFT>(self.0)
        }
    }
}

#[cfg(not(all(
    target_arch = "x86_64",
    target_feature = "avx2",
    target_feature = "fma",
    target_feature = "f16c"
)))]
mod implementation {
    use super::Lanes;

    /// See the module documentation.
    #[derive(Clone, Copy)]
    pub(crate) struct Bytes([u8; 16]);

    impl Bytes {
        #[inline(always)]
        pub(crate) fn load(from: &[u8; 16]) -> Self {
            Self(*from)
        }

        /// Each byte shifted right by `SHIFT` and masked with `mask`.
        #[inline(always)]
        pub(crate) fn bits<const SHIFT: i32>(self, mask: u8) -> Self {
            Self(self.0.map(|byte| byte >> SHIFT & mask))
        }

        /// Each byte with the bits of `other` above its own `BITS` bits; together they have at most
        /// eight.
        #[inline(always)]
        pub(crate) fn under<const BITS: i32>(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] | other.0[i] << BITS))
        }

        /// One byte per bit: 1 or 0.
        #[inline(always)]
        pub(crate) fn each_bit(bits: u16) -> Self {
            Self(std::array::from_fn(|i| (bits >> i & 1) as u8))
        }

        /// Subtracts `zero` from each, modulo 256.
        #[inline(always)]
        pub(crate) fn minus(self, zero: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i].wrapping_sub(zero.0[i])))
        }

        /// The same byte sixteen times.
        #[inline(always)]
        pub(crate) fn splat(byte: u8) -> Self {
            Self([byte; 16])
        }

        /// Each byte, as a signed integer, converted to f32.
        #[inline(always)]
        pub(crate) fn lanes(self) -> Lanes {
            Lanes::load(&self.0.map(|byte| f32::from(byte as i8)))
        }
    }
}

//! [`Lanes`]: sixteen f32 that are added and multiplied together.
//!
//! On x86 they are one register with AVX-512, two with AVX2, FMA and F16C; elsewhere an array that
//! is left to the compiler. On x86 the compiler turned products of whole tiles into scalar code,
//! ten times slower. Every lane is rounded like a scalar, so all three give the same results.

use half::{bf16, f16};

/// Elements in a [`Lanes`].
pub(crate) const LANES: usize = 16;

pub(crate) use implementation::Lanes;

#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
mod implementation {
    use std::arch::x86_64::{
        __m128i, __m512, _mm256_loadu_si256, _mm512_add_ps, _mm512_castsi512_ps,
        _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32,
        _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_permutexvar_ps,
        _mm512_set1_ps, _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_ps,
    };

    use super::{LANES, bf16, f16};

    /// See the module documentation.
    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(__m512);

    // SAFETY, for every block here: this module is compiled only for targets with AVX-512; loads
    // and stores require no alignment, and access exactly the elements behind their reference.
    impl Lanes {
        #[inline(always)]
        pub(crate) fn splat(x: f32) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_set1_ps(x) })
        }

        #[inline(always)]
        pub(crate) fn load(from: &[f32; LANES]) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
        }

        #[inline(always)]
        pub(crate) fn of_bf16(from: &[bf16; LANES]) -> Self {
            // SAFETY: as above; a `bf16` is the upper half of an f32.
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves)))
            }
        }

        #[inline(always)]
        pub(crate) fn of_f16(from: &[f16; LANES]) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) })
        }

        /// From sixteen signed bytes.
        #[inline(always)]
        pub(in crate::cpu) fn of_bytes(from: __m128i) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(from)) })
        }

        /// The lanes indexed by the four bits of each of sixteen bytes from `SHIFT` on.
        #[inline(always)]
        pub(in crate::cpu) fn at<const SHIFT: u32>(self, bytes: __m128i) -> Self {
            // SAFETY: as above; the permutation ignores the bits above these four.
            unsafe {
                let index = _mm512_srli_epi32::<SHIFT>(_mm512_cvtepu8_epi32(bytes));
                Self(_mm512_permutexvar_ps(index, self.0))
            }
        }

        #[inline(always)]
        pub(crate) fn store(self, to: &mut [f32; LANES]) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
        }

        /// `self · b + c`.
        #[inline(always)]
        pub(crate) fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
        }

        #[inline(always)]
        pub(crate) fn times(self, b: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_mul_ps(self.0, b.0) })
        }

        #[inline(always)]
        pub(crate) fn plus(self, b: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_add_ps(self.0, b.0) })
        }
    }
}

#[cfg(all(
    target_arch = "x86_64",
    target_feature = "avx2",
    target_feature = "fma",
    target_feature = "f16c",
    not(target_feature = "avx512f")
))]
mod implementation {
    use std::arch::x86_64::{
        __m128i, __m256, _mm_loadu_si128, _mm_srli_si128, _mm256_add_ps, _mm256_castsi256_ps,
        _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_slli_epi32,
        _mm256_storeu_ps,
    };

    use super::{LANES, bf16, f16};

    /// See the module documentation.
    #[derive(Clone, Copy)]
    pub(crate) struct Lanes([__m256; 2]);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn splat(x: f32) -> Self {
            // SAFETY: this module is compiled only for targets with AVX.
            let x = unsafe { _mm256_set1_ps(x) };
            Self([x, x])
        }

        #[inline(always)]
        pub(crate) fn load(from: &[f32; LANES]) -> Self {
            let (low, high) = from.split_at(LANES / 2);
            // SAFETY: the target has AVX, and each half has the eight elements that are read; the
            // load requires no alignment.
            unsafe { Self([_mm256_loadu_ps(low.as_ptr()), _mm256_loadu_ps(high.as_ptr())]) }
        }

        #[inline(always)]
        pub(crate) fn of_bf16(from: &[bf16; LANES]) -> Self {
            let (low, high) = from.split_at(LANES / 2);
            Self([low, high].map(|half| {
                // SAFETY: the target has AVX2, and each half has the eight elements that are read;
                // the load requires no alignment. A `bf16` is the upper half of an f32.
                unsafe {
                    let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(half.as_ptr().cast()));
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
                }
            }))
        }

        #[inline(always)]
        pub(crate) fn of_f16(from: &[f16; LANES]) -> Self {
            let (low, high) = from.split_at(LANES / 2);
            Self([low, high].map(|half| {
                // SAFETY: the target has F16C, and each half has the eight elements that are read;
                // the load requires no alignment.
                unsafe { _mm256_cvtph_ps(_mm_loadu_si128(half.as_ptr().cast())) }
            }))
        }

        /// From sixteen signed bytes.
        #[inline(always)]
        pub(in crate::cpu) fn of_bytes(from: __m128i) -> Self {
            // SAFETY: this module is compiled only for targets with AVX2.
            unsafe {
                let high = _mm_srli_si128::<8>(from);
                Self([from, high].map(|half| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half))))
            }
        }

        #[inline(always)]
        pub(crate) fn store(self, to: &mut [f32; LANES]) {
            let (low, high) = to.split_at_mut(LANES / 2);
            // SAFETY: the target has AVX, and each half has room for the eight elements that are
            // written; the store requires no alignment.
            unsafe {
                _mm256_storeu_ps(low.as_mut_ptr(), self.0[0]);
                _mm256_storeu_ps(high.as_mut_ptr(), self.0[1]);
            }
        }

        /// `self · b + c`.
        #[inline(always)]
        pub(crate) fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: this module is compiled only for targets with FMA.
            unsafe {
                Self([
                    _mm256_fmadd_ps(self.0[0], b.0[0], c.0[0]),
                    _mm256_fmadd_ps(self.0[1], b.0[1], c.0[1]),
                ])
            }
        }

        #[inline(always)]
        pub(crate) fn times(self, b: Self) -> Self {
            // SAFETY: this module is compiled only for targets with AVX.
            unsafe { Self([_mm256_mul_ps(self.0[0], b.0[0]), _mm256_mul_ps(self.0[1], b.0[1])]) }
        }

        #[inline(always)]
        pub(crate) fn plus(self, b: Self) -> Self {
            // SAFETY: this module is compiled only for targets with AVX.
            unsafe { Self([_mm256_add_ps(self.0[0], b.0[0]), _mm256_add_ps(self.0[1], b.0[1])]) }
        }
    }
}

// AVX-512 implies all of these.
#[cfg(not(all(
    target_arch = "x86_64",
    target_feature = "avx2",
    target_feature = "fma",
    target_feature = "f16c"
)))]
mod implementation {
    use super::{LANES, bf16, f16};

    /// See the module documentation.
    #[derive(Clone, Copy)]
    pub(crate) struct Lanes([f32; LANES]);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn splat(x: f32) -> Self {
            Self([x; LANES])
        }

        #[inline(always)]
        pub(crate) fn load(from: &[f32; LANES]) -> Self {
            Self(*from)
        }

        #[inline(always)]
        pub(crate) fn of_bf16(from: &[bf16; LANES]) -> Self {
            Self(from.map(|x| f32::from_bits(u32::from(x.to_bits()) << 16)))
        }

        #[inline(always)]
        pub(crate) fn of_f16(from: &[f16; LANES]) -> Self {
            Self(from.map(f16::to_f32))
        }

        #[inline(always)]
        pub(crate) fn store(self, to: &mut [f32; LANES]) {
            *to = self.0;
        }

        /// `self · b + c`.
        #[inline(always)]
        pub(crate) fn fma(self, b: Self, c: Self) -> Self {
            Self(std::array::from_fn(|lane| super::super::fma(self.0[lane], b.0[lane], c.0[lane])))
        }

        #[inline(always)]
        pub(crate) fn times(self, b: Self) -> Self {
            Self(std::array::from_fn(|lane| self.0[lane] * b.0[lane]))
        }

        #[inline(always)]
        pub(crate) fn plus(self, b: Self) -> Self {
            Self(std::array::from_fn(|lane| self.0[lane] + b.0[lane]))
        }
    }
}

impl Lanes {
    /// Sum of the lanes, pairwise.
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes);
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
        }
        lanes[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(first: f32) -> [f32; LANES] {
        std::array::from_fn(|lane| first + lane as f32 * 1.25)
    }

    #[test]
    fn every_lane_is_computed_like_a_number_alone() {
        let (a, b, c) = (numbers(0.3), numbers(-7.1), numbers(100.0));
        let [x, y, z] = [a, b, c].map(|numbers| Lanes::load(&numbers));
        let stored = |lanes: Lanes| {
            let mut to = [0.0; LANES];
            lanes.store(&mut to);
            to
        };
        assert_eq!(stored(x), a);
        assert_eq!(stored(Lanes::splat(3.5)), [3.5; LANES]);
        assert_eq!(stored(x.times(y)), std::array::from_fn(|i| a[i] * b[i]));
        assert_eq!(stored(x.plus(y)), std::array::from_fn(|i| a[i] + b[i]));
        assert_eq!(
            stored(x.fma(y, z)),
            std::array::from_fn(|i| super::super::fma(a[i], b[i], c[i]))
        );
        assert_eq!(Lanes::load(&[1.0; LANES]).sum(), LANES as f32);
        let halves = a.map(f16::from_f32);
        assert_eq!(stored(Lanes::of_f16(&halves)), halves.map(f16::to_f32));
        let halves = b.map(bf16::from_f32);
        assert_eq!(stored(Lanes::of_bf16(&halves)), halves.map(bf16::to_f32));
    }
}

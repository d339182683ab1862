//! Element types in memory and how their arithmetic is done.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::math::{BLOCK, Block, Guarded, Lean, Method, Paired, Plain};

/// An element as it lies in memory.
pub(super) trait Stored: Copy + Default {
    /// How the formulas are evaluated.
    type Method: Method;
    /// Widens the first `lanes` elements of a block. `HW` says that the code is compiled for a
    /// machine with instructions for it.
    fn load<const HW: bool>(from: &[Self; BLOCK], to: &mut Block<Self::Method>, lanes: usize);
    /// Rounds the first `lanes` elements of a block to the nearest representable values, ties to
    /// even.
    fn store<const HW: bool>(from: &Block<Self::Method>, to: &mut [Self; BLOCK], lanes: usize);
}

impl Stored for f64 {
    type Method = Guarded<Lean, Paired>;
    #[inline(always)]
    fn load<const HW: bool>(from: &[f64; BLOCK], to: &mut [f64; BLOCK], lanes: usize) {
        to[..lanes].copy_from_slice(&from[..lanes]);
    }
    #[inline(always)]
    fn store<const HW: bool>(from: &[f64; BLOCK], to: &mut [f64; BLOCK], lanes: usize) {
        to[..lanes].copy_from_slice(&from[..lanes]);
    }
}

impl Stored for f32 {
    type Method = Plain<f64>;
    #[inline(always)]
    fn load<const HW: bool>(from: &[f32; BLOCK], to: &mut [f64; BLOCK], lanes: usize) {
        for i in 0..lanes {
            to[i] = f64::from(from[i]);
        }
    }
    #[inline(always)]
    fn store<const HW: bool>(from: &[f64; BLOCK], to: &mut [f32; BLOCK], lanes: usize) {
        for i in 0..lanes {
            to[i] = from[i] as f32;
        }
    }
}

impl Stored for f16 {
    type Method = Plain<f32>;
    #[inline(always)]
    fn load<const HW: bool>(from: &[f16; BLOCK], to: &mut [f32; BLOCK], lanes: usize) {
        #[cfg(target_arch = "x86_64")]
        if HW {
            // `half` asks for the instruction once per vector and calls it through a function.
            return f16c::load(from, to, lanes);
        }
        from[..lanes].convert_to_f32_slice(&mut to[..lanes]);
    }
    #[inline(always)]
    fn store<const HW: bool>(from: &[f32; BLOCK], to: &mut [f16; BLOCK], lanes: usize) {
        #[cfg(target_arch = "x86_64")]
        if HW {
            return f16c::store(from, to, lanes);
        }
        to[..lanes].convert_from_f32_slice(&from[..lanes]);
    }
}

impl Stored for bf16 {
    type Method = Guarded<Plain<f32>, Plain<f64>>;
    #[inline(always)]
    fn load<const HW: bool>(from: &[bf16; BLOCK], to: &mut [f32; BLOCK], lanes: usize) {
        for i in 0..lanes {
            to[i] = f32::from_bits(u32::from(from[i].to_bits()) << 16);
        }
    }
    #[inline(always)]
    fn store<const HW: bool>(from: &[f32; BLOCK], to: &mut [bf16; BLOCK], lanes: usize) {
        for i in 0..lanes {
            to[i] = nearest(from[i]);
        }
    }
}

/// Rounds to nearest, ties to even; branch-free, so that it vectorises.
#[inline(always)]
fn nearest(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let quiet = bits | 0x40_0000;
    bf16::from_bits(((if x.is_nan() { quiet } else { rounded }) >> 16) as u16)
}

/// Conversions of eight at a time.
#[cfg(target_arch = "x86_64")]
mod f16c {
    use std::arch::x86_64::{
        _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128, _mm256_cvtph_ps,
        _mm256_cvtps_ph, _mm256_loadu_ps, _mm256_storeu_ps,
    };

    use super::{BLOCK, f16};

    const WIDTH: usize = 8;
    const _: () = assert!(BLOCK.is_multiple_of(WIDTH));

    /// `lanes` is rounded up to whole vectors.
    #[inline(always)]
    pub(super) fn load(from: &[f16; BLOCK], to: &mut [f32; BLOCK], lanes: usize) {
        let from = from.as_chunks::<WIDTH>().0.iter();
        let to = to.as_chunks_mut::<WIDTH>().0.iter_mut();
        for (from, to) in from.zip(to).take(lanes.div_ceil(WIDTH)) {
            // SAFETY: the caller's code is compiled for F16C; the arrays are a vector long.
            unsafe {
                let vector = _mm_loadu_si128(from.as_ptr().cast());
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(vector));
            }
        }
    }

    /// See [`load`].
    #[inline(always)]
    pub(super) fn store(from: &[f32; BLOCK], to: &mut [f16; BLOCK], lanes: usize) {
        let from = from.as_chunks::<WIDTH>().0.iter();
        let to = to.as_chunks_mut::<WIDTH>().0.iter_mut();
        for (from, to) in from.zip(to).take(lanes.div_ceil(WIDTH)) {
            // SAFETY: as above.
            unsafe {
                let vector = _mm256_loadu_ps(from.as_ptr());
                let vector = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(vector);
                _mm_storeu_si128(to.as_mut_ptr().cast(), vector);
            }
        }
    }
}

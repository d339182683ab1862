//! Element types in memory and how their arithmetic is done.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::math::{
    Block, Compensated, DoubleWord, Guarded, Method, Ordered, Plain, Single, Widened,
};
use crate::catalogue::Dtype;

/// Bytes per element: what copies, tables and steps of this backend are made for.
pub(super) const SIZES: [usize; 3] = [2, 4, 8];

const _: () = {
    let mut i = 0;
    while i < Dtype::ALL.len() {
        let size = Dtype::ALL[i].size();
        assert!(size == SIZES[0] || size == SIZES[1] || size == SIZES[2]);
        i += 1;
    }
};

/// An element as it lies in memory.
pub(super) trait Stored: Copy + Default {
    /// What the catalogue calls it.
    const DTYPE: Dtype;
    /// How the formulas are evaluated.
    type Method: Method;
    /// Widens a block. `HAS_FMA` says that the code is compiled for a machine with a fused
    /// multiply-add, and so with instructions for this.
    fn load<const HAS_FMA: bool, const N: usize>(from: &[Self; N], to: &mut Block<Self::Method, N>);
    /// A block to read from: itself, where memory has it as the arithmetic does.
    #[inline(always)]
    fn view<'a, const HAS_FMA: bool, const N: usize>(
        from: &'a [Self; N],
        to: &'a mut Block<Self::Method, N>,
    ) -> &'a Block<Self::Method, N> {
        Self::load::<HAS_FMA, N>(from, to);
        to
    }
    /// Rounds a block to the nearest representable values, ties to even.
    fn store<const HAS_FMA: bool, const N: usize>(
        from: &Block<Self::Method, N>,
        to: &mut [Self; N],
    );
}

impl Stored for f64 {
    const DTYPE: Dtype = Dtype::F64;
    type Method = Guarded<Compensated, DoubleWord>;
    #[inline(always)]
    fn load<const HAS_FMA: bool, const N: usize>(from: &[f64; N], to: &mut [f64; N]) {
        *to = *from;
    }
    #[inline(always)]
    fn view<'a, const HAS_FMA: bool, const N: usize>(
        from: &'a [f64; N],
        _: &'a mut [f64; N],
    ) -> &'a [f64; N] {
        from
    }
    #[inline(always)]
    fn store<const HAS_FMA: bool, const N: usize>(from: &[f64; N], to: &mut [f64; N]) {
        *to = *from;
    }
}

impl Stored for f32 {
    const DTYPE: Dtype = Dtype::F32;
    type Method = Guarded<Single, Widened>;
    #[inline(always)]
    fn load<const HAS_FMA: bool, const N: usize>(from: &[f32; N], to: &mut [f32; N]) {
        *to = *from;
    }
    #[inline(always)]
    fn view<'a, const HAS_FMA: bool, const N: usize>(
        from: &'a [f32; N],
        _: &'a mut [f32; N],
    ) -> &'a [f32; N] {
        from
    }
    #[inline(always)]
    fn store<const HAS_FMA: bool, const N: usize>(from: &[f32; N], to: &mut [f32; N]) {
        *to = *from;
    }
}

impl Stored for f16 {
    const DTYPE: Dtype = Dtype::F16;
    type Method = Plain<f32>;
    #[inline(always)]
    fn load<const HAS_FMA: bool, const N: usize>(from: &[f16; N], to: &mut [f32; N]) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if HAS_FMA {
            // `half` asks for the instruction once per vector and calls it through a function;
            // on AArch64 it asks for more than conversions need.
            return convert(from, to, hardware::widen);
        }
        widen(from, to);
    }
    #[inline(always)]
    fn store<const HAS_FMA: bool, const N: usize>(from: &[f32; N], to: &mut [f16; N]) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if HAS_FMA {
            return convert(from, to, hardware::narrow);
        }
        to.convert_from_f32_slice(from);
    }
}

/// Without instructions for it; no part of the loop, which it would crowd.
#[inline(never)]
fn widen(from: &[f16], to: &mut [f32]) {
    from.convert_to_f32_slice(to);
}

impl Stored for bf16 {
    const DTYPE: Dtype = Dtype::BF16;
    type Method = Guarded<Ordered, Plain<f64>>;
    #[inline(always)]
    fn load<const HAS_FMA: bool, const N: usize>(from: &[bf16; N], to: &mut [f32; N]) {
        for i in 0..N {
            to[i] = f32::from_bits(u32::from(from[i].to_bits()) << 16);
        }
    }
    #[inline(always)]
    fn store<const HAS_FMA: bool, const N: usize>(from: &[f32; N], to: &mut [bf16; N]) {
        for i in 0..N {
            to[i] = nearest(from[i]);
        }
    }
}

/// Rounds to nearest, ties to even. A NaN that comes from a bfloat16 or from an operation has
/// zeros where this adds, so that it stays one.
#[inline(always)]
fn nearest(x: f32) -> bf16 {
    let bits = x.to_bits();
    bf16::from_bits((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
}

/// Elements that the machine converts at a time.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const WIDTH: usize = 8;

/// Conversions of [`WIDTH`] elements with F16C, which the caller's code is compiled for.
#[cfg(target_arch = "x86_64")]
mod hardware {
    use std::arch::x86_64::{
        _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128, _mm256_cvtph_ps,
        _mm256_cvtps_ph, _mm256_loadu_ps, _mm256_storeu_ps,
    };

    use super::{WIDTH, f16};

    #[inline(always)]
    pub(super) fn widen(from: &[f16; WIDTH], to: &mut [f32; WIDTH]) {
        // SAFETY: see the module; the arrays are a vector long.
        unsafe {
            let vector = _mm_loadu_si128(from.as_ptr().cast());
            _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(vector));
        }
    }

    #[inline(always)]
    pub(super) fn narrow(from: &[f32; WIDTH], to: &mut [f16; WIDTH]) {
        // SAFETY: as above.
        unsafe {
            let vector = _mm256_loadu_ps(from.as_ptr());
            let vector = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(vector);
            _mm_storeu_si128(to.as_mut_ptr().cast(), vector);
        }
    }
}

/// Conversions of [`WIDTH`] elements with instructions that every AArch64 has. Written out because
/// their intrinsics are not stable in every compiler that is served.
#[cfg(target_arch = "aarch64")]
mod hardware {
    use std::arch::aarch64::{float32x4_t, uint16x8_t, vld1q_f32, vld1q_u16, vst1q_f32, vst1q_u16};
    use std::arch::asm;

    use super::{WIDTH, f16};

    #[inline(always)]
    pub(super) fn widen(from: &[f16; WIDTH], to: &mut [f32; WIDTH]) {
        let (low, high): (float32x4_t, float32x4_t);
        // SAFETY: the arrays are a vector, and two, long; the instructions read and write their
        // operands alone.
        unsafe {
            asm!(
                "fcvtl {low:v}.4s, {vector:v}.4h",
                "fcvtl2 {high:v}.4s, {vector:v}.8h",
                vector = in(vreg) vld1q_u16(from.as_ptr().cast()),
                low = out(vreg) low,
                high = out(vreg) high,
                options(pure, nomem, nostack, preserves_flags)
            );
            vst1q_f32(to.as_mut_ptr(), low);
            vst1q_f32(to.as_mut_ptr().add(WIDTH / 2), high);
        }
    }

    /// Rounds as the machine is set to: to nearest, ties to even, unless a caller changed that.
    #[inline(always)]
    pub(super) fn narrow(from: &[f32; WIDTH], to: &mut [f16; WIDTH]) {
        let vector: uint16x8_t;
        // SAFETY: as above.
        unsafe {
            asm!(
                "fcvtn {vector:v}.4h, {low:v}.4s",
                "fcvtn2 {vector:v}.8h, {high:v}.4s",
                low = in(vreg) vld1q_f32(from.as_ptr()),
                high = in(vreg) vld1q_f32(from.as_ptr().add(WIDTH / 2)),
                vector = out(vreg) vector,
                options(pure, nomem, nostack, preserves_flags)
            );
            vst1q_u16(to.as_mut_ptr().cast(), vector);
        }
    }
}

/// Every vector of an array whose length is a multiple of [`WIDTH`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn convert<From, To, const N: usize>(
    from: &[From; N],
    to: &mut [To; N],
    vector: impl Fn(&[From; WIDTH], &mut [To; WIDTH]),
) {
    const { assert!(N.is_multiple_of(WIDTH), "elements that nobody converts") }
    let from = from.as_chunks().0.iter();
    let to = to.as_chunks_mut().0.iter_mut();
    from.zip(to).for_each(|(from, to)| vector(from, to));
}

//! Element types in memory and the type their arithmetic is done in.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::math::Real;

/// An element as it lies in memory. 16-bit types are computed in `f32` and rounded once.
pub(super) trait Stored: Copy + Default {
    /// The type of the arithmetic.
    type Compute: Real + Default;
    /// Widens a block.
    fn load(block: &[Self], to: &mut [Self::Compute]);
    /// Rounds a block to the nearest representable values, ties to even.
    fn store(block: &[Self::Compute], to: &mut [Self]);
}

macro_rules! native {
    ($type:ty) => {
        impl Stored for $type {
            type Compute = $type;
            #[inline(always)]
            fn load(block: &[Self], to: &mut [Self]) {
                to.copy_from_slice(block);
            }
            #[inline(always)]
            fn store(block: &[Self], to: &mut [Self]) {
                to.copy_from_slice(block);
            }
        }
    };
}
native!(f32);
native!(f64);

impl Stored for f16 {
    type Compute = f32;
    #[inline(always)]
    fn load(block: &[f16], to: &mut [f32]) {
        block.convert_to_f32_slice(to);
    }
    #[inline(always)]
    fn store(block: &[f32], to: &mut [f16]) {
        to.convert_from_f32_slice(block);
    }
}

impl Stored for bf16 {
    type Compute = f32;
    #[inline(always)]
    fn load(block: &[bf16], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(block) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
    }
    #[inline(always)]
    fn store(block: &[f32], to: &mut [bf16]) {
        // Branch-free, unlike the scalar conversion of `half`, so that it vectorises.
        for (to, from) in to.iter_mut().zip(block) {
            let bits = from.to_bits();
            let nearest = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
            let quiet = (bits >> 16) as u16 | 0x40;
            *to = bf16::from_bits(if from.is_nan() { quiet } else { nearest });
        }
    }
}

//! Element types in memory and how their arithmetic is done.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::math::{Method, Paired, Plain};

/// The type of the arithmetic.
type Number<T> = <<T as Stored>::Method as Method>::Number;

/// An element as it lies in memory.
pub(super) trait Stored: Copy {
    /// How the formulas are evaluated. The type of the arithmetic has bits to spare and, for
    /// bfloat16 and float32, exponents: products of gradients need both.
    type Method: Method;
    /// Widens a block.
    fn load(block: &[Self], to: &mut [Number<Self>]);
    /// Rounds a block to the nearest representable values, ties to even.
    fn store(block: &[Number<Self>], to: &mut [Self]);
}

impl Stored for f64 {
    type Method = Paired;
    #[inline(always)]
    fn load(block: &[f64], to: &mut [f64]) {
        to.copy_from_slice(block);
    }
    #[inline(always)]
    fn store(block: &[f64], to: &mut [f64]) {
        to.copy_from_slice(block);
    }
}

impl Stored for f32 {
    type Method = Plain<f64>;
    #[inline(always)]
    fn load(block: &[f32], to: &mut [f64]) {
        for (to, &from) in to.iter_mut().zip(block) {
            *to = f64::from(from);
        }
    }
    #[inline(always)]
    fn store(block: &[f64], to: &mut [f32]) {
        for (to, &from) in to.iter_mut().zip(block) {
            *to = from as f32;
        }
    }
}

impl Stored for f16 {
    type Method = Plain<f32>;
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
    type Method = Plain<f64>;
    #[inline(always)]
    fn load(block: &[bf16], to: &mut [f64]) {
        for (to, from) in to.iter_mut().zip(block) {
            *to = f64::from(f32::from_bits(u32::from(from.to_bits()) << 16));
        }
    }
    #[inline(always)]
    fn store(block: &[f64], to: &mut [bf16]) {
        for (to, &from) in to.iter_mut().zip(block) {
            *to = round_to_odd_then_nearest(from);
        }
    }
}

/// Rounds once although there is no direct conversion: the step to f32 rounds to odd, which
/// keeps what the second step needs to know. Branch-free, so that it vectorises.
#[inline(always)]
fn round_to_odd_then_nearest(x: f64) -> bf16 {
    let near = x as f32;
    let exact = f64::from(near) == x;
    // The neighbour towards zero of a result that was rounded away from it.
    let bits = near.to_bits() - u32::from(f64::from(near).abs() > x.abs());
    let bits = if exact || x.is_nan() { bits } else { bits | 1 };
    let nearest = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    let quiet = (bits >> 16) as u16 | 0x40;
    bf16::from_bits(if x.is_nan() { quiet } else { nearest })
}

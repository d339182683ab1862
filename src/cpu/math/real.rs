//! The two types that arithmetic is done in, `f32` and `f64`, with what depends on them: the
//! exponential's parts, eʳ within 2⁻²³·⁶ or 2⁻²⁹ for [`super::Plain`], within 2⁻²⁸ or 2⁻⁵⁷·⁹ for the
//! methods that carry lost bits along. `docs/derivation.md`, "The exponential".

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::constants;

/// `f32` or `f64`.
pub trait Real:
    Copy
    + PartialOrd
    + Default
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The largest number below 1.
    const BELOW_ONE: Self;
    /// 2.
    const TWO: Self;
    /// 1/4.
    const QUARTER: Self;
    /// 1/2.
    const HALF: Self;
    /// log₂ e.
    const LOG2_E: Self;
    /// 1.5·2^(significand bits − 1): adding it rounds to an integer in the low bits.
    const MAGIC: Self;
    /// [`Real::MAGIC`] and the exponent bias less 1: k added to it is 2ᵏ⁻¹ but for a shift.
    const MAGIC_HALF: Self;
    /// −ln 2, rounded.
    const MINUS_LN2_HIGH: Self;
    /// What that lacks.
    const MINUS_LN2_LOW: Self;
    /// Below this x, mish and any gradient times mish′ round to zero in the element type.
    const FIRST_MIN: Self;
    /// Above this x, mish is x and mish′ is 1.
    const FIRST_MAX: Self;
    /// Outside of these x, any gradients times mish″ round to zero in the element type.
    const SECOND_MIN: Self;
    /// See [`Real::SECOND_MIN`].
    const SECOND_MAX: Self;

    /// `self·b + c`, rounded once.
    fn fused(self, b: Self, c: Self) -> Self;
    /// `self·b + c` for a machine that cannot do it in one instruction: not always rounded once,
    /// but well within what [`super::Plain`] has to spare.
    fn unfused(self, b: Self, c: Self) -> Self;
    /// Cody and Waite's reduction: r = x − k·ln 2.
    fn cody_waite<const HAS_FMA: bool>(x: Self, k: Self) -> Self;
    /// eʳ for |r| ≤ ln 2/2, as exactly as [`super::Plain`] needs it.
    fn exp_reduced<const HAS_FMA: bool>(r: Self) -> Self;
    /// 2ᵏ for an integer k given as k + [`Real::MAGIC`], where that is a normal number.
    fn exp2_biased(k: Self) -> Self;
    /// 2ᵏ⁻¹ for an integer k given as k + [`Real::MAGIC_HALF`], where that is a normal number.
    fn exp2_half(k: Self) -> Self;
    /// (eʳ − 1 − r)/r² for |r| ≤ ln 2/2 and `square` = r². `near` is r but for the low part of
    /// k·ln 2, and known sooner.
    fn exp_tail(near: Self, r: Self, square: Self) -> Self;

    /// The larger of two, NaN if `self` is.
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        if self < bound { bound } else { self }
    }

    /// The smaller of two, NaN if `self` is.
    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        if self > bound { bound } else { self }
    }
}

/// `a·b + c`: [`Real::fused`] where the machine has it, else [`Real::unfused`].
#[inline(always)]
pub fn multiply_add<const HAS_FMA: bool, F: Real>(a: F, b: F, c: F) -> F {
    if HAS_FMA {
        a.fused(b, c)
    } else {
        a.unfused(b, c)
    }
}

/// The polynomial in `r` with these coefficients, highest power first.
#[inline(always)]
pub fn polynomial<const HAS_FMA: bool, F: Real, const N: usize>(coefficients: [F; N], r: F) -> F {
    let mut sum = coefficients[0];
    for &coefficient in &coefficients[1..] {
        sum = multiply_add::<HAS_FMA, F>(sum, r, coefficient);
    }
    sum
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const BELOW_ONE: f32 = 1.0 - f32::EPSILON / 2.0;
    const TWO: f32 = 2.0;
    const QUARTER: f32 = 0.25;
    const HALF: f32 = 0.5;
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const MAGIC: f32 = 12_582_912.0;
    const MAGIC_HALF: f32 = Self::MAGIC + 126.0;
    const MINUS_LN2_HIGH: f32 = -constants::LN2_HIGH_F32;
    const MINUS_LN2_LOW: f32 = -constants::LN2_LOW_F32;
    // For float16: e⁻⁵⁰ times 65504 is far below its smallest number, 2⁻²⁴, and so is
    // 65504²·mish″ outside of ±50.
    const FIRST_MIN: f32 = -50.0;
    const FIRST_MAX: f32 = 15.0;
    const SECOND_MIN: f32 = -50.0;
    const SECOND_MAX: f32 = 25.0;

    #[inline(always)]
    fn fused(self, b: f32, c: f32) -> f32 {
        self.mul_add(b, c)
    }

    #[inline(always)]
    fn unfused(self, b: f32, c: f32) -> f32 {
        (f64::from(self) * f64::from(b) + f64::from(c)) as f32
    }

    #[inline(always)]
    fn cody_waite<const HAS_FMA: bool>(x: f32, k: f32) -> f32 {
        let r = multiply_add::<HAS_FMA, f32>(k, -constants::LN2_HIGH_F32, x);
        multiply_add::<HAS_FMA, f32>(k, -constants::LN2_LOW_F32, r)
    }

    #[inline(always)]
    fn exp_reduced<const HAS_FMA: bool>(r: f32) -> f32 {
        polynomial::<HAS_FMA, _, _>(constants::EXP_F32, r)
    }

    #[inline(always)]
    fn exp2_biased(k: f32) -> f32 {
        // The shift drops everything of MAGIC's bits but the integer.
        f32::from_bits(k.to_bits().wrapping_add(127) << 23)
    }

    #[inline(always)]
    fn exp2_half(k: f32) -> f32 {
        f32::from_bits(k.to_bits() << 23)
    }

    /// The higher powers, for which `near` is near enough, meanwhile.
    #[inline(always)]
    fn exp_tail(near: f32, r: f32, square: f32) -> f32 {
        let [a, b, c, d, e] = constants::EXP_TAIL_F32;
        let high = polynomial::<true, _, _>([a, b, c], near);
        high.fused(square, d.fused(r, e))
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;
    const TWO: f64 = 2.0;
    const QUARTER: f64 = 0.25;
    const HALF: f64 = 0.5;
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    const MAGIC_HALF: f64 = Self::MAGIC + 1022.0;
    const MINUS_LN2_HIGH: f64 = -constants::LN2_HIGH_F64;
    const MINUS_LN2_LOW: f64 = -constants::LN2_LOW_F64;
    // For float32 and bfloat16: the largest gradient is 2¹²⁸ and the smallest number 2⁻¹⁴⁹.
    const FIRST_MIN: f64 = -210.0;
    const FIRST_MAX: f64 = 40.0;
    const SECOND_MIN: f64 = -300.0;
    const SECOND_MAX: f64 = 150.0;

    #[inline(always)]
    fn fused(self, b: f64, c: f64) -> f64 {
        self.mul_add(b, c)
    }

    #[inline(always)]
    fn unfused(self, b: f64, c: f64) -> f64 {
        self * b + c
    }

    #[inline(always)]
    fn cody_waite<const HAS_FMA: bool>(x: f64, k: f64) -> f64 {
        // One term of ln 2 leaves 2⁻⁵⁵·|k|, nothing beside float32's 2⁻²⁴.
        multiply_add::<HAS_FMA, f64>(k, -constants::LN2_HIGH_F64, x)
    }

    #[inline(always)]
    fn exp_reduced<const HAS_FMA: bool>(r: f64) -> f64 {
        polynomial::<HAS_FMA, _, _>(constants::EXP_F64, r)
    }

    #[inline(always)]
    fn exp2_biased(k: f64) -> f64 {
        f64::from_bits(k.to_bits().wrapping_add(1023) << 52)
    }

    #[inline(always)]
    fn exp2_half(k: f64) -> f64 {
        f64::from_bits(k.to_bits() << 52)
    }

    /// The even and the odd powers apart, which halves the chain.
    #[inline(always)]
    fn exp_tail(_: f64, r: f64, square: f64) -> f64 {
        let all = constants::EXP_TAIL_F64;
        let mut sums = [all[0], all[1]];
        for pair in all[2..].chunks_exact(2) {
            sums = [
                sums[0].fused(square, pair[0]),
                sums[1].fused(square, pair[1]),
            ];
        }
        sums[0].fused(r, sums[1])
    }
}

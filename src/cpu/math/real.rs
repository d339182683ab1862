//! The two types arithmetic is done in, and the constants that depend on them.

use std::ops::{Add, Div, Mul, Neg, Sub};

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
    /// 2.
    const TWO: Self;
    /// −2.
    const MINUS_TWO: Self;
    /// 4.
    const FOUR: Self;
    /// log₂ e.
    const LOG2_E: Self;
    /// ln 2, rounded, and the rest of it.
    const LN2_HIGH: Self;
    /// See [`Real::LN2_HIGH`].
    const LN2_LOW: Self;
    /// 1.5·2^(significand bits − 1): adding it rounds to an integer in the low bits.
    const MAGIC: Self;
    /// Below this k, e no longer changes z = 1 + e in any part that counts.
    const K_MIN: Self;
    /// Above this k, 1 and x no longer count beside e.
    const K_MAX: Self;
    /// The exponents [`Real::exp2`] takes.
    const EXP2_MIN: Self;
    /// See [`Real::EXP2_MIN`].
    const EXP2_MAX: Self;
    /// Below this x, mish rounds to −0.
    const FORWARD_MIN: Self;
    /// Above this x, mish is x − 2x/δ with 2x/δ far below x.
    const FORWARD_RIGHT: Self;
    /// Above this x, mish is x and mish′ is 1.
    const FIRST_MAX: Self;
    /// Below this x, even the largest gradient times mish′ rounds to zero.
    const BACKWARD_MIN: Self;
    /// Outside of these x, even the largest gradients times mish″ round to zero.
    const SECOND_MIN: Self;
    /// See [`Real::SECOND_MIN`].
    const SECOND_MAX: Self;

    /// `self·b + c`, rounded once. `HW`: the code is compiled for a machine that has it;
    /// otherwise it is emulated.
    fn fma<const HW: bool>(self, b: Self, c: Self) -> Self;
    /// (eʳ − 1 − r)/r² for |r| ≤ ln 2/2.
    fn exp_tail<const HW: bool>(r: Self) -> Self;
    /// 2ᵏ for an integer k between [`Real::EXP2_MIN`] and [`Real::EXP2_MAX`].
    fn exp2(k: Self) -> Self;
    /// A value and an exponent with `self = value·2^exponent`, the value between 1 and 4 in
    /// magnitude (smaller for a subnormal; zero, infinity and NaN stay themselves).
    fn split(self) -> (Self, Self);
    /// This magnitude with the other's sign.
    fn with_sign_of(self, other: Self) -> Self;

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

/// Both types differ in nothing but constants and how the fused multiply-add is emulated.
macro_rules! real {
    ($float:ty, $bits:ty, $mantissa:literal, $bias:literal, $emulated_fma:expr, tail: $tail:expr,
     $($constant:ident = $value:expr),* $(,)?) => {
        impl Real for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const TWO: Self = 2.0;
            const MINUS_TWO: Self = -2.0;
            const FOUR: Self = 4.0;
            $(const $constant: Self = $value;)*

            #[inline(always)]
            fn fma<const HW: bool>(self, b: Self, c: Self) -> Self {
                if HW { self.mul_add(b, c) } else { $emulated_fma(self, b, c) }
            }

            #[inline(always)]
            fn exp_tail<const HW: bool>(r: Self) -> Self {
                let [highest, rest @ ..] = $tail;
                let mut sum: Self = highest;
                for coefficient in rest {
                    sum = sum.fma::<HW>(r, coefficient);
                }
                sum
            }

            #[inline(always)]
            fn exp2(k: Self) -> Self {
                // The shift drops everything of MAGIC's bits but the integer.
                <$float>::from_bits((k + Self::MAGIC).to_bits().wrapping_add($bias) << $mantissa)
            }

            #[inline(always)]
            fn split(self) -> (Self, Self) {
                const FIELD: $bits = (2 * $bias + 1) << $mantissa;
                const LARGEST: $float = <$float>::from_bits((2 * $bias - 1) << $mantissa);
                // 2^exponent, or 0 for a subnormal, which then is scaled up as far as possible.
                let power = <$float>::from_bits(self.to_bits() & FIELD).at_most(LARGEST);
                let inverse = <$float>::from_bits(((2 * $bias) << $mantissa) - power.to_bits());
                // The exponent field as a number, through the bits of MAGIC.
                let field = power.to_bits() >> $mantissa;
                let exponent = <$float>::from_bits(Self::MAGIC.to_bits() + field) - Self::MAGIC;
                (self * inverse, exponent - $bias as $float)
            }

            #[inline(always)]
            fn with_sign_of(self, other: Self) -> Self {
                self.copysign(other)
            }
        }
    };
}

/// The product of two f32 is exact in f64, and where this file relies on an exact result (the
/// residuals), the sum is too; elsewhere the second rounding costs at most 2⁻²⁹ of the result.
#[inline(always)]
fn fma_through_f64(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

real!(
    f32, u32, 23, 127, fma_through_f64,
    tail: constants::EXP_TAIL_F32,
    LOG2_E = constants::LOG2_E as f32,
    LN2_HIGH = constants::LN2_HIGH_F32,
    LN2_LOW = constants::LN2_LOW_F32,
    MAGIC = 12_582_912.0,
    K_MIN = -60.0,
    K_MAX = 30.0,
    EXP2_MIN = -126.0,
    EXP2_MAX = 126.0,
    FORWARD_MIN = -110.0,
    FORWARD_RIGHT = 4.0,
    FIRST_MAX = 15.0,
    BACKWARD_MIN = -210.0,
    SECOND_MIN = -300.0,
    SECOND_MAX = 150.0,
);

real!(
    f64, u64, 52, 1023, f64::mul_add,
    tail: constants::EXP_TAIL_F64,
    LOG2_E = constants::LOG2_E,
    LN2_HIGH = constants::LN2_HIGH_F64,
    LN2_LOW = constants::LN2_LOW_F64,
    MAGIC = 6_755_399_441_055_744.0,
    K_MIN = -200.0,
    K_MAX = 60.0,
    EXP2_MIN = -1022.0,
    EXP2_MAX = 1022.0,
    FORWARD_MIN = -760.0,
    FORWARD_RIGHT = 4.0,
    FIRST_MAX = 25.0,
    BACKWARD_MIN = -1480.0,
    SECOND_MIN = -2200.0,
    SECOND_MAX = 1120.0,
);

#[path = "constants.rs"]
mod constants;

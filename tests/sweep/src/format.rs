//! The element types.

use half::{bf16, f16};

use crate::catalogue::Dtype;

/// A binary format, in numbers that enter arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Bits of the significand, the leading one included.
    pub digits: f64,
    /// The exponent of the smallest normal number.
    pub smallest: f64,
    /// The exponent of the largest number.
    pub largest: f64,
}

impl Format {
    const fn of(dtype: Dtype) -> Format {
        let smallest = dtype.min_exponent() as f64;
        Format {
            digits: dtype.digits() as f64,
            smallest,
            largest: 1.0 - smallest,
        }
    }
}

/// An element.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// The type's name.
    const DTYPE: Dtype;
    /// Its format.
    const FORMAT: Format = Format::of(Self::DTYPE);
    /// Bits of an element.
    const BITS: u32 = Self::DTYPE.bits();
    /// Bits of the significand field.
    const FRACTION_BITS: u32 = Self::DTYPE.digits() - 1;

    /// From its bits, the lowest of the argument.
    fn from_bits(bits: u64) -> Self;
    /// The same number.
    fn widen(self) -> f64;
    /// The nearest number.
    fn nearest(x: f64) -> Self;

    /// A finite number from random bits, with any exponent, or with a large one.
    fn gradient(random: u64, large: bool) -> Self {
        let exponent_bits = Self::BITS - 1 - Self::FRACTION_BITS;
        let field = ((1 << exponent_bits) - 1) << Self::FRACTION_BITS;
        let mut bits = random & (u64::MAX >> (64 - Self::BITS));
        if large {
            bits |= field & (field << (exponent_bits - 2));
        }
        if bits & field == field {
            bits &= !(1 << Self::FRACTION_BITS);
        }
        Self::from_bits(bits)
    }
}

macro_rules! element {
    ($type:ty, $bits:ty, $dtype:ident, $widen:expr, $round:expr) => {
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;

            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                <$type>::from_bits(bits as $bits)
            }
            #[inline(always)]
            fn widen(self) -> f64 {
                ($widen)(self)
            }
            fn nearest(x: f64) -> Self {
                ($round)(x)
            }
        }
    };
}
element!(f16, u16, F16, f16::to_f64, f16::from_f64);
element!(bf16, u16, BF16, bf16::to_f64, bf16::from_f64);
element!(f32, u32, F32, f64::from, |x| x as f32);
element!(f64, u64, F64, |x| x, |x| x);

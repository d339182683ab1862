//! The element types.

use half::{bf16, f16};

/// An element type of the library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtype {
    /// float16
    F16,
    /// bfloat16
    Bf16,
    /// float32
    F32,
    /// float64
    F64,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Dtype; 4] = [Dtype::F16, Dtype::Bf16, Dtype::F32, Dtype::F64];

    /// As in `MISH_DTYPE_*`, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
        }
    }
}

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

/// An element.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// The type's name.
    const DTYPE: Dtype;
    /// The code of `MISH_DTYPE_*`.
    const CODE: i32;
    /// Its format.
    const FORMAT: Format;
    /// Bits of an element.
    const BITS: u32;
    /// Bits of the significand field.
    const FRACTION_BITS: u32;

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
    ($type:ty, $bits:ty, $dtype:ident, $code:literal, $digits:literal, $largest:literal,
     $widen:expr, $round:expr) => {
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            const CODE: i32 = $code;
            const FORMAT: Format = Format {
                digits: $digits as f64,
                smallest: 1.0 - $largest as f64,
                largest: $largest as f64,
            };
            const BITS: u32 = <$bits>::BITS;
            const FRACTION_BITS: u32 = $digits - 1;

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
element!(f16, u16, F16, 1, 11, 15, f16::to_f64, f16::from_f64);
element!(bf16, u16, Bf16, 2, 8, 127, bf16::to_f64, bf16::from_f64);
element!(f32, u32, F32, 3, 24, 127, f64::from, |x| x as f32);
element!(f64, u64, F64, 4, 53, 1023, |x| x, |x| x);

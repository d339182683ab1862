//! Two kinds of numbers: a double, and a pair of doubles with twice its precision.

use std::ops::{Add, Mul};

/// What the formulas need of a number.
pub trait Number: Copy + Add<Output = Self> + Mul<Output = Self> {
    /// The error of a function, away from its zeros, is below 2^−`ERROR_BITS` of the result; three
    /// more bits are for products and for its measuring.
    const ERROR_BITS: i32;

    /// From a leading part and the rest.
    fn new(high: f64, low: f64) -> Self;
    /// The leading part.
    fn high(self) -> f64;
    /// The rest.
    fn low(self) -> f64;
    /// a + b.
    fn sum(a: f64, b: f64) -> Self;
    /// a·b.
    fn product(a: f64, b: f64) -> Self;
    /// 1/self.
    fn reciprocal(self) -> Self;
    /// Times a power of two.
    fn scale(self, power: f64) -> Self;
    /// (m, k) with e^a = m·2ᵏ, for −5000 ≤ a ≤ 0.
    fn exp_of_negative(a: f64) -> (Self, f64);

    /// One of two, without a branch.
    #[inline(always)]
    fn choose(left: bool, l: Self, r: Self) -> Self {
        let high = if left { l.high() } else { r.high() };
        let low = if left { l.low() } else { r.low() };
        Self::new(high, low)
    }
}

/// ln 2 in three parts (mpmath, 80 digits).
const LN2: [f64; 3] = [
    std::f64::consts::LN_2,
    2.3190468138462996e-17,
    5.707708438416212e-34,
];

/// 1/n! in two parts (mpmath, 80 digits).
#[rustfmt::skip]
const INVERSE_FACTORIALS: [(f64, f64); 23] = [
    (1.0, 0.0),
    (1.0, 0.0),
    (0.5, 0.0),
    (0.16666666666666666, 9.25185853854297e-18),
    (0.041666666666666664, 2.3129646346357427e-18),
    (0.008333333333333333, 1.1564823173178714e-19),
    (0.001388888888888889, -5.300543954373577e-20),
    (0.0001984126984126984, 1.7209558293420705e-22),
    (2.48015873015873e-05, 2.1511947866775882e-23),
    (2.7557319223985893e-06, -1.858393274046472e-22),
    (2.755731922398589e-07, 2.3767714622250297e-23),
    (2.505210838544172e-08, -1.448814070935912e-24),
    (2.08767569878681e-09, -1.20734505911326e-25),
    (1.6059043836821613e-10, 1.2585294588752098e-26),
    (1.1470745597729725e-11, 2.0655512752830745e-28),
    (7.647163731819816e-13, 7.03872877733453e-30),
    (4.779477332387385e-14, 4.399205485834081e-31),
    (2.8114572543455206e-15, 1.6508842730861433e-31),
    (1.5619206968586225e-16, 1.1910679660273754e-32),
    (8.22063524662433e-18, 2.2141894119604265e-34),
    (4.110317623312165e-19, 1.4412973378659527e-36),
    (1.9572941063391263e-20, -1.3643503830087908e-36),
    (8.896791392450574e-22, -7.911402614872376e-38),
];

/// Adding it leaves an integer in the low bits.
const INTEGER: f64 = 4_503_599_627_370_496.0;
const FRACTION_BITS: u64 = (1 << 52) - 1;

/// 2ᵏ for an integer k from −1022 to 1023.
#[inline(always)]
pub fn exp2(k: f64) -> f64 {
    f64::from_bits((k + (1023.0 + INTEGER)).to_bits() << 52)
}

/// The exponent of a normal number; −1023 for zero.
#[inline(always)]
pub fn exponent_of(x: f64) -> f64 {
    let field = (x.to_bits() >> 52) & 2047;
    f64::from_bits(INTEGER.to_bits() | field) - (INTEGER + 1023.0)
}

/// (m, k) with x = m·2ᵏ and 1 ≤ |m| < 2; zero is zero.
#[inline(always)]
pub fn split(x: f64) -> (f64, f64) {
    let subnormal = x.abs() < f64::MIN_POSITIVE;
    let normal = x * if subnormal {
        18_446_744_073_709_551_616.0
    } else {
        1.0
    };
    let exponent = exponent_of(normal) - if subnormal { 64.0 } else { 0.0 };
    let sign_and_fraction = normal.to_bits() & (1 << 63 | FRACTION_BITS);
    let m = f64::from_bits(sign_and_fraction | 1023 << 52);
    (if x == 0.0 { x } else { m }, exponent)
}

/// round(a/ln 2).
#[inline(always)]
fn steps(a: f64) -> f64 {
    (a * std::f64::consts::LOG2_E).round_ties_even()
}

/// A double.
#[derive(Clone, Copy)]
pub struct Double(f64);

impl Add for Double {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Double(self.0 + other.0)
    }
}

impl Mul for Double {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Double(self.0 * other.0)
    }
}

impl Number for Double {
    const ERROR_BITS: i32 = 43;

    #[inline(always)]
    fn new(high: f64, _low: f64) -> Self {
        Double(high)
    }
    #[inline(always)]
    fn high(self) -> f64 {
        self.0
    }
    #[inline(always)]
    fn low(self) -> f64 {
        0.0
    }
    #[inline(always)]
    fn sum(a: f64, b: f64) -> Self {
        Double(a + b)
    }
    #[inline(always)]
    fn product(a: f64, b: f64) -> Self {
        Double(a * b)
    }
    #[inline(always)]
    fn reciprocal(self) -> Self {
        Double(1.0 / self.0)
    }
    #[inline(always)]
    fn scale(self, power: f64) -> Self {
        Double(self.0 * power)
    }

    #[inline(always)]
    fn exp_of_negative(a: f64) -> (Self, f64) {
        let k = steps(a);
        let r = (-k).mul_add(LN2[1], (-k).mul_add(LN2[0], a));
        // Taylor: |r|¹⁵/15! < 2⁻⁶³.
        let mut sum = INVERSE_FACTORIALS[14].0;
        for n in (0..14).rev() {
            sum = sum.mul_add(r, INVERSE_FACTORIALS[n].0);
        }
        (Double(sum), k)
    }
}

/// An unevaluated sum of two doubles, the second at most half of the first's last place.
#[derive(Clone, Copy)]
pub struct Pair {
    high: f64,
    low: f64,
}

/// The rounded sum and what rounding cut off (Knuth).
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_seen = sum - a;
    (sum, (a - (sum - b_seen)) + (b - b_seen))
}

/// The same where |a| ≥ |b|, or where nothing is cut off (Dekker).
#[inline(always)]
fn quick_two_sum(a: f64, b: f64) -> Pair {
    let high = a + b;
    Pair {
        high,
        low: b - (high - a),
    }
}

impl Add for Pair {
    type Output = Self;
    /// Error below 2⁻¹⁰⁴ of the result also where the leading parts cancel.
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let (s, s_low) = two_sum(self.high, other.high);
        let (t, t_low) = two_sum(self.low, other.low);
        let v = quick_two_sum(s, s_low + t);
        quick_two_sum(v.high, v.low + t_low)
    }
}

impl Mul for Pair {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let p = self.high * other.high;
        let p_low = self.high.mul_add(other.high, -p);
        let cross = self.high.mul_add(other.low, self.low * other.high);
        quick_two_sum(p, p_low + cross)
    }
}

impl Number for Pair {
    const ERROR_BITS: i32 = 82;

    #[inline(always)]
    fn new(high: f64, low: f64) -> Self {
        Pair { high, low }
    }
    #[inline(always)]
    fn high(self) -> f64 {
        self.high
    }
    #[inline(always)]
    fn low(self) -> f64 {
        self.low
    }
    #[inline(always)]
    fn sum(a: f64, b: f64) -> Self {
        let (high, low) = two_sum(a, b);
        Pair { high, low }
    }
    #[inline(always)]
    fn product(a: f64, b: f64) -> Self {
        let high = a * b;
        Pair {
            high,
            low: a.mul_add(b, -high),
        }
    }
    #[inline(always)]
    fn reciprocal(self) -> Self {
        // One step of Newton's iteration doubles the digits of the rounded quotient.
        let w = 1.0 / self.high;
        let rest = (-w).mul_add(self.low, (-w).mul_add(self.high, 1.0));
        quick_two_sum(w, w * rest)
    }
    #[inline(always)]
    fn scale(self, power: f64) -> Self {
        Pair {
            high: self.high * power,
            low: self.low * power,
        }
    }

    #[inline(always)]
    fn exp_of_negative(a: f64) -> (Self, f64) {
        let k = steps(a);
        let pair = |x| Pair { high: x, low: 0.0 };
        // The first difference is exact but for the first step, where k is 0.
        let leading = Pair::product(-k, LN2[0]);
        let r = pair(a) + leading + Pair::product(-k, LN2[1]) + pair(-k * LN2[2]);
        // Taylor: |r|²³/23! < 2⁻¹⁰⁹. From the tenth term on, rounded to a double, the terms are
        // below 2⁻³⁷, their error below 2⁻⁸⁸.
        let mut tail = INVERSE_FACTORIALS[22].0;
        for n in (10..22).rev() {
            tail = tail.mul_add(r.high, INVERSE_FACTORIALS[n].0);
        }
        let mut sum = pair(tail);
        for n in (0..10).rev() {
            let (high, low) = INVERSE_FACTORIALS[n];
            sum = sum * r + Pair { high, low };
        }
        (sum, k)
    }
}

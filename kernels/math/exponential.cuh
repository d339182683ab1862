// What the exponentials of float and double are made of: Cody and Waite's range reduction, powers
// of two, and polynomials. Whole powers of two are applied exactly, or with a single rounding where
// the result is subnormal: docs/derivation.md, "The exponential" and "Powers of two".
#ifndef MISH_MATH_EXPONENTIAL_CUH
#define MISH_MATH_EXPONENTIAL_CUH

#include "device/device.cuh"
#include "math/constants.cuh"

// What differs between the types.
template <typename F> struct Format;
template <> struct Format<float> {
    // 1.5 2^(digits - 1): what is added to it loses its fraction, and stands in the low bits.
    static MISH_DEVICE float magic() { return 12582912.0f; }
    static MISH_DEVICE float log2_e() { return float(MISH_LOG2_E); }
    static MISH_DEVICE float ln2_high() { return MISH_LN2_HIGH_F32; }
    static MISH_DEVICE float ln2_low() { return MISH_LN2_LOW_F32; }
    // The least exponent of a normal number.
    static MISH_DEVICE mish_i32 exp2_min() { return -126; }
};
template <> struct Format<double> {
    static MISH_DEVICE double magic() { return 6755399441055744.0; }
    static MISH_DEVICE double log2_e() { return MISH_LOG2_E; }
    static MISH_DEVICE double ln2_high() { return MISH_LN2_HIGH_F64; }
    static MISH_DEVICE double ln2_low() { return MISH_LN2_LOW_F64; }
    static MISH_DEVICE mish_i32 exp2_min() { return -1022; }
};

// The integer in `biased` = integer + magic.
MISH_DEVICE mish_i32 mish_integer(float biased) {
    return mish_i32(bits_from_f32(biased) - bits_from_f32(Format<float>::magic()));
}
MISH_DEVICE mish_i32 mish_integer(double biased) { return mish_i32(bits_from_f64(biased)); }

// Cody and Waite's range reduction: x = steps ln 2/N + r with a whole number of steps. ln 2 is cut
// in two, so that the first product is taken off exactly and only the second rounds.
template <typename F, int N> struct CodyWaite {
    typedef Format<F> T;
    static_assert((N & (N - 1)) == 0, "dividing by it is exact");
    F x;
    // The number of steps, with and without magic.
    F biased, steps;

    MISH_DEVICE explicit CodyWaite(F of) {
        x = of;
        biased = mish_fma(x, N * T::log2_e(), T::magic());
        steps = biased - T::magic();
    }

    MISH_DEVICE mish_i32 integer() const { return mish_integer(biased); }
    // x less steps times the high part of ln 2/N, exact.
    MISH_DEVICE F nearly() const { return mish_fma(steps, -T::ln2_high() / N, x); }
    // r, rounded.
    MISH_DEVICE F r() const { return mish_fma(steps, -T::ln2_low() / N, nearly()); }
    // What rounding cut off that.
    MISH_DEVICE F r_low(F r) const { return mish_fma(steps, -T::ln2_low() / N, nearly() - r); }
};

// A polynomial by Horner's rule, its coefficients from the highest power down.
template <typename F> MISH_DEVICE F mish_polynomial(F, F sum) { return sum; }
template <typename F, typename... Lower>
MISH_DEVICE F mish_polynomial(F r, F sum, F next, Lower... lower) {
    return mish_polynomial(r, mish_fma(sum, r, next), lower...);
}

MISH_DEVICE mish_i32 mish_min(mish_i32 a, mish_i32 b) { return a < b ? a : b; }
MISH_DEVICE mish_i32 mish_max(mish_i32 a, mish_i32 b) { return a > b ? a : b; }

// 2^k for k in the range of normal numbers. Unsigned, because a NaN's k is anything.
template <typename F> MISH_DEVICE F mish_exp2(mish_u32 k);
template <> MISH_DEVICE float mish_exp2<float>(mish_u32 k) {
    return f32_from_bits((k + 127u) << 23);
}
template <> MISH_DEVICE double mish_exp2<double>(mish_u32 k) {
    return f64_from_bits(mish_u64((k + 1023u) << 20) << 32);
}

// value and exponent with x = value * 2^exponent, the value between 1 and 4 in magnitude (smaller
// for a subnormal; zero, infinity and NaN stay themselves).
MISH_DEVICE float mish_split(float x, mish_i32 &exponent) {
    exponent = mish_min(mish_i32(bits_from_f32(x) >> 23 & 0xffu), 253) - 127;
    return x * mish_exp2<float>(-exponent);
}
MISH_DEVICE double mish_split(double x, mish_i32 &exponent) {
    exponent = mish_min(mish_i32(bits_from_f64(x) >> 52) & 0x7ff, 2045) - 1023;
    return x * mish_exp2<double>(-exponent);
}

// product * 2^exponent, the product far from overflow and underflow, in two halves, of which only
// the last rounds. What the limits cut off is past every finite result.
template <typename F> MISH_DEVICE F mish_scale(F product, mish_i32 exponent) {
    typedef Format<F> T;
    exponent = mish_min(mish_max(exponent, 2 * T::exp2_min()), -2 * T::exp2_min());
    const mish_i32 half = exponent >> 1;
    return product * mish_exp2<F>(half) * mish_exp2<F>(exponent - half);
}

#endif

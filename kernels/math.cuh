// Mish, its gradient and its second derivative, element by element.
//
// With e = exp(x), z = 1 + e, d = z^2 + 1 and w = 1/d (docs/derivation.md):
//
//   mish   = x e (z + 1) w
//   mish'  = e w (z + 1 + 4 x z w)
//   mish'' = 4 e w^2 (2 + x + 2 e (1 - mish))           1 - mish = 1 - x + 2 x w
//
// `Rational` (float64) multiplies the numerators out, in e^-|x|. `Exact` (float32) is
// src/cpu/math/paired.rs: whatever loses bits is carried as an unevaluated sum of two numbers
// (a, a_low), and the power of two in e is kept apart and applied last. `Wide` is
// src/cpu/math/plain.rs: the formulas as they stand, in double for float elements, for GPUs whose
// double is half as fast as their float. `Brief` (16-bit types) and `Factored` (bfloat16 at its
// ends) are the same formulas in plain float: their error, a few units of float's last place, is
// far below what rounding to 16 bits adds.
#ifndef MISH_MATH_CUH
#define MISH_MATH_CUH

#include "constants.cuh"
#include "device.cuh"

template <typename F> struct Limits;

// The thresholds; src/cpu/math/paired.rs, which has others, says what they are.
template <> struct Limits<float> {
    static MISH_DEVICE float magic() { return 12582912.0f; }
    static MISH_DEVICE float log2_e() { return float(MISH_LOG2_E); }
    static MISH_DEVICE float ln2_high() { return MISH_LN2_HIGH_F32; }
    static MISH_DEVICE float ln2_low() { return MISH_LN2_LOW_F32; }
    // e^x >= 2^k makes z^2 > 2^p, p the digits.
    static MISH_DEVICE mish_i32 half_digits() { return 12; }
    static MISH_DEVICE mish_i32 k_min() { return -60; }
    static MISH_DEVICE mish_i32 k_max() { return 30; }
    static MISH_DEVICE mish_i32 exp2_min() { return -126; }
    static MISH_DEVICE float forward_min() { return -110.0f; }
    static MISH_DEVICE float first_max() { return 15.0f; }
    static MISH_DEVICE float backward_min() { return -210.0f; }
    static MISH_DEVICE float second_min() { return -300.0f; }
    static MISH_DEVICE float second_max() { return 150.0f; }
    static MISH_DEVICE float exp_tail(float r) {
        float sum = 0.0f;
        bool first = true;
#define MISH_TERM(c) sum = first ? c : mish_fma(sum, r, c); first = false;
        MISH_EXP_TAIL_F32(MISH_TERM)
#undef MISH_TERM
        return sum;
    }
};

template <> struct Limits<double> {
    static MISH_DEVICE double magic() { return 6755399441055744.0; }
    static MISH_DEVICE double log2_e() { return MISH_LOG2_E; }
    static MISH_DEVICE double ln2_high() { return MISH_LN2_HIGH_F64; }
    static MISH_DEVICE double ln2_low() { return MISH_LN2_LOW_F64; }
    static MISH_DEVICE mish_i32 exp2_min() { return -1022; }
};

// The integer in `biased` = integer + magic.
MISH_DEVICE mish_i32 mish_integer(float biased) {
    return mish_i32(bits_from_f32(biased) - bits_from_f32(Limits<float>::magic()));
}
MISH_DEVICE mish_i32 mish_integer(double biased) { return mish_i32(bits_from_f64(biased)); }

// 2^k for k in the range of normal numbers. Unsigned, because a NaN's k is anything.
template <typename F> MISH_DEVICE F mish_exp2(mish_u32 k);
template <> MISH_DEVICE float mish_exp2<float>(mish_u32 k) {
    return f32_from_bits((k + 127u) << 23);
}
template <> MISH_DEVICE double mish_exp2<double>(mish_u32 k) {
    return f64_from_bits(mish_u64((k + 1023u) << 20) << 32);
}

MISH_DEVICE mish_i32 mish_min(mish_i32 a, mish_i32 b) { return a < b ? a : b; }
MISH_DEVICE mish_i32 mish_max(mish_i32 a, mish_i32 b) { return a > b ? a : b; }

// Whether a gradient times mish'' is a normal number wherever k is not limited.
MISH_DEVICE bool mish_is_tame(double grad) {
    return (mish_u32(bits_from_f64(grad) >> 32) & 0x7fffffffu) > 0x20000000u;  // 2^-511
}

// All ones for a negative x.
MISH_DEVICE mish_u32 mish_mask(float x) { return mish_u32(mish_i32(bits_from_f32(x)) >> 31); }

// A size with the sign of a b c.
MISH_DEVICE float mish_signed(float size, float a, float b, float c) {
    const mish_u32 sign = bits_from_f32(a) ^ bits_from_f32(b) ^ bits_from_f32(c);
    return f32_from_bits(bits_from_f32(size) | (sign & 0x80000000u));
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
// the last rounds. What the limits cut off is
// past every finite result.
template <typename F> MISH_DEVICE F mish_scale(F product, mish_i32 exponent) {
    typedef Limits<F> L;
    exponent = mish_min(mish_max(exponent, 2 * L::exp2_min()), -2 * L::exp2_min());
    const mish_i32 half = exponent >> 1;
    return product * mish_exp2<F>(half) * mish_exp2<F>(exponent - half);
}

// The upper half of |x|, which orders as |x| does, NaN past infinity.
MISH_DEVICE mish_i32 mish_size(double x) {
    return mish_i32(mish_u32(bits_from_f64(x) >> 32) & 0x7fffffffu);
}
// |x|, or about the bound where that is smaller or x a NaN. In integers, which leave the double
// pipe to the rest.
MISH_DEVICE double mish_limited(double x, double bound) {
    const mish_u32 high = mish_u32(mish_min(mish_size(x), mish_size(bound)));
    return f64_from_bits(mish_u64(high) << 32 | mish_u32(bits_from_f64(x)));
}
// With `more` added to the upper half of a number whose lower half is zero.
MISH_DEVICE double mish_raised(double x, mish_u32 more) {
    return f64_from_bits(mish_u64(mish_u32(bits_from_f64(x) >> 32) + more) << 32);
}
MISH_DEVICE bool mish_is_negative(double x) { return mish_i32(bits_from_f64(x) >> 32) < 0; }
// A size, which is not negative, with the sign of x.
MISH_DEVICE double mish_with_sign(double size, double x) {
    return f64_from_bits(bits_from_f64(size) | (bits_from_f64(x) & 0x8000000000000000ull));
}

// x 2^exponent for an exponent from 2 exp2_min to 0.
MISH_DEVICE double mish_descend(double x, mish_i32 exponent) {
    const mish_i32 near = mish_max(exponent, Limits<double>::exp2_min());
    return x * mish_exp2<double>(near) * mish_exp2<double>(exponent - near);
}

template <typename F> struct Exact {
    typedef Limits<F> L;

    // e^x = 2^k (1 + q + q_low); scale = 2^limited with k limited, k_rest what that cut off.
    F q, q_low, scale;
    mish_i32 limited, k_rest;
    // e for the limited k, and the part that rounding cut off.
    F e, e_low;
    // Whether q_low counts: the second derivative squares the errors of e.
    bool carried;

    // For the second derivative k is limited from above as well.
    MISH_DEVICE Exact(F x, bool second) : carried(second) {
        const F biased = mish_fma(x, L::log2_e(), L::magic());
        const F k = biased - L::magic();
        const F reduced = mish_fma(k, -L::ln2_high(), x);  // exact
        const F r = mish_fma(k, -L::ln2_low(), reduced);
        const F r2 = r * r, tail = L::exp_tail(r);
        q = mish_fma(r2, tail, r);
        const mish_i32 whole = mish_integer(biased);
        limited = mish_max(whole, L::k_min());
        if (second) limited = mish_min(limited, L::k_max());
        scale = mish_exp2<F>(limited);
        k_rest = whole - limited;
        e = mish_fma(scale, q, scale);
        e_low = mish_fma(scale, q, scale - e);
        if (carried) {
            q_low = mish_fma(r2, tail, r - q) + mish_fma(k, -L::ln2_low(), reduced - r);
            e_low = mish_fma(scale, q_low, e_low);
        }
    }

    // z = 1 + e and d = z^2 + 1, each with the part that rounding cut off; 1/d = w (1 + w_rel).
    struct Denominator {
        F z, z_low, w, w_rel;
        MISH_DEVICE explicit Denominator(const Exact &c) {
            const F one = 1;
            z = one + c.e;
            z_low = rest(one, c.e, z, c.limited > 0) + c.e_low;
            const F d = mish_fma(z, z, one);
            // Past 2^p, 1 - d would round, so the 1 is added last; below, first.
            const bool large = c.limited >= L::half_digits();
            const F before = large ? F(0) : one, after = large ? one : F(0);
            const F d_low = mish_fma(z + z, z_low, mish_fma(z, z, before - d) + after);
            w = mish_reciprocal(d);
            w_rel = mish_fma(-d_low, w, mish_fma(-d, w, one));
        }
    };

    // What rounding cut off a + b (Dekker), if b is the larger just where `b_larger` says.
    static MISH_DEVICE F rest(F a, F b, F sum, bool b_larger) {
        return ((b_larger ? b : a) - sum) + (b_larger ? a : b);
    }

    // mish'(x)/2^(k + 1).
    MISH_DEVICE F first(F x, const Denominator &c) const {
        const F half = 0.5;
        const F ratio = c.z * c.w;
        const F ratio_low =
            mish_fma(ratio, c.w_rel, mish_fma(c.z_low, c.w, mish_fma(c.z, c.w, -ratio)));
        const F x2 = x + x;
        const F a = mish_fma(half, c.z, half);
        const F a_low = mish_fma(half, c.z_low, mish_fma(half, c.z, -a) + half);
        const F b = x2 * ratio;
        const F b_low = mish_fma(x2, ratio_low, mish_fma(x2, ratio, -b));
        const F m = a + b;
        const F m_low = rest(a, b, m, limited < -1) + (a_low + b_low);
        const F g = m * c.w;
        F g_low = mish_fma(g, c.w_rel, mish_fma(m_low, c.w, mish_fma(m, c.w, -g)));
        if (carried) g_low = mish_fma(g, q_low, g_low);
        return mish_fma(g, q, mish_fma(g_low, q, g_low)) + g;
    }

    // grad * first * 2^(k + 1) without intermediate overflow or a second rounding; `rest` at least
    // 2 exp2_min.
    MISH_DEVICE F times_first(F grad, F first, mish_i32 rest) const {
        if (rest >= 0) return grad * (first * mish_exp2<F>(limited + 1u));
        // Times a small gradient the product may be subnormal before `rest` is applied: that would
        // round it twice.
        mish_i32 exponent;
        const F value = mish_split(grad, exponent);
        return mish_scale(value * first, exponent + limited + 1 + rest);
    }

    // mish''(x)/(8 scale) for the limited k.
    MISH_DEVICE F second(F x, const Denominator &c) const {
        const F half = 0.5, one = 1;
        const F x2 = x + x;
        const F p = one - x;
        const F p_low = (one - p) - x;
        const F v = mish_fma(x2, c.w, p);
        const F v_low = mish_fma(x2, c.w, p - v) + mish_fma(x2 * c.w, c.w_rel, p_low);
        const F t = e * v;
        const F t_low = mish_fma(e, v, -t) + mish_fma(e, v_low, e_low * v);
        const F b = mish_fma(half, x, one);
        const F b_low = mish_fma(half, x, one - b);
        const F n = b + t;
        const F n_low = rest(b, t, n, limited > 0) + (b_low + t_low);
        const F w2 = c.w * c.w;
        const F w2_low = mish_fma(c.w, c.w, -w2);
        const F h = n * w2;
        const F h_low = mish_fma(n, w2, -h) + mish_fma(n, w2_low, n_low * w2);
        const F w_rel2 = c.w_rel + c.w_rel;
        F factor = mish_fma(w_rel2, q, w_rel2);
        if (carried) factor += q_low;
        return mish_fma(h, q + factor, mish_fma(h_low, q, h_low)) + h;
    }

    static MISH_DEVICE F forward(F x) {
        const F bounded = mish_at_least(x, L::forward_min());
        const Exact c(mish_at_most(bounded, L::first_max()), false);
        // tanh(softplus(x)) = n/(n + 2) with n = e (e + 2)
        const F two = 2;
        const F a = c.e + two;
        const F a_low = (two - a) + c.e;
        const F n = c.e * a;
        F n_low = mish_fma(c.e, a_low, mish_fma(c.e, a, -n));
        n_low = mish_fma(c.e_low, a + c.e, n_low);
        const F d = n + two;
        const F d_low = rest(two, n, d, c.limited > 0) + n_low;
        const F w = mish_reciprocal(d);
        const F ratio = n * w;
        const F remainder = mish_fma(-ratio, d, n) + mish_fma(-ratio, d_low, n_low);
        F y = mish_fma(bounded, ratio, bounded * w * remainder);
        if (c.k_rest != 0) y *= mish_exp2<F>(c.k_rest);
        return mish_copysign(mish_above(x, L::first_max()) ? x : y, x);
    }

    static MISH_DEVICE F backward(F grad_y, F x) {
        const F clamped = mish_at_most(mish_at_least(x, L::backward_min()), L::first_max());
        const Exact c(clamped, false);
        return c.times_first(grad_y, c.first(clamped, Denominator(c)), c.k_rest);
    }

    static MISH_DEVICE void double_backward(F grad_grad_x, F grad_y, F x, F &grad_grad_y,
                                            F &grad_x) {
        const F clamped = mish_at_most(mish_at_least(x, L::second_min()), L::second_max());
        const Exact c(clamped, true);
        const Denominator denominator(c);
        // Further down mish' is zero beside any gradient.
        const mish_i32 first_rest = mish_max(c.k_rest, 2 * L::exp2_min());
        grad_grad_y = c.times_first(grad_grad_x, c.first(clamped, denominator), first_rest);
        const F second = c.second(clamped, denominator);
        // mish'' ~ e^x on the left and e^-2x on the right. The bounds are past every number's k;
        // a NaN's is anything.
        const mish_i32 bound = -4 * L::exp2_min();
        const mish_i32 k_rest = mish_min(mish_max(c.k_rest, -bound), bound);
        const mish_i32 rest = mish_min(k_rest, -2 * k_rest);
        mish_i32 a_exponent, b_exponent;
        const F a = mish_split(grad_grad_x, a_exponent);
        const F b = mish_split(grad_y, b_exponent);
        grad_x = mish_scale(a * second * b, a_exponent + b_exponent + rest + c.limited + 3);
    }
};

// For float elements, in double, which has exponents to spare as well: no product of gradients
// needs care, and a single rounding is left.
struct Wide {
    static MISH_DEVICE double exponential(float x) {
        typedef Limits<double> L;
        double biased = mish_fma(double(x), L::log2_e(), L::magic());
        double r = mish_fma(biased - L::magic(), -L::ln2_high(), double(x));
        double sum = 0.0;
        bool first = true;
#define MISH_TERM(c) sum = first ? c : mish_fma(sum, r, c); first = false;
        MISH_EXP_F64(MISH_TERM)
#undef MISH_TERM
        return sum * mish_exp2<double>(mish_integer(biased));
    }

    // mish'(x)
    static MISH_DEVICE double first(float x, double e, double z, double w) {
        return (mish_fma(double(4.0f * x), z * w, z) + 1.0) * (e * w);
    }

    static MISH_DEVICE float forward(float x) {
        // Not clamped from above at the end: there the quotient is 1.
        float bounded = mish_at_least(x, -210.0f);
        double e = exponential(mish_at_most(bounded, 25.0f));
        double n = mish_fma(e, e, e + e);
        return float(double(bounded) * (n * mish_reciprocal(n + 2.0)));
    }

    static MISH_DEVICE float backward(float grad_y, float x) {
        float clamped = mish_at_most(mish_at_least(x, -210.0f), 25.0f);
        double e = exponential(clamped);
        double z = e + 1.0;
        double w = mish_reciprocal(mish_fma(z, z, 1.0));
        return float(double(grad_y) * first(clamped, e, z, w));
    }

    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        float clamped = mish_at_most(mish_at_least(x, -300.0f), 150.0f);
        double e = exponential(clamped);
        double z = e + 1.0;
        double w = mish_reciprocal(mish_fma(z, z, 1.0));
        double v = mish_fma(double(clamped + clamped), w, 1.0 - double(clamped));
        double n = mish_fma(e + e, v, 2.0 + double(clamped));
        double ew = e * w;
        double gg = double(grad_grad_x);
        grad_grad_y = float(gg * first(clamped, e, z, w));
        grad_x = float(gg * double(grad_y) * (4.0 * (n * w) * ew));
    }
};

// 2^(j/16), each as a number of 11 bits and the logarithm of what that lacks. The bits are short of
// j/16 of an exponent, so that adding 16 k + j sixteenths of an exponent to them gives 2^(k + j/16).
#define MISH_TERM(power, left) {power, left},
MISH_TABLE double mish_sixteenths[16][2] = {MISH_EXP2_SIXTEENTHS_F64(MISH_TERM)};
#undef MISH_TERM

// For float64, in v = e^-|x|, so that nothing overflows and every rounding fades away from 0. The
// numerators are multiplied out, which leaves no sum that cancels but at the derivatives' zeros,
// and there one of two small numbers, where pairs would have to make up for large ones:
//
//              x < 0                              x > 0
//   d          2 + v (2 + v)                      1 + v (2 + 2 v)
//   mish       x v (1 - v (1 + v)/d)              x (1 - 2 v^2/d)
//   mish'      v n/d^2                            1 + v n/d^2
//   n          4 + 4x + v (6 + 4x + v (4 + v))    v (4x - 2 + v (4x - 4 - 4 v))
//   mish''     v n/d^3                            v^2 n/d^3
//   n          16 + 8x + v (32 + 8x + v (         8 - 8x + v (24 - 12x + v (
//              24 - 12x + v (8 - 8x)))            32 + 8x + v (16 + 8x)))
struct Rational {
    typedef Limits<double> L;

    // |x|, limited, and whether x is negative.
    double size;
    bool left;
    // v = scale (1 + q) 2^k_rest, k_rest what the limit of k cut off; scale has 11 bits.
    double scale, q;
    mish_i32 k, k_rest;
    // v without 2^k_rest, rounded; d = whole + v (2 + twice v).
    double v, twice, whole;

    // |x| is limited to `reach`, and k to k_min if that is not 0. Without a limit, scale is wrong
    // where it is not a normal number.
    MISH_DEVICE Rational(double x, double reach, mish_i32 k_min) {
        size = mish_limited(x, reach);
        left = mish_is_negative(x);
        // -|x| = (k + j/16) ln 2 + r
        const double biased = mish_fma(-size, 16 * L::log2_e(), L::magic());
        const double steps = biased - L::magic();
        const mish_i32 sixteenths = mish_integer(biased);
        double power, lacking;
        const mish_i32 j = sixteenths & 15;
        mish_pair(mish_sixteenths, j, power, lacking);
        const double reduced = mish_fma(steps, -L::ln2_high() / 16, -size);  // exact
        const double r = mish_fma(steps, -L::ln2_low() / 16, reduced) + lacking;
        double tail = 0.0;
        bool first = true;
#define MISH_TERM(c) tail = first ? c : mish_fma(tail, r, c); first = false;
        MISH_EXP_TAIL_SHORT_F64(MISH_TERM)
#undef MISH_TERM
        q = mish_fma(r * r, tail, r);
        const mish_i32 kept = k_min != 0 ? mish_max(sixteenths, k_min * 16 + j) : sixteenths;
        k = kept >> 4;
        k_rest = (sixteenths - kept) >> 4;
        scale = mish_raised(power, mish_u32(kept) << 16);
        v = mish_fma(scale, q, scale);
        twice = left ? 1.0 : 2.0;
        whole = left ? 2.0 : 1.0;
    }

    // v 2^-k, for a k that was not limited.
    MISH_DEVICE double significand() const {
        const double power = mish_raised(scale, -mish_u32(k) << 20);
        return mish_fma(power, q, power);
    }

    // What the derivatives share.
    struct Quotient {
        // 1/d = w (1 + more), w with 20 bits.
        double w, more;
        // What rounding cut off v; v w in two parts; 8 scale w^2, exact.
        double v_low, vw, vw_low, square;
        // (1 + q) (1 + more)^2 - 1
        double change;

        MISH_DEVICE explicit Quotient(const Rational &c) {
            const double b = mish_fma(c.v, c.twice, 2.0);
            w = mish_reciprocal_start(mish_fma(c.v, b, c.whole));
            square = mish_raised(c.scale, 3u << 20) * (w * w);
            v_low = mish_fma(c.scale, c.q, c.scale - c.v);
            vw = c.v * w;
            vw_low = mish_fma(v_low, w, mish_fma(c.v, w, -vw));
            // off = 1 - d w, term by term: 1 - whole w is exact, and the rounding of d does not
            // count.
            const double twice_vw = c.twice * vw;
            const double whole_off = mish_fma(-vw, 2.0, mish_fma(-c.whole, w, 1.0));
            const double v_off = mish_fma(-twice_vw, v_low, mish_fma(-twice_vw, c.v, whole_off));
            const double off = mish_fma(-vw_low, b, v_off);
            more = mish_fma(off, mish_fma(off, off, off), off);
            const double once = mish_fma(c.q, more, c.q + more);
            change = mish_fma(once, more, once + more);
        }
    };

    // mish'(x)/2^k_rest. The numerators are an eighth of those above.
    MISH_DEVICE double first(const Quotient &c) const {
        const double sum = mish_fma(-0.5, size, 0.5), turned = left ? sum : -sum;
        const double c0 = left ? sum : 0.0;
        const double c1 = turned + 0.25;
        const double c2 = left ? 0.5 : turned;
        const double c3 = left ? 0.125 : -0.5;
        const double n2 = mish_fma(c3, v, c2), n1 = mish_fma(n2, v, c1);
        // v_low times the derivative of what v multiplies, but for its smallest part.
        const double n = mish_fma(n1, v, mish_fma(c.v_low, mish_fma(n2, v, n1), c0));
        const double p = n * c.square;
        return mish_fma(p, c.change, p + (left ? 0.0 : 1.0));
    }

    // mish''(x)/2^k_rest, on the right /2^(2 k_rest). Where it vanishes on the right, at 1.49, it
    // is steep and the coefficients of v and v^2 are large: 2 and 5 of them go separate ways, so
    // that what is rounded is small.
    MISH_DEVICE double second(const Quotient &c) const {
        const double c0 = whole - size;
        const double c1 = mish_fma(left ? -1.0 : -1.5, size, whole);
        const double c2 = mish_fma(left ? 1.5 : 1.0, size, -whole);
        const double c3 = size + twice;
        const double n2 = mish_fma(c3, v, c2);
        const double n1 = mish_fma(n2, v, mish_fma(5.0, v, c1));
        const double n0 = mish_fma(2.0, v, c0);
        const double n = mish_fma(n1, v, n0);
        // 8 v + 7/4 is the derivative of n by v near both zeros, and roughly everywhere.
        const double n_low = mish_fma(mish_fma(8.0, v, 1.75), c.v_low, mish_fma(n1, v, n0 - n));
        const double w = left ? c.w : c.vw, w_low = left ? 0.0 : c.vw_low;
        const double nw = n * w;
        const double nw_low = mish_fma(n_low, w, mish_fma(n, w_low, mish_fma(n, w, -nw)));
        const double p = nw * c.square;
        const double p_low = mish_fma(nw_low, c.square, mish_fma(nw, c.square, -p));
        return mish_fma(p, mish_fma(c.change, c.more, c.change + c.more), p_low) + p;
    }

    static MISH_DEVICE double forward(double x) {
        const Rational c(x, 760.0, 0);
        const double b = mish_fma(c.v, c.twice, 2.0);
        const double w = mish_reciprocal_start(mish_fma(c.v, b, c.whole));
        // off = 1 - d w, term by term: 1 - whole w is exact, and the rounding of d does not count.
        const double vw = c.v * w;
        const double off = mish_fma(-vw, b, mish_fma(-c.whole, w, 1.0));
        const double g = mish_fma(off, mish_fma(off, off, off), off);  // 1/(d w) - 1
        const double factor = mish_fma(c.v, c.twice, c.left ? 1.0 : 0.0);
        const double h = vw * factor;
        const double scale = c.left ? c.scale : 1.0, q = c.left ? c.q : 0.0;
        // (1 + q) (1 - h (1 + g)) - 1; in the last step h is not rounded.
        const double change =
            mish_fma(-vw, factor, mish_fma(-h, mish_fma(q, g, q + g), q));
        // scale is 1 on the right; on the left the product's rounding would show.
        const double y1 = c.size * scale, y1_low = mish_fma(c.size, scale, -y1);
        double y = mish_with_sign(y1 + mish_fma(y1, change, y1_low), x);
        if (mish_size(x) >= mish_size(690.0))
            y = c.left && x == x ? mish_descend(-c.size * c.significand(), c.k) : x;
        return y;
    }

    static MISH_DEVICE double backward(double grad_y, double x) {
        const Rational c(x, 1480.0, 0);
        double y = grad_y * c.first(Quotient(c));
        if (mish_size(x) >= mish_size(690.0)) {
            // (1 + x) v, all powers of two last, so that the result alone is rounded.
            mish_i32 exponent;
            const double grad = mish_split(grad_y, exponent);
            const double first = (1.0 - c.size) * c.significand();
            y = c.left ? mish_scale(grad * first, exponent + c.k) : grad_y;
            if (x != x) y = x;
        }
        return y;
    }

    static MISH_DEVICE void double_backward(double grad_grad_x, double grad_y, double x,
                                            double &grad_grad_y, double &grad_x) {
        const Rational c(x, 2200.0, -200);
        const Quotient quotient(c);
        const double first = c.first(quotient), second = c.second(quotient);
        grad_grad_y = grad_grad_x * first;
        // Neither product leaves the normal numbers before the result does.
        grad_x = grad_grad_x * second * grad_y;
        if ((mish_size(x) >= mish_size(138.0)) | !mish_is_tame(grad_grad_x)) {
            mish_i32 a_exponent, b_exponent;
            const double a = mish_split(grad_grad_x, a_exponent);
            const double b = mish_split(grad_y, b_exponent);
            if (c.left) grad_grad_y = mish_scale(a * first, a_exponent + c.k_rest);
            const mish_i32 second_rest = c.left ? c.k_rest : 2 * c.k_rest;
            grad_x = mish_scale(a * second * b, a_exponent + b_exponent + second_rest);
            if (x != x) grad_grad_y = grad_x = x;
        }
    }
};

// For 16-bit types, in float and in g = e/2, whose formulas need no multiplications by 2 and 4:
//
//   mish   = x h/(h + 1/2)             h = g^2 + g
//   mish'  = (1 + g + x y w) g w       y = g + 1/2, w = 1/(y^2 + 1/4)
//   mish'' = n w (g w)                 n = 1 + x/2 + g (2 - 2 x + x w)
//
// C has what differs between the types. No exception is made for any x: `Bounded` (float16) limits it
// before, `Factored` (bfloat16) is for where that does not do.
template <class C> struct Brief {
    float g, y, w;

    // `left` makes up for what log2(e) lacks.
    static MISH_DEVICE float half_exponential(float x, float left) {
        const float r = mish_exp2_approx(mish_fma(x, C::log2_e(), -1.0f));
        return mish_fma(r * x, left, r);
    }

    MISH_DEVICE explicit Brief(float x, float left) {
        g = half_exponential(x, left);
        y = g + 0.5f;
        w = mish_reciprocal(mish_fma(y, y, 0.25f));
    }

    static MISH_DEVICE float forward(float x) { return forward(x, x); }
    // x times tanh(softplus(limited))
    static MISH_DEVICE float forward(float x, float limited) {
        const float g = half_exponential(limited, C::left());
        const float h = mish_fma(g, g, g);
        return x * (h * mish_reciprocal(h + 0.5f));
    }

    static MISH_DEVICE float backward(float grad_y, float x) {
        const Brief c(x, C::left());
        return grad_y * (c.sum(x) * (c.g * c.w));
    }

    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        const Brief c(x, C::left_both_sides(x));
        const float gw = c.g * c.w;
        grad_grad_y = grad_grad_x * (c.sum(x) * gw);
        const float v = mish_fma(x, c.w, mish_fma(-2.0f, x, 2.0f));
        const float n = mish_fma(c.g, v, mish_fma(0.5f, x, 1.0f));
        grad_x = C::product(grad_grad_x, grad_y, n * (c.w * gw));
    }

private:
    MISH_DEVICE float sum(float x) const { return mish_fma(x, y * w, g + 1.0f); }
};

// log2(e), so short that its product with an element is exact in float, and what that lacks: where x
// is negative, which is where e^x counts in mish and mish', and on both sides. And three factors in
// the order that suits the type.
struct ForF16 {
    static MISH_DEVICE float log2_e() { return MISH_LOG2_E_13; }
    static MISH_DEVICE float left() { return MISH_LOG2_E_13_LEFT; }
    static MISH_DEVICE float left_both_sides(float x) {
        return mish_fma(MISH_LOG2_E_13_LEFT_SLOPE, x, MISH_LOG2_E_13_LEFT_BOTH);
    }
    // The gradients' product is exact.
    static MISH_DEVICE float product(float grad_grad_x, float grad_y, float second) {
        return grad_grad_x * grad_y * second;
    }
};
struct ForBF16 {
    static MISH_DEVICE float log2_e() { return MISH_LOG2_E_16; }
    static MISH_DEVICE float left() { return MISH_LOG2_E_16_LEFT; }
    static MISH_DEVICE float left_both_sides(float) { return left(); }
    // The gradients' product could overflow.
    static MISH_DEVICE float product(float grad_grad_x, float grad_y, float second) {
        return grad_grad_x * second * grad_y;
    }
};

// For float16. Past the bounds of x nothing but the limits is left.
struct Bounded {
    typedef Brief<ForF16> B;
    static MISH_DEVICE float limited(float x, float largest) {
        return mish_at_most(mish_at_least(x, -60.0f), largest);
    }

    static MISH_DEVICE float forward(float x) {
        const float bounded = mish_at_least(x, -60.0f);
        return B::forward(bounded, mish_at_most(bounded, 15.0f));
    }
    static MISH_DEVICE float backward(float grad_y, float x) {
        return B::backward(grad_y, limited(x, 15.0f));
    }
    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        B::double_backward(grad_grad_x, grad_y, limited(x, 30.0f), grad_grad_y, grad_x);
    }
};

// For any bfloat16, in float. It has float's exponents, so a power of e is kept as a product of its
// roots, which are normal numbers: multiplying a gradient by one at a time neither overflows nor
// loses bits on the way to a result that can be represented.
struct Factored {
    // r = 2^(x c) and p = r (1 + x left): c has 16 bits, so that its product with a bfloat16 is
    // exact, and `left` makes up for what that cuts off c, which for |x| < 280 is below 2^-9.
    float r, p;

    MISH_DEVICE Factored(float x, float c, float left) {
        r = mish_exp2_approx(x * c);
        p = mish_fma(r * x, left, r);
    }

    // e^x = p r
    static MISH_DEVICE float forward(float x) {
        const float bounded = mish_at_least(x, -110.0f);
        const float below = mish_at_most(bounded, 15.0f);
        const Factored c(below, MISH_LOG2_E_HALF, MISH_LOG2_E_HALF_LEFT);
        const float z = mish_fma(c.p, c.r, 1.0f);
        const float w = mish_reciprocal(mish_fma(z, z, 1.0f));
        // The last factor alone may leave the normal numbers.
        return bounded * mish_fma(z, w, w) * c.p * c.r;
    }

    // e^x = p r r
    static MISH_DEVICE float backward(float grad_y, float x) {
        const float clamped = mish_at_most(mish_at_least(x, -210.0f), 9.0f);
        const Factored c(clamped, MISH_LOG2_E_THIRD, MISH_LOG2_E_THIRD_LEFT);
        const float pr = c.p * c.r;
        const float z = mish_fma(pr, c.r, 1.0f);
        const float w = mish_reciprocal(mish_fma(z, z, 1.0f));
        const float m = mish_fma(4.0f * clamped, z * w, z) + 1.0f;
        // One factor before the gradient where it is above 1, after it where it is below: a
        // subnormal gradient must not shrink first and grow again.
        return grad_y * (m * w * mish_larger(c.p, pr)) * c.r * mish_smaller(c.r, 1.0f);
    }

    // In u = e^-|x|, so that nothing overflows on the right. With s = u on the right and 1 on the
    // left, t = u/s, h = 1 + u, i = 1/(h^2 + s^2), w = s^2 i:
    //   mish'  = i (h + s + 4 x h w) t
    //   mish'' = 8 i^2 (s (1 + x/2) + t (1 - x + 2 x w)) u s
    // and u s = e^-y = (p r)^2 with y = 2 x on the right and -x on the left.
    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        x = mish_at_most(mish_at_least(x, -280.0f), 140.0f);
        const mish_u32 left = mish_mask(x);
        const float x2 = x + x;
        const Factored c(mish_larger(-x, x2), -MISH_LOG2_E_HALF / 2, -MISH_LOG2_E_HALF_LEFT / 2);
        const float root = c.p * c.r;
        const float u = mish_select(left, root * root, root);
        const float s = mish_select(left, 1.0f, root), t = mish_select(left, u, 1.0f);
        const float h = 1.0f + u, s2 = s * s;
        const float i = mish_reciprocal(mish_fma(h, h, s2));
        const float w = s2 * i;
        const float m = mish_fma(4.0f * x, h * w, h + s);
        // t, by its factors
        const float t_p = mish_select(left, c.p, 1.0f), t_r = mish_select(left, c.r, 1.0f);
        grad_grad_y = grad_grad_x * t_p * t_r * (i * m) * t_p * t_r;

        const float n = mish_fma(s, mish_fma(0.5f, x, 1.0f), t * mish_fma(x2, w, 1.0f - x));
        const float q = 8.0f * (i * i) * n;
        // Half of the factors go to the larger gradient, the other half to the larger of that
        // product and the other gradient. So nothing overflows before the result does, and nothing
        // that is subnormal on the way can grow again.
        const float size = mish_magnitude(grad_grad_x), other = mish_magnitude(grad_y);
        const float product = mish_larger(size, other) * c.p * c.r * mish_magnitude(q);
        const float small = mish_smaller(size, other);
        const float result = mish_larger(product, small) * c.p * c.r * mish_smaller(product, small);
        grad_x = mish_signed(result, grad_grad_x, grad_y, q);
    }
};

// What each element type is computed with: `Math` everywhere, `Quick` where x and grad_y of a
// double backward are below a bound that the type's `are_moderate` (element.cuh) knows.
typedef Bounded MathF16;
typedef Factored MathBF16;
// To 32, e^x and mish' and mish'' are normal numbers with room for any other gradient: a product
// that is subnormal before grad_y < 32 is multiplied in is off by no more than 2^-145.
typedef Brief<ForBF16> QuickBF16;
#ifndef MISH_FAST_DOUBLE
#error "catalogue.cuh, or a host, says whether doubles are fast"
#endif
#if MISH_FAST_DOUBLE
typedef Wide MathF32;
#else
typedef Exact<float> MathF32;
#endif
typedef Rational MathF64;

#endif

// Mish, its gradient and its second derivative, element by element.
//
// With e = exp(x), z = 1 + e, d = z^2 + 1 and w = 1/d (docs/derivation.md):
//
//   mish   = x e (z + 1) w
//   mish'  = e w (z + 1 + 4 x z w)
//   mish'' = 4 e w^2 (2 + x + 2 e (1 - mish))           1 - mish = 1 - x + 2 x w
//
// `Exact` is the algorithm of src/cpu/math/paired.rs, line by line: whatever loses bits is carried as an
// unevaluated sum of two numbers (a, a_low), and the power of two in e is kept apart and applied
// last. `Wide` is src/cpu/math/plain.rs: the formulas as they stand, in double for float elements,
// for GPUs whose double is half as fast as their float. `Brief` is the same formulas in plain float, for 16-bit types: its error, a few units of
// float's last place, is far below what rounding to 16 bits adds.
#ifndef MISH_MATH_CUH
#define MISH_MATH_CUH

#include "constants.cuh"
#include "device.cuh"

template <typename F> struct Limits;

// The thresholds: for double those of src/cpu/math/paired.rs, which says what they are.
template <> struct Limits<float> {
    static MISH_DEVICE float magic() { return 12582912.0f; }
    static MISH_DEVICE float log2_e() { return float(MISH_LOG2_E); }
    static MISH_DEVICE float ln2_high() { return MISH_LN2_HIGH_F32; }
    static MISH_DEVICE float ln2_low() { return MISH_LN2_LOW_F32; }
    static MISH_DEVICE float k_min() { return -60.0f; }
    static MISH_DEVICE float k_max() { return 30.0f; }
    static MISH_DEVICE float exp2_min() { return -126.0f; }
    static MISH_DEVICE float exp2_max() { return 126.0f; }
    static MISH_DEVICE float forward_min() { return -110.0f; }
    static MISH_DEVICE float forward_right() { return 4.0f; }
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
    static MISH_DEVICE double k_min() { return -200.0; }
    static MISH_DEVICE double k_max() { return 60.0; }
    static MISH_DEVICE double exp2_min() { return -1022.0; }
    static MISH_DEVICE double exp2_max() { return 1022.0; }
    static MISH_DEVICE double forward_min() { return -760.0; }
    static MISH_DEVICE double forward_right() { return 4.0; }
    static MISH_DEVICE double first_max() { return 25.0; }
    static MISH_DEVICE double backward_min() { return -1480.0; }
    static MISH_DEVICE double second_min() { return -2200.0; }
    static MISH_DEVICE double second_max() { return 1120.0; }
    static MISH_DEVICE double exp_tail(double r) {
        double sum = 0.0;
        bool first = true;
#define MISH_TERM(c) sum = first ? c : mish_fma(sum, r, c); first = false;
        MISH_EXP_TAIL_F64(MISH_TERM)
#undef MISH_TERM
        return sum;
    }
};

// 2^k for an integer k; the shift drops everything of magic's bits but the integer.
MISH_DEVICE float mish_exp2(float k) {
    return f32_from_bits((bits_from_f32(k + Limits<float>::magic()) + 127u) << 23);
}
MISH_DEVICE double mish_exp2(double k) {
    return f64_from_bits((bits_from_f64(k + Limits<double>::magic()) + 1023u) << 52);
}

// value and exponent with x = value * 2^exponent, the value between 1 and 4 in magnitude (smaller
// for a subnormal; zero, infinity and NaN stay themselves).
MISH_DEVICE float mish_split(float x, float &exponent) {
    mish_u32 field = bits_from_f32(x) >> 23 & 0xffu;
    field = field > 253u ? 253u : field;
    exponent = float(mish_i32(field) - 127);
    return x * f32_from_bits((254u - field) << 23);
}
MISH_DEVICE double mish_split(double x, double &exponent) {
    mish_u32 field = mish_u32(bits_from_f64(x) >> 52) & 0x7ffu;
    field = field > 2045u ? 2045u : field;
    exponent = double(mish_i32(field) - 1023);
    return x * f64_from_bits(mish_u64(2046u - field) << 52);
}

// The rounded sum and what rounding cut off (Knuth).
template <typename F> MISH_DEVICE F mish_two_sum(F a, F b, F &cut) {
    F sum = a + b;
    F seen = sum - a;
    cut = (a - (sum - seen)) + (b - seen);
    return sum;
}

// a * b * 2^exponent, where the exponent may be far out of range: all steps but the last are exact.
template <typename F> MISH_DEVICE F mish_scale(F product, F exponent) {
    typedef Limits<F> L;
#pragma unroll
    for (int step = 0; step < 3; ++step) {
        F now = mish_at_most(mish_at_least(exponent, L::exp2_min()), L::exp2_max());
        product *= mish_exp2(now);
        exponent -= now;
    }
    return product;
}

template <typename F> struct Exact {
    typedef Limits<F> L;

    // e^x = 2^k (1 + q + q_low); scale = 2^k with k limited, k_rest what that cut off.
    F q, q_low, scale, k_rest;
    // e, z and d for the limited k, each with the part that rounding cut off; w = 1/d, rounded.
    F e, e_low, z, z_low, d, d_low, w;

    // `wide` also keeps the low parts exact where e is so large that 1 + e or 1 + z^2 absorbs the
    // 1; only the second derivative is still non-zero there.
    MISH_DEVICE Exact(F x, bool wide) {
        const F one = 1;
        F k = mish_fma(x, L::log2_e(), L::magic()) - L::magic();
        F r_exact = mish_fma(k, -L::ln2_high(), x);
        F r = mish_fma(k, -L::ln2_low(), r_exact);
        F r_low = mish_fma(k, -L::ln2_low(), r_exact - r);
        F tail = mish_fma(r * r, L::exp_tail(r), r_low);
        q = r + tail;
        q_low = (r - q) + tail;

        F limited = mish_at_least(k, L::k_min());
        if (wide) limited = mish_at_most(limited, L::k_max());
        scale = mish_exp2(limited);
        k_rest = k - limited;
        e = mish_fma(scale, q, scale);
        e_low = mish_fma(scale, q_low, mish_fma(scale, q, scale - e));
        z = one + e;
        F cut;
        if (wide) {
            z_low = ((mish_at_least(e, one) - z) + mish_at_most(e, one)) + e_low;
            F square = z * z;
            d = square + one;
            cut = mish_fma(z, z, -square) + ((square - d) + one);
        } else {
            z_low = ((one - z) + e) + e_low;
            d = mish_fma(z, z, one);
            cut = mish_fma(z, z, one - d);
        }
        d_low = mish_fma(z + z, z_low, cut);
        w = mish_reciprocal(d);
    }

    // mish'(x)/2^k, rounded once.
    MISH_DEVICE F first(F x) const {
        F ratio = z * w;
        F ratio_low = w * (mish_fma(-ratio, d, z) + mish_fma(-ratio, d_low, z_low));
        F x4 = x * F(4);
        F b = x4 * ratio;
        F b_low = mish_fma(x4, ratio_low, mish_fma(x4, ratio, -b));
        F a = z + F(1);
        F a_low = ((z - a) + F(1)) + z_low;
        F m_cut;
        F m = mish_two_sum(a, b, m_cut);
        F m_low = m_cut + (a_low + b_low);
        F g = m * w;
        F g_low = w * (mish_fma(-g, d, m) + mish_fma(-g, d_low, m_low));
        F v = mish_fma(g, q, g);
        F v_low = mish_fma(g, q, g - v) + mish_fma(g_low, q, g_low);
        return v + mish_fma(g, q_low, v_low);
    }

    // grad * first * 2^k without intermediate overflow or a second rounding that matters; `k_rest`
    // at least 2 exp2_min.
    MISH_DEVICE F times_first(F grad, F first, F k_rest) const {
        F rest = mish_at_most(k_rest, F(0));
        F near = mish_at_least(rest, L::exp2_min());
        return grad * (first * scale) * mish_exp2(near) * mish_exp2(rest - near);
    }

    // mish''(x) for the limited k, rounded once.
    MISH_DEVICE F second(F x) const {
        const F one = 1;
        F w_rel = mish_fma(-d_low, w, mish_fma(-d, w, one));
        F x2 = x + x;
        F p = one - x;
        F p_low = (one - p) - x;
        F v = mish_fma(x2, w, p);
        F v_low = mish_fma(x2, w, p - v) + mish_fma(x2 * w, w_rel, p_low);
        F e2 = e + e;
        F t = e2 * v;
        F t_low = mish_fma(e2, v, -t) + mish_fma(e2, v_low, (e_low + e_low) * v);
        F b_low, n_cut;
        F b = mish_two_sum(F(2), x, b_low);
        F n = mish_two_sum(b, t, n_cut);
        F n_low = n_cut + (b_low + t_low);
        F g = n * w;
        F g_low = mish_fma(n, w, -g) + n_low * w;
        F ws = w * scale;
        F h = g * ws;
        F h_low = mish_fma(g, ws, -h) + mish_fma(h, w_rel + w_rel, g_low * ws);
        F s = mish_fma(h, q, h);
        F s_low = mish_fma(h, q, h - s) + mish_fma(h_low, q, h_low);
        return (s + mish_fma(h, q_low, s_low)) * F(4);
    }

    static MISH_DEVICE F forward(F x) {
        F clamped = mish_at_most(mish_at_least(x, L::forward_min()), L::first_max());
        const Exact c(clamped, false);
        F a = c.z + F(1);
        F a_low = (c.z - (a - F(1))) + c.z_low;
        F ratio = a * c.w;
        F ratio_low = c.w * (mish_fma(-ratio, c.d, a) + mish_fma(-ratio, c.d_low, a_low));
        F u = mish_fma(clamped, c.q, clamped);
        F u_low = mish_fma(clamped, c.q_low, mish_fma(clamped, c.q, clamped - u));
        F y = mish_fma(u, ratio, mish_fma(u, ratio_low, u_low * ratio));
        y = y * c.scale * mish_exp2(c.k_rest);
        F right = x - (clamped + clamped) * c.w;
        return mish_copysign(x > L::forward_right() ? right : y, x);
    }

    static MISH_DEVICE F backward(F grad_y, F x) {
        F clamped = mish_at_most(mish_at_least(x, L::backward_min()), L::first_max());
        const Exact c(clamped, false);
        return c.times_first(grad_y, c.first(clamped), c.k_rest);
    }

    static MISH_DEVICE void double_backward(F grad_grad_x, F grad_y, F x, F &grad_grad_y,
                                            F &grad_x) {
        F clamped = mish_at_most(mish_at_least(x, L::second_min()), L::second_max());
        const Exact c(clamped, true);
        // Further down mish' is zero beside any gradient.
        F first_rest = mish_at_least(c.k_rest, F(2) * L::exp2_min());
        grad_grad_y = c.times_first(grad_grad_x, c.first(clamped), first_rest);
        // mish'' ~ e^x on the left and e^-2x on the right.
        F rest = mish_at_most(c.k_rest, F(-2) * c.k_rest);
        F a_exponent, b_exponent;
        F a = mish_split(grad_grad_x, a_exponent);
        F b = mish_split(grad_y, b_exponent);
        grad_x = mish_scale(a * c.second(clamped) * b, a_exponent + b_exponent + rest);
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
        return sum * f64_from_bits((bits_from_f64(biased) + 1023u) << 52);
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
        return float(double(bounded) * (n * mish_reciprocal_once(n + 2.0)));
    }

    static MISH_DEVICE float backward(float grad_y, float x) {
        float clamped = mish_at_most(mish_at_least(x, -210.0f), 25.0f);
        double e = exponential(clamped);
        double z = e + 1.0;
        double w = mish_reciprocal_once(mish_fma(z, z, 1.0));
        return float(double(grad_y) * first(clamped, e, z, w));
    }

    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        float clamped = mish_at_most(mish_at_least(x, -300.0f), 150.0f);
        double e = exponential(clamped);
        double z = e + 1.0;
        double w = mish_reciprocal_once(mish_fma(z, z, 1.0));
        double v = mish_fma(double(clamped + clamped), w, 1.0 - double(clamped));
        double n = mish_fma(e + e, v, 2.0 + double(clamped));
        double ew = e * w;
        double gg = double(grad_grad_x);
        grad_grad_y = float(gg * first(clamped, e, z, w));
        grad_x = float(gg * double(grad_y) * (4.0 * (n * w) * ew));
    }
};

// For 16-bit types, in float. `K_MIN` and the power of two apart as in `Exact`, because bfloat16
// has float's exponents; `WIDE_RANGE` says that gradients have them too, so that their products
// need care.
template <bool WIDE_RANGE> struct Brief {
    typedef Limits<float> L;

    // e^x = 2^k p; scale = 2^k with k limited, k_rest what that cut off; e, z, w for the limited k.
    float p, scale, k_rest, e, z, w;

    // Past these bounds nothing but the limits is left. float16's are so close that e needs no
    // limited k.
    static MISH_DEVICE float first_min() { return WIDE_RANGE ? L::backward_min() : -60.0f; }
    static MISH_DEVICE float second_min() { return WIDE_RANGE ? L::second_min() : -60.0f; }
    static MISH_DEVICE float second_max() { return WIDE_RANGE ? L::second_max() : 30.0f; }

    MISH_DEVICE explicit Brief(float x) {
        float k = mish_fma(x, L::log2_e(), L::magic()) - L::magic();
        // x log2(e) - k, with the digits of log2(e) that float lacks.
        float f = mish_fma(x, float(MISH_LOG2_E - double(float(MISH_LOG2_E))),
                           mish_fma(x, L::log2_e(), -k));
        p = mish_exp2_approx(f);
        float limited = WIDE_RANGE ? mish_at_most(mish_at_least(k, L::k_min()), L::k_max()) : k;
        scale = mish_exp2(limited);
        k_rest = k - limited;
        e = p * scale;
        z = mish_fma(p, scale, 1.0f);
        w = mish_reciprocal(mish_fma(z, z, 1.0f));
    }

    MISH_DEVICE float times_first(float grad, float x, float k_rest) const {
        float m = mish_fma(4.0f * x, z * w, z) + 1.0f;
        if (!WIDE_RANGE) return grad * (m * w * e);
        float rest = mish_at_most(k_rest, 0.0f);
        float near = mish_at_least(rest, L::exp2_min());
        return grad * (m * w * e) * mish_exp2(near) * mish_exp2(rest - near);
    }

    static MISH_DEVICE float forward(float x) {
        float bounded = mish_at_least(x, WIDE_RANGE ? L::forward_min() : first_min());
        const Brief c(mish_at_most(bounded, L::first_max()));
        float y = bounded * c.p * mish_fma(c.z, c.w, c.w) * c.scale;
        return WIDE_RANGE ? y * mish_exp2(c.k_rest) : y;
    }

    static MISH_DEVICE float backward(float grad_y, float x) {
        float clamped = mish_at_most(mish_at_least(x, first_min()), L::first_max());
        const Brief c(clamped);
        return c.times_first(grad_y, clamped, c.k_rest);
    }

    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        float clamped = mish_at_most(mish_at_least(x, second_min()), second_max());
        const Brief c(clamped);
        float first_rest = mish_at_least(c.k_rest, 2.0f * L::exp2_min());
        grad_grad_y = c.times_first(grad_grad_x, clamped, first_rest);
        float v = mish_fma(clamped + clamped, c.w, 1.0f - clamped);
        float n = mish_fma(c.e + c.e, v, 2.0f + clamped);
        float second = 4.0f * (n * c.w) * (c.e * c.w);
        if (!WIDE_RANGE) {
            grad_x = grad_grad_x * grad_y * second;
            return;
        }
        float rest = mish_at_most(c.k_rest, -2.0f * c.k_rest);
        float a_exponent, b_exponent;
        float a = mish_split(grad_grad_x, a_exponent);
        float b = mish_split(grad_y, b_exponent);
        grad_x = mish_scale(a * second * b, a_exponent + b_exponent + rest);
    }
};

// What each element type is computed with.
typedef Brief<false> MathF16;
#if MISH_FAST_DOUBLE
typedef Wide MathF32;
// Products of bfloat16's gradients need so much care in float that double is cheaper.
struct MathBF16 : Brief<true> {
    MISH_DEVICE explicit MathBF16(float x) : Brief<true>(x) {}
    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        Wide::double_backward(grad_grad_x, grad_y, x, grad_grad_y, grad_x);
    }
};
#else
typedef Exact<float> MathF32;
typedef Brief<true> MathBF16;
#endif
typedef Exact<double> MathF64;

#endif

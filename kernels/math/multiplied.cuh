// Mish, its gradient and its second derivative with their numerators multiplied out.
//
// For float64, in v = e^-|x|, so that nothing overflows and every rounding fades away from 0. That
// leaves no sum that cancels but at the derivatives' zeros, and there one of two small numbers,
// where double words would have to make up for large ones:
//
//              x < 0                              x > 0
//   d          2 + v (2 + v)                      1 + v (2 + 2 v)
//   mish       x v (1 - v (1 + v)/d)              x (1 - 2 v^2/d)
//   mish'      v n/d^2                            1 + v n/d^2
//   n          4 + 4x + v (6 + 4x + v (4 + v))    v (4x - 2 + v (4x - 4 - 4 v))
//   mish''     v n/d^3                            v^2 n/d^3
//   n          16 + 8x + v (32 + 8x + v (         8 - 8x + v (24 - 12x + v (
//              24 - 12x + v (8 - 8x)))            32 + 8x + v (16 + 8x)))
//
// Errors: at most 2 ULP in mish, 3 in mish' and mish'' (docs/accuracy.md has what was found); where
// they come from and which low parts are carried: docs/derivation.md, "Multiplied out".
#ifndef MISH_MATH_MULTIPLIED_CUH
#define MISH_MATH_MULTIPLIED_CUH

#include "math/error_free.cuh"
#include "math/exponential.cuh"

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
// A number whose lower half is zero, with something added to its upper half.
MISH_DEVICE double mish_upper_raised(double x, mish_u32 by) {
    return f64_from_bits(mish_u64(mish_u32(bits_from_f64(x) >> 32) + by) << 32);
}
MISH_DEVICE bool mish_is_negative(double x) { return mish_i32(bits_from_f64(x) >> 32) < 0; }
// A size, which is not negative, with the sign of x.
MISH_DEVICE double mish_with_sign(double size, double x) {
    return f64_from_bits(bits_from_f64(size) | (bits_from_f64(x) & 0x8000000000000000ull));
}

// x 2^exponent for an exponent from 2 exp2_min to 0.
MISH_DEVICE double mish_descend(double x, mish_i32 exponent) {
    const mish_i32 near = mish_max(exponent, Format<double>::exp2_min());
    return x * mish_exp2<double>(near) * mish_exp2<double>(exponent - near);
}

// Whether a gradient times mish'' is a normal number wherever k is not limited.
MISH_DEVICE bool mish_is_tame(double grad) {
    return (mish_u32(bits_from_f64(grad) >> 32) & 0x7fffffffu) > 0x20000000u;  // 2^-511
}

// 2^(j/16), each as a number of 11 bits and the logarithm of what that lacks. The bits are short of
// j/16 of an exponent: adding 16 k + j sixteenths of an exponent to them gives 2^(k + j/16).
MISH_TABLE double mish_sixteenths[16][2] = {MISH_EXP2_SIXTEENTHS_F64};

struct Multiplied {
    typedef HighLow<double> Number;

    // |x|, limited, and whether x is negative.
    double size;
    bool negative;
    // v = scale (1 + q) 2^k_remaining, k_remaining what the limit of k cut off; scale has 11 bits.
    double scale, q;
    mish_i32 k, k_remaining;
    // v without 2^k_remaining, rounded; d = whole + v (2 + twice v).
    double v, twice, whole;

    // |x| is limited to `bound`, and k to k_min if that is not 0. Without a limit, scale is wrong
    // where it is not a normal number.
    MISH_DEVICE Multiplied(double x, double bound, mish_i32 k_min) {
        size = mish_limited(x, bound);
        negative = mish_is_negative(x);
        // -|x| = (k + j/16) ln 2 + r
        const CodyWaite<double, 16> reduced(-size);
        const mish_i32 sixteenths = reduced.integer(), j = sixteenths & 15;
        double power, lacking;
        mish_pair(mish_sixteenths, j, power, lacking);
        const double r = reduced.r() + lacking;
        const double tail = mish_polynomial(r, MISH_EXP_TAIL_SHORT_F64);
        q = mish_fma(r * r, tail, r);
        const mish_i32 kept = k_min != 0 ? mish_max(sixteenths, k_min * 16 + j) : sixteenths;
        k = kept >> 4;
        k_remaining = (sixteenths - kept) >> 4;
        scale = mish_upper_raised(power, mish_u32(kept) << 16);
        v = mish_fma(scale, q, scale);
        twice = negative ? 1.0 : 2.0;
        whole = negative ? 2.0 : 1.0;
    }

    // v 2^-k, for a k that was not limited.
    MISH_DEVICE double significand() const {
        const double power = mish_upper_raised(scale, -mish_u32(k) << 20);
        return mish_fma(power, q, power);
    }

    // 1/(1 - residual) - 1, for a small one.
    static MISH_DEVICE double relative(double residual) {
        return mish_fma(residual, mish_fma(residual, residual, residual), residual);
    }

    // What the derivatives share.
    struct Quotient {
        // 1/d = w (1 + w_rel), w with 20 bits.
        double w, w_rel;
        // What rounding cut off v.
        double v_low;
        Number vw;
        // 8 scale w^2, exact; 8 v/d^2 is that times 1 + vw2_rel.
        double scale_w2, vw2_rel;

        MISH_DEVICE explicit Quotient(const Multiplied &c) {
            const double b = mish_fma(c.v, c.twice, 2.0);
            w = mish_reciprocal_start(mish_fma(c.v, b, c.whole));
            scale_w2 = mish_upper_raised(c.scale, 3u << 20) * (w * w);
            v_low = mish_fma(c.scale, c.q, c.scale - c.v);
            vw = two_product(c.v, w);
            vw.low = mish_fma(v_low, w, vw.low);
            // residual = 1 - d w, term by term: 1 - whole w is exact, and the rounding of d does
            // not count.
            const double twice_vw = c.twice * vw.high;
            const double whole_part = mish_fma(-vw.high, 2.0, mish_fma(-c.whole, w, 1.0));
            const double v_part = mish_fma(-twice_vw, v_low, mish_fma(-twice_vw, c.v, whole_part));
            w_rel = relative(mish_fma(-vw.low, b, v_part));
            const double vw_rel = mish_fma(c.q, w_rel, c.q + w_rel);
            vw2_rel = mish_fma(vw_rel, w_rel, vw_rel + w_rel);
        }
    };

    // mish'(x)/2^k_remaining. The numerators are an eighth of those above.
    MISH_DEVICE double first(const Quotient &c) const {
        const double sum = mish_fma(-0.5, size, 0.5), turned = negative ? sum : -sum;
        const double c0 = negative ? sum : 0.0;
        const double c1 = turned + 0.25;
        const double c2 = negative ? 0.5 : turned;
        const double c3 = negative ? 0.125 : -0.5;
        const double n2 = mish_fma(c3, v, c2), n1 = mish_fma(n2, v, c1);
        // v_low times the derivative of what v multiplies, but for its smallest part.
        const double n = mish_fma(n1, v, mish_fma(c.v_low, mish_fma(n2, v, n1), c0));
        const double p = n * c.scale_w2;
        return mish_fma(p, c.vw2_rel, p + (negative ? 0.0 : 1.0));
    }

    // mish''(x)/2^k_remaining, on the right /2^(2 k_remaining). Where it vanishes on the right, at
    // 1.49, it is steep and the coefficients of v and v^2 are large: 2 and 5 of them go separate
    // ways, so that what is rounded is small.
    MISH_DEVICE double second(const Quotient &c) const {
        const double c0 = whole - size;
        const double c1 = mish_fma(negative ? -1.0 : -1.5, size, whole);
        const double c2 = mish_fma(negative ? 1.5 : 1.0, size, -whole);
        const double c3 = size + twice;
        const double n2 = mish_fma(c3, v, c2);
        const double n1 = mish_fma(n2, v, mish_fma(5.0, v, c1));
        const double n0 = mish_fma(2.0, v, c0);
        Number n;
        n.high = mish_fma(n1, v, n0);
        // 8 v + 7/4 is the derivative of n by v near both zeros, and roughly everywhere.
        n.low = mish_fma(mish_fma(8.0, v, 1.75), c.v_low, mish_fma(n1, v, n0 - n.high));
        const Number w = {negative ? c.w : c.vw.high, negative ? 0.0 : c.vw.low};
        Number nw = two_product(n.high, w.high);
        nw.low = mish_fma(n.low, w.high, mish_fma(n.high, w.low, nw.low));
        Number p = two_product(nw.high, c.scale_w2);
        p.low = mish_fma(nw.low, c.scale_w2, p.low);
        return mish_fma(p.high, mish_fma(c.vw2_rel, c.w_rel, c.vw2_rel + c.w_rel), p.low) + p.high;
    }

    static MISH_DEVICE double forward(double x) {
        const Multiplied c(x, 760.0, 0);
        const double b = mish_fma(c.v, c.twice, 2.0);
        const double w = mish_reciprocal_start(mish_fma(c.v, b, c.whole));
        // 1 - d w, as above.
        const double vw = c.v * w;
        const double w_rel = relative(mish_fma(-vw, b, mish_fma(-c.whole, w, 1.0)));
        const double factor = mish_fma(c.v, c.twice, c.negative ? 1.0 : 0.0);
        const double h = vw * factor;
        const double scale = c.negative ? c.scale : 1.0, q = c.negative ? c.q : 0.0;
        // (1 + q) (1 - h (1 + w_rel)) - 1; in the last step h is not rounded.
        const double y_rel = mish_fma(-vw, factor, mish_fma(-h, mish_fma(q, w_rel, q + w_rel), q));
        // scale is 1 on the right; on the left the product's rounding would show.
        const Number scaled = two_product(c.size, scale);
        double y = mish_with_sign(scaled.high + mish_fma(scaled.high, y_rel, scaled.low), x);
        if (mish_size(x) >= mish_size(690.0))
            y = x == x && c.negative ? mish_descend(-c.size * c.significand(), c.k) : x;
        return y;
    }

    static MISH_DEVICE double backward(double grad_y, double x) {
        const Multiplied c(x, 1480.0, 0);
        double y = grad_y * c.first(Quotient(c));
        if (mish_size(x) >= mish_size(690.0)) {
            // (1 + x) v, all powers of two last, so that the result alone is rounded.
            mish_i32 exponent;
            const double grad = mish_split(grad_y, exponent);
            const double first = (1.0 - c.size) * c.significand();
            y = c.negative ? mish_scale(grad * first, exponent + c.k) : grad_y;
            if (x != x) y = x;
        }
        return y;
    }

    static MISH_DEVICE void double_backward(double grad_grad_x, double grad_y, double x,
                                            double &grad_grad_y, double &grad_x) {
        const Multiplied c(x, 2200.0, -200);
        const Quotient quotient(c);
        const double first = c.first(quotient), second = c.second(quotient);
        grad_grad_y = grad_grad_x * first;
        // Neither product leaves the normal numbers before the result does.
        grad_x = grad_grad_x * second * grad_y;
        if ((mish_size(x) >= mish_size(138.0)) | !mish_is_tame(grad_grad_x)) {
            mish_i32 a_exponent, b_exponent;
            const double a = mish_split(grad_grad_x, a_exponent);
            const double b = mish_split(grad_y, b_exponent);
            if (c.negative) grad_grad_y = mish_scale(a * first, a_exponent + c.k_remaining);
            const mish_i32 remaining = c.negative ? c.k_remaining : 2 * c.k_remaining;
            grad_x = mish_scale(a * second * b, a_exponent + b_exponent + remaining);
            if (x != x) grad_grad_y = grad_x = x;
        }
    }
};

#endif

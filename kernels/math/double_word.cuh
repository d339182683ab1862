// Mish, its gradient and its second derivative with every sum and product that loses bits carried
// as a double-word number (an unevaluated sum of two), and the power of two in e kept apart and
// applied last.
//
// For float32 on GPUs with slow doubles. Errors: 0.93 ULP in mish, 1.33 in mish' and 1.57 in mish''
// at most, whatever the hardware's reciprocal returns within its bounds; what each low part is
// worth in them: docs/derivation.md, "Double words", measured by bench/error_budget.py. The
// formulas, in e = e^x, z = 1 + e, d = z^2 + 1 and w = 1/d, are those of math/methods.cuh.
#ifndef MISH_MATH_DOUBLE_WORD_CUH
#define MISH_MATH_DOUBLE_WORD_CUH

#include "math/error_free.cuh"
#include "math/exponential.cuh"

struct DoubleWord {
    typedef HighLow<float> Number;

    // Below -110 mish rounds to -0; above 15 it is x and mish' 1.
    static MISH_DEVICE float forward_min() { return -110.0f; }
    static MISH_DEVICE float first_max() { return 15.0f; }
    // Below -210 even the largest gradient times mish' rounds to zero.
    static MISH_DEVICE float backward_min() { return -210.0f; }
    // Outside, even the largest gradients times mish'' do.
    static MISH_DEVICE float second_min() { return -300.0f; }
    static MISH_DEVICE float second_max() { return 150.0f; }
    // Below this k, e no longer changes z in any part that counts; above, 1 and x do not count
    // beside e.
    static MISH_DEVICE mish_i32 k_min() { return -60; }
    static MISH_DEVICE mish_i32 k_max() { return 30; }
    // e^x >= 2^k makes z^2 > 2^p, p the digits.
    static MISH_DEVICE mish_i32 half_digits() { return 12; }

    // e^x = 2^k (1 + q); scale = 2^limited with k limited, k_remaining what that cut off.
    Number q;
    float scale;
    mish_i32 limited, k_remaining;
    // e for the limited k.
    Number e;
    // Whether q.low counts: the second derivative squares the errors of e.
    bool carried;

    // For the second derivative k is limited from above as well.
    MISH_DEVICE DoubleWord(float x, bool second) : carried(second) {
        const CodyWaite<float, 1> reduced(x);
        const float r = reduced.r(), r2 = r * r;
        const float tail = mish_polynomial(r, MISH_EXP_TAIL_F32);
        q.high = mish_fma(r2, tail, r);
        const mish_i32 k = reduced.integer();
        limited = mish_max(k, k_min());
        if (second) limited = mish_min(limited, k_max());
        scale = mish_exp2<float>(limited);
        k_remaining = k - limited;
        e.high = mish_fma(scale, q.high, scale);
        e.low = mish_fma(scale, q.high, scale - e.high);
        if (carried) {
            q.low = mish_fma(r2, tail, r - q.high) + reduced.r_low(r);
            e.low = mish_fma(scale, q.low, e.low);
        }
    }

    // z = 1 + e; 1/(z^2 + 1) = w (1 + w_rel).
    struct Denominator {
        Number z;
        float w, w_rel;
        MISH_DEVICE explicit Denominator(const DoubleWord &c) {
            z = fast_two_sum(1.0f, c.e.high, c.limited > 0);
            z.low += c.e.low;
            Number d;
            d.high = mish_fma(z.high, z.high, 1.0f);
            // Past 2^p, 1 - d would round, so the 1 is added last; below, first.
            const bool large = c.limited >= half_digits();
            const float before = large ? 0.0f : 1.0f, after = large ? 1.0f : 0.0f;
            d.low = mish_fma(z.high + z.high, z.low,
                             mish_fma(z.high, z.high, before - d.high) + after);
            w = mish_reciprocal(d.high);
            w_rel = mish_fma(-d.low, w, mish_fma(-d.high, w, 1.0f));
        }
    };

    // mish'(x)/2^(k + 1).
    MISH_DEVICE float first(float x, const Denominator &c) const {
        Number ratio = two_product(c.z.high, c.w);
        ratio.low = mish_fma(ratio.high, c.w_rel, mish_fma(c.z.low, c.w, ratio.low));
        const float x2 = x + x;
        Number a;
        a.high = mish_fma(0.5f, c.z.high, 0.5f);
        a.low = mish_fma(0.5f, c.z.low, mish_fma(0.5f, c.z.high, -a.high) + 0.5f);
        Number b = two_product(x2, ratio.high);
        b.low = mish_fma(x2, ratio.low, b.low);
        Number m = fast_two_sum(a.high, b.high, limited < -1);
        m.low += a.low + b.low;
        Number g = two_product(m.high, c.w);
        g.low = mish_fma(g.high, c.w_rel, mish_fma(m.low, c.w, g.low));
        if (carried) g.low = mish_fma(g.high, q.low, g.low);
        return mish_fma(g.high, q.high, mish_fma(g.low, q.high, g.low)) + g.high;
    }

    // grad * first * 2^(k + 1) without intermediate overflow or a second rounding; `remaining`, of
    // k, is at least 2 exp2_min.
    MISH_DEVICE float times_first(float grad, float first, mish_i32 remaining) const {
        if (remaining >= 0) return grad * (first * mish_exp2<float>(limited + 1u));
        // Times a small gradient the product may be subnormal before what remains of k is applied:
        // that would round it twice.
        mish_i32 exponent;
        const float value = mish_split(grad, exponent);
        return mish_scale(value * first, exponent + limited + 1 + remaining);
    }

    // mish''(x)/(8 scale) for the limited k.
    MISH_DEVICE float second(float x, const Denominator &c) const {
        const float x2 = x + x;
        const Number p = fast_two_sum(1.0f, -x);
        Number v;
        v.high = mish_fma(x2, c.w, p.high);
        v.low = mish_fma(x2, c.w, p.high - v.high) + mish_fma(x2 * c.w, c.w_rel, p.low);
        Number t = two_product(e.high, v.high);
        t.low += mish_fma(e.high, v.low, e.low * v.high);
        Number b;
        b.high = mish_fma(0.5f, x, 1.0f);
        b.low = mish_fma(0.5f, x, 1.0f - b.high);
        Number n = fast_two_sum(b.high, t.high, limited > 0);
        n.low += b.low + t.low;
        const Number w2 = two_product(c.w, c.w);
        Number h = two_product(n.high, w2.high);
        h.low += mish_fma(n.high, w2.low, n.low * w2.high);
        const float w_rel2 = c.w_rel + c.w_rel;
        float factor = mish_fma(w_rel2, q.high, w_rel2);
        if (carried) factor += q.low;
        return mish_fma(h.high, q.high + factor, mish_fma(h.low, q.high, h.low)) + h.high;
    }

    static MISH_DEVICE float forward(float x) {
        const float bounded = mish_at_least(x, forward_min());
        const DoubleWord c(mish_at_most(bounded, first_max()), false);
        // tanh(softplus(x)) = n/(n + 2) with n = e (e + 2)
        const Number a = fast_two_sum(2.0f, c.e.high);
        Number n = two_product(c.e.high, a.high);
        n.low = mish_fma(c.e.high, a.low, n.low);
        n.low = mish_fma(c.e.low, a.high + c.e.high, n.low);
        Number d = fast_two_sum(2.0f, n.high, c.limited > 0);
        d.low += n.low;
        const float w = mish_reciprocal(d.high);
        const float ratio = n.high * w;
        const float remainder = mish_fma(-ratio, d.high, n.high) + mish_fma(-ratio, d.low, n.low);
        float y = mish_fma(bounded, ratio, bounded * w * remainder);
        if (c.k_remaining != 0) y *= mish_exp2<float>(c.k_remaining);
        return mish_copysign(mish_above(x, first_max()) ? x : y, x);
    }

    static MISH_DEVICE float backward(float grad_y, float x) {
        const float clamped = mish_at_most(mish_at_least(x, backward_min()), first_max());
        const DoubleWord c(clamped, false);
        return c.times_first(grad_y, c.first(clamped, Denominator(c)), c.k_remaining);
    }

    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        const mish_i32 exp2_min = Format<float>::exp2_min();
        const float clamped = mish_at_most(mish_at_least(x, second_min()), second_max());
        const DoubleWord c(clamped, true);
        const Denominator denominator(c);
        // Further down mish' is zero beside any gradient.
        const mish_i32 first_remaining = mish_max(c.k_remaining, 2 * exp2_min);
        grad_grad_y = c.times_first(grad_grad_x, c.first(clamped, denominator), first_remaining);
        const float second = c.second(clamped, denominator);
        // mish'' ~ e^x on the left and e^-2x on the right. The bounds are past every number's k;
        // a NaN's is anything.
        const mish_i32 bound = -4 * exp2_min;
        const mish_i32 k_remaining = mish_min(mish_max(c.k_remaining, -bound), bound);
        const mish_i32 remaining = mish_min(k_remaining, -2 * k_remaining);
        mish_i32 a_exponent, b_exponent;
        const float a = mish_split(grad_grad_x, a_exponent);
        const float b = mish_split(grad_y, b_exponent);
        grad_x = mish_scale(a * second * b, a_exponent + b_exponent + remaining + c.limited + 3);
    }
};

#endif

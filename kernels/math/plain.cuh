// Mish, its gradient and its second derivative by the formulas as they stand, in float.
//
// For the 16-bit types: the error, a few units of float's last place, is far below what rounding to
// 16 bits adds (0.501 ULP in all; docs/derivation.md, "Four ways to evaluate the formulas"). In
// g = e/2, which needs no multiplications by 2 and 4:
//
//   mish   = x h/(h + 1/2)             h = g^2 + g
//   mish'  = (1 + g + x y w) g w       y = g + 1/2, w = 1/(y^2 + 1/4)
//   mish'' = n w (g w)                 n = 1 + x/2 + g (2 - 2 x + x w)
#ifndef MISH_MATH_PLAIN_CUH
#define MISH_MATH_PLAIN_CUH

#include "device/device.cuh"
#include "math/constants.cuh"

// T has what differs between the types. No exception is made for any x: `Bounded` limits float16's
// before, and `Factored` is for the bfloat16 where that does not do.
template <class T> struct Plain : T {
    float g, y, w;

    // `lacking` makes up for what log2(e) lacks.
    static MISH_DEVICE float half_exponential(float x, float lacking) {
        const float r = mish_exp2_approx(mish_fma(x, T::log2_e(), -1.0f));
        return mish_fma(r * x, lacking, r);
    }

    MISH_DEVICE explicit Plain(float x, float lacking) {
        g = half_exponential(x, lacking);
        y = g + 0.5f;
        w = mish_reciprocal(mish_fma(y, y, 0.25f));
    }

    static MISH_DEVICE float forward(float x) { return forward(x, x); }
    // x times tanh(softplus(limited))
    static MISH_DEVICE float forward(float x, float limited) {
        const float g = half_exponential(limited, T::lacking());
        const float h = mish_fma(g, g, g);
        return x * (h * mish_reciprocal(h + 0.5f));
    }

    static MISH_DEVICE float backward(float grad_y, float x) {
        const Plain c(x, T::lacking());
        return grad_y * (c.sum(x) * (c.g * c.w));
    }

    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        const Plain c(x, T::lacking_both_sides(x));
        const float gw = c.g * c.w;
        grad_grad_y = grad_grad_x * (c.sum(x) * gw);
        const float v = mish_fma(x, c.w, mish_fma(-2.0f, x, 2.0f));
        const float n = mish_fma(c.g, v, mish_fma(0.5f, x, 1.0f));
        grad_x = T::product(grad_grad_x, grad_y, n * (c.w * gw));
    }

private:
    MISH_DEVICE float sum(float x) const { return mish_fma(x, y * w, g + 1.0f); }
};

// log2(e), so short that its product with an element is exact in float, and what that lacks: where
// x is negative, which is where e^x counts in mish and mish', and on both sides. And three factors
// in the order that suits the type.
struct PlainF16 {
    static MISH_DEVICE float log2_e() { return MISH_LOG2_E_13; }
    static MISH_DEVICE float lacking() { return MISH_LOG2_E_13_LACKING; }
    static MISH_DEVICE float lacking_both_sides(float x) {
        return mish_fma(MISH_LOG2_E_13_LACKING_SLOPE, x, MISH_LOG2_E_13_LACKING_BOTH_SIDES);
    }
    // The gradients' product is exact.
    static MISH_DEVICE float product(float grad_grad_x, float grad_y, float second) {
        return grad_grad_x * grad_y * second;
    }
};
struct PlainBF16 {
    static MISH_DEVICE float log2_e() { return MISH_LOG2_E_16; }
    static MISH_DEVICE float lacking() { return MISH_LOG2_E_16_LACKING; }
    static MISH_DEVICE float lacking_both_sides(float) { return lacking(); }
    // The gradients' product could overflow.
    static MISH_DEVICE float product(float grad_grad_x, float grad_y, float second) {
        return grad_grad_x * second * grad_y;
    }

    // What the formulas are for: x and, in the second derivative, grad_y below 32 in magnitude; a
    // NaN may pass, which any formula keeps. There e^x and mish' and mish'' are normal numbers with
    // room for any other gradient: a product that is subnormal before grad_y is multiplied in is
    // off by no more than 2^-145.
    static MISH_DEVICE bool is_moderate(float value) { return !(mish_magnitude(value) >= 32.0f); }
    // The same of all bfloat16s in some words.
    template <int N> static MISH_DEVICE bool are_moderate(const mish_u32 (&words)[N]) {
        mish_u32 largest = words[0];
#pragma unroll
        for (int i = 1; i < N; ++i) largest = bf16x2_larger(largest, words[i]);
        // Adding carries into the sign bits.
        const mish_u32 bound = 0x4200u * 0x10001u;
        return (((largest & 0x7fff7fffu) + (0x80008000u - bound)) & 0x80008000u) == 0;
    }
};

// For float16. Past the bounds of x nothing but the limits is left.
struct Bounded {
    typedef Plain<PlainF16> Formulas;
    static MISH_DEVICE float limited(float x, float largest) {
        return mish_at_most(mish_at_least(x, -60.0f), largest);
    }

    static MISH_DEVICE float forward(float x) {
        const float bounded = mish_at_least(x, -60.0f);
        return Formulas::forward(bounded, mish_at_most(bounded, 15.0f));
    }
    static MISH_DEVICE float backward(float grad_y, float x) {
        return Formulas::backward(grad_y, limited(x, 15.0f));
    }
    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        Formulas::double_backward(grad_grad_x, grad_y, limited(x, 30.0f), grad_grad_y, grad_x);
    }
};

#endif

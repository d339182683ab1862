// Mish, its gradient and its second derivative of any bfloat16, in float.
//
// float has bfloat16's exponents and no more, so a power of e is kept as a product of its roots,
// which are normal numbers: multiplying a gradient by one at a time neither overflows nor loses
// bits on the way to a result that can be represented. Errors: 0.5001 ULP at most, rounding to 16
// bits included; docs/derivation.md, "Powers of two", says in which order the factors come, and
// why.
#ifndef MISH_MATH_FACTORED_CUH
#define MISH_MATH_FACTORED_CUH

#include "device/device.cuh"
#include "math/constants.cuh"

// All ones for a negative x.
MISH_DEVICE mish_u32 mish_mask(float x) { return mish_u32(mish_i32(bits_from_f32(x)) >> 31); }

// A size with the sign of a b c.
MISH_DEVICE float mish_signed(float size, float a, float b, float c) {
    const mish_u32 sign = bits_from_f32(a) ^ bits_from_f32(b) ^ bits_from_f32(c);
    return f32_from_bits(bits_from_f32(size) | (sign & 0x80000000u));
}

struct Factored {
    // r = 2^(x c) and p = r (1 + x lacking): c has 16 bits, so that its product with a bfloat16 is
    // exact, and `lacking` is what that cuts off c, relatively; for |x| < 280 it makes less than
    // 2^-9.
    float r, p;

    MISH_DEVICE Factored(float x, float c, float lacking) {
        r = mish_exp2_approx(x * c);
        p = mish_fma(r * x, lacking, r);
    }

    // e^x = p r
    static MISH_DEVICE float forward(float x) {
        const float bounded = mish_at_least(x, -110.0f);
        const float below = mish_at_most(bounded, 15.0f);
        const Factored c(below, MISH_LOG2_E_HALF, MISH_LOG2_E_HALF_LACKING);
        const float z = mish_fma(c.p, c.r, 1.0f);
        const float w = mish_reciprocal(mish_fma(z, z, 1.0f));
        // The last factor alone may leave the normal numbers.
        return bounded * mish_fma(z, w, w) * c.p * c.r;
    }

    // e^x = p r r
    static MISH_DEVICE float backward(float grad_y, float x) {
        const float clamped = mish_at_most(mish_at_least(x, -210.0f), 9.0f);
        const Factored c(clamped, MISH_LOG2_E_THIRD, MISH_LOG2_E_THIRD_LACKING);
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
        const mish_u32 negative = mish_mask(x);
        const float x2 = x + x;
        const Factored c(mish_larger(-x, x2), -MISH_LOG2_E_HALF / 2, -MISH_LOG2_E_HALF_LACKING / 2);
        const float root = c.p * c.r;
        const float u = mish_select(negative, root * root, root);
        const float s = mish_select(negative, 1.0f, root), t = mish_select(negative, u, 1.0f);
        const float h = 1.0f + u, s2 = s * s;
        const float i = mish_reciprocal(mish_fma(h, h, s2));
        const float w = s2 * i;
        const float m = mish_fma(4.0f * x, h * w, h + s);
        // t, by its factors
        const float t_p = mish_select(negative, c.p, 1.0f), t_r = mish_select(negative, c.r, 1.0f);
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

#endif

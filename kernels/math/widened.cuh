// Mish, its gradient and its second derivative of float elements in double: the formulas of
// math/methods.cuh as they stand, and a single rounding to float.
//
// For float32 on GPUs whose double is half as fast as their float. Errors: 0.59 ULP at most, of the
// last rounding and of an exponential to 2^-29; double has exponents to spare as well, so no
// product of gradients needs care. docs/derivation.md, "Four ways to evaluate the formulas".
#ifndef MISH_MATH_WIDENED_CUH
#define MISH_MATH_WIDENED_CUH

#include "math/exponential.cuh"

struct Widened {
    static MISH_DEVICE double exponential(float x) {
        // Bits to spare: the low part of ln 2 does not count.
        const CodyWaite<double, 1> reduced{double(x)};
        return mish_polynomial(reduced.nearly(), MISH_EXP_F64) *
               mish_exp2<double>(reduced.integer());
    }

    // mish'(x)
    static MISH_DEVICE double first(float x, double e, double z, double w) {
        return (mish_fma(double(4.0f * x), z * w, z) + 1.0) * (e * w);
    }

    static MISH_DEVICE float forward(float x) {
        // Not clamped from above at the end: there the quotient is 1.
        const float bounded = mish_at_least(x, -210.0f);
        const double e = exponential(mish_at_most(bounded, 25.0f));
        const double n = mish_fma(e, e, e + e);
        return float(double(bounded) * (n * mish_reciprocal(n + 2.0)));
    }

    static MISH_DEVICE float backward(float grad_y, float x) {
        const float clamped = mish_at_most(mish_at_least(x, -210.0f), 25.0f);
        const double e = exponential(clamped);
        const double z = e + 1.0;
        const double w = mish_reciprocal(mish_fma(z, z, 1.0));
        return float(double(grad_y) * first(clamped, e, z, w));
    }

    static MISH_DEVICE void double_backward(float grad_grad_x, float grad_y, float x,
                                            float &grad_grad_y, float &grad_x) {
        const float clamped = mish_at_most(mish_at_least(x, -300.0f), 150.0f);
        const double e = exponential(clamped);
        const double z = e + 1.0;
        const double w = mish_reciprocal(mish_fma(z, z, 1.0));
        const double v = mish_fma(double(clamped + clamped), w, 1.0 - double(clamped));
        const double n = mish_fma(e + e, v, 2.0 + double(clamped));
        const double ew = e * w;
        const double wide_grad_grad_x = double(grad_grad_x);
        grad_grad_y = float(wide_grad_grad_x * first(clamped, e, z, w));
        grad_x = float(wide_grad_grad_x * double(grad_y) * (4.0 * (n * w) * ew));
    }
};

#endif

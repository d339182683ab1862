// Mish, its gradient and its second derivative, element by element.
//
// One exponential of a non-positive number and one reciprocal serve all three, and nothing
// overflows on the way. With e = exp(-|x|):
//
//   x <  0:  mish   = x e (e + 2) / d                            d = e (e + 2) + 2
//            mish'  = e (e^3 + 4e^2 + (4x + 6) e + 4 (x + 1)) / d^2
//            mish'' = 4e (2 (e + 1) d + x (2 + 2e - 3e^2 - 2e^3)) / d^3
//   x >= 0:  mish   = x (1 + 2e) / d                             d = 1 + 2e + 2e^2
//            mish'  = (1 + 4e + (4x + 6) e^2 + 4 (x + 1) e^3) / d^2
//            mish'' = 4e^2 (2 (1 + e) d + x (2e^3 + 2e^2 - 3e - 2)) / d^3
#ifndef MISH_MATH_CUH
#define MISH_MATH_CUH

#include "device.cuh"

template <typename F> struct MishParts {
    bool negative;
    F x, e, inverse;

    MISH_DEVICE explicit MishParts(F value) {
        negative = value < F(0);
        // Past this point every limit is reached, and inf * 0 must not appear.
        F magnitude = negative ? -value : value;
        F limit = sizeof(F) == 8 ? F(800) : F(120);
        magnitude = magnitude > limit ? limit : magnitude;
        x = negative ? -magnitude : magnitude;
        e = mish_exp(-magnitude);
        inverse = F(1) / (negative ? e * (e + F(2)) + F(2) : F(1) + F(2) * e * (F(1) + e));
    }

    MISH_DEVICE F derivative() const {
        F polynomial = negative
            ? e * (((e + F(4)) * e + (F(4) * x + F(6))) * e + F(4) * (x + F(1)))
            : F(1) + e * (F(4) + e * (F(4) * x + F(6) + e * F(4) * (x + F(1))));
        return polynomial * inverse * inverse;
    }

    MISH_DEVICE F second_derivative() const {
        F d = negative ? e * (e + F(2)) + F(2) : F(1) + F(2) * e * (F(1) + e);
        F cubic = negative ? F(2) + e * (F(2) - e * (F(3) + F(2) * e))
                           : e * (e * (F(2) * e + F(2)) - F(3)) - F(2);
        F scale = negative ? F(4) * e : F(4) * e * e;
        return scale * (F(2) * (e + F(1)) * d + x * cubic) * inverse * inverse * inverse;
    }
};

template <typename F> MISH_DEVICE F mish_forward(F x) {
    MishParts<F> parts(x);
    F e = parts.e;
    F factor = (parts.negative ? e * (e + F(2)) : F(1) + F(2) * e) * parts.inverse;
    F bounded = parts.negative ? parts.x : x;
    return x != x ? x : bounded * factor;
}

template <typename F> MISH_DEVICE F mish_backward(F grad_y, F x) {
    return x != x ? x : grad_y * MishParts<F>(x).derivative();
}

template <typename F>
MISH_DEVICE void mish_double_backward(F grad_grad_x, F grad_y, F x, F &grad_grad_y, F &grad_x) {
    MishParts<F> parts(x);
    grad_grad_y = x != x ? x : grad_grad_x * parts.derivative();
    grad_x = x != x ? x : grad_grad_x * grad_y * parts.second_derivative();
}

#endif

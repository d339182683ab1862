// Error-free transforms: a rounded sum or product together with exactly what rounding cut off.
//
// For float and double; exact as long as nothing overflows or becomes subnormal. FastTwoSum is
// Dekker's, TwoProduct the one with a fused multiply-add; both are in Ogita, Rump and Oishi,
// "Accurate sum and dot product". What they are worth here: docs/derivation.md, "Double words".
#ifndef MISH_MATH_ERROR_FREE_CUH
#define MISH_MATH_ERROR_FREE_CUH

#include "device/device.cuh"

// A double-word number: the unevaluated sum of a number and of what it lacks.
template <typename F> struct HighLow {
    F high, low;
};

// a + b for |a| >= |b|.
template <typename F> MISH_DEVICE HighLow<F> fast_two_sum(F a, F b) {
    const F sum = a + b;
    return {sum, (a - sum) + b};
}

// a + b, if b is the larger just where `b_is_larger` says.
template <typename F> MISH_DEVICE HighLow<F> fast_two_sum(F a, F b, bool b_is_larger) {
    const F sum = a + b;
    return {sum, ((b_is_larger ? b : a) - sum) + (b_is_larger ? a : b)};
}

// a b
template <typename F> MISH_DEVICE HighLow<F> two_product(F a, F b) {
    const F product = a * b;
    return {product, mish_fma(a, b, -product)};
}

#endif

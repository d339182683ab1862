// The ways to evaluate Mish, its gradient and its second derivative, and which of them each element
// type takes.
//
// With e = exp(x), z = 1 + e, d = z^2 + 1 and w = 1/d (docs/derivation.md):
//
//   mish   = x e (z + 1) w
//   mish'  = e w (z + 1 + 4 x z w)
//   mish'' = 4 e w^2 (2 + x + 2 e (1 - mish))           1 - mish = 1 - x + 2 x w
//
// A method has three functions: forward, x to mish(x); backward, grad_y and x to grad_y mish'(x);
// and double_backward, grad_grad_x, grad_y and x to grad_grad_x mish'(x) and grad_grad_x grad_y
// mish''(x).
#ifndef MISH_MATH_METHODS_CUH
#define MISH_MATH_METHODS_CUH

#include "device/element.cuh"
#include "math/double_word.cuh"
#include "math/factored.cuh"
#include "math/multiplied.cuh"
#include "math/plain.cuh"
#include "math/widened.cuh"

// The fast method, unless a vector has an element at the ends of the range: those that decide (the
// last of a core's arguments) must be moderate for it, as values or packed in words.
template <class F, class C> struct Guarded {
    typedef F Fast;
    typedef C Careful;
    static MISH_DEVICE bool is_moderate(float value) { return F::is_moderate(value); }
    template <int N> static MISH_DEVICE bool are_moderate(const mish_u32 (&words)[N]) {
        return F::are_moderate(words);
    }
};

// One method for all elements.
template <class M> struct Unguarded {
    typedef M Fast;
    typedef M Careful;
    template <typename Value> static MISH_DEVICE bool is_moderate(Value) { return true; }
    template <int N> static MISH_DEVICE bool are_moderate(const mish_u32 (&)[N]) { return true; }
};

#ifndef MISH_FAST_DOUBLE
#error "catalogue.cuh, or a host, says whether doubles are fast"
#endif
#if MISH_FAST_DOUBLE
typedef Widened MethodF32;
#else
typedef DoubleWord MethodF32;
#endif

// What an element type is computed with: single elements by the careful method.
template <class E> struct Methods;
template <> struct Methods<F16> : Unguarded<Bounded> {};
template <> struct Methods<BF16> : Guarded<Plain<PlainBF16>, Factored> {};
template <> struct Methods<F32> : Unguarded<MethodF32> {};
template <> struct Methods<F64> : Unguarded<Multiplied> {};

#endif

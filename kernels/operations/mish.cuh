// The operations of the library: Mish, its gradient and its second derivative, each a core alone.
#ifndef MISH_OPERATIONS_MISH_CUH
#define MISH_OPERATIONS_MISH_CUH

#include "operations/operation.cuh"

// What src/catalogue and the tuning table hold for the architecture at hand: Operands and Policy,
// whether its doubles are fast (MISH_FAST_DOUBLE), and a list of all kernels
// (MISH_FOR_EACH_KERNEL).
#include "catalogue.cuh"

// x to mish(x)
struct Mish {
    static const int ARGUMENTS = 1, RESULTS = 1, DECISIVE = 1;
    template <class Method, typename Value>
    static MISH_DEVICE void core(const Value *in, Value *out) {
        out[0] = Method::forward(in[0]);
    }
};

// grad_y, x to grad_x
struct MishBackward {
    static const int ARGUMENTS = 2, RESULTS = 1, DECISIVE = 1;
    template <class Method, typename Value>
    static MISH_DEVICE void core(const Value *in, Value *out) {
        out[0] = Method::backward(in[0], in[1]);
    }
};

// grad_grad_x, grad_y, x to grad_grad_y, grad_x
struct MishDoubleBackward {
    static const int ARGUMENTS = 3, RESULTS = 2, DECISIVE = 2;
    template <class Method, typename Value>
    static MISH_DEVICE void core(const Value *in, Value *out) {
        Method::double_backward(in[0], in[1], in[2], out[0], out[1]);
    }
};

struct Forward : Operands<Forward>, Bare<Mish> {};
struct Backward : Operands<Backward>, Bare<MishBackward> {};
struct DoubleBackward : Operands<DoubleBackward>, Bare<MishDoubleBackward> {};

#endif

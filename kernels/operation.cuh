// The three operations as the loops see them: how many inputs and outputs, in which order.
#ifndef MISH_OPERATION_CUH
#define MISH_OPERATION_CUH

#include "device.cuh"

// Inputs: x. Outputs: y.
struct Forward {
    static const int INPUTS = 1;
    static const int OUTPUTS = 1;
    static const bool OPTIONAL_OUTPUTS = false;
    template <class E>
    static MISH_DEVICE void apply(const typename E::Value *in, typename E::Value *out) {
        out[0] = E::Math::forward(in[0]);
    }
};

// Inputs: grad_y, x. Outputs: grad_x.
struct Backward {
    static const int INPUTS = 2;
    static const int OUTPUTS = 1;
    static const bool OPTIONAL_OUTPUTS = false;
    template <class E>
    static MISH_DEVICE void apply(const typename E::Value *in, typename E::Value *out) {
        out[0] = E::Math::backward(in[0], in[1]);
    }
};

// Inputs: grad_grad_x, grad_y, x. Outputs: grad_grad_y, grad_x, each skipped when NULL.
struct DoubleBackward {
    static const int INPUTS = 3;
    static const int OUTPUTS = 2;
    static const bool OPTIONAL_OUTPUTS = true;
    template <class E>
    static MISH_DEVICE void apply(const typename E::Value *in, typename E::Value *out) {
        E::Math::double_backward(in[0], in[1], in[2], out[0], out[1]);
    }
};

#endif

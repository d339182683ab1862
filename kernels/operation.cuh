// The three operations as the loops see them: how many inputs and outputs, in which order, and how
// many of the last inputs decide whether an element type's quick formulas will do.
#ifndef MISH_OPERATION_CUH
#define MISH_OPERATION_CUH

#include "device.cuh"

// Inputs: x. Outputs: y.
struct Forward {
    static const int INPUTS = 1;
    static const int OUTPUTS = 1;
    static const int DECISIVE = 1;
    static const bool OPTIONAL_OUTPUTS = false;
    template <class Math, typename Value>
    static MISH_DEVICE void apply(const Value *in, Value *out) {
        out[0] = Math::forward(in[0]);
    }
};

// Inputs: grad_y, x. Outputs: grad_x.
struct Backward {
    static const int INPUTS = 2;
    static const int OUTPUTS = 1;
    static const int DECISIVE = 1;
    static const bool OPTIONAL_OUTPUTS = false;
    template <class Math, typename Value>
    static MISH_DEVICE void apply(const Value *in, Value *out) {
        out[0] = Math::backward(in[0], in[1]);
    }
};

// Inputs: grad_grad_x, grad_y, x. Outputs: grad_grad_y, grad_x, each skipped when NULL.
struct DoubleBackward {
    static const int INPUTS = 3;
    static const int OUTPUTS = 2;
    static const int DECISIVE = 2;
    static const bool OPTIONAL_OUTPUTS = true;
    template <class Math, typename Value>
    static MISH_DEVICE void apply(const Value *in, Value *out) {
        Math::double_backward(in[0], in[1], in[2], out[0], out[1]);
    }
};

#endif

// The operations as the loops see them: what an element's results are, and how many of the last
// inputs decide whether an element type's quick formulas will do.
#ifndef MISH_OPERATION_CUH
#define MISH_OPERATION_CUH

#include "device.cuh"

// How many operands an operation has: INPUTS, OUTPUTS, and whether outputs may be NULL
// (OPTIONAL_OUTPUTS).
template <class O> struct Operands;
// How a kernel is tuned: THREADS, BLOCKS, VECTORS, VECTOR_BYTES, WORDS_AT_ONCE, LOAD, STORE and
// STRIDED_UNITS.
template <class O, class E> struct Policy;

// What src/catalogue and the tuning table hold for the architecture at hand: both of these, whether
// its doubles are fast (MISH_FAST_DOUBLE), and a list of all kernels (MISH_FOR_EACH_KERNEL).
#include "catalogue.cuh"

// Inputs: x. Outputs: y.
struct Forward : Operands<Forward> {
    static const int DECISIVE = 1;
    template <class Math, typename Value>
    static MISH_DEVICE void apply(const Value *in, Value *out) {
        out[0] = Math::forward(in[0]);
    }
};

// Inputs: grad_y, x. Outputs: grad_x.
struct Backward : Operands<Backward> {
    static const int DECISIVE = 1;
    template <class Math, typename Value>
    static MISH_DEVICE void apply(const Value *in, Value *out) {
        out[0] = Math::backward(in[0], in[1]);
    }
};

// Inputs: grad_grad_x, grad_y, x. Outputs: grad_grad_y, grad_x, each skipped when NULL.
struct DoubleBackward : Operands<DoubleBackward> {
    static const int DECISIVE = 2;
    template <class Math, typename Value>
    static MISH_DEVICE void apply(const Value *in, Value *out) {
        Math::double_backward(in[0], in[1], in[2], out[0], out[1]);
    }
};

// The operands of a launch: inputs, then outputs, in the operation's order.
template <class O> struct Pointers {
    void *p[O::INPUTS + O::OUTPUTS];
};

#endif

// Loading an operation's inputs and storing its outputs, single elements and vectors alike:
// `operands` are where they start, inputs first, and `offsets` how many bytes from there. An output
// that may be NULL is skipped where it is.
#ifndef MISH_LOOPS_OPERANDS_CUH
#define MISH_LOOPS_OPERANDS_CUH

#include "device/device.cuh"

// The same place in every operand.
struct SameOffset {
    mish_u64 offset;
    MISH_DEVICE mish_u64 operator[](int) const { return offset; }
};

template <class O, class Offsets, typename Bits>
MISH_DEVICE void load_element(void *const *operands, const Offsets &offsets, Bits *loaded) {
#pragma unroll
    for (int k = 0; k < O::INPUTS; ++k)
        load_scalar((const char *)operands[k] + offsets[k], loaded[k]);
}

template <class O, class E, class Offsets>
MISH_DEVICE void store_element(void *const *operands, const Offsets &offsets,
                               const typename E::Value *outputs) {
#pragma unroll
    for (int k = 0; k < O::OUTPUTS; ++k) {
        char *output = (char *)operands[O::INPUTS + k];
        if (!O::OPTIONAL_OUTPUTS || output)
            store_scalar(output + offsets[O::INPUTS + k], E::bits(outputs[k]));
    }
}

template <class O, class P, class Offsets, int WORDS>
MISH_DEVICE void load_vectors(void *const *operands, const Offsets &offsets, Words<WORDS> *loaded) {
#pragma unroll
    for (int k = 0; k < O::INPUTS; ++k)
        load_vector<P::LOAD>((const char *)operands[k] + offsets[k], loaded[k]);
}

template <class O, class P, class Offsets, int WORDS>
MISH_DEVICE void store_vectors(void *const *operands, const Offsets &offsets,
                               const Words<WORDS> *packed) {
#pragma unroll
    for (int k = 0; k < O::OUTPUTS; ++k) {
        char *output = (char *)operands[O::INPUTS + k];
        if (!O::OPTIONAL_OUTPUTS || output)
            store_vector<P::STORE>(output + offsets[O::INPUTS + k], packed[k]);
    }
}

#endif

// What every loop does with the elements that it has loaded, one by one or a vector at a time.
#ifndef MISH_LOOPS_ELEMENTS_CUH
#define MISH_LOOPS_ELEMENTS_CUH

#include "device/element.cuh"
#include "math/methods.cuh"

// An element's way through an operation.
template <class Method, class O, typename Value>
MISH_DEVICE void compute_element(O &operation, const Value (&inputs)[O::INPUTS],
                                 Value (&outputs)[O::OUTPUTS]) {
    Value arguments[O::ARGUMENTS], results[O::RESULTS];
    operation.prologue(inputs, arguments);
    O::template core<Method>(arguments, results);
    operation.epilogue(inputs, results, outputs);
}

// A single element, from its bits.
template <class E, class O>
MISH_DEVICE void compute_loaded(O &operation, const typename E::Bits (&loaded)[O::INPUTS],
                                typename E::Value (&outputs)[O::OUTPUTS]) {
    typename E::Value inputs[O::INPUTS];
#pragma unroll
    for (int k = 0; k < O::INPUTS; ++k) inputs[k] = E::value(loaded[k]);
    compute_element<typename Methods<E>::Careful>(operation, inputs, outputs);
}

// The group of elements that starts at a word of a vector. `mixed_in` is ORed to its last operand.
template <class E, int BYTES, class O, int ELEMENTS>
MISH_DEVICE void unpack_group(const Words<BYTES / 4> *loaded, int word, mish_u32 mixed_in,
                              typename E::Value (&inputs)[O::INPUTS][ELEMENTS]) {
    constexpr int WORDS = Vector<E, BYTES>::GROUP_WORDS;
#pragma unroll
    for (int k = 0; k < O::INPUTS; ++k) {
        Words<WORDS> words;
#pragma unroll
        for (int i = 0; i < WORDS; ++i) words.w[i] = loaded[k].w[word + i];
        if (k == O::INPUTS - 1) words.w[0] |= mixed_in;
        E::unpack(words.w, inputs[k]);
    }
}

// Whether the fast method will do for all elements of a vector.
template <class E, int BYTES, class O>
MISH_DEVICE bool are_moderate(const O &operation, const Words<BYTES / 4> *loaded) {
    typedef Vector<E, BYTES> V;
    if constexpr (O::ARGUMENTS_ARE_INPUTS) {
        static_assert(O::ARGUMENTS == O::INPUTS, "the arguments are the inputs");
        mish_u32 decisive[O::DECISIVE * V::WORDS];
#pragma unroll
        for (int k = 0; k < O::DECISIVE; ++k)
#pragma unroll
            for (int i = 0; i < V::WORDS; ++i)
                decisive[k * V::WORDS + i] = loaded[O::INPUTS - 1 - k].w[i];
        return Methods<E>::are_moderate(decisive);
    } else {
        // Computed again below, unless the compiler keeps them.
        bool all = true;
#pragma unroll
        for (int word = 0; word < V::WORDS; word += V::GROUP_WORDS) {
            typename E::Value inputs[O::INPUTS][V::GROUP_ELEMENTS];
            unpack_group<E, BYTES, O>(loaded, word, 0, inputs);
#pragma unroll
            for (int i = 0; i < V::GROUP_ELEMENTS; ++i) {
                typename E::Value element[O::INPUTS], arguments[O::ARGUMENTS];
#pragma unroll
                for (int k = 0; k < O::INPUTS; ++k) element[k] = inputs[k][i];
                operation.prologue(element, arguments);
#pragma unroll
                for (int k = 0; k < O::DECISIVE; ++k)
                    all &= Methods<E>::is_moderate(arguments[O::ARGUMENTS - 1 - k]);
            }
        }
        return all;
    }
}

// One vector per output from one per input, by one method.
//
// `opaque_zero` is 0, which the compiler does not know. Mixing the last results into an input,
// masked by it, keeps the compiler from starting on more than GROUPS_AT_ONCE groups at once (0: on
// all), which in the longer formulas takes more registers than there are at the occupancy that the
// memory wants.
template <class Method, class E, int BYTES, int GROUPS_AT_ONCE, class O>
MISH_DEVICE void compute_groups(O &operation, const Words<BYTES / 4> *loaded,
                                Words<BYTES / 4> *packed, mish_u32 opaque_zero) {
    typedef Vector<E, BYTES> V;
    typedef typename E::Value Value;
    constexpr int GROUPS = V::WORDS / V::GROUP_WORDS;
    constexpr int AT_ONCE = GROUPS_AT_ONCE > 0 ? GROUPS_AT_ONCE : GROUPS;
    static_assert(GROUPS % AT_ONCE == 0, "in equal parts");
#pragma unroll
    for (int word = 0; word < V::WORDS; word += V::GROUP_WORDS) {
        mish_u32 mixed_in = 0;
        if (word > 0 && word / V::GROUP_WORDS % AT_ONCE == 0)
#pragma unroll
            for (int k = 0; k < O::OUTPUTS; ++k) mixed_in |= packed[k].w[word - 1] & opaque_zero;
        Value inputs[O::INPUTS][V::GROUP_ELEMENTS], results[O::OUTPUTS][V::GROUP_ELEMENTS];
        unpack_group<E, BYTES, O>(loaded, word, mixed_in, inputs);
#pragma unroll
        for (int i = 0; i < V::GROUP_ELEMENTS; ++i) {
            Value element[O::INPUTS], outputs[O::OUTPUTS];
#pragma unroll
            for (int k = 0; k < O::INPUTS; ++k) element[k] = inputs[k][i];
            compute_element<Method>(operation, element, outputs);
#pragma unroll
            for (int k = 0; k < O::OUTPUTS; ++k) results[k][i] = outputs[k];
        }
#pragma unroll
        for (int k = 0; k < O::OUTPUTS; ++k) E::pack(results[k], packed[k].w + word);
    }
}

// The same by the method that its elements ask for.
template <class E, int BYTES, int GROUPS_AT_ONCE, class O>
MISH_DEVICE void compute_vector(O &operation, const Words<BYTES / 4> *loaded,
                                Words<BYTES / 4> *packed, mish_u32 opaque_zero) {
    typedef typename Methods<E>::Fast Fast;
    typedef typename Methods<E>::Careful Careful;
    if (are_moderate<E, BYTES>(operation, loaded))
        compute_groups<Fast, E, BYTES, GROUPS_AT_ONCE>(operation, loaded, packed, opaque_zero);
    else
        compute_groups<Careful, E, BYTES, GROUPS_AT_ONCE>(operation, loaded, packed, opaque_zero);
}

#endif

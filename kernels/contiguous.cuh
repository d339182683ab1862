// The loop over contiguous operands whose addresses are equal modulo the vector size.
#ifndef MISH_CONTIGUOUS_CUH
#define MISH_CONTIGUOUS_CUH

#include "operation.cuh"

#include "element.cuh"

// How n elements divide into a scalar head, vectors and a scalar tail. The host computes it;
// `Span` in src/gpu/geometry/contiguous.rs mirrors it.
struct Span {
    mish_u64 n;
    // Whole vectors, from element `head` on.
    mish_u64 vectors;
    // Elements before the first aligned vector.
    mish_u32 head;
    // Blocks that do the policy's number of vectors per thread; none if the tensor is small, to
    // spread it over the device.
    mish_u32 tiles;
};
static_assert(sizeof(Span) == 24, "mirrored by the host");

// One vector per output from one per input.
//
// `zero` is 0, which the compiler does not know. Mixing the last results into an input, masked by
// it, keeps the compiler from starting on all elements at once, which in the longer formulas takes
// more registers than there are at the occupancy that the memory wants.
template <class O, class E, class Math, int BYTES, class P>
MISH_DEVICE void compute(const Words<BYTES / 4> *loaded, Words<BYTES / 4> *packed, mish_u32 zero) {
    typedef Vector<E, BYTES> V;
    typedef typename E::Value Value;
    // Groups computed together; all of them if the policy leaves it open.
    constexpr int AT_ONCE = P::WORDS_AT_ONCE > 0 ? P::WORDS_AT_ONCE : V::WORDS;
#pragma unroll
    for (int g = 0; g < V::WORDS; g += V::GROUP_WORDS) {
        Value arguments[O::INPUTS][V::GROUP_ELEMENTS], results[O::OUTPUTS][V::GROUP_ELEMENTS];
#pragma unroll
        for (int k = 0; k < O::INPUTS; ++k) {
            Words<V::GROUP_WORDS> words;
#pragma unroll
            for (int i = 0; i < V::GROUP_WORDS; ++i) words.w[i] = loaded[k].w[g + i];
            if (g > 0 && (g / V::GROUP_WORDS) % AT_ONCE == 0 && k == O::INPUTS - 1)
#pragma unroll
                for (int j = 0; j < O::OUTPUTS; ++j) words.w[0] |= packed[j].w[g - 1] & zero;
            E::unpack(words.w, arguments[k]);
        }
#pragma unroll
        for (int i = 0; i < V::GROUP_ELEMENTS; ++i) {
            Value element[O::INPUTS], result[O::OUTPUTS];
#pragma unroll
            for (int k = 0; k < O::INPUTS; ++k) element[k] = arguments[k][i];
            O::template apply<Math>(element, result);
#pragma unroll
            for (int k = 0; k < O::OUTPUTS; ++k) results[k][i] = result[k];
        }
#pragma unroll
        for (int k = 0; k < O::OUTPUTS; ++k) E::pack(results[k], packed[k].w + g);
    }
}

// Computes and stores one vector per output at byte offset `offset`.
template <class O, class E, int BYTES, class P>
MISH_DEVICE void one_vector(const Words<BYTES / 4> *loaded, void *const *out,
                            mish_u64 offset, mish_u32 zero) {
    constexpr int WORDS = BYTES / 4;
    Words<WORDS> packed[O::OUTPUTS];
    mish_u32 decisive[O::DECISIVE * WORDS];
#pragma unroll
    for (int k = 0; k < O::DECISIVE; ++k)
#pragma unroll
        for (int i = 0; i < WORDS; ++i)
            decisive[k * WORDS + i] = loaded[O::INPUTS - 1 - k].w[i];
    if (E::are_moderate(decisive))
        compute<O, E, typename E::Quick, BYTES, P>(loaded, packed, zero);
    else
        compute<O, E, typename E::Math, BYTES, P>(loaded, packed, zero);
#pragma unroll
    for (int k = 0; k < O::OUTPUTS; ++k)
        if (!O::OPTIONAL_OUTPUTS || out[k])
            store_vector<P::STORE>((char *)out[k] + offset, packed[k]);
}

// A tile is blockDim.x * VECTORS vectors. The first blocks do one tile each; in those after them a
// thread does one of the remaining vectors, or one element of head and tail. Pointers are
// deliberately not __restrict__: an output may be one of the inputs, and every thread loads all
// of its vectors before it stores the first.
template <class O, class E, class P>
MISH_DEVICE void contiguous(void *const *operands, const Span &span) {
    typedef Vector<E, P::VECTOR_BYTES> V;
    typedef typename E::Value Value;
    typedef typename E::Bits Bits;
    const mish_u32 head_bytes = span.head * mish_u32(sizeof(Bits));
    const mish_u32 zero = span.head >> 16;  // a head is shorter than a vector

    if (blockIdx.x < span.tiles) {
        const mish_u64 first = mish_u64(blockIdx.x) * (blockDim.x * P::VECTORS) + threadIdx.x;
        const mish_u64 offset = first * P::VECTOR_BYTES + head_bytes;
        const mish_u32 step = blockDim.x * P::VECTOR_BYTES;
        Words<V::WORDS> loaded[P::VECTORS][O::INPUTS];
#pragma unroll
        for (int j = 0; j < P::VECTORS; ++j)
#pragma unroll
            for (int k = 0; k < O::INPUTS; ++k)
                load_vector<P::LOAD>((const char *)operands[k] + offset + j * step, loaded[j][k]);
#pragma unroll
        for (int j = 0; j < P::VECTORS; ++j)
            one_vector<O, E, P::VECTOR_BYTES, P>(loaded[j], operands + O::INPUTS, offset + j * step, zero);
        return;
    }

    mish_u64 i = mish_u64(span.tiles) * (blockDim.x * P::VECTORS)
               + mish_u64(blockIdx.x - span.tiles) * blockDim.x + threadIdx.x;
    if (i < span.vectors) {
        const mish_u64 offset = i * P::VECTOR_BYTES + head_bytes;
        Words<V::WORDS> loaded[O::INPUTS];
#pragma unroll
        for (int k = 0; k < O::INPUTS; ++k)
            load_vector<P::LOAD>((const char *)operands[k] + offset, loaded[k]);
        one_vector<O, E, P::VECTOR_BYTES, P>(loaded, operands + O::INPUTS, offset, zero);
        return;
    }

    i -= span.vectors;
    if (i >= span.head) i += span.vectors * V::ELEMENTS;
    if (i >= span.n) return;
    Value arguments[O::INPUTS], results[O::OUTPUTS];
#pragma unroll
    for (int k = 0; k < O::INPUTS; ++k) {
        Bits bits;
        load_scalar((const char *)operands[k] + i * sizeof(Bits), bits);
        arguments[k] = E::value(bits);
    }
    O::template apply<typename E::Math>(arguments, results);
#pragma unroll
    for (int k = 0; k < O::OUTPUTS; ++k) {
        char *out = (char *)operands[O::INPUTS + k];
        if (!O::OPTIONAL_OUTPUTS || out) store_scalar(out + i * sizeof(Bits), E::bits(results[k]));
    }
}

#endif

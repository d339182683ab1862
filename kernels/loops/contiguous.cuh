// The loop over contiguous operands whose addresses are equal modulo the vector size.
#ifndef MISH_LOOPS_CONTIGUOUS_CUH
#define MISH_LOOPS_CONTIGUOUS_CUH

#include "loops/elements.cuh"
#include "loops/operands.cuh"

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

// A tile is blockDim.x * VECTORS vectors. The first blocks do one tile each; in those after them a
// thread does one of the remaining vectors, or one element of head and tail. Pointers are
// deliberately not __restrict__: an output may be one of the inputs, and every thread loads all
// of its vectors before it stores the first.
template <class E, class P, class O>
MISH_DEVICE void contiguous(O &operation, void *const *operands, const Span &span) {
    constexpr int BYTES = P::VECTOR_BYTES, AT_ONCE = P::GROUPS_AT_ONCE;
    typedef Vector<E, BYTES> V;
    static_assert(P::THREADS % 32 == 0 && P::THREADS <= 1024, "whole warps of a block");
    static_assert(1024ull * P::VECTORS * BYTES < 1ull << 32, "a tile's bytes fit 32 bits");
    static_assert(V::ELEMENTS <= 1 << 16, "nothing but 0 is above a head's 16 bits");
    const mish_u32 head_bytes = span.head * V::SIZE;
    const mish_u32 opaque_zero = span.head >> 16;  // a head is shorter than a vector

    if (blockIdx.x < span.tiles) {
        const mish_u64 first = mish_u64(blockIdx.x) * (blockDim.x * P::VECTORS) + threadIdx.x;
        const mish_u64 offset = first * BYTES + head_bytes;
        const mish_u32 step = blockDim.x * BYTES;
        Words<V::WORDS> loaded[P::VECTORS][O::INPUTS];
#pragma unroll
        for (int j = 0; j < P::VECTORS; ++j)
            load_vectors<O, P>(operands, SameOffset{offset + j * step}, loaded[j]);
#pragma unroll
        for (int j = 0; j < P::VECTORS; ++j) {
            Words<V::WORDS> packed[O::OUTPUTS];
            compute_vector<E, BYTES, AT_ONCE>(operation, loaded[j], packed, opaque_zero);
            store_vectors<O, P>(operands, SameOffset{offset + j * step}, packed);
        }
        return;
    }

    mish_u64 i = mish_u64(span.tiles) * (blockDim.x * P::VECTORS)
               + mish_u64(blockIdx.x - span.tiles) * blockDim.x + threadIdx.x;
    if (i < span.vectors) {
        const mish_u64 offset = i * BYTES + head_bytes;
        Words<V::WORDS> loaded[O::INPUTS], packed[O::OUTPUTS];
        load_vectors<O, P>(operands, SameOffset{offset}, loaded);
        compute_vector<E, BYTES, AT_ONCE>(operation, loaded, packed, opaque_zero);
        store_vectors<O, P>(operands, SameOffset{offset}, packed);
        return;
    }

    i -= span.vectors;
    if (i >= span.head) i += span.vectors * V::ELEMENTS;
    if (i >= span.n) return;
    typename E::Bits loaded[O::INPUTS];
    typename E::Value outputs[O::OUTPUTS];
    load_element<O>(operands, SameOffset{i * V::SIZE}, loaded);
    compute_loaded<E>(operation, loaded, outputs);
    store_element<O, E>(operands, SameOffset{i * V::SIZE}, outputs);
}

#endif

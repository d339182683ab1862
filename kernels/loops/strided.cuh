// The loop over strided operands, and over contiguous ones with different misalignments.
#ifndef MISH_LOOPS_STRIDED_CUH
#define MISH_LOOPS_STRIDED_CUH

#include "loops/elements.cuh"
#include "loops/operands.cuh"

enum { MISH_MAX_DIMS = 8 };
// Everything fits 31 bits: indices and byte offsets.
enum { STRIDED_NARROW = 1 };
// A unit is a vector instead of an element.
enum { STRIDED_VECTOR = 2 };
enum { STRIDED_VECTOR_BYTES = 16 };
static_assert((STRIDED_NARROW | STRIDED_VECTOR) < 1 << 16, "the flags' upper half is 0");

// Division by an invariant: for x < 2^B, x / size = (x * magic) >> (B + log2), where
// log2 = ceil(log2(size)) and magic = ceil(2^(B + log2) / size), with B = 31 when narrow and 63
// otherwise; `shift` is log2 - 1, what remains after taking the upper half of the product.
struct Dim {
    mish_u64 size;
    mish_u64 magic;
    mish_u64 shift;
};

// The kernel's one parameter; `StridedParams` in src/gpu/geometry/strided.rs mirrors it.
struct Strided {
    // Inputs, then outputs, in the operation's order; NULL skips an output.
    void *pointers[MISH_MAX_OPERANDS];
    // Bytes per step, outermost dimension first.
    mish_i64 strides[MISH_MAX_OPERANDS][MISH_MAX_DIMS];
    Dim dims[MISH_MAX_DIMS];
    // Units in all.
    mish_u64 count;
    mish_u32 ndim;
    mish_u32 flags;
};
static_assert(sizeof(Strided) == 568, "mirrored by the host");

template <typename Index, typename Offset, int OPERANDS>
MISH_DEVICE void offsets_of(const Strided &s, Index index, Offset *offsets) {
#pragma unroll
    for (int k = 0; k < OPERANDS; ++k) offsets[k] = 0;
#pragma unroll 1
    for (int d = int(s.ndim) - 1; d > 0; --d) {
        Index quotient = multiply_high(index, Index(s.dims[d].magic)) >> mish_u32(s.dims[d].shift);
        Offset position = Offset(index - quotient * Index(s.dims[d].size));
#pragma unroll
        for (int k = 0; k < OPERANDS; ++k) offsets[k] += position * Offset(s.strides[k][d]);
        index = quotient;
    }
#pragma unroll
    for (int k = 0; k < OPERANDS; ++k) offsets[k] += Offset(index) * Offset(s.strides[k][0]);
}

template <class E, class P, typename Index, typename Offset, class O>
MISH_DEVICE void strided_elements(O &operation, const Strided &s) {
    const int OPERANDS = O::INPUTS + O::OUTPUTS;
    const Index count = Index(s.count);
    const Index first = Index(blockIdx.x) * Index(blockDim.x * P::STRIDED_UNITS) + threadIdx.x;
    Offset offsets[P::STRIDED_UNITS][OPERANDS];
    typename E::Bits loaded[P::STRIDED_UNITS][O::INPUTS];
#pragma unroll
    for (int j = 0; j < P::STRIDED_UNITS; ++j) {
        // Past the end the last element is loaded again, which keeps the loads free of branches.
        Index index = first + Index(j * blockDim.x);
        offsets_of<Index, Offset, OPERANDS>(s, index < count ? index : count - 1, offsets[j]);
    }
#pragma unroll
    for (int j = 0; j < P::STRIDED_UNITS; ++j) load_element<O>(s.pointers, offsets[j], loaded[j]);
#pragma unroll
    for (int j = 0; j < P::STRIDED_UNITS; ++j) {
        typename E::Value outputs[O::OUTPUTS];
        compute_loaded<E>(operation, loaded[j], outputs);
        if (first + Index(j * blockDim.x) >= count) return;
        store_element<O, E>(s.pointers, offsets[j], outputs);
    }
}

// Rows of whole aligned vectors: the index arithmetic is paid once per vector.
template <class E, class P, typename Index, typename Offset, class O>
MISH_DEVICE void strided_vectors(O &operation, const Strided &s) {
    const int OPERANDS = O::INPUTS + O::OUTPUTS;
    const Index index = Index(blockIdx.x) * Index(blockDim.x) + threadIdx.x;
    if (index >= Index(s.count)) return;
    Offset offsets[OPERANDS];
    offsets_of<Index, Offset, OPERANDS>(s, index, offsets);
    constexpr int BYTES = STRIDED_VECTOR_BYTES;
    Words<BYTES / 4> loaded[O::INPUTS], packed[O::OUTPUTS];
    load_vectors<O, P>(s.pointers, offsets, loaded);
    // Where the outputs go, or NULL: formed here, which takes fewer registers than keeping offsets.
    void *places[OPERANDS];
#pragma unroll
    for (int k = O::INPUTS; k < OPERANDS; ++k) {
        char *output = (char *)s.pointers[k];
        places[k] = !O::OPTIONAL_OUTPUTS || output ? output + offsets[k] : 0;
    }
    compute_vector<E, BYTES, P::GROUPS_AT_ONCE>(operation, loaded, packed, s.flags >> 16);
    store_vectors<O, P>(places, SameOffset{0}, packed);
}

template <class E, class P, class O> MISH_DEVICE void strided(O &operation, const Strided &s) {
    if (s.flags & STRIDED_NARROW) {
        if (s.flags & STRIDED_VECTOR) strided_vectors<E, P, mish_u32, mish_i32>(operation, s);
        else strided_elements<E, P, mish_u32, mish_i32>(operation, s);
    } else {
        if (s.flags & STRIDED_VECTOR) strided_vectors<E, P, mish_u64, mish_i64>(operation, s);
        else strided_elements<E, P, mish_u64, mish_i64>(operation, s);
    }
}

#endif

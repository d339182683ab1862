// The loop over strided operands, and over contiguous ones with different misalignments.
#ifndef MISH_STRIDED_CUH
#define MISH_STRIDED_CUH

#include "contiguous.cuh"

enum { MISH_MAX_DIMS = 8 };
// Everything fits 31 bits: indices and byte offsets.
enum { STRIDED_NARROW = 1 };
// A unit is a 16-byte vector instead of an element.
enum { STRIDED_VECTOR = 2 };

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

template <class O, class E, class P, typename Index, typename Offset>
MISH_DEVICE void strided_elements(const Strided &s) {
    typedef typename E::Value Value;
    typedef typename E::Bits Bits;
    const int OPERANDS = O::INPUTS + O::OUTPUTS;
    const Index count = Index(s.count);
    const Index first = Index(blockIdx.x) * Index(blockDim.x * P::STRIDED_UNITS) + threadIdx.x;
    Offset offsets[P::STRIDED_UNITS][OPERANDS];
    Bits loaded[P::STRIDED_UNITS][O::INPUTS];
#pragma unroll
    for (int j = 0; j < P::STRIDED_UNITS; ++j) {
        // Past the end the last element is loaded again, which keeps the loads free of branches.
        Index index = first + Index(j * blockDim.x);
        offsets_of<Index, Offset, OPERANDS>(s, index < count ? index : count - 1, offsets[j]);
    }
#pragma unroll
    for (int j = 0; j < P::STRIDED_UNITS; ++j)
#pragma unroll
        for (int k = 0; k < O::INPUTS; ++k)
            load_scalar((const char *)s.pointers[k] + offsets[j][k], loaded[j][k]);
#pragma unroll
    for (int j = 0; j < P::STRIDED_UNITS; ++j) {
        Value arguments[O::INPUTS], results[O::OUTPUTS];
#pragma unroll
        for (int k = 0; k < O::INPUTS; ++k) arguments[k] = E::value(loaded[j][k]);
        O::template apply<typename E::Math>(arguments, results);
        if (first + Index(j * blockDim.x) >= count) return;
#pragma unroll
        for (int k = 0; k < O::OUTPUTS; ++k) {
            char *out = (char *)s.pointers[O::INPUTS + k];
            if (!O::OPTIONAL_OUTPUTS || out)
                store_scalar(out + offsets[j][O::INPUTS + k], E::bits(results[k]));
        }
    }
}

// Rows of whole aligned vectors: the index arithmetic is paid once per vector.
template <class O, class E, class P, typename Index, typename Offset>
MISH_DEVICE void strided_vectors(const Strided &s) {
    const int OPERANDS = O::INPUTS + O::OUTPUTS;
    const Index index = Index(blockIdx.x) * Index(blockDim.x) + threadIdx.x;
    if (index >= Index(s.count)) return;
    Offset offsets[OPERANDS];
    offsets_of<Index, Offset, OPERANDS>(s, index, offsets);
    Words<4> loaded[O::INPUTS];
#pragma unroll
    for (int k = 0; k < O::INPUTS; ++k)
        load_vector<P::LOAD>((const char *)s.pointers[k] + offsets[k], loaded[k]);
    void *out[O::OUTPUTS];
#pragma unroll
    for (int k = 0; k < O::OUTPUTS; ++k) {
        char *base = (char *)s.pointers[O::INPUTS + k];
        out[k] = !O::OPTIONAL_OUTPUTS || base ? base + offsets[O::INPUTS + k] : 0;
    }
    one_vector<O, E, 16, P>(loaded, out, 0, s.flags >> 16);
}

template <class O, class E, class P> MISH_DEVICE void strided(const Strided &s) {
    if (s.flags & STRIDED_NARROW) {
        if (s.flags & STRIDED_VECTOR) strided_vectors<O, E, P, mish_u32, mish_i32>(s);
        else strided_elements<O, E, P, mish_u32, mish_i32>(s);
    } else {
        if (s.flags & STRIDED_VECTOR) strided_vectors<O, E, P, mish_u64, mish_i64>(s);
        else strided_elements<O, E, P, mish_u64, mish_i64>(s);
    }
}

#endif

// The element types: how they lie in memory and in which type they are computed. `are_moderate`
// says whether `Quick` will do for the elements in some words.
#ifndef MISH_ELEMENT_CUH
#define MISH_ELEMENT_CUH

#include "math.cuh"

// An element type with one kind of formulas.
template <class M> struct Always {
    typedef M Math;
    typedef M Quick;
    template <int N> static MISH_DEVICE bool are_moderate(const mish_u32 (&)[N]) { return true; }
};

struct F16 : Always<MathF16> {
    typedef mish_u16 Bits;
    typedef float Value;
    static MISH_DEVICE float value(mish_u16 bits) { return f32_from_f16(bits); }
    static MISH_DEVICE mish_u16 bits(float value) { return f16_from_f32(value); }
    static MISH_DEVICE void unpack(const mish_u32 *words, float *values) {
        values[0] = f32_from_f16(mish_u16(words[0]));
        values[1] = f32_from_f16(mish_u16(words[0] >> 16));
    }
    static MISH_DEVICE void pack(const float *values, mish_u32 *words) {
        words[0] = f16x2_from_f32(values[0], values[1]);
    }
};

struct BF16 {
    typedef mish_u16 Bits;
    typedef float Value;
    typedef MathBF16 Math;
    typedef QuickBF16 Quick;
    // Whether all are below 32 in magnitude; a NaN may pass, which any formula keeps.
    template <int N> static MISH_DEVICE bool are_moderate(const mish_u32 (&words)[N]) {
        mish_u32 largest = words[0];
#pragma unroll
        for (int i = 1; i < N; ++i) largest = bf16x2_larger(largest, words[i]);
        // Adding carries into the sign bits.
        const mish_u32 bound = 0x4200u * 0x10001u;
        return (((largest & 0x7fff7fffu) + (0x80008000u - bound)) & 0x80008000u) == 0;
    }
    static MISH_DEVICE float value(mish_u16 bits) { return f32_from_bf16(bits); }
    static MISH_DEVICE mish_u16 bits(float value) { return bf16_from_f32(value); }
    static MISH_DEVICE void unpack(const mish_u32 *words, float *values) {
        values[0] = f32_from_bits(words[0] << 16);
        values[1] = f32_from_bits(words[0] & 0xffff0000u);
    }
    static MISH_DEVICE void pack(const float *values, mish_u32 *words) {
        words[0] = bf16x2_from_f32(values[0], values[1]);
    }
};

struct F32 : Always<MathF32> {
    typedef mish_u32 Bits;
    typedef float Value;
    static MISH_DEVICE float value(mish_u32 bits) { return f32_from_bits(bits); }
    static MISH_DEVICE mish_u32 bits(float value) { return bits_from_f32(value); }
    static MISH_DEVICE void unpack(const mish_u32 *words, float *values) {
        values[0] = f32_from_bits(words[0]);
    }
    static MISH_DEVICE void pack(const float *values, mish_u32 *words) {
        words[0] = bits_from_f32(values[0]);
    }
};

struct F64 : Always<MathF64> {
    typedef mish_u64 Bits;
    typedef double Value;
    static MISH_DEVICE double value(mish_u64 bits) { return f64_from_bits(bits); }
    static MISH_DEVICE mish_u64 bits(double value) { return bits_from_f64(value); }
    static MISH_DEVICE void unpack(const mish_u32 *words, double *values) {
        values[0] = f64_from_bits(mish_u64(words[1]) << 32 | words[0]);
    }
    static MISH_DEVICE void pack(const double *values, mish_u32 *words) {
        mish_u64 bits = bits_from_f64(values[0]);
        words[0] = mish_u32(bits);
        words[1] = mish_u32(bits >> 32);
    }
};

// A vector of `BYTES` bytes of elements of type E.
template <class E, int BYTES> struct Vector {
    static const int WORDS = BYTES / 4;
    static const int ELEMENTS = BYTES / int(sizeof(typename E::Bits));
    // `unpack` and `pack` work on the smallest group that fills whole words.
    static const int GROUP_WORDS = sizeof(typename E::Bits) == 8 ? 2 : 1;
    static const int GROUP_ELEMENTS = sizeof(typename E::Bits) == 2 ? 2 : 1;
};

#endif

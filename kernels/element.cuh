// The element types: how they lie in memory and in which type they are computed.
#ifndef MISH_ELEMENT_CUH
#define MISH_ELEMENT_CUH

#include "math.cuh"

struct F16 {
    typedef mish_u16 Bits;
    typedef float Value;
    typedef MathF16 Math;
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

struct F32 {
    typedef mish_u32 Bits;
    typedef float Value;
    typedef MathF32 Math;
    static MISH_DEVICE float value(mish_u32 bits) { return f32_from_bits(bits); }
    static MISH_DEVICE mish_u32 bits(float value) { return bits_from_f32(value); }
    static MISH_DEVICE void unpack(const mish_u32 *words, float *values) {
        values[0] = f32_from_bits(words[0]);
    }
    static MISH_DEVICE void pack(const float *values, mish_u32 *words) {
        words[0] = bits_from_f32(values[0]);
    }
};

struct F64 {
    typedef mish_u64 Bits;
    typedef double Value;
    typedef MathF64 Math;
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

    static MISH_DEVICE void unpack(const Words<WORDS> &v, typename E::Value *values) {
#pragma unroll
        for (int g = 0; g < WORDS / GROUP_WORDS; ++g)
            E::unpack(v.w + g * GROUP_WORDS, values + g * GROUP_ELEMENTS);
    }
    static MISH_DEVICE void pack(const typename E::Value *values, Words<WORDS> &v) {
#pragma unroll
        for (int g = 0; g < WORDS / GROUP_WORDS; ++g)
            E::pack(values + g * GROUP_ELEMENTS, v.w + g * GROUP_WORDS);
    }
};

#endif

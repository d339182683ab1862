// The element types: how they lie in memory, and in which type they are computed. Every conversion
// is exact or rounds once.
#ifndef MISH_DEVICE_ELEMENT_CUH
#define MISH_DEVICE_ELEMENT_CUH

#include "device/device.cuh"

struct F16 {
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
    static const int SIZE = sizeof(typename E::Bits);
    static const int WORDS = BYTES / 4;
    static const int ELEMENTS = BYTES / SIZE;
    // `unpack` and `pack` work on the smallest group that fills whole words.
    static const int GROUP_WORDS = SIZE == 8 ? 2 : 1;
    static const int GROUP_ELEMENTS = SIZE == 2 ? 2 : 1;
    static_assert(SIZE == 2 || SIZE == 4 || SIZE == 8, "what a group is made for");
    static_assert(GROUP_ELEMENTS * SIZE == GROUP_WORDS * 4, "a group fills its words");
    static_assert(BYTES == 16 || BYTES == 32, "the accesses that there are");
    static_assert(BYTES % SIZE == 0 && WORDS % GROUP_WORDS == 0, "whole elements and groups");
};

#endif

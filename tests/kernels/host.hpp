// The names of kernels/device/device.cuh that the mathematics uses, for a host compiler. Include
// this before any kernel header: the include guard then skips the real one.
//
// The GPU's approximate instructions return what `hardware` asks for, within the errors that
// NVIDIA documents for them (PTX ISA, "Floating Point Instructions"):
//
//   ex2.approx.ftz.f32   at most 2 ulp from the correctly rounded result
//   rcp.approx.ftz.f32   at most 1 ulp; taken from the correctly rounded result, which is the
//                        wider reading
//   rcp.approx.ftz.f64   looks at 20 bits of the significand and returns 20 bits, with no error
//                        stated: cutting both costs 2^-20 each, and 2^-19 more is allowed
//
// Memory accesses are not part of it: a test of whole kernels adds them, with the checks it wants.
#ifndef MISH_TESTS_KERNELS_HOST_HPP
#define MISH_TESTS_KERNELS_HOST_HPP

#include <cmath>
#include <cstdint>
#include <cstring>

#define MISH_DEVICE_DEVICE_CUH
#define MISH_DEVICE inline
#define MISH_GRID_CONSTANT

typedef std::uint16_t mish_u16;
typedef std::uint32_t mish_u32;
typedef std::uint64_t mish_u64;
typedef std::int32_t mish_i32;
typedef std::int64_t mish_i64;

// The registers of one vector access.
template <int N> struct Words {
    mish_u32 w[N];
};

// What the approximate instructions return next.
struct Hardware {
    int exp2_ulps = 0;          // -2 to 2, from the correctly rounded result
    int reciprocal_ulps = 0;    // -1 to 1, likewise
    double reciprocal_off = 0;  // -1 to 1, of the largest relative error of the float64 one
    double reciprocal_error = 0x1p-18;
};
inline thread_local Hardware hardware;

template <class To, class From> inline To mish_bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "same width");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline float f32_from_bits(mish_u32 bits) { return mish_bits_as<float>(bits); }
inline mish_u32 bits_from_f32(float value) { return mish_bits_as<mish_u32>(value); }
inline double f64_from_bits(mish_u64 bits) { return mish_bits_as<double>(bits); }
inline mish_u64 bits_from_f64(double value) { return mish_bits_as<mish_u64>(value); }

inline float mish_fma(float a, float b, float c) { return std::fma(a, b, c); }
inline double mish_fma(double a, double b, double c) { return std::fma(a, b, c); }

inline float mish_at_least(float x, float bound) { return x < bound ? bound : x; }
inline float mish_at_most(float x, float bound) { return x > bound ? bound : x; }
inline bool mish_above(float x, float bound) { return !(x <= bound); }
inline float mish_copysign(float magnitude, float sign) { return std::copysign(magnitude, sign); }
inline double mish_copysign(double magnitude, double sign) {
    return std::copysign(magnitude, sign);
}

inline float mish_select(mish_u32 mask, float a, float b) {
    return f32_from_bits((bits_from_f32(a) & mask) | (bits_from_f32(b) & ~mask));
}
inline float mish_magnitude(float x) { return std::fabs(x); }
inline float mish_larger(float a, float b) { return a > b || a != a ? a : b; }
inline float mish_smaller(float a, float b) { return a < b || a != a ? a : b; }

// Positive, finite floats only.
inline float mish_moved(float value, int ulps) {
    return f32_from_bits(bits_from_f32(value) + mish_u32(ulps));
}

inline float mish_exp2_approx(float x) {
    if (x != x || x == 0) return x + 1.0f;  // documented as they are
    if (x < -126) return 0;                 // flushed
    return mish_moved(float(std::exp2(double(x))), hardware.exp2_ulps);
}
inline float mish_reciprocal(float x) {
    return x == x ? mish_moved(1.0f / x, hardware.reciprocal_ulps) : x;
}
inline double mish_reciprocal_start(double x) {
    double result = 1.0 / x;
    result += result * (hardware.reciprocal_off * hardware.reciprocal_error);
    return f64_from_bits(bits_from_f64(result) & ~mish_u64(0xffffffffu));
}
inline double mish_reciprocal(double x) {
    const double start = mish_reciprocal_start(x);
    return std::fma(start, std::fma(-x, start, 1.0), start);
}

// A table of pairs, from which every lane takes its own.
#define MISH_TABLE static const
inline void mish_pair(const double (*table)[2], mish_i32 i, double &a, double &b) {
    a = table[i][0];
    b = table[i][1];
}

inline float f32_from_f16(mish_u16 bits) {
    const mish_u32 sign = mish_u32(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return f32_from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    // The scaling is exact, and takes subnormals to their place.
    return f32_from_bits(sign | bits_from_f32(f32_from_bits(magnitude << 13) * 0x1p112f));
}
inline mish_u16 f16_from_f32(float value) {
    const mish_u32 bits = bits_from_f32(value), magnitude = bits & 0x7fffffffu;
    const mish_u16 sign = mish_u16(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) return 0x7fffu;
    if (magnitude >= 0x477ff000u) return mish_u16(sign | 0x7c00u);
    // Beside 1/2, the last place of a float is that of float16's subnormals.
    if (magnitude < 0x38800000u)
        return mish_u16(sign | (bits_from_f32(f32_from_bits(magnitude) + 0.5f) - 0x3f000000u));
    return mish_u16(sign | (((magnitude + 0xfffu + (magnitude >> 13 & 1u)) >> 13) - 0x1c000u));
}
inline float f32_from_bf16(mish_u16 bits) { return f32_from_bits(mish_u32(bits) << 16); }
inline mish_u16 bf16_from_f32(float value) {
    const mish_u32 bits = bits_from_f32(value);
    return mish_u16(value != value ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline mish_u32 f16x2_from_f32(float low, float high) {
    return f16_from_f32(low) | mish_u32(f16_from_f32(high)) << 16;
}
inline mish_u32 bf16x2_from_f32(float low, float high) {
    return bf16_from_f32(low) | mish_u32(bf16_from_f32(high)) << 16;
}
inline mish_u32 bf16x2_larger(mish_u32 a, mish_u32 b) {
    const mish_u32 low = 0x7fffu, high = 0x7fff0000u;
    return ((a & low) > (b & low) ? a & low : b & low) |
           ((a & high) > (b & high) ? a & high : b & high);
}
inline mish_u32 multiply_high(mish_u32 a, mish_u32 b) { return mish_u32(mish_u64(a) * b >> 32); }
inline mish_u64 multiply_high(mish_u64 a, mish_u64 b) {
    return mish_u64((unsigned __int128)(a) * b >> 64);
}

#endif

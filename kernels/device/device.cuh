// What the kernels need from the machine: memory accesses of a given width and cache hint, and
// conversions. This is the only file with inline assembly; a host build replaces it by defining
// the same names first (the include guard then skips this text).
#ifndef MISH_DEVICE_DEVICE_CUH
#define MISH_DEVICE_DEVICE_CUH

#define MISH_DEVICE __device__ __forceinline__
// A kernel, found by its name: the most threads per block, and the fewest blocks that a
// multiprocessor must have room for.
#define MISH_KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)

// A parameter that is read where it lies, in constant memory (sm_70 and newer).
#if __CUDA_ARCH__ >= 700
#define MISH_GRID_CONSTANT __grid_constant__
#else
#define MISH_GRID_CONSTANT
#endif

typedef unsigned short mish_u16;
typedef unsigned int mish_u32;
typedef unsigned long long mish_u64;
typedef int mish_i32;
typedef long long mish_i64;

// Cache hints of the policy table.
enum Cache {
    // The hardware's default.
    CACHE_DEFAULT = 0,
    // Evict first: data that is touched once.
    CACHE_STREAM = 1,
    // Do not keep a copy in the first-level cache (loads, sm_70 and newer).
    CACHE_NO_L1 = 2,
};

// The registers of one vector access.
template <int N> struct Words {
    mish_u32 w[N];
};

#define MISH_LOAD16(hint)                                                                         \
    asm volatile("ld.global" hint ".v4.b32 {%0, %1, %2, %3}, [%4];"                               \
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])                         \
                 : "l"(__cvta_generic_to_global(address)))
#define MISH_STORE16(hint)                                                                        \
    asm volatile("st.global" hint ".v4.b32 [%0], {%1, %2, %3, %4};"                               \
                 :: "l"(__cvta_generic_to_global(address)), "r"(v.w[0]), "r"(v.w[1]),             \
                    "r"(v.w[2]), "r"(v.w[3])                                                      \
                 : "memory")

template <Cache C> MISH_DEVICE void load_vector(const void *address, Words<4> &v) {
    if (C == CACHE_STREAM) MISH_LOAD16(".cs");
#if __CUDA_ARCH__ >= 700
    else if (C == CACHE_NO_L1) MISH_LOAD16(".L1::no_allocate");
#endif
    else MISH_LOAD16("");
}

template <Cache C> MISH_DEVICE void store_vector(void *address, const Words<4> &v) {
    if (C == CACHE_STREAM) MISH_STORE16(".cs");
    else MISH_STORE16("");
}

#if __CUDA_ARCH__ >= 1000
#define MISH_LOAD32(hint)                                                                         \
    asm volatile("ld.global" hint ".v8.b32 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8];"               \
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3]), "=r"(v.w[4]),          \
                   "=r"(v.w[5]), "=r"(v.w[6]), "=r"(v.w[7])                                       \
                 : "l"(__cvta_generic_to_global(address)))
#define MISH_STORE32(hint)                                                                        \
    asm volatile("st.global" hint ".v8.b32 [%0], {%1, %2, %3, %4, %5, %6, %7, %8};"               \
                 :: "l"(__cvta_generic_to_global(address)), "r"(v.w[0]), "r"(v.w[1]),             \
                    "r"(v.w[2]), "r"(v.w[3]), "r"(v.w[4]), "r"(v.w[5]), "r"(v.w[6]), "r"(v.w[7])  \
                 : "memory")

template <Cache C> MISH_DEVICE void load_vector(const void *address, Words<8> &v) {
    if (C == CACHE_STREAM) MISH_LOAD32(".cs");
    else if (C == CACHE_NO_L1) MISH_LOAD32(".L1::no_allocate");
    else MISH_LOAD32("");
}

template <Cache C> MISH_DEVICE void store_vector(void *address, const Words<8> &v) {
    if (C == CACHE_STREAM) MISH_STORE32(".cs");
    else MISH_STORE32("");
}
#endif

// Single elements as bit patterns.
MISH_DEVICE void load_scalar(const void *address, mish_u16 &v) {
    asm volatile("ld.global.b16 %0, [%1];" : "=h"(v) : "l"(__cvta_generic_to_global(address)));
}
MISH_DEVICE void load_scalar(const void *address, mish_u32 &v) {
    asm volatile("ld.global.b32 %0, [%1];" : "=r"(v) : "l"(__cvta_generic_to_global(address)));
}
MISH_DEVICE void load_scalar(const void *address, mish_u64 &v) {
    asm volatile("ld.global.b64 %0, [%1];" : "=l"(v) : "l"(__cvta_generic_to_global(address)));
}
MISH_DEVICE void store_scalar(void *address, mish_u16 v) {
    asm volatile("st.global.b16 [%0], %1;" :: "l"(__cvta_generic_to_global(address)), "h"(v)
                 : "memory");
}
MISH_DEVICE void store_scalar(void *address, mish_u32 v) {
    asm volatile("st.global.b32 [%0], %1;" :: "l"(__cvta_generic_to_global(address)), "r"(v)
                 : "memory");
}
MISH_DEVICE void store_scalar(void *address, mish_u64 v) {
    asm volatile("st.global.b64 [%0], %1;" :: "l"(__cvta_generic_to_global(address)), "l"(v)
                 : "memory");
}

// Bit patterns to values.
MISH_DEVICE float f32_from_bits(mish_u32 bits) { return __uint_as_float(bits); }
MISH_DEVICE mish_u32 bits_from_f32(float value) { return __float_as_uint(value); }
MISH_DEVICE double f64_from_bits(mish_u64 bits) { return __longlong_as_double(bits); }
MISH_DEVICE mish_u64 bits_from_f64(double value) { return __double_as_longlong(value); }

// 16-bit types: widening is exact, narrowing rounds once, to nearest, ties to even.
MISH_DEVICE float f32_from_f16(mish_u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
MISH_DEVICE mish_u16 f16_from_f32(float value) {
    mish_u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
MISH_DEVICE float f32_from_bf16(mish_u16 bits) { return __uint_as_float(mish_u32(bits) << 16); }
MISH_DEVICE mish_u16 bf16_from_f32(float value) {
#if __CUDA_ARCH__ >= 800
    mish_u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    mish_u32 bits = __float_as_uint(value);
    mish_u32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    // A NaN must not round to infinity.
    return mish_u16(value != value ? 0x7fffu : rounded);
#endif
}

// Two 16-bit values per word, `low` at the lower address.
MISH_DEVICE mish_u32 f16x2_from_f32(float low, float high) {
#if __CUDA_ARCH__ >= 800
    mish_u32 bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
#else
    return mish_u32(f16_from_f32(low)) | mish_u32(f16_from_f32(high)) << 16;
#endif
}
MISH_DEVICE mish_u32 bf16x2_from_f32(float low, float high) {
#if __CUDA_ARCH__ >= 800
    mish_u32 bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
#else
    return mish_u32(bf16_from_f32(low)) | mish_u32(bf16_from_f32(high)) << 16;
#endif
}

// Of each pair of bfloat16 the one that is larger in magnitude, with any sign.
MISH_DEVICE mish_u32 bf16x2_larger(mish_u32 a, mish_u32 b) {
#if __CUDA_ARCH__ >= 900
    mish_u32 larger;
    asm("max.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
    return larger;
#else
    return __vmaxu2(a & 0x7fff7fffu, b & 0x7fff7fffu);
#endif
}

MISH_DEVICE mish_u32 multiply_high(mish_u32 a, mish_u32 b) { return __umulhi(a, b); }
MISH_DEVICE mish_u64 multiply_high(mish_u64 a, mish_u64 b) { return __umul64hi(a, b); }

// Arithmetic. Every fused multiply-add is written out, and the compiler makes no others.
MISH_DEVICE float mish_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
MISH_DEVICE double mish_fma(double a, double b, double c) { return __fma_rn(a, b, c); }

// The larger and the smaller of two, NaN if `x` is.
MISH_DEVICE float mish_at_least(float x, float bound) {
#if __CUDA_ARCH__ >= 800
    float result;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(x), "f"(bound));
    return result;
#else
    return x < bound ? bound : x;
#endif
}
MISH_DEVICE float mish_at_most(float x, float bound) {
#if __CUDA_ARCH__ >= 800
    float result;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(x), "f"(bound));
    return result;
#else
    return x > bound ? bound : x;
#endif
}

// x > bound, or a NaN, for a positive bound.
MISH_DEVICE bool mish_above(float x, float bound) { return !(x <= bound); }

// a where the mask is set, b elsewhere. In assembly, because the compiler would turn masks into
// predicates, of which there are not enough for all elements of a vector.
MISH_DEVICE float mish_select(mish_u32 mask, float a, float b) {
    mish_u32 result;
    asm("lop3.b32 %0, %1, %2, %3, 0xCA;"
        : "=r"(result) : "r"(mask), "r"(__float_as_uint(a)), "r"(__float_as_uint(b)));
    return __uint_as_float(result);
}

MISH_DEVICE float mish_magnitude(float x) { return fabsf(x); }
// NaN if either is.
MISH_DEVICE float mish_larger(float a, float b) {
#if __CUDA_ARCH__ >= 800
    return mish_at_least(a, b);
#else
    return a > b || a != a ? a : b;
#endif
}
MISH_DEVICE float mish_smaller(float a, float b) {
#if __CUDA_ARCH__ >= 800
    return mish_at_most(a, b);
#else
    return a < b || a != a ? a : b;
#endif
}

MISH_DEVICE float mish_copysign(float magnitude, float sign) { return copysignf(magnitude, sign); }
MISH_DEVICE double mish_copysign(double magnitude, double sign) {
    return copysign(magnitude, sign);
}

// 2^x to 2 units in the last place; 0 instead of a subnormal number.
MISH_DEVICE float mish_exp2_approx(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// A table of pairs, from which every lane takes its own.
#define MISH_TABLE __device__ const __align__(16)
MISH_DEVICE void mish_pair(const double (*table)[2], mish_i32 i, double &a, double &b) {
    const double2 pair = __ldg((const double2 *)table + i);
    a = pair.x;
    b = pair.y;
}

// 1/x for x from 2 to 2^122, to 1 unit in the last place.
MISH_DEVICE float mish_reciprocal(float x) {
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
// 20 bits, the lower half of the number zero.
MISH_DEVICE double mish_reciprocal_start(double x) {
    double result;
    asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(result) : "d"(x));
    return result;
}
// A step doubles the bits.
MISH_DEVICE double mish_reciprocal(double x) {
    const double start = mish_reciprocal_start(x);
    return __fma_rn(start, __fma_rn(-x, start, 1.0), start);
}

#endif

// Every kernel of the library. The host finds them by name: `mish_<operation>_<dtype>` for
// contiguous operands, with `_strided` appended for the rest. Contiguous kernels take the operand
// pointers in the operation's order, then a Span; strided ones take one Strided.
//
// `policy.cuh` is generated from src/cuda/policy.rs (by kernels/policy_header.rs) for the
// architecture at hand; it defines Policy<O, E> with THREADS, BLOCKS, VECTORS, VECTOR_BYTES,
// TOGETHER, LOAD, STORE and STRIDED_UNITS.
#include "strided.cuh"

#include "policy.cuh"

#define MISH_ENTRY(O, E) MISH_KERNEL(Policy<O, E>::THREADS, Policy<O, E>::BLOCKS)
#define MISH_STRIDED(O, E) MISH_KERNEL(Policy<O, E>::THREADS)

#define MISH_KERNELS(dtype, E)                                                                    \
    MISH_ENTRY(Forward, E) mish_forward_##dtype(const void *x, void *y, const Span span) {        \
        const void *in[] = {x};                                                                   \
        void *out[] = {y};                                                                        \
        contiguous<Forward, E, Policy<Forward, E>>(in, out, span);                                \
    }                                                                                             \
    MISH_ENTRY(Backward, E)                                                                       \
    mish_backward_##dtype(const void *grad_y, const void *x, void *grad_x, const Span span) {     \
        const void *in[] = {grad_y, x};                                                           \
        void *out[] = {grad_x};                                                                   \
        contiguous<Backward, E, Policy<Backward, E>>(in, out, span);                              \
    }                                                                                             \
    MISH_ENTRY(DoubleBackward, E)                                                                 \
    mish_double_backward_##dtype(const void *grad_grad_x, const void *grad_y, const void *x,      \
                                 void *grad_grad_y, void *grad_x, const Span span) {              \
        const void *in[] = {grad_grad_x, grad_y, x};                                              \
        void *out[] = {grad_grad_y, grad_x};                                                      \
        contiguous<DoubleBackward, E, Policy<DoubleBackward, E>>(in, out, span);                  \
    }                                                                                             \
    MISH_STRIDED(Forward, E) mish_forward_##dtype##_strided(MISH_GRID_CONSTANT const Strided s) {   \
        strided<Forward, E, Policy<Forward, E>>(s);                                               \
    }                                                                                             \
    MISH_STRIDED(Backward, E)                                                                     \
    mish_backward_##dtype##_strided(MISH_GRID_CONSTANT const Strided s) {                         \
        strided<Backward, E, Policy<Backward, E>>(s);                                             \
    }                                                                                             \
    MISH_STRIDED(DoubleBackward, E)                                                               \
    mish_double_backward_##dtype##_strided(MISH_GRID_CONSTANT const Strided s) {                  \
        strided<DoubleBackward, E, Policy<DoubleBackward, E>>(s);                                 \
    }

MISH_KERNELS(f16, F16)
MISH_KERNELS(bf16, BF16)
MISH_KERNELS(f32, F32)
MISH_KERNELS(f64, F64)

// Every kernel of the library. The host finds them by name: `mish_<operation>_<dtype>` for
// contiguous operands, with `_strided` appended for the rest. Contiguous kernels take the operands'
// pointers in the operation's order, then a Span; strided ones take one Strided.
#include "device.cuh"

#include "strided.cuh"

#define MISH_DEFINE(kernel, O, E)                                                                 \
    MISH_KERNEL(Policy<O, E>::THREADS, Policy<O, E>::BLOCKS)                                      \
    kernel(const Pointers<O> operands, const Span span) {                                         \
        contiguous<O, E, Policy<O, E>>(operands.p, span);                                         \
    }                                                                                             \
    MISH_KERNEL(Policy<O, E>::THREADS)                                                            \
    kernel##_strided(MISH_GRID_CONSTANT const Strided s) { strided<O, E, Policy<O, E>>(s); }

MISH_FOR_EACH_KERNEL(MISH_DEFINE)

// Every kernel of the library. The host finds them by name: `mish_<operation>_<dtype>` for
// contiguous operands, with `_strided` appended for the rest. Contiguous kernels take the operands'
// pointers in the operation's order, then a Span; strided ones take one Strided.
#include "operations/mish.cuh"

#include "loops/contiguous.cuh"
#include "loops/strided.cuh"

#define MISH_DEFINE(kernel, O, E)                                                                 \
    MISH_KERNEL(Policy<O, E>::THREADS, Policy<O, E>::RESIDENT_BLOCKS)                             \
    kernel(const Pointers<O> operands, const Span span) {                                         \
        O operation;                                                                              \
        contiguous<E, Policy<O, E>>(operation, operands.p, span);                                 \
    }                                                                                             \
    MISH_KERNEL(Policy<O, E>::THREADS)                                                            \
    kernel##_strided(MISH_GRID_CONSTANT const Strided s) {                                        \
        O operation;                                                                              \
        strided<E, Policy<O, E>>(operation, s);                                                   \
    }

MISH_FOR_EACH_KERNEL(MISH_DEFINE)

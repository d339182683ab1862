/* A million calls, good and bad, of every function: memory does not grow. The number of calls may
 * be given as an argument. */
#include <malloc.h>
#include <stdlib.h>

#include "check.h"

#define CPU MISH_DEVICE_CPU

static int64_t shape[2] = {4, 4}, turned[2] = {1, 4};

static mish_tensor tensor(void *data, int64_t *strides) {
    mish_tensor t;
    memset(&t, 0, sizeof t);
    t.data = data;
    t.device_type = CPU;
    t.ndim = 2;
    t.dtype.code = 2;
    t.dtype.bits = 32;
    t.dtype.lanes = 1;
    t.shape = shape;
    t.strides = strides;
    return t;
}

/* Whether call number `i` ended as it must. */
static int round_of_calls(long i) {
    const mish_dtype dtype = (mish_dtype)(1 + i % 4);
    const mish_tensor x = tensor(at(X), NULL), y = tensor(at(A), turned);
    int32_t count = 0;
    switch (i % 12) {
    case 0: case 1:
        return mish_forward(CPU, dtype, at(X), at(A), COUNT, NULL) == MISH_STATUS_OK;
    case 2: case 3:
        return mish_backward(CPU, dtype, at(G), at(X), at(A), COUNT, NULL) == MISH_STATUS_OK;
    case 4:
        return mish_double_backward(CPU, dtype, at(G2), at(G), at(X), at(A), at(B), COUNT, NULL) ==
               MISH_STATUS_OK;
    case 5:
        return mish_tensor_forward(&x, &y, NULL) == MISH_STATUS_OK;
    case 6:
        return mish_tensor_forward(&x, NULL, NULL) == MISH_STATUS_NULL_POINTER;
    case 7:
        return mish_forward(CPU, dtype, NULL, at(A), COUNT, NULL) == MISH_STATUS_NULL_POINTER;
    case 8:
        return mish_forward(CPU, (mish_dtype)(100 + i % 100), at(X), at(A), COUNT, NULL) ==
               MISH_STATUS_UNKNOWN_DTYPE;
    case 9:
        return mish_warmup(CPU, (int32_t)(1 + i % 7)) == MISH_STATUS_INVALID_ORDINAL;
    case 10:
        return mish_device_count(CPU, &count) == MISH_STATUS_OK && count == 1;
    default:
        return mish_status_name(i % 100 == 0 ? 0 : -1) != NULL && mish_build_info() != NULL &&
               mish_last_error() != NULL && mish_version() != NULL;
    }
}

/* Bytes that the allocator has given out; before glibc 2.33 only a narrow number tells. */
static size_t allocated(void) {
#if __GLIBC_PREREQ(2, 33)
    return mallinfo2().uordblks;
#else
    return (unsigned)mallinfo().uordblks;
#endif
}

int main(int argc, char **argv) {
    const long calls = argc > 1 ? strtol(argv[1], NULL, 10) : 1000000;
    long right = 0;
    size_t start, end;
    fill();
    for (long i = 0; i < 1200; i++) round_of_calls(i);
    start = allocated();
    for (long i = 0; i < calls; i++) right += round_of_calls(i);
    end = allocated();
    CHECK(right == calls);
    if (end > start + 1024) printf("%zu bytes, then %zu\n", start, end);
    CHECK(end <= start + 1024);
    return summary();
}

/* Calls of libmish on a device's memory: every way of a call to its launch. As it stands, the memory
 * and the stream are what the stub driver (bench/stub_cuda.c) takes for such. */
#ifndef MISH_BENCH_CALLS_H
#define MISH_BENCH_CALLS_H

#include <stdint.h>
#include <string.h>

#include "../tests/catalogue.h"
#include "mish.h"

#define ELEMENTS 4096

#define NAME(name, inputs, outputs) #name,
static const char *const OPERATION_NAMES[] = {MISH_FOR_EACH_OPERATION(NAME)};
#define OPERATIONS ((int)(sizeof OPERATION_NAMES / sizeof *OPERATION_NAMES))

static uint64_t device_memory = UINT64_C(0x7f0000000000);
static void *device_stream = (void *)0x3000;

/* The operands of one call: pointers, or tensors where there are dimensions. */
struct call {
    const char *name;
    /* Whether it is made on `device_stream`. */
    int has_stream;
    int ndim;
    int64_t shape[8], inputs[8], outputs[8];
    /* Whether the operands are columns of one matrix. */
    int is_shared;
};

static const struct call CALLS[] = {
    {.name = "pointers"},
    {.name = "pointers, a stream", .has_stream = 1},
    {"tensors, contiguous", 0, 2, {64, 64}, {64, 1}, {64, 1}, 0},
    {"tensors, padded rows", 0, 2, {64, 64}, {72, 1}, {64, 1}, 0},
    {"tensors, transposed", 0, 2, {64, 64}, {1, 72}, {64, 1}, 0},
    {"tensors, columns of one", 0, 2, {64, 64}, {320, 1}, {320, 1}, 1},
    /* No two dimensions can be walked as one: the most that a call may have. */
    {"tensors, 8 dimensions",
     0,
     8,
     {4, 2, 4, 2, 4, 2, 4, 2},
     {1, 5, 11, 53, 111, 445, 893, 3575},
     {1024, 512, 128, 64, 16, 8, 2, 1},
     0},
};
#define CALL_COUNT (sizeof CALLS / sizeof *CALLS)

/* The tensors of the next call. */
static mish_tensor tensors[5];

static void *operand(int k, uint64_t distance) {
    return (void *)(uintptr_t)(device_memory + (uint64_t)k * distance);
}

static void prepare(const struct call *call, int operation) {
    for (int k = 0; k < 5; k++) {
        const mish_tensor tensor = {
            .data = operand(k, call->is_shared ? 256 : 1 << 24),
            .device_type = MISH_DEVICE_CUDA,
            .ndim = call->ndim,
            .dtype = {2, 32, 1},
            .shape = (int64_t *)call->shape,
            .strides = (int64_t *)(k <= operation ? call->inputs : call->outputs),
        };
        tensors[k] = tensor;
    }
}

static mish_status make(const struct call *call, int operation) {
    const mish_device cuda = MISH_DEVICE_CUDA;
    const mish_dtype f32 = MISH_DTYPE_F32;
    const size_t n = ELEMENTS;
    const mish_tensor *t = tensors;
    void *const stream = call->has_stream ? device_stream : NULL;
    if (call->ndim == 0)
        switch (operation) {
        case 0: return mish_forward(cuda, f32, t[0].data, t[1].data, n, stream);
        case 1: return mish_backward(cuda, f32, t[0].data, t[1].data, t[2].data, n, stream);
        default:
            return mish_double_backward(cuda, f32, t[0].data, t[1].data, t[2].data, t[3].data,
                                        t[4].data, n, stream);
        }
    switch (operation) {
    case 0: return mish_tensor_forward(t, t + 1, stream);
    case 1: return mish_tensor_backward(t, t + 1, t + 2, stream);
    default: return mish_tensor_double_backward(t, t + 1, t + 2, t + 3, t + 4, stream);
    }
}

#endif

/* Every kind of bad input through the C ABI: its own status, a message that names the argument,
 * and no byte written. */
#include <stdlib.h>

#include "check.h"

#define CPU MISH_DEVICE_CPU
#define F32 MISH_DTYPE_F32

static mish_status forward(const void *x, void *y) {
    return mish_forward(CPU, F32, x, y, COUNT, NULL);
}
static mish_status backward(const void *g, const void *x, void *o) {
    return mish_backward(CPU, F32, g, x, o, COUNT, NULL);
}
static mish_status twice(const void *h, const void *g, const void *x, void *a, void *b) {
    return mish_double_backward(CPU, F32, h, g, x, a, b, COUNT, NULL);
}
static char *shifted(int operand, int bytes) { return (char *)at(operand) + bytes; }

static void pointers(void) {
    REFUSED(MISH_STATUS_NULL_POINTER, "x", forward(NULL, at(A)));
    REFUSED(MISH_STATUS_NULL_POINTER, "y", forward(at(X), NULL));
    REFUSED(MISH_STATUS_NULL_POINTER, "grad_y", backward(NULL, at(X), at(A)));
    REFUSED(MISH_STATUS_NULL_POINTER, "x", backward(at(G), NULL, at(A)));
    REFUSED(MISH_STATUS_NULL_POINTER, "grad_x", backward(at(G), at(X), NULL));
    REFUSED(MISH_STATUS_NULL_POINTER, "grad_grad_x", twice(NULL, at(G), at(X), at(A), at(B)));
    REFUSED(MISH_STATUS_NULL_POINTER, "grad_y", twice(at(G2), NULL, at(X), at(A), at(B)));
    REFUSED(MISH_STATUS_NULL_POINTER, "x", twice(at(G2), at(G), NULL, at(A), at(B)));
    REFUSED(MISH_STATUS_NULL_POINTER, "grad_grad_y, grad_x",
            twice(at(G2), at(G), at(X), NULL, NULL));

    REFUSED(MISH_STATUS_MISALIGNED, "x", forward(shifted(X, 2), at(A)));
    REFUSED(MISH_STATUS_MISALIGNED, "y", forward(at(X), shifted(A, 1)));
    REFUSED(MISH_STATUS_MISALIGNED, "grad_y", backward(shifted(G, 3), at(X), at(A)));
    REFUSED(MISH_STATUS_MISALIGNED, "grad_x", twice(at(G2), at(G), at(X), at(A), shifted(B, 2)));
    REFUSED(MISH_STATUS_MISALIGNED, "x",
            mish_forward(CPU, MISH_DTYPE_F16, shifted(X, 1), at(A), COUNT, NULL));
    REFUSED(MISH_STATUS_MISALIGNED, "y",
            mish_forward(CPU, MISH_DTYPE_BF16, at(X), shifted(A, 1), COUNT, NULL));
    REFUSED(MISH_STATUS_MISALIGNED, "x",
            mish_forward(CPU, MISH_DTYPE_F64, shifted(X, 4), at(A), COUNT, NULL));
}

static void overlap(void) {
    REFUSED(MISH_STATUS_OVERLAP, "y", forward(at(X), shifted(X, 4)));
    REFUSED(MISH_STATUS_OVERLAP, "y", forward(shifted(X, 4 * (COUNT - 1)), at(X)));
    REFUSED(MISH_STATUS_OVERLAP, "grad_x", backward(at(G), at(X), shifted(G, 8)));
    REFUSED(MISH_STATUS_OVERLAP, "grad_x", backward(at(G), at(X), shifted(X, 8)));
    REFUSED(MISH_STATUS_OVERLAP, "grad_grad_y",
            twice(at(G2), at(G), at(X), shifted(G2, 12), at(B)));
    REFUSED(MISH_STATUS_OVERLAP, "grad_x", twice(at(G2), at(G), at(X), at(A), shifted(A, 4)));
    REFUSED(MISH_STATUS_OVERLAP, "grad_x", twice(at(G2), at(G), at(X), at(A), at(A)));
    REFUSED(MISH_STATUS_OVERLAP, "grad_x", twice(at(G2), at(G), at(X), at(X), at(X)));
}

static void enums(void) {
    static const int32_t devices[] = {0, 3, -1, 13, 0x7fffffff};
    static const int32_t dtypes[] = {0, 5, -1, 256, 0x7fffffff};
    for (int i = 0; i < 5; i++) {
        int32_t device = devices[i], dtype = dtypes[i], count = 77;
        REFUSED(MISH_STATUS_UNKNOWN_DEVICE, "device",
                mish_forward(device, F32, at(X), at(A), COUNT, NULL));
        REFUSED(MISH_STATUS_UNKNOWN_DEVICE, "device",
                mish_backward(device, F32, at(G), at(X), at(A), COUNT, NULL));
        REFUSED(MISH_STATUS_UNKNOWN_DEVICE, "device", mish_warmup(device, 0));
        REFUSED(MISH_STATUS_UNKNOWN_DEVICE, "device", mish_device_count(device, &count));
        CHECK(count == 77);
        REFUSED(MISH_STATUS_UNKNOWN_DTYPE, "dtype",
                mish_forward(CPU, dtype, at(X), at(A), COUNT, NULL));
        REFUSED(MISH_STATUS_UNKNOWN_DTYPE, "dtype",
                mish_backward(CPU, dtype, at(G), at(X), at(A), COUNT, NULL));
        REFUSED(MISH_STATUS_UNKNOWN_DTYPE, "dtype",
                mish_double_backward(CPU, dtype, at(G2), at(G), at(X), at(A), at(B), COUNT, NULL));
    }
}

static void sizes_and_streams(void) {
    int stream = 0;
    REFUSED(MISH_STATUS_TOO_LARGE, "n", mish_forward(CPU, F32, at(X), at(A), SIZE_MAX, NULL));
    REFUSED(MISH_STATUS_TOO_LARGE, "n", mish_forward(CPU, F32, at(X), at(A), SIZE_MAX / 4, NULL));
    REFUSED(MISH_STATUS_INVALID_STREAM, "stream",
            mish_forward(CPU, F32, at(X), at(A), COUNT, &stream));
    REFUSED(MISH_STATUS_INVALID_STREAM, "stream",
            mish_backward(CPU, F32, at(G), at(X), at(A), COUNT, &stream));
    REFUSED(MISH_STATUS_INVALID_STREAM, "stream",
            mish_double_backward(CPU, F32, at(G2), at(G), at(X), at(A), at(B), COUNT, &stream));
    REFUSED(MISH_STATUS_NULL_POINTER, "count", mish_device_count(CPU, NULL));
    REFUSED(MISH_STATUS_INVALID_ORDINAL, "ordinal", mish_warmup(CPU, 1));
    REFUSED(MISH_STATUS_INVALID_ORDINAL, "ordinal", mish_warmup(CPU, -1));
}

/* Host memory as CUDA memory: what is wrong depends on the machine. */
static void host_as_cuda(void) {
    int32_t gpus = 0;
    mish_status there = mish_device_count(MISH_DEVICE_CUDA, &gpus);
    mish_status got = mish_forward(MISH_DEVICE_CUDA, F32, at(X), at(A), COUNT, NULL);
    mish_tensor x = {0}, y;
    int64_t shape = COUNT;
    if (there == MISH_STATUS_OK && gpus > 0) {
        refused(got, MISH_STATUS_NOT_DEVICE_POINTER, "x", "host as CUDA", __FILE__, __LINE__);
    } else {
        CHECK(there == MISH_STATUS_NO_DRIVER || there == MISH_STATUS_NOT_BUILT ||
              there == MISH_STATUS_OK);
        CHECK(got == (there == MISH_STATUS_OK ? MISH_STATUS_NO_DEVICE : there));
        CHECK(strlen(mish_last_error()) > 10);
        CHECK(mish_warmup(MISH_DEVICE_CUDA, 0) == got);
    }
    CHECK(untouched());
    x.data = at(X);
    x.device_type = MISH_DEVICE_CUDA;
    x.ndim = 1;
    x.dtype.code = 2;
    x.dtype.bits = 32;
    x.dtype.lanes = 1;
    x.shape = &shape;
    y = x;
    y.data = at(A);
    CHECK(mish_tensor_forward(&x, &y, NULL) == got);
    CHECK(untouched());
}

/* Tensors. */
static int64_t shape[8] = {4, 4, 1, 1, 1, 1, 1, 1};
static int64_t other_shape[2] = {2, 8};

static mish_tensor tensor(int operand) {
    mish_tensor made = {0};
    made.data = at(operand);
    made.device_type = CPU;
    made.ndim = 2;
    made.dtype.code = 2;
    made.dtype.bits = 32;
    made.dtype.lanes = 1;
    made.shape = shape;
    return made;
}

/* The same fault in the input and in the output of a forward call. */
#define FAULTY(status, field, value) \
    do { \
        mish_tensor x = tensor(X), y = tensor(A); \
        x.field = value; \
        REFUSED(status, "x", mish_tensor_forward(&x, &y, NULL)); \
        x = tensor(X); \
        y.field = value; \
        REFUSED(status, "y", mish_tensor_forward(&x, &y, NULL)); \
    } while (0)

static void tensor_fields(void) {
    int64_t negative[2] = {4, -4};
    mish_tensor x = tensor(X), y = tensor(A), g = tensor(G);
    REFUSED(MISH_STATUS_NULL_POINTER, "x", mish_tensor_forward(NULL, &y, NULL));
    REFUSED(MISH_STATUS_NULL_POINTER, "y", mish_tensor_forward(&x, NULL, NULL));
    REFUSED(MISH_STATUS_NULL_POINTER, "grad_y", mish_tensor_backward(NULL, &x, &y, NULL));
    REFUSED(MISH_STATUS_NULL_POINTER, "grad_grad_y, grad_x",
            mish_tensor_double_backward(&g, &g, &x, NULL, NULL, NULL));
    FAULTY(MISH_STATUS_NULL_POINTER, data, NULL);
    FAULTY(MISH_STATUS_NULL_POINTER, shape, NULL);
    FAULTY(MISH_STATUS_UNSUPPORTED_DTYPE, dtype.code, 0);  /* integer */
    FAULTY(MISH_STATUS_UNSUPPORTED_DTYPE, dtype.code, 5);  /* complex */
    FAULTY(MISH_STATUS_UNSUPPORTED_DTYPE, dtype.bits, 8);
    FAULTY(MISH_STATUS_UNSUPPORTED_DTYPE, dtype.bits, 128);
    FAULTY(MISH_STATUS_UNSUPPORTED_LANES, dtype.lanes, 4);
    FAULTY(MISH_STATUS_UNSUPPORTED_LANES, dtype.lanes, 0);
    FAULTY(MISH_STATUS_UNSUPPORTED_DEVICE, device_type, 10); /* ROCm */
    FAULTY(MISH_STATUS_UNSUPPORTED_DEVICE, device_type, 0);
    FAULTY(MISH_STATUS_INVALID_SHAPE, ndim, -1);
    FAULTY(MISH_STATUS_INVALID_SHAPE, ndim, 9);
    FAULTY(MISH_STATUS_MISALIGNED, byte_offset, 2);
    x.shape = y.shape = negative;
    REFUSED(MISH_STATUS_INVALID_SHAPE, "x", mish_tensor_forward(&x, &y, NULL));
    x = tensor(X);
    x.byte_offset = UINT64_MAX;
    y = tensor(A);
    REFUSED(MISH_STATUS_TOO_LARGE, "x", mish_tensor_forward(&x, &y, NULL));
}

static void tensor_mismatches(void) {
    mish_tensor x = tensor(X), y = tensor(A), g = tensor(G), h = tensor(G2), b = tensor(B);
    int stream = 0;
    y.shape = other_shape;
    REFUSED(MISH_STATUS_SHAPE_MISMATCH, "y", mish_tensor_forward(&x, &y, NULL));
    y = tensor(A);
    y.ndim = 1;
    REFUSED(MISH_STATUS_SHAPE_MISMATCH, "y", mish_tensor_forward(&x, &y, NULL));
    y = tensor(A);
    y.dtype.bits = 64;
    REFUSED(MISH_STATUS_DTYPE_MISMATCH, "y", mish_tensor_forward(&x, &y, NULL));
    y = tensor(A);
    b.shape = other_shape;
    REFUSED(MISH_STATUS_SHAPE_MISMATCH, "grad_x",
            mish_tensor_double_backward(&h, &g, &x, &y, &b, NULL));
    x.shape = other_shape;
    REFUSED(MISH_STATUS_SHAPE_MISMATCH, "x", mish_tensor_backward(&g, &x, &y, NULL));
    x = tensor(X);
    y.device_type = MISH_DEVICE_CUDA;
    REFUSED(MISH_STATUS_DEVICE_MISMATCH, "y", mish_tensor_forward(&x, &y, NULL));
    y = tensor(A);
    REFUSED(MISH_STATUS_INVALID_STREAM, "stream", mish_tensor_forward(&x, &y, &stream));
}

static void tensor_strides(void) {
    int64_t huge[2] = {INT64_MAX / 8, 1}, lowest[2] = {INT64_MIN, 1}, large[2] = {1LL << 40, 1LL << 40};
    int64_t zero[2] = {0, 1}, crossing[2] = {2, 1}, by_two[2] = {8, 2}, by_one[2] = {4, 1};
    int64_t mirrored[2] = {4, -1}, vast[2] = {INT64_MAX, 1};
    int64_t far_back[2] = {-2536604082937703277, 1};
    mish_tensor x = tensor(X), y = tensor(A);

    x.strides = huge;
    REFUSED(MISH_STATUS_STRIDE_OVERFLOW, "x", mish_tensor_forward(&x, &y, NULL));
    x.strides = lowest;
    REFUSED(MISH_STATUS_STRIDE_OVERFLOW, "x", mish_tensor_forward(&x, &y, NULL));
    x = tensor(X);
    y.strides = huge;
    REFUSED(MISH_STATUS_STRIDE_OVERFLOW, "y", mish_tensor_forward(&x, &y, NULL));
    y = tensor(A);
    x.shape = y.shape = large;
    REFUSED(MISH_STATUS_TOO_LARGE, "x", mish_tensor_forward(&x, &y, NULL));
    /* Further than 128-bit bytes reach. */
    x.shape = y.shape = vast;
    x.strides = y.strides = far_back;
    x.dtype.bits = y.dtype.bits = 64;
    REFUSED(MISH_STATUS_STRIDE_OVERFLOW, "x", mish_tensor_forward(&x, &y, NULL));

    x = tensor(X);
    y = tensor(A);
    y.strides = zero;
    REFUSED(MISH_STATUS_SELF_OVERLAP, "y", mish_tensor_forward(&x, &y, NULL));
    y.strides = crossing;
    REFUSED(MISH_STATUS_SELF_OVERLAP, "y", mish_tensor_forward(&x, &y, NULL));
    {
        mish_tensor g = tensor(G), h = tensor(G2), b = tensor(B);
        b.strides = zero;
        y = tensor(A);
        REFUSED(MISH_STATUS_SELF_OVERLAP, "grad_x",
                mish_tensor_double_backward(&h, &g, &x, &y, &b, NULL));
    }

    /* The same memory walked another way. */
    y = tensor(X);
    x.strides = by_two;
    y.strides = by_one;
    REFUSED(MISH_STATUS_OVERLAP, "y", mish_tensor_forward(&x, &y, NULL));
    y.strides = mirrored;
    y.data = floats(X) + 3;
    x.strides = by_one;
    REFUSED(MISH_STATUS_OVERLAP, "y", mish_tensor_forward(&x, &y, NULL));
}

static void names(void) {
    static const int32_t unknown[] = {-1, 9, 1000, INT32_MAX, INT32_MIN};
    CHECK(strcmp(mish_status_name(MISH_STATUS_OK), "MISH_STATUS_OK") == 0);
    CHECK(strcmp(mish_status_name(MISH_STATUS_OVERLAP), "MISH_STATUS_OVERLAP") == 0);
    for (int i = 0; i < 5; i++)
        CHECK(strcmp(mish_status_name(unknown[i]), "MISH_STATUS_UNKNOWN") == 0);
    CHECK(strcmp(mish_version(), MISH_VERSION) == 0);
    CHECK(mish_abi_version() == MISH_ABI_VERSION);
    CHECK(mish_build_info()[0] == '{');
}

int main(void) {
    CHECK(strcmp(mish_last_error(), "") == 0);
    fill();
    pointers();
    overlap();
    enums();
    sizes_and_streams();
    host_as_cuda();
    tensor_fields();
    tensor_mismatches();
    tensor_strides();
    names();
    return summary();
}

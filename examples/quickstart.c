/*
 * Mish, its gradient and its second derivative from C: on host arrays and, where there is a GPU,
 * on device memory, which the driver API gives without any toolkit.
 *
 *     cc -I include examples/quickstart.c -L target/release -lmish -ldl
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "mish.h"

enum { N = 8, BYTES = N * sizeof(float) };

static void check(mish_status status) {
    if (status != MISH_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", mish_status_name(status), mish_last_error());
        exit(1);
    }
}

static void print(const char *device, const char *operation, const float *values) {
    for (int i = 0; i < N; i++) printf("%s %s %d %.9g\n", device, operation, i, values[i]);
}

static const float x[N] = {-20, -5, -2, -1, 0, 0.5, 1, 10};
static const float grad_y[N] = {1, 2, 3, 4, 5, 6, 7, 8};
static const float grad_grad_x[N] = {8, 7, 6, 5, 4, 3, 2, 1};

static void on_host(void) {
    float y[N], grad_x[N], grad_grad_y[N];
    check(mish_forward(MISH_DEVICE_CPU, MISH_DTYPE_F32, x, y, N, NULL));
    print("cpu", "forward", y);
    check(mish_backward(MISH_DEVICE_CPU, MISH_DTYPE_F32, grad_y, x, grad_x, N, NULL));
    print("cpu", "backward", grad_x);
    check(mish_double_backward(MISH_DEVICE_CPU, MISH_DTYPE_F32, grad_grad_x, grad_y, x,
                               grad_grad_y, grad_x, N, NULL));
    print("cpu", "grad_grad_y", grad_grad_y);
    print("cpu", "grad_x", grad_x);
}

/* The few functions of the driver that hold memory. */
static void *driver;

static void cuda(const char *name, int code) {
    if (code != 0) {
        fprintf(stderr, "%s failed: %d\n", name, code);
        exit(1);
    }
}
#define CUDA(name, parameters, ...) \
    do { \
        int(*function) parameters; \
        *(void **)&function = dlsym(driver, #name); \
        cuda(#name, function ? function(__VA_ARGS__) : -1); \
    } while (0)

static void *upload(const float *values) {
    unsigned long long pointer;
    CUDA(cuMemAlloc_v2, (unsigned long long *, size_t), &pointer, BYTES);
    if (values) CUDA(cuMemcpyHtoD_v2, (unsigned long long, const void *, size_t), pointer, values, BYTES);
    return (void *)(uintptr_t)pointer;
}

static void show(const char *operation, const void *pointer) {
    float values[N];
    /* A copy on the default stream waits for what was enqueued there. */
    CUDA(cuMemcpyDtoH_v2, (void *, unsigned long long, size_t), values, (uintptr_t)pointer, BYTES);
    print("cuda", operation, values);
}

static void on_gpu(void) {
    void *context;
    driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver) exit(1);
    CUDA(cuInit, (unsigned), 0);
    CUDA(cuDevicePrimaryCtxRetain, (void **, int), &context, 0);
    CUDA(cuCtxSetCurrent, (void *), context);
    void *dx = upload(x), *dg = upload(grad_y), *dh = upload(grad_grad_x);
    void *first = upload(NULL), *second = upload(NULL);
    check(mish_forward(MISH_DEVICE_CUDA, MISH_DTYPE_F32, dx, first, N, NULL));
    show("forward", first);
    check(mish_backward(MISH_DEVICE_CUDA, MISH_DTYPE_F32, dg, dx, first, N, NULL));
    show("backward", first);
    check(mish_double_backward(MISH_DEVICE_CUDA, MISH_DTYPE_F32, dh, dg, dx, first, second, N, NULL));
    show("grad_grad_y", first);
    show("grad_x", second);
}

int main(void) {
    int32_t gpus = 0;
    on_host();
    if (mish_device_count(MISH_DEVICE_CUDA, &gpus) == MISH_STATUS_OK && gpus > 0)
        on_gpu();
    else
        fprintf(stderr, "no GPU: %s\n", mish_last_error());
    return 0;
}

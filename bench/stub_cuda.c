/* A CUDA driver of empty functions, for what libmish itself costs (bench/overhead.c): every call
 * succeeds at once, every address is memory of one device in one context. Build it as
 * libcuda.so.1. It runs nothing; tests/standin is the one that does. */
#include <stddef.h>
#include <stdint.h>

typedef unsigned int code;

#define CONTEXT ((void *)0x1000)
#define HANDLE ((void *)0x2000)

code cuInit(unsigned flags) { return flags; }

code cuDriverGetVersion(int *version) {
    *version = 12080;
    return 0;
}

code cuGetErrorName(code error, const char **name) {
    (void)error;
    *name = "CUDA_ERROR_OF_THE_STUB";
    return 0;
}

code cuDeviceGetCount(int *count) {
    *count = 1;
    return 0;
}

code cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return 0;
}

code cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    if (length > 0)
        name[0] = 0;
    return 0;
}

/* An H200's numbers. */
code cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 16: *value = 132; break;  /* multiprocessors */
    case 39: *value = 2048; break; /* threads of one */
    case 75: *value = 9; break;    /* compute capability */
    default: *value = 0;
    }
    return 0;
}

code cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = CONTEXT;
    return 0;
}

code cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    (void)device;
    *flags = 0;
    *active = 1;
    return 0;
}

code cuCtxPushCurrent_v2(void *context) {
    (void)context;
    return 0;
}

code cuCtxPopCurrent_v2(void **context) {
    *context = CONTEXT;
    return 0;
}

code cuCtxSetCurrent(void *context) {
    (void)context;
    return 0;
}

code cuCtxSynchronize(void) { return 0; }

code cuMemAlloc_v2(uint64_t *address, size_t size) {
    (void)size;
    *address = UINT64_C(0x7f0000000000);
    return 0;
}

code cuStreamCreate(void **stream, unsigned flags) {
    (void)flags;
    *stream = (void *)0x3000;
    return 0;
}

code cuCtxGetCurrent(void **context) {
    *context = CONTEXT;
    return 0;
}

code cuCtxGetDevice(int *device) {
    *device = 0;
    return 0;
}

code cuCtxGetId(void *context, uint64_t *id) {
    (void)context;
    *id = 1;
    return 0;
}

code cuStreamGetCtx(void *stream, void **context) {
    (void)stream;
    *context = CONTEXT;
    return 0;
}

code cuStreamIsCapturing(void *stream, unsigned *status) {
    (void)stream;
    *status = 0;
    return 0;
}

code cuThreadExchangeStreamCaptureMode(unsigned *mode) {
    *mode = 0;
    return 0;
}

code cuPointerGetAttributes(unsigned count, const unsigned *attributes, void **data, uint64_t address) {
    (void)address;
    for (unsigned i = 0; i < count; i++)
        switch (attributes[i]) {
        case 1: *(void **)data[i] = CONTEXT; break;
        case 2: *(unsigned *)data[i] = 2; break; /* a device's */
        case 8: *(unsigned *)data[i] = 0; break; /* managed */
        case 9: *(int *)data[i] = 0; break;      /* ordinal */
        case 11: *(uint64_t *)data[i] = UINT64_C(0x7f0000000000); break;
        case 12: *(size_t *)data[i] = (size_t)1 << 40; break;
        default: break;
        }
    return 0;
}

code cuModuleLoadData(void **module, const void *image) {
    (void)image;
    *module = HANDLE;
    return 0;
}

code cuModuleUnload(void *module) {
    (void)module;
    return 0;
}

code cuModuleGetFunction(void **function, void *module, const char *name) {
    (void)module, (void)name;
    *function = HANDLE;
    return 0;
}

code cuModuleGetLoadingMode(unsigned *mode) {
    *mode = 1;
    return 0;
}

code cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                    unsigned block_y, unsigned block_z, unsigned shared, void *stream, void **parameters,
                    void **extra) {
    (void)function, (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y;
    (void)block_z, (void)shared, (void)stream, (void)parameters, (void)extra;
    return 0;
}

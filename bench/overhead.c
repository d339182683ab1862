/* What a CUDA call of libmish costs the CPU beyond cuLaunchKernel itself, every check included.
 *
 *     overhead FILE COMMIT RUSTC      with bench/stub_cuda.c as the driver; xtask/src/overhead.rs
 *
 * The driver's functions are empty, so what is left is libmish. Batches of calls of libmish and of
 * the bare cuLaunchKernel alternate; CPU time per call, the least and the median of the batches.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mish.h"

#define BATCHES 401
#define CALLS 2000
#define ELEMENTS 4096

typedef unsigned (*launch_function)(void *, unsigned, unsigned, unsigned, unsigned, unsigned,
                                    unsigned, unsigned, void *, void **, void **);

static launch_function launch;

/* Addresses that the stub takes for a device's memory; nothing reads them. */
static void *operand(int k) { return (void *)(uintptr_t)(0x7f0000000000 + ((uint64_t)k << 24)); }

/* The same as columns of one matrix. */
static void *columns(int k) { return (void *)(uintptr_t)(0x7f0000000000 + 256 * (uint64_t)k); }

struct layout {
    int ndim;
    int64_t shape[8], inputs[8], outputs[8];
    int is_shared;
};

static mish_tensor tensors[5];

static void view(const struct layout *layout, int inputs_count) {
    for (int k = 0; k < 5; k++) {
        const mish_tensor tensor = {
            .data = layout->is_shared ? columns(k) : operand(k),
            .device_type = MISH_DEVICE_CUDA,
            .ndim = layout->ndim,
            .dtype = {2, 32, 1},
            .shape = (int64_t *)layout->shape,
            .strides = (int64_t *)(k < inputs_count ? layout->inputs : layout->outputs),
        };
        tensors[k] = tensor;
    }
}

static mish_status contiguous(int operation, void *stream) {
    const size_t n = ELEMENTS;
    const mish_device cuda = MISH_DEVICE_CUDA;
    const mish_dtype f32 = MISH_DTYPE_F32;
    switch (operation) {
    case 0: return mish_forward(cuda, f32, operand(0), operand(1), n, stream);
    case 1: return mish_backward(cuda, f32, operand(0), operand(1), operand(2), n, stream);
    default:
        return mish_double_backward(cuda, f32, operand(0), operand(1), operand(2), operand(3),
                                    operand(4), n, stream);
    }
}

static mish_status strided(int operation, void *stream) {
    const mish_tensor *t = tensors;
    switch (operation) {
    case 0: return mish_tensor_forward(t, t + 1, stream);
    case 1: return mish_tensor_backward(t, t + 1, t + 2, stream);
    default: return mish_tensor_double_backward(t, t + 1, t + 2, t + 3, t + 4, stream);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void cpu_name(char *name, size_t size) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    snprintf(name, size, "unknown");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            snprintf(name, size, "%s", strchr(line, ':') + 2);
            name[strcspn(name, "\n")] = 0;
            break;
        }
    if (file)
        fclose(file);
}

int main(int argc, char **argv) {
    static const char *const OPERATIONS[] = {"forward", "backward", "double_backward"};
    static const struct {
        const char *name;
        mish_status (*call)(int operation, void *stream);
        uintptr_t stream;
        struct layout layout;
    } CASES[] = {
        {"pointers", contiguous, 0, {.ndim = 0}},
        {"pointers, a stream", contiguous, 0x3000, {.ndim = 0}},
        {"tensors, contiguous", strided, 0, {2, {64, 64}, {64, 1}, {64, 1}, 0}},
        {"tensors, padded rows", strided, 0, {2, {64, 64}, {72, 1}, {64, 1}, 0}},
        {"tensors, transposed", strided, 0, {2, {64, 64}, {1, 72}, {64, 1}, 0}},
        {"tensors, columns of one", strided, 0, {2, {64, 64}, {320, 1}, {320, 1}, 1}},
        /* No two dimensions can be walked as one: the most that a call may have. */
        {"tensors, 8 dimensions",
         strided,
         0,
         {8,
          {4, 2, 4, 2, 4, 2, 4, 2},
          {1, 5, 11, 53, 111, 445, 893, 3575},
          {1024, 512, 128, 64, 16, 8, 2, 1},
          0}},
    };
    static double bare[BATCHES], whole[BATCHES];
    FILE *out = argc == 4 ? fopen(argv[1], "w") : NULL;
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (driver)
        *(void **)&launch = dlsym(driver, "cuLaunchKernel");
    if (!out || !launch) {
        fprintf(stderr, "usage: overhead FILE COMMIT RUSTC, with the stub in LD_LIBRARY_PATH\n");
        return 1;
    }
    char cpu[256], date[16];
    const time_t today = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&today));
    cpu_name(cpu, sizeof cpu);
    fprintf(out,
            "{\n\"header\": {\"cpu\": \"%s\", \"date\": \"%s\", \"commit\": \"%s\", \"rustc\": \"%s\", "
            "\"cc\": \"%s\", \"unit\": \"ns of CPU time per call\", \"batches\": %d, "
            "\"calls_per_batch\": %d, \"elements\": %d, \"dtype\": \"f32\"},\n\"rows\": [",
            cpu, date, argv[2], argv[3], __VERSION__, BATCHES, CALLS, ELEMENTS);
    for (size_t c = 0; c < sizeof CASES / sizeof *CASES; c++)
        for (int operation = 0; operation < 3; operation++) {
            void *const stream = (void *)CASES[c].stream;
            void *parameters[6] = {0};
            view(&CASES[c].layout, operation + 1);
            for (int b = 0; b < BATCHES; b++) {
                const double start = now();
                for (int i = 0; i < CALLS; i++)
                    if (launch(driver, 1, 1, 1, 64, 1, 1, 0, stream, parameters, NULL) != 0)
                        return 1;
                const double middle = now();
                for (int i = 0; i < CALLS; i++)
                    if (CASES[c].call(operation, stream) != MISH_STATUS_OK) {
                        fprintf(stderr, "%s\n", mish_last_error());
                        return 1;
                    }
                bare[b] = (middle - start) / CALLS;
                whole[b] = (now() - middle) / CALLS;
            }
            qsort(bare, BATCHES, sizeof *bare, ascending);
            qsort(whole, BATCHES, sizeof *whole, ascending);
            const double least = whole[0] - bare[0];
            const double median = whole[BATCHES / 2] - bare[BATCHES / 2];
            fprintf(out,
                    "%s\n{\"call\": \"%s\", \"operation\": \"%s\", \"launch_min\": %.1f, "
                    "\"launch_median\": %.1f, \"libmish_min\": %.1f, \"libmish_median\": %.1f, "
                    "\"overhead_min\": %.1f, \"overhead_median\": %.1f}",
                    c + (size_t)operation > 0 ? "," : "", CASES[c].name, OPERATIONS[operation],
                    bare[0], bare[BATCHES / 2], whole[0], whole[BATCHES / 2], least, median);
            printf("%-24s %-16s %6.1f ns over cuLaunchKernel (median %.1f)\n", CASES[c].name,
                   OPERATIONS[operation], least, median);
        }
    fprintf(out, "\n]\n}\n");
    return fclose(out) != 0;
}

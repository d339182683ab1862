/* What a CUDA call of libmish costs the CPU beyond cuLaunchKernel itself, every check included.
 *
 *     overhead FILE COMMIT RUSTC
 *
 * With bench/stub_cuda.c as the driver (xtask/src/tasks/overhead.rs) its functions are empty, so that
 * what is left is libmish; with a GPU's own driver, what that does for libmish counts too. Batches
 * of calls of libmish and of the bare cuLaunchKernel, of a kernel that does nothing with as many
 * parameters, alternate; this thread's CPU time per call, the least and the median of the batches. A
 * batch is less than a driver queues before it makes the caller wait.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "calls.h"

#define BATCHES 401
#define BATCH 400

typedef unsigned (*launch_function)(void *, unsigned, unsigned, unsigned, unsigned, unsigned,
                                    unsigned, unsigned, void *, void **, void **);

/* As many pointers as the operation has operands, and how the elements divide. */
#define SPAN ".param .align 8 .b8 span[24]"
static const char PTX[] =
    ".version 6.0\n.target sm_60\n.address_size 64\n"
    ".visible .entry forward(.param .u64 a, .param .u64 b, " SPAN ") { ret; }\n"
    ".visible .entry backward(.param .u64 a, .param .u64 b, .param .u64 c, " SPAN ") { ret; }\n"
    ".visible .entry double_backward(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d, "
    ".param .u64 e, " SPAN ") { ret; }\n";

static launch_function launch;
static unsigned (*synchronize)(void);
static void *nothing[OPERATIONS];

/* Makes a context current, and what the calls need in it; the name of what failed, or NULL. */
static const char *begin(void) {
    void *const driver = dlopen("libcuda.so.1", RTLD_NOW);
    void *context = NULL, *module = NULL;
    unsigned (*init)(unsigned), (*retain)(void **, int), (*set)(void *);
    unsigned (*allocate)(uint64_t *, size_t), (*create)(void **, unsigned);
    unsigned (*load)(void **, const void *), (*get)(void **, void *, const char *);
    if (!driver)
        return "libcuda.so.1";
#define FIND(function, name)                                                                      \
    if (!(*(void **)&function = dlsym(driver, name)))                                             \
    return name
    FIND(init, "cuInit");
    FIND(retain, "cuDevicePrimaryCtxRetain");
    FIND(set, "cuCtxSetCurrent");
    FIND(allocate, "cuMemAlloc_v2");
    FIND(create, "cuStreamCreate");
    FIND(load, "cuModuleLoadData");
    FIND(get, "cuModuleGetFunction");
    FIND(launch, "cuLaunchKernel");
    FIND(synchronize, "cuCtxSynchronize");
#undef FIND
    if (init(0) || retain(&context, 0) || set(context))
        return "a context";
    if (allocate(&device_memory, (size_t)5 << 24) || create(&device_stream, 1))
        return "memory and a stream";
    if (load(&module, PTX))
        return "empty kernels";
    for (int operation = 0; operation < OPERATIONS; operation++)
        if (get(&nothing[operation], module, OPERATION_NAMES[operation]))
            return "an empty kernel";
    return NULL;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
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
    static double bare[BATCHES], whole[BATCHES];
    FILE *out = argc == 4 ? fopen(argv[1], "w") : NULL;
    const char *const missing = begin();
    if (!out || missing) {
        fprintf(stderr, "usage: overhead FILE COMMIT RUSTC\n%s is missing\n",
                missing ? missing : "FILE");
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
            cpu, date, argv[2], argv[3], __VERSION__, BATCHES, BATCH, ELEMENTS);
    for (size_t c = 0; c < CALL_COUNT; c++)
        for (int operation = 0; operation < OPERATIONS; operation++) {
            const struct call *const call = &CALLS[c];
            static uint64_t values[3];
            void *parameters[6] = {values, values, values, values, values, values};
            prepare(call, operation);
            for (int b = 0; b < BATCHES; b++) {
                synchronize();
                const double start = now();
                for (int i = 0; i < BATCH; i++)
                    if (launch(nothing[operation], 1, 1, 1, 64, 1, 1, 0, NULL, parameters, NULL) != 0)
                        return 1;
                const double first = now() - start;
                synchronize();
                const double middle = now();
                for (int i = 0; i < BATCH; i++)
                    if (make(call, operation) != MISH_STATUS_OK) {
                        fprintf(stderr, "%s\n", mish_last_error());
                        return 1;
                    }
                bare[b] = first / BATCH;
                whole[b] = (now() - middle) / BATCH;
            }
            qsort(bare, BATCHES, sizeof *bare, ascending);
            qsort(whole, BATCHES, sizeof *whole, ascending);
            const double least = whole[0] - bare[0];
            const double median = whole[BATCHES / 2] - bare[BATCHES / 2];
            fprintf(out,
                    "%s\n{\"call\": \"%s\", \"operation\": \"%s\", \"launch_min\": %.1f, "
                    "\"launch_median\": %.1f, \"libmish_min\": %.1f, \"libmish_median\": %.1f, "
                    "\"overhead_min\": %.1f, \"overhead_median\": %.1f}",
                    c + (size_t)operation > 0 ? "," : "", call->name, OPERATION_NAMES[operation],
                    bare[0], bare[BATCHES / 2], whole[0], whole[BATCHES / 2], least, median);
            printf("%-24s %-16s %6.1f ns over cuLaunchKernel (median %.1f)\n", call->name, OPERATION_NAMES[operation], least, median);
        }
    fprintf(out, "\n]\n}\n");
    return fclose(out) != 0;
}

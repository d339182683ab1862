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

#include "calls.h"

#define BATCHES 401
#define BATCH 2000

typedef unsigned (*launch_function)(void *, unsigned, unsigned, unsigned, unsigned, unsigned,
                                    unsigned, unsigned, void *, void **, void **);

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
    static double bare[BATCHES], whole[BATCHES];
    launch_function launch = NULL;
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
            cpu, date, argv[2], argv[3], __VERSION__, BATCHES, BATCH, ELEMENTS);
    for (size_t c = 0; c < CALL_COUNT; c++)
        for (int operation = 0; operation < OPERATIONS; operation++) {
            const struct call *const call = &CALLS[c];
            void *parameters[6] = {0};
            prepare(call, operation);
            for (int b = 0; b < BATCHES; b++) {
                const double start = now();
                for (int i = 0; i < BATCH; i++)
                    if (launch(driver, 1, 1, 1, 64, 1, 1, 0, NULL, parameters, NULL) != 0)
                        return 1;
                const double middle = now();
                for (int i = 0; i < BATCH; i++)
                    if (make(call, operation) != MISH_STATUS_OK) {
                        fprintf(stderr, "%s\n", mish_last_error());
                        return 1;
                    }
                bare[b] = (middle - start) / BATCH;
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

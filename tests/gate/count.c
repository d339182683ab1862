/* Calls every kernel of the host backend on n and on 2n elements, for the number of instructions
 * that n elements take: the difference is free of everything that a call costs by itself.
 *
 *     count         prints a line for each call, whose instructions Valgrind counts: it collects
 *                   in `measured` and dumps what it has when that returns (xtask/src/steps/gate.rs)
 *     count step    counts by itself, one instruction at a time, for instruction sets that
 *                   Valgrind does not know; appends the numbers to the lines
 *
 * MISH_SIMD names the instruction set; exits with 77 if the library does not use it here, or if
 * this process may not trace its child.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../catalogue.h"
#include "mish.h"

/* Whole blocks of the kernels' loops. */
#define ELEMENTS 128
#define UNAVAILABLE 77

#define NAME(name, ...) #name,
static const char *const OPERATIONS[] = {MISH_FOR_EACH_OPERATION(NAME)};
static const char *const DTYPES[] = {MISH_FOR_EACH_DTYPE(NAME)};

/* Wide enough for every type; aligned, so that no access crosses a cache line for nothing. */
static union {
    uint16_t bits[2 * ELEMENTS];
    float singles[2 * ELEMENTS];
    double doubles[2 * ELEMENTS];
} operands[5] __attribute__((aligned(64)));

/* Ordinary values: special ones would take other paths. */
static void fill(int32_t dtype) {
    static const double VALUES[] = {0.5, -1.0, 2.0, -3.0};
    static const uint16_t HALVES[] = {0x3800, 0xbc00, 0x4000, 0xc200};
    static const uint16_t BFLOATS[] = {0x3f00, 0xbf80, 0x4000, 0xc040};
    for (size_t k = 0; k < 5; k++)
        for (size_t i = 0; i < 2 * ELEMENTS; i++) {
            const size_t j = (i + k) % 4;
            if (dtype == MISH_DTYPE_F64)
                operands[k].doubles[i] = VALUES[j];
            else if (dtype == MISH_DTYPE_F32)
                operands[k].singles[i] = (float)VALUES[j];
            else
                operands[k].bits[i] = dtype == MISH_DTYPE_F16 ? HALVES[j] : BFLOATS[j];
        }
}

/* The name is Valgrind's to find: neither static nor inlined. */
mish_status measured(int operation, int32_t dtype, size_t n);

__attribute__((noinline)) mish_status measured(int operation, int32_t dtype, size_t n) {
    void *p[5];
    for (size_t k = 0; k < 5; k++)
        p[k] = &operands[k];
    const mish_device cpu = MISH_DEVICE_CPU;
    switch (operation) {
    case 0: return mish_forward(cpu, dtype, p[0], p[1], n, NULL);
    case 1: return mish_backward(cpu, dtype, p[0], p[1], p[2], n, NULL);
    default: return mish_double_backward(cpu, dtype, p[0], p[1], p[2], p[3], p[4], n, NULL);
    }
}

/* Every case in turn, between two calls of `mark`. */
static int run(void (*mark)(int operation, int32_t dtype, size_t n, int is_end)) {
    for (int operation = 0; operation < (int)(sizeof OPERATIONS / sizeof *OPERATIONS); operation++)
        for (int32_t dtype = MISH_DTYPE_F16; dtype <= MISH_DTYPE_F64; dtype++)
            for (size_t n = ELEMENTS; n <= 2 * ELEMENTS; n *= 2) {
                fill(dtype);
                mark(operation, dtype, n, 0);
                const mish_status status = measured(operation, dtype, n);
                mark(operation, dtype, n, 1);
                if (status != MISH_STATUS_OK) {
                    fprintf(stderr, "%s\n", mish_last_error());
                    return 1;
                }
            }
    return 0;
}

static void print(int operation, int32_t dtype, size_t n) {
    printf("%s %s %zu", OPERATIONS[operation], DTYPES[dtype - MISH_DTYPE_F16], n);
}

static void name(int operation, int32_t dtype, size_t n, int is_end) {
    if (is_end) {
        print(operation, dtype, n);
        printf("\n");
    }
}

/* The child stops before and after the call. */
static void stop(int operation, int32_t dtype, size_t n, int is_end) {
    (void)operation, (void)dtype, (void)n, (void)is_end;
    raise(SIGSTOP);
}

/* Where the library's code lies. */
static int find_library(unsigned long long *low, unsigned long long *high) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    *low = *high = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long long from, to;
        if (!strstr(line, "libmish.so") || !strstr(line, " r-xp "))
            continue;
        if (sscanf(line, "%llx-%llx", &from, &to) == 2) {
            *low = *low ? *low : from;
            *high = to;
        }
    }
    if (maps)
        fclose(maps);
    return *high > *low;
}

static pid_t child;
static unsigned long long low, high;

/* Lets the child go on until its next SIGSTOP. */
static void proceed(int is_stepping, unsigned long long *count) {
    int status = 0;
    do {
        const size_t rip = offsetof(struct user_regs_struct, rip);
        const unsigned long long at =
            is_stepping ? (unsigned long long)ptrace(PTRACE_PEEKUSER, child, rip, NULL) : 0;
        *count += at >= low && at < high;
        ptrace(is_stepping ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, NULL);
        if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
            fprintf(stderr, "the traced process ended\n");
            exit(1);
        }
    } while (WSTOPSIG(status) != SIGSTOP);
}

static int step(void) {
    if (!find_library(&low, &high)) {
        fprintf(stderr, "the library's code was not found\n");
        return 1;
    }
    fflush(stdout);
    child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(UNAVAILABLE);
        raise(SIGSTOP);
        _exit(run(stop));
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
        fprintf(stderr, "tracing a process is not allowed here\n");
        return UNAVAILABLE;
    }
    for (int operation = 0; operation < (int)(sizeof OPERATIONS / sizeof *OPERATIONS); operation++)
        for (int32_t dtype = MISH_DTYPE_F16; dtype <= MISH_DTYPE_F64; dtype++)
            for (size_t n = ELEMENTS; n <= 2 * ELEMENTS; n *= 2) {
                unsigned long long before = 0, count = 0;
                proceed(0, &before);
                proceed(1, &count);
                print(operation, dtype, n);
                printf(" %llu\n", count);
            }
    ptrace(PTRACE_CONT, child, NULL, NULL);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv) {
    const char *wanted = getenv("MISH_SIMD");
    char text[64];
    snprintf(text, sizeof text, "\"simd\": \"%s\"", wanted ? wanted : "");
    if (!strstr(mish_build_info(), text)) {
        fprintf(stderr, "this machine lacks the instruction set\n");
        return UNAVAILABLE;
    }
    mish_set_num_threads(1);
    /* What is only done once. */
    if (mish_forward(MISH_DEVICE_CPU, MISH_DTYPE_F32, &operands[0], &operands[1], ELEMENTS, NULL))
        return 1;
    return argc > 1 && strcmp(argv[1], "step") == 0 ? step() : run(name);
}

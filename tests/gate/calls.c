/* A CUDA call's way to its launch, with the stub driver (bench/stub_cuda.c).
 *
 *     calls          makes every call of bench/calls.h once its kernels are loaded and prints a
 *                    line for each; Valgrind counts the instructions in `measured`
 *     calls quiet    none of them allocates, and none makes a system call: it would be killed
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../bench/calls.h"

#define REPETITIONS 100

static volatile unsigned long allocations;
static int is_strict_available;

/* In place of the C library's, for the whole process. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t number, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    allocations++;
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    allocations++;
    return __libc_realloc(old, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    allocations++;
    *result = __libc_memalign(alignment, size);
    return *result ? 0 : 12; /* ENOMEM */
}

/* The name is Valgrind's to find: neither static nor inlined. */
mish_status measured(const struct call *call, int operation);

__attribute__((noinline)) mish_status measured(const struct call *call, int operation) {
    return make(call, operation);
}

static int every(int repetitions, int is_printed) {
    for (size_t c = 0; c < CALL_COUNT; c++)
        for (int operation = 0; operation < OPERATIONS; operation++) {
            prepare(&CALLS[c], operation);
            for (int i = 0; i < repetitions; i++)
                if (measured(&CALLS[c], operation) != MISH_STATUS_OK)
                    return 1;
            if (is_printed)
                printf("%s, %s\n", CALLS[c].name, OPERATION_NAMES[operation]);
        }
    return 0;
}

/* Whether a process is killed for a system call here. */
static int system_calls_are_noticed(void) {
    const pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0)
            syscall(SYS_getppid);
        syscall(SYS_exit, 0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGKILL;
}

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0)
        abort();
}

/* In the lines of libtest's JSON, which the test runner reads. */
#define REPORT(event, name) "{ \"type\": \"test\", \"event\": \"" event "\", \"name\": \"" name "\" }\n"
#define SKIP(name, why) \
    "{ \"type\": \"test\", \"event\": \"ignored\", \"name\": \"" name "\", \"message\": \"" why "\" }\n"
#define SUITE(passed, failed) "{ \"type\": \"suite\", \"event\": \"ok\", \"passed\": " passed ", \"failed\": " failed " }\n"

static int quiet(void) {
    unsigned long before = allocations;
    /* Fails, and has to remember a message. */
    mish_forward(MISH_DEVICE_CUDA, MISH_DTYPE_F32, NULL, NULL, 1, NULL);
    if (allocations == before) {
        say(REPORT("failed", "an allocation is counted"));
        return 1;
    }
    before = allocations;
    if (every(REPETITIONS, 0) != 0 || allocations != before) {
        say(REPORT("failed", "no allocation and no error"));
        return 1;
    }
    say(REPORT("ok", "no allocation and no error"));
    if (!is_strict_available) {
        say(SKIP("system calls", "seccomp is not available here") SUITE("1", "0"));
        return 0;
    }
    say(REPORT("started", "no system call"));
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    const int failed = every(REPETITIONS, 0);
    say(failed ? REPORT("failed", "no system call")
               : REPORT("ok", "no system call") SUITE("2", "0"));
    syscall(SYS_exit, failed);
    return 1;
}

int main(int argc, char **argv) {
    is_strict_available = system_calls_are_noticed();
    /* Loads the kernels. */
    prepare(&CALLS[0], 0);
    if (make(&CALLS[0], 0) != MISH_STATUS_OK) {
        fprintf(stderr, "%s\n", mish_last_error());
        return 1;
    }
    if (argc > 1 && strcmp(argv[1], "quiet") == 0)
        return quiet();
    return every(1, 1);
}

/* Counting checks, and memory that notices being touched. */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "mish.h"

static int passed, failed;

/* What the test runner reads: the lines of libtest's JSON. */
static inline void report_failure(const char *file, int line) {
    printf("{ \"type\": \"test\", \"event\": \"failed\", \"name\": \"%s:%d\" }\n", file, line);
}

static inline void check_that(int holds, const char *what, const char *file, int line) {
    if (holds) {
        passed++;
    } else {
        failed++;
        printf("%s:%d: %s\n    last error: %s\n", file, line, what, mish_last_error());
        report_failure(file, line);
    }
}

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)

/* The operands lie in one block, apart from each other, so that a write anywhere shows. */
enum { G2, G, X, A, B, OPERANDS, COUNT = 16, ROOM = 64 };
typedef struct arena {
    union {
        double align;
        unsigned char bytes[OPERANDS * ROOM * 8];
    } memory;
} arena;

static arena block, before;

static inline void *at(int operand) { return block.memory.bytes + operand * ROOM * 8; }
static inline float *floats(int operand) { return (float *)at(operand); }

static inline void fill(void) {
    memset(&block, 0xA5, sizeof block);
    for (int i = 0; i < ROOM; i++) {
        floats(G2)[i] = 1.0f + 0.25f * (float)i;
        floats(G)[i] = 2.0f - 0.125f * (float)i;
        floats(X)[i] = -3.0f + 0.375f * (float)i;
    }
    before = block;
}

static inline int untouched(void) { return memcmp(&before, &block, sizeof block) == 0; }

/* A refused call: this status, a message that begins with the argument, and nothing written. */
static inline void refused(mish_status got, mish_status expected, const char *argument,
                           const char *what, const char *file, int line) {
    const char *message = mish_last_error();
    int is_named = strncmp(message, argument, strlen(argument)) == 0 &&
                   message[strlen(argument)] == ':';
    int is_clean = untouched();
    if (got == expected && is_named && is_clean) {
        passed++;
    } else {
        failed++;
        printf("%s:%d: %s\n    expected %s naming %s; got %s: %s%s\n", file, line, what,
               mish_status_name(expected), argument, mish_status_name(got), message,
               is_clean ? "" : " (and memory was touched)");
        report_failure(file, line);
    }
}

#define REFUSED(status, argument, call) refused((call), (status), (argument), #call, __FILE__, __LINE__)

/* Its closing line; the exit code. */
static inline int summary(void) {
    printf("{ \"type\": \"suite\", \"event\": \"%s\", \"passed\": %d, \"failed\": %d }\n",
           failed ? "failed" : "ok", passed, failed);
    return failed != 0 || passed == 0;
}

#endif

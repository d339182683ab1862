/* Unusual input that works: results agree with plain calls, and nothing else is written. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "../catalogue.h"
#include "check.h"

#define CPU MISH_DEVICE_CPU
#define F32 MISH_DTYPE_F32

static float expected_y[ROOM], expected_g[ROOM], expected_a[ROOM], expected_b[ROOM];

static void references(void) {
    fill();
    CHECK(mish_forward(CPU, F32, at(X), expected_y, ROOM, NULL) == MISH_STATUS_OK);
    CHECK(mish_backward(CPU, F32, at(G), at(X), expected_g, ROOM, NULL) == MISH_STATUS_OK);
    CHECK(mish_double_backward(CPU, F32, at(G2), at(G), at(X), expected_a, expected_b, ROOM,
                               NULL) == MISH_STATUS_OK);
    CHECK(untouched());
    for (int i = 0; i < ROOM; i++) {
        double x = floats(X)[i], truth = x * tanh(log1p(exp(x)));
        CHECK(fabs(expected_y[i] - truth) <= 1e-6 * fabs(truth));
    }
}

static void in_place(void) {
    fill();
    CHECK(mish_forward(CPU, F32, at(X), at(X), COUNT, NULL) == MISH_STATUS_OK);
    CHECK(memcmp(at(X), expected_y, COUNT * 4) == 0);
    CHECK(floats(X)[COUNT] == ((float *)before.memory.bytes)[X * ROOM * 2 + COUNT]);
    fill();
    CHECK(mish_backward(CPU, F32, at(G), at(X), at(G), COUNT, NULL) == MISH_STATUS_OK);
    CHECK(memcmp(at(G), expected_g, COUNT * 4) == 0);
    fill();
    CHECK(mish_backward(CPU, F32, at(G), at(X), at(X), COUNT, NULL) == MISH_STATUS_OK);
    CHECK(memcmp(at(X), expected_g, COUNT * 4) == 0);
    for (int first = G2; first <= X; first++)
        for (int second = G2; second <= X; second++) {
            if (first == second) continue;
            fill();
            CHECK(mish_double_backward(CPU, F32, at(G2), at(G), at(X), at(first), at(second),
                                       COUNT, NULL) == MISH_STATUS_OK);
            CHECK(memcmp(at(first), expected_a, COUNT * 4) == 0);
            CHECK(memcmp(at(second), expected_b, COUNT * 4) == 0);
        }
}

static void skipped_outputs(void) {
    fill();
    CHECK(mish_double_backward(CPU, F32, at(G2), at(G), at(X), at(A), NULL, COUNT, NULL) ==
          MISH_STATUS_OK);
    CHECK(memcmp(at(A), expected_a, COUNT * 4) == 0);
    fill();
    CHECK(mish_double_backward(CPU, F32, at(G2), at(G), at(X), NULL, at(B), COUNT, NULL) ==
          MISH_STATUS_OK);
    CHECK(memcmp(at(B), expected_b, COUNT * 4) == 0);
}

/* An input may be another input: mish_backward(x, x) is x * mish'(x). */
static void shared_inputs(void) {
    float alone[COUNT], copy[COUNT];
    fill();
    memcpy(copy, at(X), sizeof copy);
    CHECK(mish_backward(CPU, F32, at(X), at(X), at(A), COUNT, NULL) == MISH_STATUS_OK);
    CHECK(mish_backward(CPU, F32, copy, at(X), alone, COUNT, NULL) == MISH_STATUS_OK);
    CHECK(memcmp(at(A), alone, sizeof alone) == 0);
}

static void nothing_to_do(void) {
    int64_t empty[3] = {4, 0, 2};
    mish_tensor x = {0};
    fill();
    CHECK(mish_forward(CPU, F32, at(X), at(A), 0, NULL) == MISH_STATUS_OK);
    CHECK(mish_forward(CPU, F32, NULL, NULL, 0, NULL) == MISH_STATUS_OK);
    CHECK(mish_backward(CPU, F32, NULL, NULL, NULL, 0, NULL) == MISH_STATUS_OK);
    CHECK(mish_double_backward(CPU, F32, NULL, NULL, NULL, NULL, NULL, 0, NULL) ==
          MISH_STATUS_OK);
    x.device_type = CPU;
    x.ndim = 3;
    x.shape = empty;
    x.dtype.code = 2;
    x.dtype.bits = 32;
    x.dtype.lanes = 1;
    CHECK(mish_tensor_forward(&x, &x, NULL) == MISH_STATUS_OK);
    CHECK(mish_tensor_backward(&x, &x, &x, NULL) == MISH_STATUS_OK);
    CHECK(untouched());
}

static mish_tensor tensor(int operand, int ndim, int64_t *shape, int64_t *strides, int first) {
    mish_tensor made = {0};
    made.data = at(operand);
    made.device_type = CPU;
    made.ndim = ndim;
    made.dtype.code = 2;
    made.dtype.bits = 32;
    made.dtype.lanes = 1;
    made.shape = shape;
    made.strides = strides;
    made.byte_offset = (uint64_t)first * 4;
    return made;
}

/* A view of x written densely to A: element i of the result is that of x[index[i]]. */
static void view(int ndim, int64_t *shape, int64_t *strides, int first, const int *index, int n) {
    mish_tensor x = tensor(X, ndim, shape, strides, first);
    mish_tensor g = tensor(G, ndim, shape, strides, first);
    mish_tensor h = tensor(G2, ndim, shape, strides, first);
    mish_tensor a = tensor(A, ndim, shape, NULL, 0), b = tensor(B, ndim, shape, NULL, 0);
    fill();
    CHECK(mish_tensor_forward(&x, &a, NULL) == MISH_STATUS_OK);
    for (int i = 0; i < n; i++) CHECK(floats(A)[i] == expected_y[index[i]]);
    CHECK(memcmp(floats(A) + n, (float *)before.memory.bytes + A * ROOM * 2 + n, 32) == 0);
    CHECK(mish_tensor_backward(&g, &x, &a, NULL) == MISH_STATUS_OK);
    for (int i = 0; i < n; i++) CHECK(floats(A)[i] == expected_g[index[i]]);
    CHECK(mish_tensor_double_backward(&h, &g, &x, &a, &b, NULL) == MISH_STATUS_OK);
    for (int i = 0; i < n; i++)
        CHECK(floats(A)[i] == expected_a[index[i]] && floats(B)[i] == expected_b[index[i]]);
}

static void views(void) {
    int64_t one[1] = {4}, grid[2] = {2, 3}, deep[8] = {1, 2, 1, 1, 3, 1, 1, 1};
    int64_t offset[1] = {1}, backwards[1] = {-2}, still[1] = {0}, expanded[2] = {0, 1};
    int64_t transposed[2] = {1, 2}, window[2] = {1, 1}, steps[8] = {99, 5, -7, 0, 2, 1, 1, 3};
    view(1, one, NULL, 0, (int[]){0, 1, 2, 3}, 4);
    view(1, one, offset, 5, (int[]){5, 6, 7, 8}, 4);
    view(1, one, backwards, 7, (int[]){7, 5, 3, 1}, 4);
    view(1, one, still, 3, (int[]){3, 3, 3, 3}, 4);
    view(2, grid, expanded, 4, (int[]){4, 5, 6, 4, 5, 6}, 6);
    view(2, grid, transposed, 0, (int[]){0, 2, 4, 1, 3, 5}, 6);
    view(2, grid, window, 1, (int[]){1, 2, 3, 2, 3, 4}, 6);
    view(8, deep, steps, 2, (int[]){2, 4, 6, 7, 9, 11}, 6);
    view(0, NULL, NULL, 6, (int[]){6}, 1);
}

/* Two interleaved, disjoint views of one block: even elements to odd ones. */
static void interleaved(void) {
    int64_t shape[1] = {8}, two[1] = {2};
    mish_tensor even = tensor(X, 1, shape, two, 0), odd = tensor(X, 1, shape, two, 1);
    fill();
    CHECK(mish_tensor_forward(&even, &odd, NULL) == MISH_STATUS_OK);
    for (int i = 0; i < 8; i++) CHECK(floats(X)[2 * i + 1] == expected_y[2 * i]);
    for (int i = 0; i < 8; i++) CHECK(floats(X)[2 * i] == -3.0f + 0.375f * (float)(2 * i));
}

static void strided_in_place(void) {
    int64_t shape[1] = {8}, two[1] = {2};
    mish_tensor even = tensor(X, 1, shape, two, 0);
    fill();
    CHECK(mish_tensor_forward(&even, &even, NULL) == MISH_STATUS_OK);
    for (int i = 0; i < 8; i++) CHECK(floats(X)[2 * i] == expected_y[2 * i]);
    for (int i = 0; i < 8; i++) CHECK(floats(X)[2 * i + 1] == -3.0f + 0.375f * (float)(2 * i + 1));
}

static void special_values(void) {
    float x[5] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN}, one[5] = {1, 1, 1, 1, 1};
    float y[5], first[5], second[5];
    CHECK(mish_forward(CPU, F32, x, y, 5, NULL) == MISH_STATUS_OK);
    CHECK(mish_double_backward(CPU, F32, one, one, x, first, second, 5, NULL) == MISH_STATUS_OK);
    CHECK(y[0] == 0 && !signbit(y[0]));
    CHECK(y[1] == 0 && signbit(y[1]));
    CHECK(isinf(y[2]) && y[2] > 0 && first[2] == 1 && second[2] == 0);
    CHECK(y[3] == 0 && signbit(y[3]) && first[3] == 0 && second[3] == 0);
    CHECK(isnan(y[4]) && isnan(first[4]) && isnan(second[4]));
}

/* Every offset and length around the width of a vector, for each size of element. */
static void every_alignment(void) {
#define CODE(name, type, ...) MISH_DTYPE_##type,
#define SIZE(name, type, bits, ...) bits / 8,
    static const mish_dtype dtypes[] = {MISH_FOR_EACH_DTYPE(CODE)};
    static const size_t sizes[] = {MISH_FOR_EACH_DTYPE(SIZE)};
    const int count = (int)(sizeof dtypes / sizeof *dtypes);
    enum { MOST = 300 };
    unsigned char *x = malloc(8 * MOST), *y = malloc(8 * MOST), *all = malloc(8 * MOST);
    for (int d = 0; d < count; d++) {
        size_t size = sizes[d];
        for (size_t i = 0; i < MOST * size; i++) x[i] = (unsigned char)(i % size == size - 1 ? 0x3f : i * 7);
        CHECK(mish_forward(CPU, dtypes[d], x, all, MOST, NULL) == MISH_STATUS_OK);
        for (size_t start = 0; start < 20; start++)
            for (size_t n = 1; n < 140; n += 1 + n / 20) {
                memset(y, 0xA5, 8 * MOST);
                int good = mish_forward(CPU, dtypes[d], x + start * size, y + (start + 1) * size, n,
                                        NULL) == MISH_STATUS_OK;
                good = good && memcmp(y + (start + 1) * size, all + start * size, n * size) == 0;
                for (size_t i = 0; i < 8 * MOST; i++)
                    if (i < (start + 1) * size || i >= (start + 1 + n) * size)
                        good = good && y[i] == 0xA5;
                CHECK(good);
            }
    }
    free(x);
    free(y);
    free(all);
}

/* The last error belongs to its thread, and calls from many threads do not disturb each other. */
static void *other_thread(void *unused) {
    float y[ROOM];
    int good = strcmp(mish_last_error(), "") == 0;
    (void)unused;
    for (int i = 0; i < 200; i++) {
        good = good && mish_forward(CPU, F32, at(X), y, ROOM, NULL) == MISH_STATUS_OK;
        good = good && memcmp(y, expected_y, sizeof y) == 0;
        good = good && mish_forward(CPU, 99, at(X), y, ROOM, NULL) == MISH_STATUS_UNKNOWN_DTYPE;
        good = good && strstr(mish_last_error(), "99") != NULL;
    }
    return good ? &passed : NULL;
}

static void threads(void) {
    pthread_t many[8];
    fill();
    CHECK(mish_forward(CPU, F32, NULL, at(A), 1, NULL) == MISH_STATUS_NULL_POINTER);
    for (int i = 0; i < 8; i++) CHECK(pthread_create(&many[i], NULL, other_thread, NULL) == 0);
    for (int i = 0; i < 8; i++) {
        void *result = NULL;
        CHECK(pthread_join(many[i], &result) == 0);
        CHECK(result != NULL);
    }
    CHECK(strncmp(mish_last_error(), "x:", 2) == 0);
}

/* The number of threads does not change a result. */
static void thread_counts(void) {
    enum { LARGE = 300001 };
    float *x = malloc(LARGE * 4), *one = malloc(LARGE * 4), *many = malloc(LARGE * 4);
    for (int i = 0; i < LARGE; i++) x[i] = -20.0f + (float)i * 1.3e-4f;
    CHECK(mish_set_num_threads(1) == MISH_STATUS_OK);
    CHECK(mish_forward(CPU, F32, x, one, LARGE, NULL) == MISH_STATUS_OK);
    for (unsigned count = 2; count < 6; count++) {
        CHECK(mish_set_num_threads(count) == MISH_STATUS_OK);
        CHECK(mish_forward(CPU, F32, x, many, LARGE, NULL) == MISH_STATUS_OK);
        CHECK(memcmp(one, many, LARGE * 4) == 0);
    }
    CHECK(mish_set_num_threads(0) == MISH_STATUS_OK);
    free(x);
    free(one);
    free(many);
}

int main(void) {
    int32_t cpus = 0;
    references();
    in_place();
    skipped_outputs();
    shared_inputs();
    nothing_to_do();
    views();
    interleaved();
    strided_in_place();
    special_values();
    every_alignment();
    threads();
    thread_counts();
    CHECK(mish_device_count(CPU, &cpus) == MISH_STATUS_OK && cpus == 1);
    CHECK(mish_warmup(CPU, 0) == MISH_STATUS_OK);
    return summary();
}

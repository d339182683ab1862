/* What the accuracy costs on a CPU: libmish beside the plain formulas in float32.
 *
 *     cc -O3 -march=native -mprefer-vector-width=512 -fno-math-errno -fno-trapping-math -o cost bench/cost.c -ldl -lm
 *     ./cost target/release/libmish.so [FILE]
 *
 * The plain formulas are those one would write down: one exponential of -|x|, both branches, all
 * in float32, without any care for lost digits (about 5 to 12 ULP away from the zeros, far more in
 * the tails). They are vectorised by the compiler, and so is their exponential: a degree-6
 * polynomial and a shift. One thread each, the two called in turns; the minimum and the median of
 * the repetitions count, in nanoseconds per element. FILE receives them as JSON.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../include/mish.h"
#include "../tests/catalogue.h"

#define RESTRICT __restrict__

static inline float exp_plain(float x) { /* for x <= 0 */
    x = x < -87.0f ? -87.0f : x;
    const float magic = 12582912.0f;
    const float biased = fmaf(x, 1.44269504f, magic), k = biased - magic;
    float r = fmaf(k, -0.693359375f, x);
    r = fmaf(k, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    uint32_t bits;
    memcpy(&bits, &biased, 4);
    bits = (bits + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

static void plain_forward(const float *RESTRICT x, float *RESTRICT y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float v = x[i], e = exp_plain(-fabsf(v));
        const int left = v < 0;
        const float a = left ? e * (e + 2) : 1 + 2 * e;
        const float d = left ? e * (e + 2) + 2 : 1 + e * (2 + 2 * e);
        y[i] = v * a / d;
    }
}

static void plain_backward(const float *RESTRICT g, const float *RESTRICT x, float *RESTRICT out,
                           size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float v = x[i], e = exp_plain(-fabsf(v));
        const int left = v < 0;
        const float l = e * (e * (e * (e + 4) + (4 * v + 6)) + 4 * (v + 1));
        const float r = 1 + e * (4 + e * ((4 * v + 6) + e * (4 * (v + 1))));
        const float d = left ? e * (e + 2) + 2 : 1 + e * (2 + 2 * e);
        out[i] = g[i] * (left ? l : r) / (d * d);
    }
}

static void plain_double_backward(const float *RESTRICT gg, const float *RESTRICT g,
                                  const float *RESTRICT x, float *RESTRICT out_g,
                                  float *RESTRICT out_x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float v = x[i], e = exp_plain(-fabsf(v));
        const int left = v < 0;
        const float l = e * (e * (e * (e + 4) + (4 * v + 6)) + 4 * (v + 1));
        const float r = 1 + e * (4 + e * ((4 * v + 6) + e * (4 * (v + 1))));
        const float d = left ? e * (e + 2) + 2 : 1 + e * (2 + 2 * e), w = 1 / d, w2 = w * w;
        const float h = 2 * (1 + e) * d;
        const float ls = e * (h + v * (2 + e * (2 - e * (3 + 2 * e))));
        const float rs = e * e * (h + v * (e * (e * (2 * e + 2) - 3) - 2));
        out_g[i] = gg[i] * (left ? l : r) * w2;
        out_x[i] = gg[i] * g[i] * 4 * (left ? ls : rs) * (w2 * w);
    }
}

/* Of the library that is opened. */
#define DECLARE(name, ...) static __typeof__(mish_##name) *name;
MISH_FOR_EACH_OPERATION(DECLARE)
static float *a, *b, *c, *d, *e;

/* The CPU's time, which others on the machine don't count in. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void run(int operation, int ours, size_t n) {
    const mish_device cpu = MISH_DEVICE_CPU;
    const mish_dtype f32 = MISH_DTYPE_F32;
    mish_status status = MISH_STATUS_OK;
    if (operation == 0 && ours) status = forward(cpu, f32, c, d, n, NULL);
    if (operation == 0 && !ours) plain_forward(c, d, n);
    if (operation == 1 && ours) status = backward(cpu, f32, b, c, d, n, NULL);
    if (operation == 1 && !ours) plain_backward(b, c, d, n);
    if (operation == 2 && ours) status = double_backward(cpu, f32, a, b, c, d, e, n, NULL);
    if (operation == 2 && !ours) plain_double_backward(a, b, c, d, e, n);
    if (status != MISH_STATUS_OK) {
        fprintf(stderr, "libmish: status %d\n", status);
        exit(1);
    }
}

static int by_value(const void *x, const void *y) {
    const double l = *(const double *)x, r = *(const double *)y;
    return (l > r) - (l < r);
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

int main(int count, char **arguments) {
    void *library = dlopen(count > 1 ? arguments[1] : "libmish.so", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
#define FIND(name, ...) name = (__typeof__(name))symbol(library, "mish_" #name);
    MISH_FOR_EACH_OPERATION(FIND)
    __typeof__(mish_set_num_threads) *set = (__typeof__(set))symbol(library, "mish_set_num_threads");
    if (set(1) != MISH_STATUS_OK) return 1;
    FILE *json = count > 2 ? fopen(arguments[2], "w") : NULL;

    const size_t sizes[] = {1 << 12, 1 << 16, 1 << 24}, largest = 1 << 24;
#define NAME(name, ...) #name,
    const char *names[] = {MISH_FOR_EACH_OPERATION(NAME)};
    float **buffers[] = {&a, &b, &c, &d, &e};
    uint64_t random = 1;
    for (int k = 0; k < 5; k++) {
        *buffers[k] = aligned_alloc(64, largest * sizeof(float));
        if (!*buffers[k]) return 1;
        for (size_t i = 0; i < largest; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            /* From -8 to 8. */
            (*buffers[k])[i] = (float)(int32_t)(random >> 32) * 0x1p-28f;
        }
    }
    enum { REPEATS = 41 };
    if (json) fprintf(json, "{\"rows\": [");
    printf("float32, one thread, ns per element\n");
    for (int s = 0; s < 3; s++) {
        for (int operation = 0; operation < 3; operation++) {
            const size_t n = sizes[s];
            const int inner = (int)((1 << 20) / n) + 1;
            double times[2][REPEATS];
            for (int ours = 0; ours < 2; ours++) run(operation, ours, n);
            for (int repeat = 0; repeat < REPEATS; repeat++) {
                for (int ours = 0; ours < 2; ours++) {
                    const double start = now();
                    for (int i = 0; i < inner; i++) run(operation, ours, n);
                    times[ours][repeat] = (now() - start) / inner / n * 1e9;
                }
            }
            for (int ours = 0; ours < 2; ours++)
                qsort(times[ours], REPEATS, sizeof(double), by_value);
            const double *p = times[0], *m = times[1];
            printf("%9zu %-16s plain %.3f (median %.3f)  libmish %.3f (%.3f)  ratio %.2f (%.2f)\n",
                   n, names[operation], p[0], p[REPEATS / 2], m[0], m[REPEATS / 2], m[0] / p[0],
                   m[REPEATS / 2] / p[REPEATS / 2]);
            fflush(stdout);
            if (json)
                fprintf(json,
                        "%s\n{\"n\": %zu, \"operation\": \"%s\", \"plain_min\": %.4f, "
                        "\"plain_median\": %.4f, \"libmish_min\": %.4f, \"libmish_median\": %.4f}",
                        s + operation ? "," : "", n, names[operation], p[0], p[REPEATS / 2], m[0],
                        m[REPEATS / 2]);
        }
    }
    if (json) {
        fprintf(json, "\n]}\n");
        fclose(json);
    }
    return 0;
}

// The kernels' mathematics, run on the host from its own source, against a reference of higher
// precision, with the GPU's approximate instructions as wrong as they are documented to be.
//
//   math [--list | --wide]     --list names every 16-bit input that is not correctly rounded;
//                              --wide leaves the 16-bit types out
//
// `Bounded`, `Plain` and `Factored` use one ex2.approx and one rcp.approx, so all 5 x 3 results they
// may return are tried on every 16-bit input. `DoubleWord` uses one rcp.approx: all 3 are tried on a
// stratified sample. `Multiplied` and `Widened` refine theirs: both extremes and random errors.
//
// The reference has its numerators multiplied out, which of the kernels only `Multiplied` does, in
// double for 16-bit types and float, in __float128 for double.
#include "host.hpp"

// `Widened` is float32's method; `DoubleWord` is tested by its name.
#define MISH_FAST_DOUBLE 1

#include "loops/elements.cuh"
#include "operations/operation.cuh"

#include "../catalogue.h"

#include <quadmath.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace {

double exp_of(double x) { return std::exp(x); }
__float128 exp_of(__float128 x) { return expq(x); }
double log2_floor(double x) { return std::ilogb(x); }
double log2_floor(__float128 x) { return ilogbq(x); }
double power(double, int k) { return std::ldexp(1.0, k); }
__float128 power(__float128, int k) { return ldexpq(1, k); }

template <class T> struct Reference {
    T value, first, second;
    explicit Reference(T x) {
        if (x < 0) {
            const T e = exp_of(x), d = e * (e + 2) + 2;
            value = x * e * (e + 2) / d;
            first = e * (e * (e * (e + 4) + 4 * x + 6) + 4 * (x + 1)) / (d * d);
            second = 4 * e * (2 * (e + 1) * d + x * (2 + e * (2 - e * (3 + 2 * e)))) / (d * d * d);
        } else {
            const T u = exp_of(-x), d = 1 + u * (2 + 2 * u);
            value = x * (1 + 2 * u) / d;
            first = (1 + u * (4 + u * (4 * x + 6 + u * 4 * (x + 1)))) / (d * d);
            second = 4 * u * u * (2 * (1 + u) * d + x * (u * (u * (2 * u + 2) - 3) - 2)) /
                     (d * d * d);
        }
    }
};

struct Format {
    int digits, smallest, largest;
};
#define FORMAT(name, type, bits, digits, smallest)                                                 \
    const Format FORMAT_##type = {digits, smallest, 1 - smallest};
MISH_FOR_EACH_DTYPE(FORMAT)

template <class T> T last_place(T exact, const Format &f) {
    const int exponent = exact == 0 ? f.smallest : int(log2_floor(exact));
    return power(T(), std::min(std::max(exponent, f.smallest), f.largest) - f.digits + 1);
}

struct Zero {
    int order;
    double at;
};
#define ZERO(order, at) {order, at},
const Zero ZEROS[] = {MISH_FOR_EACH_ZERO(ZERO)};

// Where the derivatives' zeros let their own last place shrink.
bool near_zero(int order, double x) {
    for (const Zero &zero : ZEROS)
        if (zero.order == order && std::fabs(x - zero.at) < MISH_NEAR_ZERO) return true;
    return false;
}

// Of mish, mish', mish'', alone and times gradients.
struct Bounds {
    double functions[3], products[3];
};
#define BOUNDS(type, ...) const Bounds BOUNDS_##type = {__VA_ARGS__};
MISH_FOR_EACH_BOUND(BOUNDS)

// The worst results of one function in one format.
struct Tally {
    std::string name;
    const Format &format;
    double bound;
    int order;
    double worst = 0, worst_at = 0;
    std::uint64_t tried = 0, failed = 0, inexact = 0;

    Tally(std::string n, const Format &f, double b, int o)
        : name(std::move(n)), format(f), bound(b), order(o) {}

    // Measures the error in last places of the exact result or, near a zero, of 1/16 times the
    // gradients where these are larger, and returns it.
    template <class T> double add(double got, T exact, double x, T factor = 1) {
        ++tried;
        // An infinity counts as the number after the largest, and is right from there on.
        const T next = power(T(), format.largest) * 2;
        const T size = exact < 0 ? -exact : exact;
        T unit = last_place(exact, format);
        T error = (std::isinf(got) ? (got > 0 ? next : -next) : T(got)) - exact;
        if (error < 0) error = -error;
        if (std::isinf(got) && size >= next && (got > 0) == (exact > 0)) error = 0;
        double allowed = bound;
        if (near_zero(order, x)) {
            const T floor = power(T(), -4 - format.digits + 1) * (factor < 0 ? -factor : factor);
            unit = std::max(unit, floor);
        } else if (exact != 0) {
            // Where the result is subnormal the errors on the way fade, and one rounding is left.
            const int lost = format.smallest - int(log2_floor(exact));
            if (lost > 0) allowed = std::min(bound, 0.5 + 0x1p-16 + std::ldexp(bound, -lost));
        }
        const double score = double(error / unit);
        if (!(score <= allowed) && failed++ < 5)
            std::printf("  %s: %.7g at x = %.17g, times %.17g: %.17g\n", name.c_str(), score, x,
                        double(factor), got);
        if (!(score <= worst)) worst = score == score ? score : INFINITY, worst_at = x;
        return score;
    }

    bool report() const {
        std::printf("%-42s %10" PRIu64 " results, worst %.6f ULP of %.3f at %.9g", name.c_str(),
                    tried, worst, bound, worst_at);
        if (inexact) std::printf(", %" PRIu64 " not correctly rounded", inexact);
        std::printf("%s\n", failed ? "  FAILED" : "");
        return failed == 0;
    }
};

int passed = 0, wrong = 0;
void count(bool ok) { ++(ok ? passed : wrong); }

// A nonzero finite value of any size and sign.
template <class F> F any_gradient(std::mt19937_64 &random);
template <> float any_gradient(std::mt19937_64 &random) {
    for (;;) {
        const float g = f32_from_bits(mish_u32(random()));
        if (std::isfinite(g) && g != 0) return g;
    }
}
template <> double any_gradient(std::mt19937_64 &random) {
    for (;;) {
        const double g = f64_from_bits(random());
        if (std::isfinite(g) && g != 0) return g;
    }
}

// 16-bit types --------------------------------------------------------------------------------

struct Narrow {
    const Format &format;
    const Bounds &bounds;
    float (*widen)(mish_u16);
    mish_u16 (*narrow)(float);
    mish_u32 largest;  // its bits
};
const Narrow F16_TYPE = {FORMAT_F16, BOUNDS_F16, f32_from_f16, f16_from_f32, 0x7bffu},
             BF16_TYPE = {FORMAT_BF16, BOUNDS_BF16, f32_from_bf16, bf16_from_f32, 0x7f7fu};

// Rounds to nearest, ties to even, straight from double.
double round_to(double exact, const Format &f) {
    const double unit = last_place(exact, f);
    const double rounded = std::nearbyint(exact / unit) * unit;
    return std::fabs(rounded) >= std::ldexp(1.0, f.largest + 1) ? std::copysign(INFINITY, exact)
                                                                 : rounded;
}

// bfloat16 as a kernel computes a vector of this one element.
struct Alone {
    typedef Methods<BF16>::Fast Fast;
    typedef Methods<BF16>::Careful Careful;
    static bool is_moderate(float grad_y, float x) {
        const mish_u32 words[] = {bf16_from_f32(grad_y), mish_u32(bf16_from_f32(x)) << 16};
        return Methods<BF16>::are_moderate(words);
    }
    static float forward(float x) {
        return is_moderate(0, x) ? Fast::forward(x) : Careful::forward(x);
    }
    static float backward(float grad_y, float x) {
        return is_moderate(0, x) ? Fast::backward(grad_y, x) : Careful::backward(grad_y, x);
    }
    static void double_backward(float grad_grad_x, float grad_y, float x, float &grad_grad_y,
                                float &grad_x) {
        (is_moderate(grad_y, x) ? Fast::double_backward : Careful::double_backward)(
            grad_grad_x, grad_y, x, grad_grad_y, grad_x);
    }
};

// That the bound on bfloat16's fast formulas is the one they are made for, in either half of any
// word and as a value.
void moderate() {
    bool ok = true;
    for (mish_u32 bits = 0; bits < 0x10000u; ++bits) {
        const float x = f32_from_bf16(mish_u16(bits));
        const mish_u32 other = mish_u32(bits * 2654435761u) & 0xbfffbfffu;  // below 2
        for (int place = 0; place < 4; ++place) {
            mish_u32 words[] = {other, other >> 16};
            words[place / 2] &= place % 2 ? 0x0000ffffu : 0xffff0000u;
            words[place / 2] |= place % 2 ? bits << 16 : bits;
            ok &= x != x || Methods<BF16>::are_moderate(words) == (std::fabs(x) < 32);
        }
        ok &= x != x || Methods<BF16>::is_moderate(x) == (std::fabs(x) < 32);
    }
    std::printf("bf16 bound of the fast formulas%s\n", ok ? "" : "  FAILED");
    count(ok);
}

// An operation with a prologue, an epilogue, and operands that are constant along the run, of which
// the kernels have none yet: y = c mish(a x + b + u) + v, and the sum of z. Its inputs are u, x, v.
struct Affine {
    static const int INPUTS = 3, OUTPUTS = 1, ARGUMENTS = 1, RESULTS = 1, DECISIVE = 1;
    static const bool ARGUMENTS_ARE_INPUTS = false;
    float a, b, c, sum;

    void prologue(const float *inputs, float *arguments) const {
        arguments[0] = std::fma(a, inputs[1], b + inputs[0]);
    }
    template <class Method> static void core(const float *in, float *out) {
        out[0] = Method::forward(in[0]);
    }
    void epilogue(const float *inputs, const float *results, float *outputs) {
        outputs[0] = std::fma(c, results[0], inputs[2]);
        sum += inputs[1];
    }
};

// That a vector's method is chosen by what the prologue returns, not by what was loaded; and that every
// element passes through prologue, core and epilogue once.
void prologue() {
    hardware = Hardware();
    bool ok = true;
    // x from 1/2 to 4; z is 16 times that, beyond Plain's 32 for the last, or an ordinary number.
    for (const float a : {16.0f, 1.0f}) {
        Words<4> loaded[3], packed[1];
        float z[8], v[8], total = 0;
        for (int i = 0; i < 8; ++i) {
            const float u = float(i) / 64, x = float(i + 1) / 2;
            v[i] = float(i % 3) - 1;
            z[i] = std::fma(a, x, -0.25f + u);
            total += x;
            const mish_u16 bits[] = {bf16_from_f32(u), bf16_from_f32(x), bf16_from_f32(v[i])};
            for (int k = 0; k < 3; ++k) {
                mish_u32 &word = loaded[k].w[i / 2];
                word = i % 2 ? word | mish_u32(bits[k]) << 16 : bits[k];
            }
        }
        Affine operation = {a, -0.25f, 0.5f, 0};
        const bool fast = are_moderate<BF16, 16>(operation, loaded);
        ok &= fast == (z[7] < 32);
        compute_vector<BF16, 16, 0>(operation, loaded, packed, 0);
        for (int i = 0; i < 8; ++i) {
            const float value = fast ? Alone::Fast::forward(z[i]) : Alone::Careful::forward(z[i]);
            const mish_u16 wanted = bf16_from_f32(std::fma(0.5f, value, v[i]));
            ok &= mish_u16(packed[0].w[i / 2] >> (i % 2 * 16)) == wanted;
        }
        ok &= operation.sum == total;
    }
    std::printf("an operation with prologue and epilogue%s\n", ok ? "" : "  FAILED");
    count(ok);
}

// Products beside the middle between two numbers, for every input: there an error on the way shows
// in full.
template <class M> void narrow_directed(const std::string &name, const Narrow &type) {
    const Format &format = type.format;
    const double bound = type.bounds.products[1];
    Tally one(name + " gradient x mish', directed", format, bound, 1),
        two(name + " gradients x mish'', directed", format, bound, 2);
    std::mt19937_64 random(17);
    const int fractions = 1 << (format.digits - 1);
    const auto significand = [&] { return 1 + double(random() % unsigned(fractions)) / fractions; };
    // How far from a middle, in last places.
    const auto off = [&](double product) {
        const double places = std::fabs(product) / last_place(product, format);
        return std::fabs(places - std::floor(places) - 0.5);
    };
    for (mish_u32 bits = 0; bits < 0x10000u; ++bits) {
        const float x = type.widen(mish_u16(bits));
        if (!std::isfinite(x)) continue;
        const Reference<double> exact(x);
        // Gradients that keep the products in the middle of the range.
        const int first = -std::max(-format.largest, std::min(0, std::ilogb(exact.first)));
        const int second = -std::max(-2 * format.largest, std::min(0, std::ilogb(exact.second)));
        for (int step = 0; step < 256; ++step) {
            const double a = significand(), b = significand();
            const double grad = std::ldexp(a, std::min(first, format.largest));
            const double grad_grad = std::ldexp(a, second / 2), other = std::ldexp(b, second - second / 2);
            const double wanted[] = {grad * exact.first, grad_grad * other * exact.second};
            const bool is_beside[] = {off(wanted[0]) < 0.002, off(wanted[1]) < 0.002};
            for (int e = -2; e <= 2; ++e)
                for (int r = -1; r <= 1; ++r) {
                    hardware.exp2_ulps = e;
                    hardware.reciprocal_ulps = r;
                    float ignored, result;
                    if (is_beside[0]) {
                        result = M::backward(float(grad), x);
                        one.add(type.widen(type.narrow(result)), wanted[0], x, grad);
                        M::double_backward(float(grad), 1, x, result, ignored);
                        one.add(type.widen(type.narrow(result)), wanted[0], x, grad);
                    }
                    if (is_beside[1]) {
                        M::double_backward(float(grad_grad), float(other), x, ignored, result);
                        two.add(type.widen(type.narrow(result)), wanted[1], x, grad_grad * other);
                    }
                }
        }
    }
    count(one.report());
    count(two.report());
}

template <class M> void narrow(const std::string &name, const Narrow &type, bool list) {
    const double bound = type.bounds.functions[0], products = type.bounds.products[1];
    Tally tallies[] = {{name + " mish", type.format, bound, 0},
                       {name + " mish'", type.format, bound, 1},
                       {name + " mish''", type.format, bound, 2},
                       {name + " gradient x mish'", type.format, products, 1},
                       {name + " gradients x mish''", type.format, products, 2},
                       {name + " second gradient x mish'", type.format, products, 1}};
    std::mt19937_64 random(16);
    // Any bit pattern, or (half of the time) one near the ends of the range.
    const auto any = [&] {
        for (;;) {
            mish_u32 bits = mish_u32(random());
            const mish_u32 largest = type.largest - (bits >> 24 & 0x3fu);
            if (bits & 0x10000u)
                bits = (bits & 0x8000u) | (bits & 0x20000u ? largest : bits >> 24 & 0x3fu);
            const float value = type.widen(mish_u16(bits));
            if (std::isfinite(value) && value != 0) return value;
        }
    };
    for (mish_u32 bits = 0; bits < 4 * 0x10000u; ++bits) {
        const float x = type.widen(mish_u16(bits));
        if (!std::isfinite(x)) continue;
        const Reference<double> exact(x);
        const float grad = any(), grad_grad = any();
        const double wanted[] = {exact.value, exact.first, exact.second, double(grad) * exact.first,
                                 double(grad) * double(grad_grad) * exact.second,
                                 double(grad_grad) * exact.first};
        const double factors[] = {1, 1, 1, grad, double(grad) * grad_grad, grad_grad};
        bool off[6] = {};
        for (int e = -2; e <= 2; ++e)
            for (int r = -1; r <= 1; ++r) {
                hardware.exp2_ulps = e;
                hardware.reciprocal_ulps = r;
                float results[6], first;
                results[0] = M::forward(x);
                results[1] = M::backward(1, x);
                M::double_backward(1, 1, x, first, results[2]);
                results[3] = M::backward(grad, x);
                M::double_backward(grad_grad, grad, x, results[5], results[4]);
                for (int i = 0; i < 6; ++i) {
                    const double got = type.widen(type.narrow(results[i]));
                    tallies[i].add(got, wanted[i], x, factors[i]);
                    off[i] |= got != round_to(wanted[i], type.format);
                }
            }
        for (int i = 0; i < 6; ++i) {
            // The gradients differ from round to round, the first three results do not.
            if (i < 3 && bits >= 0x10000u) continue;
            tallies[i].inexact += off[i];
            if (off[i] && list && i < 3)
                std::printf("  %s: x = %.9g (0x%04x)\n", tallies[i].name.c_str(), double(x), bits);
        }
    }
    for (const Tally &tally : tallies) count(tally.report());
    narrow_directed<M>(name, type);
}

// float and double ----------------------------------------------------------------------------

// Dense around everything at which something changes, the rest spread over all bit patterns.
std::vector<double> centres() {
    return {ZEROS[0].at, ZEROS[1].at, ZEROS[2].at, 0, 4,      15,    25,   -104, -110, -87.34, -41.6,
            -20.8,    20.8,     41.6,    44.4, 88.7,   150,   -210, -300, -708.4, -745.2, -760,
            -138.6,   -693.1,   354.9,   372.5, 373.1, 709.8, -1480, -2200, 1120};
}

// The inputs with the largest errors relative to the function, or near a zero to 1/16, whichever
// model of the hardware makes them.
template <class F> class Suspects {
  public:
    struct Suspect {
        double error;
        F x;
        Hardware model;
    };
    void add(double error, F x) {
        if (found.size() == MOST && !(error > found.front().error)) return;
        for (Suspect &known : found)
            if (known.x == x) {
                if (error > known.error) known = {error, x, hardware}, heap();
                return;
            }
        if (found.size() == MOST) {
            std::pop_heap(found.begin(), found.end(), is_worse);
            found.pop_back();
        }
        found.push_back({error, x, hardware});
        std::push_heap(found.begin(), found.end(), is_worse);
    }
    const std::vector<Suspect> &all() const { return found; }

  private:
    static constexpr std::size_t MOST = 64;
    static bool is_worse(const Suspect &a, const Suspect &b) { return a.error > b.error; }
    void heap() { std::make_heap(found.begin(), found.end(), is_worse); }
    std::vector<Suspect> found;
};

// A number's significand, from 1 to 2.
template <class T> T significand(T x) {
    if (x < 0) x = -x;
    return x / power(T(), int(log2_floor(x)));
}

template <class M, class F, class T, class Product>
void wide(const char *type, const Format &format, const Bounds &bounds,
          const std::vector<F> &inputs, const std::vector<Hardware> &models, bool randomly) {
    const std::string name = type;
    Tally tallies[] = {{name + " mish", format, bounds.functions[0], 0},
                       {name + " mish'", format, bounds.functions[1], 1},
                       {name + " mish''", format, bounds.functions[2], 2},
                       {name + " gradient x mish'", format, bounds.products[1], 1},
                       {name + " gradients x mish''", format, bounds.products[2], 2}};
    std::mt19937_64 random(64);
    std::uniform_real_distribution<double> off(-1, 1);
    // By mish' and mish''.
    Suspects<F> suspects[2];
    // What is too large may be rounded up across a power of two, which costs more.
    const auto suspect = [&](int order, F x, double error, F got, T exact) {
        if (exact == 0 || log2_floor(exact) < format.smallest) return;
        const T size = exact < 0 ? -exact : exact;
        const double outward = (T(got) < 0 ? -T(got) : T(got)) > size ? 0.25 : 0;
        const bool scaled = near_zero(order, x) && size < 1 / T(16);
        suspects[order - 1].add(error / (scaled ? 1 : double(significand(exact))) + outward, x);
    };
    for (const F x : inputs) {
        const Reference<T> exact((T(x)));
        const F grad = any_gradient<F>(random), grad_grad = any_gradient<F>(random);
        for (const Hardware &model : models) {
            hardware = model;
            if (randomly && hardware.reciprocal_off == 0) hardware.reciprocal_off = off(random);
            F first, second, scaled_first, scaled_second;
            const F value = M::forward(x), alone = M::backward(1, x);
            M::double_backward(1, 1, x, first, second);
            tallies[0].add(value, exact.value, x);
            suspect(1, x, tallies[1].add(first, exact.first, x), first, exact.first);
            suspect(1, x, tallies[1].add(alone, exact.first, x), alone, exact.first);
            suspect(2, x, tallies[2].add(second, exact.second, x), second, exact.second);
            M::double_backward(grad_grad, grad, x, scaled_first, scaled_second);
            tallies[3].add(M::backward(grad, x), T(grad) * exact.first, x, T(grad));
            tallies[3].add(scaled_first, T(grad_grad) * exact.first, x, T(grad_grad));
            const Product product = Product(grad) * Product(grad_grad);
            tallies[4].add(scaled_second, T(product * Product(exact.second)), x, T(product));
        }
    }
    for (const Tally &tally : tallies) count(tally.report());

    // What follows from the functions' relative errors, if they are rounded before the products.
    for (int order = 1; order <= 2; ++order) {
        double largest = 0;
        for (const auto &at : suspects[order - 1].all()) largest = std::max(largest, at.error);
        const double at_most = 2 * largest + order - 0.5;
        std::printf("%s gradients x %s, from the function alone at most %.3f ULP\n", name.c_str(),
                    order == 1 ? "mish'" : "mish''", at_most);
        count(at_most <= bounds.products[order]);
    }

    // The gradients that make the most of these errors, as tests/sweep/src/directed.rs says why:
    // products around a power of two, with two gradients the first of them just above one.
    Tally one(name + " gradient x mish', directed", format, bounds.products[1], 1),
        two(name + " gradients x mish'', directed", format, bounds.products[2], 2);
    const F unit = F(std::ldexp(1.0, 1 - format.digits));
    const auto below_two = [](F m) { return m >= 1 && m < 2; };
    for (const auto &at : suspects[0].all()) {
        hardware = at.model;
        const T exact = Reference<T>(T(at.x)).first;
        const F centre = F(2 / significand(exact));
        // In the middle of the range and, if the product reaches it, at its upper end.
        const int edge = format.largest - int(log2_floor(exact));
        for (int step = -1024; step <= 16; ++step) {
            const F m = centre + F(step) * unit;
            if (!below_two(m)) continue;
            for (const int exponent : {0, edge}) {
                if (exponent > format.largest) continue;
                const F grad = std::ldexp(m, exponent);
                F first, second;
                M::double_backward(grad, 1, at.x, first, second);
                one.add(M::backward(grad, at.x), T(grad) * exact, at.x, T(grad));
                one.add(first, T(grad) * exact, at.x, T(grad));
            }
        }
    }
    for (const auto &at : suspects[1].all()) {
        hardware = at.model;
        const T exact = Reference<T>(T(at.x)).second, m = significand(exact);
        const F centre = F(2 / m);
        for (int i = -2; i <= 24; ++i) {
            const F a = centre + F(i) * unit;
            if (!below_two(a)) continue;
            const F next = F(2 / significand(m * T(a)));
            for (int j = -64; j <= 4; ++j) {
                const F b = next + F(j) * unit;
                if (!below_two(b)) continue;
                const int edge = format.largest - int(log2_floor(exact * T(a) * T(b)));
                for (const int exponent : {0, edge}) {
                    if (exponent > 2 * format.largest) continue;
                    // Either may be the larger one.
                    const int half = exponent / 2 + (j & 1 ? 3 : -3);
                    if (std::max(half, exponent - half) > format.largest) continue;
                    const F grads[] = {std::ldexp(a, half), std::ldexp(b, exponent - half)};
                    const Product product = Product(grads[0]) * Product(grads[1]);
                    const T wanted = T(product * Product(exact));
                    F first, second;
                    M::double_backward(grads[0], grads[1], at.x, first, second);
                    two.add(second, wanted, at.x, T(product));
                    M::double_backward(grads[1], grads[0], at.x, first, second);
                    two.add(second, wanted, at.x, T(product));
                }
            }
        }
    }
    count(one.report());
    count(two.report());
}

std::vector<float> float_inputs() {
    std::vector<float> inputs;
    std::mt19937_64 random(32);
    // One at random from each of 2^22 strata of 1024 neighbouring bit patterns.
    for (mish_u32 stratum = 0; stratum < 1u << 22; ++stratum) {
        const float x = f32_from_bits(stratum << 10 | mish_u32(random() & 1023u));
        if (std::isfinite(x)) inputs.push_back(x);
    }
    for (const double centre : centres())
        for (int step = -2048; step <= 2048; ++step) {
            const mish_u32 near = bits_from_f32(float(centre)) + mish_u32(step);
            const float x = f32_from_bits(near);
            if (std::isfinite(x)) inputs.push_back(x);
            inputs.push_back(float(centre + step * 0x1p-12));
        }
    return inputs;
}

std::vector<double> double_inputs() {
    std::vector<double> inputs;
    std::mt19937_64 random(128);
    std::uniform_real_distribution<double> unit(0, 1), range(-760, 380), middle(-6, 6);
    for (int i = 0; i < 1 << 16; ++i) {
        inputs.push_back(range(random));
        inputs.push_back(middle(random));
        inputs.push_back(std::ldexp(1 + unit(random), int(random() % 40) - 30));
        inputs.push_back(-std::ldexp(1 + unit(random), int(random() % 40) - 30));
        const double any = f64_from_bits(random());
        if (std::isfinite(any)) inputs.push_back(any);
    }
    for (const double centre : centres())
        for (int step = -512; step <= 512; ++step) {
            inputs.push_back(f64_from_bits(bits_from_f64(centre) + mish_u64(mish_i64(step))));
            inputs.push_back(centre + step * 0x1p-9);
        }
    for (double &x : inputs)
        if (!std::isfinite(x)) x = 0;
    return inputs;
}

// Special values ------------------------------------------------------------------------------

bool same(double got, double wanted) {
    return std::isnan(wanted) ? std::isnan(got)
                              : got == wanted && std::signbit(got) == std::signbit(wanted);
}

// What an operation returns, rounded as in its type: a 1 that misses by float's last place is 1.
float kept(float value, bool narrow) { return narrow ? f32_from_f16(f16_from_f32(value)) : value; }
double kept(double value, bool) { return value; }

template <class M, class F> void special(const char *name, bool narrow) {
    const F inf = F(INFINITY), nan = F(NAN), values[] = {0, F(-0.0), -inf, inf, nan};
    const double y[] = {0, -0.0, -0.0, INFINITY, NAN}, first[] = {0.6, 0.6, 0, 1, NAN},
                 second[] = {0.64, 0.64, 0, 0, NAN};
    const double last = narrow ? 0x1p-11 : sizeof(F) == 4 ? 0x1p-23 : 0x1p-52;
    const auto close = [&](F got, double wanted) {
        if (wanted != wanted) return got != got;
        return std::fabs(kept(got, narrow) - wanted) <= (wanted == 1 ? 0 : last * wanted);
    };
    bool ok = true;
    for (int e = -2; e <= 2; ++e)
        for (int r = -1; r <= 1; ++r)
            for (int i = 0; i < 5; ++i) {
                hardware.exp2_ulps = e;
                hardware.reciprocal_ulps = r;
                hardware.reciprocal_off = r;
                F got_first, got_second;
                M::double_backward(1, 1, values[i], got_first, got_second);
                ok &= same(kept(M::forward(values[i]), narrow), y[i]);
                ok &= close(M::backward(1, values[i]), first[i]);
                ok &= close(got_first, first[i]) && close(got_second, second[i]);
            }
    std::printf("%s special values%s\n", name, ok ? "" : "  FAILED");
    count(ok);
}

// An infinite gradient gives an infinity of the derivative's sign, at x = -inf and inf the sign on
// the way there; beside a gradient of 0, and with a NaN anywhere, it gives NaN.
template <class M, class F> void infinite_gradients(const char *name) {
    hardware = Hardware();
    const F inf = F(INFINITY), nan = F(NAN);
    bool ok = true;
    const auto check = [&](F x, bool first_rises, bool second_rises) {
        for (const F grad : {inf, -inf}) {
            const bool up = grad > 0;
            const F first = up == first_rises ? inf : -inf, second = up == second_rises ? inf : -inf;
            F got_first, got_second;
            ok &= M::backward(grad, x) == first;
            M::double_backward(grad, F(0.5), x, got_first, got_second);
            ok &= got_first == first && got_second == second;
            M::double_backward(F(0.5), grad, x, got_first, got_second);
            ok &= std::isfinite(got_first) && got_second == second;
            M::double_backward(grad, -grad, x, got_first, got_second);
            ok &= got_second == (second_rises ? -inf : inf);
            M::double_backward(grad, 0, x, got_first, got_second);
            ok &= std::isnan(got_second);
            M::double_backward(0, grad, x, got_first, got_second);
            ok &= std::isnan(got_second);
        }
        F got_first, got_second;
        ok &= std::isnan(M::backward(nan, x));
        M::double_backward(nan, 1, x, got_first, got_second);
        ok &= std::isnan(got_first) && std::isnan(got_second);
        M::double_backward(1, nan, x, got_first, got_second);
        ok &= std::isnan(got_second);
    };
    for (const F limit : {inf, std::numeric_limits<F>::max()}) {
        check(limit, true, false);
        check(-limit, false, false);
    }
    for (int step = -1000; step <= 1000; ++step) {
        const double x = step * 2.5 + 0.125;
        for (const double at : {x, x / 128})
            check(F(at), at > ZEROS[0].at, at > ZEROS[1].at && at < ZEROS[2].at);
    }
    std::printf("%s infinite gradients%s\n", name, ok ? "" : "  FAILED");
    count(ok);
}

template <class M, class F> void special_values(const char *name, bool narrow) {
    special<M, F>(name, narrow);
    infinite_gradients<M, F>(name);
}

} // namespace

int main(int argc, char **argv) {
    const auto start = std::chrono::steady_clock::now();
    const std::string option = argc > 1 ? argv[1] : "";
    const bool list = option == "--list", only_wide = option == "--wide";
    special_values<Bounded, float>("f16", true);
    special_values<Factored, float>("bf16", true);
    special_values<Alone, float>("bf16 in vector", true);
    moderate();
    prologue();
    special_values<Widened, float>("f32 in double", false);
    special_values<DoubleWord, float>("f32 in pairs", false);
    special_values<Methods<F64>::Careful, double>("f64", false);
    if (!only_wide) {
        narrow<Bounded>("f16", F16_TYPE, list);
        narrow<Factored>("bf16", BF16_TYPE, list);
        narrow<Alone>("bf16 in vector", BF16_TYPE, list);
    }

    std::vector<Hardware> models(3);
    models[0].reciprocal_ulps = -1, models[0].reciprocal_off = -1;
    models[2].reciprocal_ulps = 1, models[2].reciprocal_off = 1;
    wide<Widened, float, double, long double>("f32 in double", FORMAT_F32, BOUNDS_F32, float_inputs(), models,
                                           true);
    wide<DoubleWord, float, double, long double>("f32 in pairs", FORMAT_F32, BOUNDS_F32,
                                                 float_inputs(), models, false);
    wide<Methods<F64>::Careful, double, __float128, __float128>("f64", FORMAT_F64, BOUNDS_F64,
                                                                double_inputs(), models, true);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    // The closing line is one of libtest's JSON, which the test runner reads.
    std::printf("in %.0f s\n{ \"type\": \"suite\", \"event\": \"%s\", \"passed\": %d, \"failed\": %d }\n",
                took.count(), wrong ? "failed" : "ok", passed, wrong);
    return wrong == 0 ? 0 : 1;
}

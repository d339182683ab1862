// mish.hpp: types deduced, containers, tensors, exceptions.
#include "mish.hpp"
#include "mish.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "check.h"

// 16-bit types of a program's own.
struct half {
    std::uint16_t bits;
};
struct brain {
    std::uint16_t bits;
};
namespace mish {
template <> struct dtype_of<half> : dtype_constant<MISH_DTYPE_F16> {};
template <> struct dtype_of<brain> : dtype_constant<MISH_DTYPE_BF16> {};
} // namespace mish

// What std::span is from C++20 on.
template <class T> struct span {
    T *first;
    std::size_t count;
    T *data() const { return first; }
    std::size_t size() const { return count; }
};

template <class T> static bool is_close(T got, double expected) {
    return std::abs(static_cast<double>(got) - expected) < 1e-6;
}

template <class F> static void throws(mish_status status, const char *argument, F body) {
    try {
        body();
        check_that(false, "nothing was thrown", __FILE__, __LINE__);
    } catch (const mish::error &error) {
        CHECK(error.status() == status);
        CHECK(std::strncmp(error.what(), mish_status_name(status), 12) == 0);
        CHECK(std::strstr(error.what(), argument) != nullptr);
    }
}

template <class T> static void real() {
    const std::vector<T> x = {T(-1), T(0), T(1)}, g = {T(1), T(2), T(3)}, h = {T(2), T(2), T(2)};
    std::vector<T> y(3), z(3);
    mish::forward(x, y);
    CHECK(is_close(y[0], -0.3034014613) && y[1] == 0 && is_close(y[2], 0.8650983883));
    mish::backward(g, x, y);
    CHECK(is_close(y[0], 0.0592167) && is_close(y[1], 1.2) && is_close(y[2], 3 * 1.0490362));
    mish::double_backward(h, g, x, y, z);
    CHECK(is_close(y[1], 1.2) && is_close(z[1], 4 * 0.64));
    std::array<T, 3> in_place = {{T(-1), T(0), T(1)}};
    mish::forward(in_place, in_place);
    CHECK(is_close(in_place[2], 0.8650983883));
    mish::forward(span<const T>{x.data(), 3}, span<T>{y.data(), 3});
    CHECK(is_close(y[2], 0.8650983883));
    mish::backward(g, x, span<T>{y.data(), 3});
    CHECK(is_close(y[1], 1.2));
    mish::double_backward(h, g, x, span<T>{z.data(), 3}, span<T>{y.data(), 3});
    CHECK(is_close(z[1], 1.2) && is_close(y[1], 4 * 0.64));
    mish::double_backward(mish::device::cpu, h.data(), g.data(), x.data(), y.data(), nullptr, 3);
    CHECK(is_close(y[1], 1.2));
}

static void small_types() {
    const half one = {0x3c00};
    half y = {0};
    mish::forward(mish::device::cpu, &one, &y, 1);
    CHECK(y.bits == 0x3aec); // 0.8652
    const brain b = {0x3f80};
    brain z = {0};
    mish::forward(mish::device::cpu, &b, &z, 1);
    CHECK(z.bits == 0x3f5d); // 0.8633
#ifdef __STDCPP_FLOAT16_T__
    std::float16_t f = 1, r = 0;
    mish::forward(mish::device::cpu, &f, &r, 1);
    CHECK(r > std::float16_t(0.865f) - std::float16_t(0.001f) && r < std::float16_t(0.866f));
#endif
}

static void failures() {
    std::vector<float> x(3), shorter(2), y(3);
    throws(MISH_STATUS_SHAPE_MISMATCH, "y:", [&] { mish::forward(x, shorter); });
    throws(MISH_STATUS_SHAPE_MISMATCH, "grad_y:", [&] { mish::backward(shorter, x, y); });
    throws(MISH_STATUS_SHAPE_MISMATCH, "grad_x:",
           [&] { mish::double_backward(x, x, x, y, shorter); });
    throws(MISH_STATUS_NULL_POINTER, "y:",
           [&] { mish::forward(mish::device::cpu, x.data(), nullptr, 3); });
    throws(MISH_STATUS_OVERLAP, "y:",
           [&] { mish::forward(mish::device::cpu, x.data(), x.data() + 1, 2); });
    throws(MISH_STATUS_UNKNOWN_DEVICE, "device:",
           [&] { mish::forward(static_cast<mish::device>(7), x.data(), y.data(), 3); });
    throws(MISH_STATUS_INVALID_STREAM, "stream:",
           [&] { mish::forward(mish::device::cpu, x.data(), y.data(), 3, &x); });
    throws(MISH_STATUS_INVALID_ORDINAL, "ordinal:", [] { mish::warmup(mish::device::cpu, 3); });
}

static void tensors() {
    float data[6] = {-1, 9, 0, 9, 1, 9}, result[3] = {};
    std::int64_t shape = 3, stride = 2;
    mish_tensor x = {data, MISH_DEVICE_CPU, 0, 1, {2, 32, 1}, &shape, &stride, 0};
    mish_tensor y = {result, MISH_DEVICE_CPU, 0, 1, {2, 32, 1}, &shape, nullptr, 0};
    mish::forward(x, y);
    CHECK(is_close(result[0], -0.3034014613) && is_close(result[2], 0.8650983883));
    mish::backward(x, x, y);
    mish::double_backward(x, x, x, &y, nullptr);
    y.ndim = 9;
    throws(MISH_STATUS_INVALID_SHAPE, "y:", [&] { mish::forward(x, y); });
}

int main() {
    real<float>();
    real<double>();
    small_types();
    failures();
    tensors();
    mish::set_num_threads(0);
    mish::warmup(mish::device::cpu);
    CHECK(mish::device_count(mish::device::cpu) == 1);
    return summary();
}

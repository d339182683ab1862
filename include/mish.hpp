/*
 * mish.hpp - a thin C++ layer over mish.h: element types deduced, failures thrown.
 *
 * C++11 or later, header only; link with -lmish. What mish.h says about threads, pointers,
 * streams and overlap holds here.
 *
 *     std::vector<float> x = {-1, 0, 1}, y(x.size());
 *     mish::forward(x, y);                                             // host containers
 *     mish::forward(mish::device::cuda, x_ptr, y_ptr, n, stream);      // raw pointers
 *
 * float and double are known, so are std::float16_t and std::bfloat16_t where the compiler has
 * them, and __half and __nv_bfloat16 if cuda_fp16.h or cuda_bf16.h was included before. Any other
 * 16-bit type takes part by specialising mish::dtype_of:
 *
 *     template <> struct mish::dtype_of<my::half> : mish::dtype_constant<MISH_DTYPE_F16> {};
 */
#ifndef MISH_HPP
#define MISH_HPP

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#if defined(__STDCPP_FLOAT16_T__) || defined(__STDCPP_BFLOAT16_T__)
#include <stdfloat>
#endif

#include "mish.h"

namespace mish {

/** A failed call: what() is the status's name and the message, which names the argument. */
class error : public std::runtime_error {
public:
    error(mish_status status, const std::string &message)
        : std::runtime_error(std::string(mish_status_name(status)) + ": " + message),
          status_(status) {}

    /** One of the MISH_STATUS_* constants. */
    mish_status status() const noexcept { return status_; }

private:
    mish_status status_;
};

/** Throws unless the status is MISH_STATUS_OK. */
inline void check(mish_status status) {
    if (status != MISH_STATUS_OK) throw error(status, mish_last_error());
}

/** Where memory lies. */
enum class device : mish_device { cpu = MISH_DEVICE_CPU, cuda = MISH_DEVICE_CUDA };

template <mish_dtype D> struct dtype_constant {
    static constexpr mish_dtype value = D;
};

/** The MISH_DTYPE_* constant of an element type; to be specialised for types of one's own. */
template <class T> struct dtype_of;
template <> struct dtype_of<float> : dtype_constant<MISH_DTYPE_F32> {};
template <> struct dtype_of<double> : dtype_constant<MISH_DTYPE_F64> {};
#ifdef __STDCPP_FLOAT16_T__
template <> struct dtype_of<std::float16_t> : dtype_constant<MISH_DTYPE_F16> {};
#endif
#ifdef __STDCPP_BFLOAT16_T__
template <> struct dtype_of<std::bfloat16_t> : dtype_constant<MISH_DTYPE_BF16> {};
#endif
#ifdef __CUDA_FP16_TYPES_EXIST__
template <> struct dtype_of<__half> : dtype_constant<MISH_DTYPE_F16> {};
#endif
#ifdef __CUDA_BF16_TYPES_EXIST__
template <> struct dtype_of<__nv_bfloat16> : dtype_constant<MISH_DTYPE_BF16> {};
#endif

namespace detail {

/* Keeps a parameter out of deduction, so that nullptr may be passed. */
template <class T> struct identity {
    typedef T type;
};

template <class T> constexpr mish_dtype dtype() {
    static_assert(sizeof(T) == (dtype_of<T>::value == MISH_DTYPE_F64   ? 8
                                : dtype_of<T>::value == MISH_DTYPE_F32 ? 4
                                                                       : 2),
                  "mish::dtype_of names a type of another size");
    return dtype_of<T>::value;
}

inline void same_size(const char *name, std::size_t size, std::size_t expected) {
    if (size != expected)
        throw error(MISH_STATUS_SHAPE_MISMATCH, std::string(name) + ": has " +
                                                    std::to_string(size) + " elements, but x has " +
                                                    std::to_string(expected));
}

} // namespace detail

/* Raw pointers: n elements each, on the host or a GPU. */

/** y = mish(x); y may be x. */
template <class T>
void forward(device where, const T *x, typename detail::identity<T>::type *y, std::size_t n,
             void *stream = nullptr) {
    check(mish_forward(static_cast<mish_device>(where), detail::dtype<T>(), x, y, n, stream));
}

/** grad_x = grad_y * mish'(x); grad_x may be grad_y or x. */
template <class T>
void backward(device where, const typename detail::identity<T>::type *grad_y, const T *x,
              typename detail::identity<T>::type *grad_x, std::size_t n, void *stream = nullptr) {
    check(mish_backward(static_cast<mish_device>(where), detail::dtype<T>(), grad_y, x, grad_x, n,
                        stream));
}

/** The gradient of backward; either output may be nullptr and is then skipped. */
template <class T>
void double_backward(device where, const typename detail::identity<T>::type *grad_grad_x,
                     const typename detail::identity<T>::type *grad_y, const T *x,
                     typename detail::identity<T>::type *grad_grad_y,
                     typename detail::identity<T>::type *grad_x, std::size_t n,
                     void *stream = nullptr) {
    check(mish_double_backward(static_cast<mish_device>(where), detail::dtype<T>(), grad_grad_x,
                               grad_y, x, grad_grad_y, grad_x, n, stream));
}

/* Host containers: anything with data() and size() whose elements lie side by side, such as
 * std::vector, std::array and std::span; an output may be a span that is a temporary. */

/** y = mish(x); y may be x. */
template <class X, class Y> auto forward(const X &x, Y &&y) -> decltype(x.data(), void()) {
    detail::same_size("y", y.size(), x.size());
    forward(device::cpu, x.data(), y.data(), x.size());
}

/** grad_x = grad_y * mish'(x); grad_x may be grad_y or x. */
template <class G, class X, class O>
auto backward(const G &grad_y, const X &x, O &&grad_x) -> decltype(x.data(), void()) {
    detail::same_size("grad_y", grad_y.size(), x.size());
    detail::same_size("grad_x", grad_x.size(), x.size());
    backward(device::cpu, grad_y.data(), x.data(), grad_x.data(), x.size());
}

/** The gradient of backward. */
template <class H, class G, class X, class O, class P>
auto double_backward(const H &grad_grad_x, const G &grad_y, const X &x, O &&grad_grad_y, P &&grad_x)
    -> decltype(x.data(), void()) {
    detail::same_size("grad_grad_x", grad_grad_x.size(), x.size());
    detail::same_size("grad_y", grad_y.size(), x.size());
    detail::same_size("grad_grad_y", grad_grad_y.size(), x.size());
    detail::same_size("grad_x", grad_x.size(), x.size());
    double_backward(device::cpu, grad_grad_x.data(), grad_y.data(), x.data(), grad_grad_y.data(),
                    grad_x.data(), x.size());
}

/* Strided tensors in DLPack's layout. */

/** y = mish(x). */
inline void forward(const mish_tensor &x, const mish_tensor &y, void *stream = nullptr) {
    check(mish_tensor_forward(&x, &y, stream));
}

/** grad_x = grad_y * mish'(x). */
inline void backward(const mish_tensor &grad_y, const mish_tensor &x, const mish_tensor &grad_x,
                     void *stream = nullptr) {
    check(mish_tensor_backward(&grad_y, &x, &grad_x, stream));
}

/** The gradient of backward; either output may be nullptr and is then skipped. */
inline void double_backward(const mish_tensor &grad_grad_x, const mish_tensor &grad_y,
                            const mish_tensor &x, const mish_tensor *grad_grad_y,
                            const mish_tensor *grad_x, void *stream = nullptr) {
    check(mish_tensor_double_backward(&grad_grad_x, &grad_y, &x, grad_grad_y, grad_x, stream));
}

/* Housekeeping. */

/** The number of devices of a kind. */
inline int device_count(device which) {
    std::int32_t count = 0;
    check(mish_device_count(static_cast<mish_device>(which), &count));
    return count;
}

/** Loads the kernels now, for instance before a graph capture. */
inline void warmup(device which, int ordinal = 0) {
    check(mish_warmup(static_cast<mish_device>(which), ordinal));
}

/** The most threads that a call on the CPU uses; 0 is the default. */
inline void set_num_threads(unsigned threads) { check(mish_set_num_threads(threads)); }

} // namespace mish

#endif /* MISH_HPP */

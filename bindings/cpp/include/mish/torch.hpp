/*
 * mish/torch.hpp - Mish for LibTorch: a function and a module, differentiable twice.
 *
 * Header only, over libmish.so; any LibTorch from 2.9 on, with or without CUDA.
 *
 *     ::torch::Tensor y = mish::torch::mish(x);
 *     ::torch::nn::Sequential net(::torch::nn::Linear(3, 4), mish::torch::Mish());
 *
 * Tensors are float16, bfloat16, float32 or float64, on the CPU or a CUDA device, with any
 * strides, lazily negated or zero too; what only stands for data (functorch's, functionalization's
 * and Python's tensors) throws. Work on a GPU goes to the current stream of the tensor's device. Only the input is
 * kept for the gradient, and each of the two orders is one kernel. A third order throws.
 */
#ifndef MISH_TORCH_HPP
#define MISH_TORCH_HPP

#include <cstdint>
#include <initializer_list>

#include <ATen/TensorSubclassLikeUtils.h>
#include <torch/torch.h>

#include "mish.h"
#include "mish/torch_checks.hpp"

// libtorch_cuda's, and absent where LibTorch has no CUDA.
extern "C" __attribute__((weak)) std::int32_t aoti_torch_get_current_cuda_stream(std::int32_t,
                                                                                 void **);

namespace mish {
namespace torch {

using ::at::Tensor;

namespace detail {

inline mish_device device(const Tensor &x) {
    TORCH_CHECK_NOT_IMPLEMENTED(x.layout() == ::at::kStrided && !x.is_quantized(),
                                "\"mish\" not implemented for this tensor's layout");
    if (x.is_cpu()) return MISH_DEVICE_CPU;
    TORCH_CHECK_NOT_IMPLEMENTED(x.is_cuda(), "\"mish\" not implemented for device ", x.device());
    return MISH_DEVICE_CUDA;
}

inline void *stream(const Tensor &x) {
    if (!x.is_cuda()) return nullptr;
    void *current = nullptr;
    TORCH_CHECK(aoti_torch_get_current_cuda_stream &&
                    aoti_torch_get_current_cuda_stream(x.get_device(), &current) == 0,
                "mish: the current CUDA stream is not available");
    return current;
}

inline void check(mish_status status) {
    TORCH_CHECK(status == MISH_STATUS_OK, mish_last_error());
}

/* The tensor with its elements in memory as they are: not lazily negated, not a zero without
 * memory. Others that have no memory of their own are refused. */
inline Tensor materialized(const Tensor &tensor) {
    Tensor plain = tensor._is_zerotensor() ? ::at::zeros_like(tensor) : tensor.resolve_neg();
    TORCH_CHECK_NOT_IMPLEMENTED(!::at::isTensorSubclassLike(plain) && plain.has_storage(),
                                "\"mish\" not implemented for tensors without memory of their own (",
                                plain.key_set(), ")");
    return plain;
}

/* A tensor's elements in the order of memory that every operand of a call has, at an address that
 * is a multiple of their size. */
inline Tensor aligned(const Tensor &tensor, const Tensor &like) {
    Tensor plain = materialized(tensor);
    const auto address = reinterpret_cast<std::uintptr_t>(plain.const_data_ptr());
    if (plain.strides() == like.strides() && address % plain.element_size() == 0) return plain;
    Tensor copy = ::at::empty_like(like);
    return copy.copy_(plain);
}

/* An output for operands like x: new memory, of which nothing is lazy. */
inline Tensor output(const Tensor &x) { return ::at::empty_like(materialized(x)); }

/* The outputs are dense, so that operands with their strides are one run of memory. */
inline Tensor forward(const Tensor &x) {
    const mish_device on = device(x);
    const mish_dtype type = dtype(x);
    Tensor y = output(x), in = aligned(x, y);
    check(mish_forward(on, type, in.const_data_ptr(), y.mutable_data_ptr(),
                       static_cast<std::size_t>(x.numel()), stream(x)));
    return y;
}

inline Tensor backward(const Tensor &grad_y, const Tensor &x) {
    const mish_device on = device(x);
    const mish_dtype type = dtype(x);
    check_backward(grad_y, x);
    Tensor grad_x = output(x), in = aligned(x, grad_x), grad = aligned(grad_y, grad_x);
    check(mish_backward(on, type, grad.const_data_ptr(), in.const_data_ptr(),
                        grad_x.mutable_data_ptr(), static_cast<std::size_t>(x.numel()),
                        stream(x)));
    return grad_x;
}

inline ::torch::autograd::variable_list double_backward(const Tensor &grad_grad_x,
                                                        const Tensor &grad_y, const Tensor &x) {
    const mish_device on = device(x);
    const mish_dtype type = dtype(x);
    check_double_backward(grad_grad_x, grad_y, x);
    Tensor grad_grad_y = output(x), grad_x = ::at::empty_like(grad_grad_y);
    Tensor in = aligned(x, grad_x), grad = aligned(grad_y, grad_x),
           second = aligned(grad_grad_x, grad_x);
    check(mish_double_backward(on, type, second.const_data_ptr(), grad.const_data_ptr(),
                               in.const_data_ptr(), grad_grad_y.mutable_data_ptr(),
                               grad_x.mutable_data_ptr(), static_cast<std::size_t>(x.numel()),
                               stream(x)));
    return {grad_grad_y, grad_x};
}

} // namespace detail

/* The gradient's gradient, which ends here. */
class DoubleBackward : public ::torch::autograd::Function<DoubleBackward> {
public:
    static ::torch::autograd::variable_list forward(::torch::autograd::AutogradContext *,
                                                    const Tensor &grad_grad_x,
                                                    const Tensor &grad_y, const Tensor &x) {
        return detail::double_backward(grad_grad_x, grad_y, x);
    }

    static ::torch::autograd::variable_list backward(::torch::autograd::AutogradContext *,
                                                     ::torch::autograd::variable_list) {
        TORCH_CHECK_NOT_IMPLEMENTED(false, "mish: the third derivative is not implemented in C++");
    }
};

/* grad_y * mish'(x). */
class Backward : public ::torch::autograd::Function<Backward> {
public:
    static Tensor forward(::torch::autograd::AutogradContext *context, const Tensor &grad_y,
                          const Tensor &x) {
        context->save_for_backward({grad_y, x});
        return detail::backward(grad_y, x);
    }

    static ::torch::autograd::variable_list backward(::torch::autograd::AutogradContext *context,
                                                     ::torch::autograd::variable_list grads) {
        const auto saved = context->get_saved_variables();
        return DoubleBackward::apply(grads[0], saved[0], saved[1]);
    }
};

/* mish(x). */
class Forward : public ::torch::autograd::Function<Forward> {
public:
    static Tensor forward(::torch::autograd::AutogradContext *context, const Tensor &x) {
        context->save_for_backward({x});
        return detail::forward(x);
    }

    static ::torch::autograd::variable_list backward(::torch::autograd::AutogradContext *context,
                                                     ::torch::autograd::variable_list grads) {
        return {Backward::apply(grads[0], context->get_saved_variables()[0])};
    }
};

/* mish(x) = x * tanh(softplus(x)), element by element; keeps the memory format. */
inline Tensor mish(const Tensor &x) { return Forward::apply(x); }

/* The same as a module without parameters. */
class MishImpl : public ::torch::nn::Cloneable<MishImpl> {
public:
    void reset() override {}
    void pretty_print(std::ostream &stream) const override { stream << "mish::torch::Mish()"; }
    Tensor forward(const Tensor &x) { return Forward::apply(x); }
};

// What TORCH_MODULE makes, which does not work inside a namespace called torch.
class Mish : public ::torch::nn::ModuleHolder<MishImpl> {
public:
    using ::torch::nn::ModuleHolder<MishImpl>::ModuleHolder;
    using Impl = MishImpl;
};

} // namespace torch
} // namespace mish

#endif

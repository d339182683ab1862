// Mish in a LibTorch program: a small network, first and second order, on the CPU and, where
// there is one, on a GPU. Prints one line per check and ends with 1 if any failed.
//
//     cmake -S examples/libtorch -B build -DCMAKE_PREFIX_PATH="<libmish>;<libtorch>"
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "mish/torch.hpp"

#include <ATen/FunctionalTensorWrapper.h>

using torch::Tensor;

static int failures = 0;

static void check(const char *device, const char *what, bool holds) {
    std::printf("%s %s: %s\n", device, what, holds ? "ok" : "FAILED");
    failures += !holds;
}

static bool throws(const std::function<void()> &body, const char *part) {
    try {
        body();
    } catch (const c10::Error &error) {
        return std::string(error.what()).find(part) != std::string::npos;
    }
    return false;
}

static Tensor composed(const Tensor &x) { return x * torch::tanh(torch::softplus(x)); }

static Tensor second(const std::function<Tensor(const Tensor &)> &f, const Tensor &x) {
    auto first = torch::autograd::grad({f(x).sum()}, {x}, {}, true, true)[0];
    return torch::autograd::grad({(first * first).sum()}, {x})[0];
}

static void run(const char *device) {
    auto options = torch::dtype(torch::kFloat64).device(device);
    Tensor x = torch::linspace(-6, 6, 60, options).reshape({5, 12}).requires_grad_();

    check(device, "values", torch::allclose(mish::torch::mish(x), composed(x)));
    auto gradient = [&](auto f) { return torch::autograd::grad({f(x).pow(2).sum()}, {x})[0]; };
    check(device, "gradient", torch::allclose(gradient(mish::torch::mish), gradient(composed)));
    check(device, "second order",
          torch::allclose(second(mish::torch::mish, x), second(composed, x)));

    Tensor large = torch::full({3}, 100.0, options.dtype(torch::kFloat32)).requires_grad_();
    check(device, "second order is finite",
          torch::isfinite(second(mish::torch::mish, large)).all().item<bool>());

    Tensor image = torch::randn({2, 3, 4, 5}, options).to(at::MemoryFormat::ChannelsLast);
    check(device, "channels_last",
          mish::torch::mish(image).is_contiguous(at::MemoryFormat::ChannelsLast));
    Tensor strided = torch::randn({9, 8}, options).slice(0, 1, 9, 2).t();
    check(device, "strided", torch::allclose(mish::torch::mish(strided), composed(strided)));
    check(device, "empty", mish::torch::mish(torch::empty({0, 3}, options)).numel() == 0);

    torch::nn::Sequential net(torch::nn::Linear(12, 4), mish::torch::Mish(),
                              torch::nn::Linear(4, 1));
    net->to(torch::Device(device), torch::kFloat64);
    net->forward(x).sum().backward();
    bool trained = true;
    for (const auto &parameter : net->parameters())
        trained = trained && parameter.grad().defined() &&
                  torch::isfinite(parameter.grad()).all().item<bool>();
    check(device, "module", trained);

    check(device, "integers are refused",
          throws([&] { mish::torch::mish(torch::ones({3}, options.dtype(torch::kInt))); },
                 "not implemented for 'Int'"));
    check(device, "shapes are compared",
          throws([&] { mish::torch::Backward::apply(torch::ones({3}, options), x); }, "grad_y"));
}

// Tensors whose memory is not what they say: each operand of each order in turn.
static void run_lazy(const char *device) {
    using mish::torch::Backward;
    using mish::torch::DoubleBackward;
    auto options = torch::dtype(torch::kFloat64).device(device);
    Tensor plain = torch::linspace(-3, 3, 12, options).reshape({3, 4});
    auto negated = [](const Tensor &t) {
        return torch::imag(torch::complex(torch::zeros_like(t), t.neg()).conj());
    };
    const Tensor zero = at::_efficientzerotensor({3, 4}, options);
    const Tensor dense = torch::empty_like(plain).copy_(plain)._neg_view();
    struct Case {
        const char *name;
        Tensor lazy, same;
    } cases[] = {{"negated, strided", negated(plain), plain},
                 {"negated, dense", dense, -plain},
                 {"zero", zero, torch::zeros_like(plain)}};
    for (const Case &lazy : cases) {
        const std::string name = lazy.name;
        const Tensor &l = lazy.lazy, &s = lazy.same;
        check(device, (name + ": is lazy").c_str(), l.is_neg() || l._is_zerotensor());
        check(device, name.c_str(), torch::equal(mish::torch::mish(l), mish::torch::mish(s)));
        check(device, (name + ", x of the gradient").c_str(),
              torch::equal(Backward::apply(plain, l), Backward::apply(plain, s)));
        check(device, (name + ", gradient").c_str(),
              torch::equal(Backward::apply(l, plain), Backward::apply(s, plain)));
        const Tensor orders[2][3] = {{l, plain, l}, {plain, l, plain}};
        const Tensor plains[2][3] = {{s, plain, s}, {plain, s, plain}};
        for (int i = 0; i < 2; i++) {
            auto got = DoubleBackward::apply(orders[i][0], orders[i][1], orders[i][2]);
            auto want = DoubleBackward::apply(plains[i][0], plains[i][1], plains[i][2]);
            check(device, (name + ", second order").c_str(),
                  torch::equal(got[0], want[0]) && torch::equal(got[1], want[1]));
        }
    }
    const Tensor wrapped = at::functionalization::impl::to_functional_tensor(plain);
    check(device, "functional tensors are refused",
          throws([&] { mish::torch::mish(wrapped); }, "memory of their own"));
    check(device, "complex numbers are refused",
          throws([&] { mish::torch::mish(torch::complex(plain, plain).conj()); },
                 "not implemented for 'ComplexDouble'"));
}

// On the host alone: an address that is no multiple of the elements' size.
static void run_misaligned() {
    std::vector<char> memory(12 * sizeof(float) + 1);
    Tensor plain = torch::linspace(-3, 3, 12);
    std::memcpy(memory.data() + 1, plain.const_data_ptr(), 12 * sizeof(float));
    Tensor x = torch::from_blob(memory.data() + 1, {12}, torch::kFloat32);
    check("cpu", "misaligned", torch::equal(mish::torch::mish(x), mish::torch::mish(plain)));
    check("cpu", "misaligned gradient",
          torch::equal(mish::torch::Backward::apply(x, x),
                       mish::torch::Backward::apply(plain, plain)));
}

int main() {
    run("cpu");
    run_lazy("cpu");
    run_misaligned();
    if (torch::cuda::is_available()) {
        run("cuda");
        run_lazy("cuda");
    }
    return failures != 0;
}

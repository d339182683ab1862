// Mish in a LibTorch program: a small network, first and second order, on the CPU and, where
// there is one, on a GPU. Prints one line per check and ends with 1 if any failed.
//
//     cmake -S examples/libtorch -B build -DCMAKE_PREFIX_PATH="<libmish>;<libtorch>"
#include <cstdio>
#include <functional>
#include <limits>

#include "mish/torch.hpp"

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

int main() {
    run("cpu");
    if (torch::cuda::is_available()) run("cuda");
    return failures != 0;
}

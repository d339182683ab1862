// Mish, its gradient and its second derivative from C++: on host containers and, where there is a
// GPU, on device pointers. Memory comes from the driver API, so that no toolkit is needed.
//
//     c++ -std=c++11 -I include examples/quickstart.cpp -L target/release -lmish -ldl
#include <dlfcn.h>

#include <cstdio>
#include <stdexcept>
#include <vector>

#include "mish.hpp"

using Vector = std::vector<float>;

static const Vector x = {-20, -5, -2, -1, 0, 0.5, 1, 10};
static const Vector grad_y = {1, 2, 3, 4, 5, 6, 7, 8};
static const Vector grad_grad_x = {8, 7, 6, 5, 4, 3, 2, 1};

static void print(const char *device, const char *operation, const Vector &values) {
    for (std::size_t i = 0; i < values.size(); i++)
        std::printf("%s %s %zu %.9g\n", device, operation, i, static_cast<double>(values[i]));
}

static void on_host() {
    Vector y(x.size()), grad_x(x.size()), grad_grad_y(x.size());
    mish::forward(x, y);
    print("cpu", "forward", y);
    mish::backward(grad_y, x, grad_x);
    print("cpu", "backward", grad_x);
    mish::double_backward(grad_grad_x, grad_y, x, grad_grad_y, grad_x);
    print("cpu", "grad_grad_y", grad_grad_y);
    print("cpu", "grad_x", grad_x);
}

// A function of the driver by name.
template <class... Parameters> static void cuda(const char *name, Parameters... parameters) {
    static void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    void *symbol = driver ? dlsym(driver, name) : nullptr;
    auto function = reinterpret_cast<int (*)(Parameters...)>(symbol);
    if (!function || function(parameters...) != 0) throw std::runtime_error(name);
}

// Device memory for as many floats as x has.
class Buffer {
public:
    Buffer() { cuda("cuMemAlloc_v2", &pointer, bytes()); }
    explicit Buffer(const Vector &values) : Buffer() {
        cuda("cuMemcpyHtoD_v2", pointer, static_cast<const void *>(values.data()), bytes());
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { cuda("cuMemFree_v2", pointer); }

    float *data() const { return reinterpret_cast<float *>(pointer); }

    // A copy on the default stream waits for what was enqueued there.
    Vector download() const {
        Vector values(x.size());
        cuda("cuMemcpyDtoH_v2", static_cast<void *>(values.data()), pointer, bytes());
        return values;
    }

private:
    static std::size_t bytes() { return x.size() * sizeof(float); }
    unsigned long long pointer = 0;
};

static void on_gpu() {
    void *context = nullptr;
    cuda("cuInit", 0u);
    cuda("cuDevicePrimaryCtxRetain", &context, 0);
    cuda("cuCtxSetCurrent", context);
    const Buffer dx(x), dg(grad_y), dh(grad_grad_x), first, second;
    const auto gpu = mish::device::cuda;
    mish::forward(gpu, dx.data(), first.data(), x.size());
    print("cuda", "forward", first.download());
    mish::backward(gpu, dg.data(), dx.data(), first.data(), x.size());
    print("cuda", "backward", first.download());
    mish::double_backward(gpu, dh.data(), dg.data(), dx.data(), first.data(), second.data(),
                          x.size());
    print("cuda", "grad_grad_y", first.download());
    print("cuda", "grad_x", second.download());
}

int main() {
    try {
        on_host();
        int gpus = 0;
        try {
            gpus = mish::device_count(mish::device::cuda);
        } catch (const mish::error &error) {
            std::fprintf(stderr, "no GPU: %s\n", error.what());
        }
        if (gpus > 0) on_gpu();
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}

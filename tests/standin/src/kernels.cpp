// The library's kernels compiled for the host: the same source, with the machine replaced.
//
// kernels/device/device.cuh is skipped by its include guard: tests/kernels/host.hpp has the arithmetic, this
// file the memory accesses. Every one goes through `reach`, which knows what the launch may touch.
#include <cstdlib>
#include <new>
#include <tuple>
#include <utility>

#include "../../kernels/host.hpp"

// A piece of memory that a kernel may touch.
struct Range {
    std::uint64_t start, end;
};

// What a running kernel may touch, and the first address where it went wrong.
struct Machine {
    const Range *ranges;
    std::size_t count;
    std::uint64_t fault;
};

struct Index3 {
    unsigned x, y, z;
};

namespace {
thread_local Machine *machine;
thread_local Index3 threadIdx, blockIdx, blockDim, gridDim;

// Whether an access may happen; remembers the first that may not.
bool reach(const void *pointer, std::size_t bytes) {
    const std::uint64_t address = reinterpret_cast<std::uintptr_t>(pointer);
    if (address % bytes == 0)
        for (std::size_t i = 0; i < machine->count; ++i)
            if (address >= machine->ranges[i].start && address + bytes <= machine->ranges[i].end)
                return true;
    if (machine->fault == 0) machine->fault = address ? address : 1;
    return false;
}

template <class T> void read(const void *address, T &value) {
    value = T();
    if (reach(address, sizeof(T))) std::memcpy(&value, address, sizeof(T));
}
template <class T> void write(void *address, const T &value) {
    if (reach(address, sizeof(T))) std::memcpy(address, &value, sizeof(T));
}
} // namespace

#define MISH_KERNEL(...) void

namespace {
enum Cache { CACHE_DEFAULT = 0, CACHE_STREAM = 1, CACHE_NO_L1 = 2 };
template <Cache, int N> void load_vector(const void *address, Words<N> &v) { read(address, v); }
template <Cache, int N> void store_vector(void *address, const Words<N> &v) { write(address, v); }
template <class T> void load_scalar(const void *address, T &v) { read(address, v); }
template <class T> void store_scalar(void *address, T v) { write(address, v); }

#include "mish.cu"

// The parameters of a launch, copied as the driver copies them, and the kernel to run on them.
struct Launch {
    virtual ~Launch() {}
    virtual void thread() const = 0;
};

template <class... A> struct Prepared : Launch {
    void (*kernel)(A...);
    std::tuple<std::remove_cv_t<A>...> arguments;
    template <std::size_t... I>
    Prepared(void (*k)(A...), void **p, std::index_sequence<I...>)
        : kernel(k), arguments(*static_cast<std::remove_cv_t<A> *>(p[I])...) {}
    void thread() const override { std::apply(kernel, arguments); }
};

template <class... A> void *prepare(void (*kernel)(A...), void **parameters) {
    return static_cast<Launch *>(
        new Prepared<A...>(kernel, parameters, std::index_sequence_for<A...>()));
}

// Runs blocks `first` to `last` of a launch, thread after thread; returns the first bad address,
// or 0.
std::uint64_t run(const void *launch, unsigned blocks, unsigned threads, unsigned first,
                  unsigned last, const Range *ranges, std::size_t count) {
    Machine here = {ranges, count, 0};
    machine = &here;
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    for (unsigned b = first; b < last; ++b)
        for (unsigned t = 0; t < threads; ++t) {
            blockIdx = {b, 0, 0};
            threadIdx = {t, 0, 0};
            static_cast<const Launch *>(launch)->thread();
        }
    machine = nullptr;
    return here.fault;
}

void destroy(void *launch) { delete static_cast<Launch *>(launch); }
} // namespace

// What the driver needs of a kernel; `Kernel` in kernel.rs mirrors it.
struct Kernel {
    const char *name;
    unsigned max_threads;
    void *(*prepare)(void **parameters);
    std::uint64_t (*run)(const void *launch, unsigned blocks, unsigned threads, unsigned first,
                         unsigned last, const Range *ranges, std::size_t count);
    void (*destroy)(void *launch);
};

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define ENTRY(kernel, O, E)                                                                       \
    {#kernel, Policy<O, E>::THREADS, [](void **p) { return prepare(kernel, p); }, run, destroy},
#define ENTRIES(kernel, O, E) ENTRY(kernel, O, E) ENTRY(kernel##_strided, O, E)

// The kernel with this name, or NULL.
extern "C" const Kernel *PASTE(standin_kernel_, STANDIN_VARIANT)(const char *name) {
    static const Kernel kernels[] = {MISH_FOR_EACH_KERNEL(ENTRIES)};
    for (const Kernel &kernel : kernels)
        if (std::strcmp(kernel.name, name) == 0) return &kernel;
    return nullptr;
}

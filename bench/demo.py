"""mish-cuda's benchmark: Mish beside its peers on a (16, 10, 256, 256) tensor per dtype.

    python bench/demo.py [--no-peers] [--json FILE] [--repeats N]

Runs on the GPU if there is one, else on the CPU. Prints relu, softplus, composed Mish, `F.mish`
(all PyTorch's) and libmish, forward and backward, as `mean ± std (min – max)` in microseconds, and
the worst error of each Mish in units of the last place (ULP) against a reference of higher
precision. `--no-peers` times libmish alone and needs NumPy, ml_dtypes and mpmath only.
"""

import argparse
import ctypes
import json
import math
import platform
import statistics
import time

import ml_dtypes
import mpmath
import numpy as np

import mish
from mish import _abi

SHAPE = (16, 10, 256, 256)
SECONDS_PER_CASE = 2.0
FORMATS = {dtype.full_name: dtype for dtype in _abi.DTYPES}
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in FORMATS}


def reference(x):
    """mish and mish' in x's own precision; no cancellation but at the derivative's zero."""
    # Beyond the limits mish is -0 and the quotients are constant, and nothing overflows.
    e = np.exp(-np.abs(x))
    negative = x < 0
    one = np.where(negative, e * (e + 2), 1 + 2 * e)
    d = np.where(negative, e * (e + 2) + 2, 1 + 2 * e + 2 * e * e)
    left = e * (e**3 + 4 * e**2 + (4 * x + 6) * e + 4 * (x + 1))
    right = 1 + 4 * e + (4 * x + 6) * e**2 + 4 * (x + 1) * e**3
    return x * one / d, np.where(negative, left, right) / d**2


def ulps(got, exact, dtype, derivative):
    digits, smallest = FORMATS[dtype].digits, FORMATS[dtype].min_exponent
    exponent = np.maximum(np.frexp(exact)[1] - 1, smallest)
    if derivative is not None:
        near = _abi.is_near_zero(1, derivative)
        exponent = np.where(near, np.maximum(exponent, -4), exponent)
    error = np.abs(got.astype(exact.dtype) - exact) / np.ldexp(exact.dtype.type(1), exponent - digits + 1)
    return float(np.max(error))


def check_reference(points=10_000):
    """The reference itself against mpmath: the largest relative error, apart from the zero."""
    mpmath.mp.dps = 50
    worst = {}
    x = np.random.default_rng(1).normal(scale=3, size=points)
    for kind in (np.float64, np.longdouble):
        values = [r for r in reference(x.astype(kind))]
        error = 0.0
        for i, point in enumerate(x):
            p = mpmath.mpf(float(point))
            e = mpmath.exp(p)
            d = e * (e + 2) + 2
            exact = (p * e * (e + 2) / d, e * (e**3 + 4 * e**2 + (4 * p + 6) * e + 4 * (p + 1)) / d**2)
            for value, truth in zip((v[i] for v in values), exact):
                high = float(value)
                low = float(value - kind(high))
                size = max(abs(truth), mpmath.mpf(2) ** -4)
                error = max(error, float(abs(mpmath.mpf(high) + low - truth) / size))
        worst[kind.__name__] = error
    return worst


class Timer:
    """Repeats calls until there are enough of them or the time is up. `batch` calls are enqueued
    at a time, so that on a GPU their launches overlap the work before them."""

    def __init__(self, repeats, batch, synchronise):
        self.repeats = repeats
        self.batch = batch
        self.synchronise = synchronise

    def __call__(self, function):
        function()
        self.synchronise()
        times = []
        begin = time.perf_counter()
        while len(times) < self.repeats:
            start = time.perf_counter()
            for _ in range(self.batch):
                function()
            self.synchronise()
            times.append((time.perf_counter() - start) * 1e6 / self.batch)
            if time.perf_counter() - begin > SECONDS_PER_CASE and len(times) >= 5:
                break
        return times


def summary(times):
    return dict(
        us_mean=statistics.mean(times),
        us_std=statistics.stdev(times),
        us_min=min(times),
        us_max=max(times),
        runs=len(times),
    )


class HostArrays:
    """libmish on NumPy arrays; outputs are allocated anew for every call, as the peers' are."""

    name = "CPU"

    def synchronise(self):
        pass

    def put(self, array):
        return array

    def get(self, array):
        return array

    forward = staticmethod(mish.forward)
    backward = staticmethod(mish.backward)
    double_backward = staticmethod(mish.double_backward)


class DeviceArray:
    """Device memory as the `mish` package takes it."""

    def __init__(self, pointer, like):
        self.dtype = like.dtype
        self.__cuda_array_interface__ = dict(
            shape=like.shape, typestr=like.dtype.str, data=(pointer, False), version=3, strides=None
        )


class DriverArrays:
    """libmish on device memory from the CUDA driver, without any framework."""

    def __init__(self):
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, 256, device)
        self.name = name.value.decode()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.outputs = {}

    def call(self, function, *arguments):
        code = getattr(self.driver, function)(*arguments)
        if code:
            raise RuntimeError(f"{function} failed with {code}")

    def allocate(self, like):
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(like.nbytes))
        return pointer.value

    def synchronise(self):
        self.call("cuCtxSynchronize")

    def put(self, array):
        pointer = self.allocate(array)
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(pointer), ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))
        placed = DeviceArray(pointer, array)
        placed.like = array
        return placed

    def get(self, placed):
        array = np.empty_like(placed.like)
        pointer = placed.__cuda_array_interface__["data"][0]
        self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(pointer), ctypes.c_size_t(array.nbytes))
        return array

    def output(self, slot, like):
        key = (slot, like.like.dtype)
        if key not in self.outputs:
            self.outputs[key] = self.put(like.like)
        return self.outputs[key]

    def forward(self, x):
        return mish.forward(x, self.output(0, x))

    def backward(self, grad_y, x):
        return mish.backward(grad_y, x, self.output(0, x))

    def double_backward(self, grad_grad_x, grad_y, x):
        return mish.double_backward(grad_grad_x, grad_y, x, (self.output(0, x), self.output(1, x)))


class TorchArrays:
    """libmish on PyTorch's CUDA tensors, outputs from its allocator."""

    def __init__(self, torch):
        self.torch = torch
        self.name = torch.cuda.get_device_name()

    def synchronise(self):
        self.torch.cuda.synchronize()

    def put(self, array):
        return to_torch(self.torch, array).cuda()

    def get(self, tensor):
        return from_torch(self.torch, tensor.cpu())

    def _view(self, tensor):
        # PyTorch exports no bfloat16 through the interface: the wrapper names the type itself.
        view = DeviceArray.__new__(DeviceArray)
        kind = str(tensor.dtype).rpartition(".")[2]
        view.dtype = DTYPES[kind]
        view.__cuda_array_interface__ = dict(
            shape=tuple(tensor.shape), typestr=view.dtype.str, data=(tensor.data_ptr(), False), version=3, strides=None
        )
        return view

    def _stream(self):
        return self.torch.cuda.current_stream().cuda_stream

    def forward(self, x):
        y = self.torch.empty_like(x)
        mish.forward(self._view(x), self._view(y), self._stream())
        return y

    def backward(self, grad_y, x):
        grad_x = self.torch.empty_like(x)
        mish.backward(self._view(grad_y), self._view(x), self._view(grad_x), self._stream())
        return grad_x

    def double_backward(self, grad_grad_x, grad_y, x):
        outputs = self.torch.empty_like(x), self.torch.empty_like(x)
        inputs = (self._view(t) for t in (grad_grad_x, grad_y, x))
        mish.double_backward(*inputs, tuple(self._view(t) for t in outputs), self._stream())
        return outputs


def to_torch(torch, array):
    if array.dtype == DTYPES["bfloat16"]:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def from_torch(torch, tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(DTYPES["bfloat16"])
    return tensor.numpy()


def peers(torch):
    """Name, whether it is a Mish, and the function."""
    F = torch.nn.functional
    return [
        ("relu (torch)", False, F.relu),
        ("softplus (torch)", False, F.softplus),
        ("composed Mish (torch)", True, lambda x: x * torch.tanh(F.softplus(x))),
        ("F.mish (torch)", True, F.mish),
    ]


def progress(text):
    print(f"\r\033[K{text}", end="", flush=True)


def run(arguments):
    torch = None
    if not arguments.no_peers:
        import torch
    if torch is not None and torch.cuda.is_available():
        arrays = TorchArrays(torch)
    elif torch is None and has_gpu():
        arrays = DriverArrays()
    else:
        arrays = HostArrays()
    on_gpu = not isinstance(arrays, HostArrays)
    header = dict(
        device=arrays.name,
        processor=processor(),
        libmish=mish.__version__,
        torch=None if torch is None else torch.__version__,
        numpy=np.__version__,
        shape=SHAPE,
        threads=None if on_gpu or torch is None else torch.get_num_threads(),
    )
    print("workload: a {} tensor, {}".format(SHAPE, arrays.name if on_gpu else header["processor"]))
    print(f"libmish {header['libmish']}, NumPy {header['numpy']}, PyTorch {header['torch'] or 'left out'}")
    header["reference_error"] = check_reference()
    print("reference against mpmath on 10000 points, largest relative error: "
          + ", ".join(f"{kind} {error:.1e}" for kind, error in header["reference_error"].items()))
    timer = Timer(arguments.repeats, 50 if on_gpu else 1, arrays.synchronise)
    rng = np.random.default_rng(0)
    values, gradients = (rng.standard_normal(SHAPE, dtype=np.float32) for _ in range(2))
    rows = []
    for dtype, kind in DTYPES.items():
        x, grad = values.astype(kind), gradients.astype(kind)
        one = np.ones_like(x)
        wide = np.longdouble if dtype == "float64" else np.float64
        progress(f"{dtype}: reference")
        exact_x = x.astype(wide)
        exact = reference(exact_x)
        placed, placed_grad, placed_one = (arrays.put(a) for a in (x, grad, one))
        cases = []
        if torch is not None:
            tx = to_torch(torch, x).to("cuda" if on_gpu else "cpu").requires_grad_()
            tgrad = to_torch(torch, grad).to(tx.device)
            tone = torch.ones_like(tgrad)
            for name, is_mish, function in peers(torch):
                y = function(tx)
                cases.append((name, "forward", lambda f=function: no_grad(torch, f, tx),
                              (lambda f=function: from_torch(torch, no_grad(torch, f, tx).cpu())) if is_mish else None))
                cases.append((name, "backward", lambda y=y: torch.autograd.grad(y, tx, tgrad, retain_graph=True),
                              (lambda y=y: from_torch(torch, torch.autograd.grad(y, tx, tone, retain_graph=True)[0].cpu())) if is_mish else None))
        cases.append(("libmish", "forward", lambda: arrays.forward(placed),
                      lambda: arrays.get(arrays.forward(placed))))
        cases.append(("libmish", "backward", lambda: arrays.backward(placed_grad, placed),
                      lambda: arrays.get(arrays.backward(placed_one, placed))))
        cases.append(("libmish", "double backward", lambda: arrays.double_backward(placed_grad, placed_one, placed), None))
        for number, (name, op, timed, result) in enumerate(cases):
            progress(f"{dtype}: {name} {op} ({number + 1} of {len(cases)})")
            row = dict(impl=name, device=arrays.name, dtype=dtype, op=op, **summary(timer(timed)), max_ulp=None)
            if result is not None:
                which = 0 if op == "forward" else 1
                row["max_ulp"] = ulps(result(), exact[which], dtype, exact_x if which else None)
            rows.append(row)
        progress("")
        table(dtype, [row for row in rows if row["dtype"] == dtype])
    print("\nerrors: in units of the last place of the exact result; of the derivative near its zero not")
    print("less than the last place of 1/16. They are measured with grad_y = 1.")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(dict(header=header, rows=rows), file, indent=1)


def no_grad(torch, function, x):
    with torch.no_grad():
        return function(x)


def table(dtype, rows):
    print(f"\n{dtype:22} {'':16} {'mean ± std (min – max), µs':^44}  worst error")
    for row in rows:
        times = f"{row['us_mean']:9.1f} ± {row['us_std']:7.1f} ({row['us_min']:.1f} – {row['us_max']:.1f})"
        error = "" if row["max_ulp"] is None else f"{row['max_ulp']:.4g} ULP"
        print(f"{row['impl']:22} {row['op']:16} {times:44}  {error}", flush=True)


def has_gpu():
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--no-peers", action="store_true", help="leave PyTorch's functions out")
    parser.add_argument("--json", metavar="FILE", help="write the same as data")
    parser.add_argument("--repeats", type=int, default=20, help="calls per case, at most")
    arguments = parser.parse_args()
    if arguments.repeats < 2:
        parser.error("--repeats: at least 2, for a standard deviation")
    run(arguments)


if __name__ == "__main__":
    main()

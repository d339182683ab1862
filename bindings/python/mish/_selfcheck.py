"""Accuracy on a fixed grid and the time of each operation, with the standard library alone."""

import ctypes
import decimal
import functools
import math
import struct
import time

from . import _abi, _cuda
from ._library import check, library

_FORMATS = {dtype.full_name: dtype for dtype in _abi.DTYPES}
OPERATIONS = ("mish", "mish'", "mish''")
# Largest error allowed, in ULP. Near a zero of mish' or mish'', where the unit in the last place
# vanishes with the value, the unit at 1/16 counts instead.
BOUNDS = {dtype.full_name: _abi.BOUNDS[dtype.name] for dtype in _abi.DTYPES}
_GRID = [sign * step / 16 for sign in (-1, 1) for step in range(1, 640, 7)] + [0.0]


def encode(values, dtype):
    """The bytes of a list of floats."""
    if dtype == "bfloat16":
        words = [struct.unpack("<I", struct.pack("<f", value))[0] >> 16 for value in values]
        return struct.pack(f"<{len(words)}H", *words)
    return struct.pack(f"<{len(values)}{_letter(dtype)}", *values)


def decode(data, dtype):
    """The list of floats in bytes."""
    if dtype == "bfloat16":
        words = struct.unpack(f"<{len(data) // 2}H", data)
        return [struct.unpack("<f", struct.pack("<I", word << 16))[0] for word in words]
    return list(struct.unpack(f"<{len(data) // _FORMATS[dtype].size}{_letter(dtype)}", data))


def _letter(dtype):
    """struct's."""
    return {2: "e", 4: "f", 8: "d"}[_FORMATS[dtype].size]


def reference(x):
    """mish, mish' and mish'' of a float, to 50 digits."""
    with decimal.localcontext() as context:
        context.prec = 60
        x = decimal.Decimal(x)
        e = x.exp()
        d = e * (e + 2) + 2
        value = x * e * (e + 2) / d
        first = e * (e**3 + 4 * e**2 + (4 * x + 6) * e + 4 * (x + 1)) / d**2
        second = 4 * e * (2 * (e + 1) * d + x * (2 + 2 * e - 3 * e**2 - 2 * e**3)) / d**3
        return value, first, second


def ulp_error(got, expected, dtype, at_least=None):
    """How far a result is from the truth, in units of the last place of the truth."""
    digits, smallest = _FORMATS[dtype].digits, _FORMATS[dtype].min_exponent
    if not math.isfinite(got):
        return math.inf
    size = abs(expected)
    exponent = math.frexp(float(size))[1] - 1 if size else smallest
    if at_least is not None:
        exponent = max(exponent, at_least)
    unit = decimal.Decimal(2) ** (max(exponent, smallest) - digits + 1)
    return float(abs(decimal.Decimal(got) - expected) / unit)


def accuracy(memory, dtype):
    """The worst error of each operation in ULP."""
    grid = decode(encode(_GRID, dtype), dtype)
    one = encode([1.0] * len(grid), dtype)
    x = encode(grid, dtype)
    code = _FORMATS[dtype].code
    lib, device, n = library(), memory.device, len(grid)
    with memory.buffers(x, one, one, one, one) as (x_, ones, first, second, value):
        check(lib.mish_forward(device, code, x_, value, n, None))
        check(lib.mish_double_backward(device, code, ones, ones, x_, first, second, n, None))
        results = [decode(memory.read(p, len(x)), dtype) for p in (value, first, second)]
    worst = [0.0, 0.0, 0.0]
    for i, at in enumerate(grid):
        for k, expected in enumerate(reference(at)):
            at_least = -4 if _abi.is_near_zero(k, at) else None
            error = ulp_error(results[k][i], expected, dtype, at_least)
            worst[k] = max(worst[k], error)
    return worst


def timings(memory, n):
    """Seconds of the fastest of several calls of each operation on n float32."""
    data = encode([i % 1000 / 100 - 5 for i in range(1000)], "float32")
    data = data * (n // 1000 + 1)
    data = data[: 4 * n]
    lib, device, code = library(), memory.device, _abi.MISH_DTYPE_F32
    with memory.buffers(data, data, data, data, data) as (a, b, c, d, e):
        best = {}
        for name, (inputs, outputs, _) in _abi.OPERATIONS.items():
            operands = (a, b, c)[: len(inputs)] + (d, e)[: len(outputs)]
            arguments = (device, code, *operands, n, None)
            best[name] = memory.best_of(functools.partial(getattr(lib, "mish_" + name), *arguments))
        return best


class Host:
    """Host memory for the check."""

    device = _abi.MISH_DEVICE_CPU

    class _Buffers(list):
        def __enter__(self):
            return [ctypes.addressof(buffer) for buffer in self]

        def __exit__(self, *_):
            self.clear()

    def buffers(self, *contents):
        return self._Buffers(ctypes.create_string_buffer(data, len(data)) for data in contents)

    def read(self, pointer, size):
        return ctypes.string_at(pointer, size)

    def best_of(self, call, repeats=10):
        best = math.inf
        for _ in range(repeats):
            start = time.perf_counter()
            check(call())
            best = min(best, time.perf_counter() - start)
        return best


class Gpu:
    """Memory of the first GPU for the check."""

    device = _abi.MISH_DEVICE_CUDA

    def __init__(self):
        _cuda.call("cuInit", 0)
        self._context = ctypes.c_void_p()
        _cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), 0)
        _cuda.call("cuCtxPushCurrent_v2", self._context)

    def close(self):
        _cuda.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        _cuda.call("cuDevicePrimaryCtxRelease_v2", 0)

    class _Buffers(list):
        def __enter__(self):
            pointers = []
            for data in self:
                pointer = ctypes.c_uint64()
                _cuda.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(len(data)))
                pointers.append(pointer)
                _cuda.call("cuMemcpyHtoD_v2", pointer, data, ctypes.c_size_t(len(data)))
            self[:] = pointers
            return [pointer.value for pointer in pointers]

        def __exit__(self, *_):
            for pointer in self:
                _cuda.call("cuMemFree_v2", pointer)

    def buffers(self, *contents):
        return self._Buffers(contents)

    def read(self, pointer, size):
        data = ctypes.create_string_buffer(size)
        _cuda.call("cuMemcpyDtoH_v2", data, ctypes.c_uint64(pointer), ctypes.c_size_t(size))
        return data.raw

    def best_of(self, call, repeats=20, calls=20):
        best = math.inf
        for _ in range(repeats):
            _cuda.call("cuCtxSynchronize")
            start = time.perf_counter()
            for _ in range(calls):
                check(call())
            _cuda.call("cuCtxSynchronize")
            best = min(best, (time.perf_counter() - start) / calls)
        return best

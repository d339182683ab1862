"""The C ABI on a GPU, called with nothing but the driver: addresses, contexts, streams, captures,
threads, bad pointers."""

import ctypes
import itertools
import threading

import mish
import numpy as np
import pytest
import vectors
from gpu import DeviceArray, needs_gpu
from mish import _abi, _cuda
from mish._library import library

pytestmark = needs_gpu

CPU, CUDA = _abi.MISH_DEVICE_CPU, _abi.MISH_DEVICE_CUDA
CODES = {dtype.name: dtype.code for dtype in _abi.DTYPES}
# Inputs and outputs.
OPERATIONS = {
    name: (len(inputs), len(outputs)) for name, (inputs, outputs, _) in _abi.OPERATIONS.items()
}
CREATED, GLOBAL = 0, 0


def call(op, dtype, pointers, n, stream=None, device=CUDA):
    arguments = [None if p is None else ctypes.c_void_p(p) for p in pointers]
    return getattr(library(), "mish_" + op)(device, CODES[dtype], *arguments, n, stream)


def succeed(*arguments, **named):
    status = call(*arguments, **named)
    assert status == 0, library().mish_last_error().decode()


def fail(wanted, *arguments, **named):
    status = call(*arguments, **named)
    assert status == getattr(_abi, "MISH_STATUS_" + wanted), library().mish_last_error()


def values(name, n, seed):
    dtype, _ = vectors.DTYPES[name]
    return (np.random.default_rng(seed).standard_normal(n) * 4).astype(dtype)


def on_cpu(op, arrays):
    found = getattr(mish, op)(*arrays)
    return found if isinstance(found, tuple) else (found,)


def close(got, want, name):
    limit = {2: 1, 4: 4, 8: 8}[got.dtype.itemsize]
    near_zero = np.abs(got.astype(np.float64) - want.astype(np.float64)) < 1e-6
    return ((vectors.distance(got, want, name) <= limit) | near_zero).all()


class Context:
    """A context of its own, current only while it is entered."""

    def __init__(self):
        self.handle = ctypes.c_void_p()
        _cuda.call("cuCtxCreate_v2", ctypes.byref(self.handle), CREATED, 0)
        _cuda.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def __enter__(self):
        _cuda.call("cuCtxPushCurrent_v2", self.handle)

    def __exit__(self, *_):
        _cuda.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def destroy(self, arrays):
        with self:
            for array in arrays:
                array.free()
        _cuda.call("cuCtxDestroy_v2", self.handle)


def current():
    handle = ctypes.c_void_p()
    _cuda.call("cuCtxGetCurrent", ctypes.byref(handle))
    return handle.value


def new_stream():
    stream = ctypes.c_void_p()
    _cuda.call("cuStreamCreate", ctypes.byref(stream), 1)
    return stream


@pytest.mark.parametrize("name, op", list(itertools.product(CODES, OPERATIONS)))
def test_every_alignment_and_length(context, name, op):
    inputs, outputs = OPERATIONS[op]
    dtype, _ = vectors.DTYPES[name]
    room = 4200
    arrays = [values(name, room, seed) for seed in range(inputs)]
    device = [DeviceArray(array) for array in arrays]
    canary = np.full(room, 7, dtype)
    offsets = [(k,) * (inputs + outputs) for k in range(16)]
    offsets += [tuple((3 * i + k) % 5 for i in range(inputs + outputs)) for k in range(3)]
    for offset, n in itertools.product(offsets, (1, 31, 4099)):
        results = [DeviceArray(canary) for _ in range(outputs)]
        pointers = [a.pointer.value + o * dtype.itemsize for a, o in zip(device + results, offset)]
        succeed(op, name, pointers, n)
        want = on_cpu(op, [a[o : o + n] for a, o in zip(arrays, offset)])
        for found, expected, o in zip(results, want, offset[inputs:]):
            got = found.numpy()
            assert close(got[o : o + n], expected, name), (offset, n)
            assert (got[:o] == 7).all() and (got[o + n :] == 7).all(), (offset, n)
            found.free()


@pytest.mark.parametrize("name", CODES)
def test_in_place_and_skipped_outputs(context, name):
    h, g, x = arrays = [values(name, 1000, seed) for seed in range(3)]
    a, b, c = device = [DeviceArray(array) for array in arrays]
    pointers = [array.pointer.value for array in device]
    first, second = on_cpu("double_backward", arrays)
    out = DeviceArray(x)
    succeed("double_backward", name, [*pointers, None, out.pointer.value], 1000)
    assert close(out.numpy(), second, name)
    succeed("double_backward", name, [*pointers, out.pointer.value, None], 1000)
    assert close(out.numpy(), first, name)
    succeed("double_backward", name, [*pointers, pointers[0], pointers[2]], 1000)
    assert close(a.numpy(), first, name) and close(c.numpy(), second, name)
    assert (b.numpy() == g).all()


def test_contexts_streams_and_threads():
    x = values("f32", 5000, 0)
    (want,) = on_cpu("forward", [x])
    contexts = [Context() for _ in range(2)]
    owned = []
    for entered in contexts:
        with entered:
            owned.append((DeviceArray(x), DeviceArray(x), new_stream()))
    # Whatever is current, nothing included, and it stays so.
    for other, (source, target, stream) in itertools.product((None, *contexts), owned):
        if other:
            other.__enter__()
        before = current()
        succeed("forward", "f32", [source.pointer.value, target.pointer.value], 5000, stream)
        assert current() == before
        if other:
            other.__exit__()
    problems = []

    def work(entered, source, stream):
        try:
            with entered:
                target = DeviceArray(x)
                for _ in range(50):
                    pointers = [source.pointer.value, target.pointer.value]
                    succeed("forward", "f32", pointers, 5000, stream)
                assert close(target.numpy(), want, "f32")
                target.free()
        except BaseException as error:
            problems.append(error)

    threads = [
        threading.Thread(target=work, args=(entered, source, stream))
        for entered, (source, _, stream) in list(zip(contexts, owned)) * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    for entered, (source, target, stream) in zip(contexts, owned):
        with entered:
            assert close(target.numpy(), want, "f32")
            # The legacy and the per-thread default stream of what is current.
            for default in (None, ctypes.c_void_p(1), ctypes.c_void_p(2)):
                pointers = [target.pointer.value, target.pointer.value]
                succeed("forward", "f32", pointers, 5000, default)
            _cuda.call("cuStreamDestroy_v2", stream)
        entered.destroy((source, target))


def test_first_use_within_a_capture():
    x = values("f16", 3000, 0)
    wanted = on_cpu("backward", [x, *on_cpu("forward", [x])])
    fresh = Context()
    with fresh:
        source, middle, target = (DeviceArray(x) for _ in range(3))
        stream, graph, executable = new_stream(), ctypes.c_void_p(), ctypes.c_void_p()
        a, b, c = (array.pointer.value for array in (source, middle, target))
        _cuda.call("cuStreamBeginCapture_v2", stream, GLOBAL)
        succeed("forward", "f16", [a, b], 3000, stream)
        succeed("backward", "f16", [a, b, c], 3000, stream)
        _cuda.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        _cuda.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0))
        assert (target.numpy() == x).all(), "captured, not run"
        _cuda.call("cuGraphLaunch", executable, stream)
        _cuda.call("cuStreamSynchronize", stream)
        assert close(target.numpy(), wanted[0], "f16")
    fresh.destroy((source, middle, target))


def test_bad_pointers(context):
    host = np.full(100, 7, np.float32)
    array = DeviceArray(host)
    p, q = array.pointer.value, host.ctypes.data
    fail("NOT_DEVICE_POINTER", "forward", "f32", [q, p], 100)
    fail("NOT_DEVICE_POINTER", "forward", "f32", [p, q], 100)
    fail("NOT_HOST_POINTER", "forward", "f32", [p, q], 100, device=CPU)
    fail("OUT_OF_BOUNDS", "forward", "f32", [p, p], 1 << 40)
    fail("NULL_POINTER", "forward", "f32", [None, p], 100)
    fail("OVERLAP", "forward", "f32", [p, p + 4], 99)
    fail("MISALIGNED", "forward", "f32", [p + 1, p + 1], 99)
    assert (array.numpy() == 7).all() and (host == 7).all()


def test_pinned_and_managed_memory_serve_either_device(context):
    x = values("f32", 500, 0)
    (want,) = on_cpu("forward", [x])
    for allocate, flags, free in (
        ("cuMemAllocHost_v2", (), "cuMemFreeHost"),
        ("cuMemAllocManaged", (1,), "cuMemFree_v2"),
    ):
        pointer = ctypes.c_void_p()
        _cuda.call(allocate, ctypes.byref(pointer), ctypes.c_size_t(x.nbytes), *flags)
        found = np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (500,))
        for device in (CPU, CUDA):
            found[:] = x
            succeed("forward", "f32", [pointer.value, pointer.value], 500, device=device)
            _cuda.call("cuCtxSynchronize")
            assert close(found, want, "f32")
        _cuda.call(free, pointer)

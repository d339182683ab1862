"""GPU arrays: what can be seen without a GPU, and the real thing where there is one."""

import ctypes

import mish
import numpy as np
import pytest
import vectors
from gpu import DeviceArray, View, needs_gpu, without_gpu
from mish import _cuda


class Fake:
    """Host memory that claims to be a GPU's."""

    def __init__(self, array, **entries):
        self.array = array
        self.dtype = array.dtype
        self.__cuda_array_interface__ = {**array.__array_interface__, "version": 3, **entries}


class FakeDriver:
    """Records the driver's functions that are called; all succeed."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def function(*arguments):
            self.calls.append((name, [getattr(a, "value", a) for a in arguments]))
            return 0

        return function


def operand(stream, pointer=64):
    class Found:
        exported_stream = stream

    Found.pointer = pointer
    return Found


@without_gpu
def test_host_memory_without_a_driver():
    x, y = np.ones(8, np.float32), np.full(8, 7, np.float32)
    for view in (slice(None), slice(None, None, 2)):
        with pytest.raises(mish.MishError) as info:
            mish.forward(Fake(x[view]), out=Fake(y[view]))
        assert info.value.name in (
            "MISH_STATUS_NO_DRIVER",
            "MISH_STATUS_NO_DEVICE",
            "MISH_STATUS_NOT_BUILT",
        )
        assert len(info.value.message) > 10
    assert (y == 7).all()


@needs_gpu
def test_host_memory_with_a_driver():
    x, y = np.ones(8, np.float32), np.full(8, 7, np.float32)
    with pytest.raises(mish.MishError) as info:
        mish.forward(Fake(x), out=Fake(y))
    assert info.value.name == "MISH_STATUS_NOT_DEVICE_POINTER"
    assert info.value.message.startswith("x:")
    assert (y == 7).all()


def test_devices_do_not_mix():
    x, y = np.ones(8, np.float32), np.full(8, 7, np.float32)
    with pytest.raises(mish.MishError) as info:
        mish.forward(x, out=Fake(y))
    assert info.value.name == "MISH_STATUS_DEVICE_MISMATCH"
    assert info.value.message.startswith("out:")
    assert (y == 7).all()


def test_read_only():
    y = np.ones(8, np.float32)
    with pytest.raises(mish.MishError) as info:
        mish.forward(Fake(y), out=Fake(y, data=(y.ctypes.data, True)))
    assert info.value.name == "MISH_STATUS_READ_ONLY"


def test_output_is_asked_for():
    with pytest.raises(TypeError, match="^out: required"):
        mish.forward(Fake(np.ones(8, np.float32)))


def test_empty():
    mish.forward(Fake(np.empty(0, np.float32)), out=Fake(np.empty(0, np.float32)))


def test_masked():
    x = np.ones(8, np.float32)
    with pytest.raises(TypeError, match="^x: masked"):
        mish.forward(Fake(x, mask=Fake(x)), out=Fake(x))


def test_stream_handles():
    class Cupy:
        ptr = 64

    class Torch:
        cuda_stream = 65

    class Numba:
        handle = ctypes.c_void_p(66)

    class Protocol:
        def __cuda_stream__(self):
            return (0, 67)

    handles = [_cuda.order(given, [])[0] for given in (Cupy(), Torch(), Numba(), Protocol(), 68)]
    assert handles == [64, 65, 66, 67, 68]
    plain = (ctypes.c_void_p(64), ctypes.c_void_p(), np.uint64(65))
    assert [_cuda.order(given, [])[0] for given in plain] == [64, None, 65]
    assert [_cuda.order(given, []) for given in (0, None)] == [(None, []), (None, [])]
    assert _cuda.order(1, []) == (1, [])


def test_exported_streams_are_waited_for(monkeypatch):
    driver = FakeDriver()
    monkeypatch.setattr(_cuda, "_driver", driver)

    def waits():
        found = [a for name, a in driver.calls if name == "cuStreamWaitEvent"]
        recorded = [a[1] for name, a in driver.calls if name == "cuEventRecord"]
        made = [name for name, _ in driver.calls]
        assert made.count("cuEventCreate") == made.count("cuEventDestroy_v2") == len(found)
        assert made.count("cuCtxPushCurrent_v2") == made.count("cuCtxPopCurrent_v2")
        driver.calls.clear()
        return list(zip((a[0] for a in found), recorded))

    assert _cuda.order(None, [operand(64), operand(64), operand(None)]) == (64, [])
    assert waits() == []
    handle, others = _cuda.order(None, [operand(None), operand(64), operand(65)])
    assert handle == 64 and waits() == [(64, 65)]
    _cuda.release(handle, others)
    assert waits() == [(65, 64)]
    handle, others = _cuda.order(70, [operand(64), operand(65), operand(64)])
    assert handle == 70 and waits() == [(70, 64), (70, 65)]
    _cuda.release(handle, others)
    assert waits() == [(64, 70), (65, 70)]
    # NULL and 1 are one stream; arrays without memory have nothing to wait for.
    assert _cuda.order(0, [operand(1)]) == (None, [])
    assert waits() == []
    assert _cuda.order(70, [operand(64, pointer=None)]) == (70, [])
    assert waits() == []


@needs_gpu
@pytest.mark.parametrize("name", vectors.DTYPES)
def test_gpu_agrees_with_cpu(context, name):
    data = vectors.load(name)
    x, g, h = data["x"], data["grad_y"], data["grad_grad_x"]
    limit = 0 if name in ("f16", "bf16") else 4
    dx, dg, dh = DeviceArray(x), DeviceArray(g), DeviceArray(h)
    first, second = DeviceArray(x), DeviceArray(x)
    with np.errstate(invalid="ignore"):
        zone = np.abs(x.astype(np.float64)) <= 40

    def close(got, expected):
        apart = vectors.distance(got, expected, name)
        with np.errstate(invalid="ignore"):
            small = np.abs(got.astype(np.float64) - expected.astype(np.float64)) < 1e-6
        return ((apart <= limit) | (small & zone)).all()

    assert close(mish.forward(dx, out=first).numpy(), mish.forward(x))
    assert close(mish.backward(dg, dx, out=first).numpy(), mish.backward(g, x))
    mish.double_backward(dh, dg, dx, out=(first, second))
    expected = mish.double_backward(h, g, x)
    assert close(first.numpy(), expected[0]) and close(second.numpy(), expected[1])


@needs_gpu
def test_gpu_views(context):
    host = np.random.default_rng(1).standard_normal((6, 8)).astype(np.float32)
    base, out = DeviceArray(host), DeviceArray(np.full((6, 8), 7, np.float32))
    for at in (np.s_[::2, ::-1], np.s_[1:4, 2:7], np.s_[:, ::3]):
        out = DeviceArray(np.full((6, 8), 7, np.float32))
        mish.forward(View(base, base.values[at]), out=View(out, out.values[at]))
        found = out.numpy()
        assert np.allclose(found[at], mish.forward(host[at]), rtol=1e-5)
        found[at] = 7
        assert (found == 7).all()


@needs_gpu
def test_gpu_streams(context, monkeypatch):
    streams = [ctypes.c_void_p() for _ in range(2)]
    for stream in streams:
        _cuda.call("cuStreamCreate", ctypes.byref(stream), 1)
    host = np.linspace(-3, 3, 1 << 20, dtype=np.float32)
    x = DeviceArray(host, stream=streams[0].value)
    between, y = DeviceArray(host, stream=streams[1].value), DeviceArray(host)
    recorded, waits = [], []
    driver_call = _cuda.call

    def noted(function, *arguments):
        if function == "cuEventRecord":
            recorded.append(arguments[1].value)
        elif function == "cuStreamWaitEvent":
            waits.append((arguments[0].value, recorded[-1]))
        driver_call(function, *arguments)

    monkeypatch.setattr(_cuda, "call", noted)
    # Runs on x's stream; before it, that waits for the output's, and after it the output's for that.
    mish.forward(x, out=between)
    first, second = (stream.value for stream in streams)
    assert waits == [(first, second), (second, first)]
    # So this call, on the output's own stream, needs to wait for nothing.
    mish.forward(between, out=y, stream=streams[1])
    assert len(waits) == 2
    monkeypatch.undo()
    assert np.allclose(y.numpy(), mish.forward(mish.forward(host)), rtol=1e-5)
    for stream in streams:
        _cuda.call("cuStreamDestroy_v2", stream)

"""Every kind of bad input: its status, a message that names the argument, outputs untouched."""

import pickle

import mish
import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

N = 24


class Operands:
    """Fresh inputs and outputs, all filled, and whether a call touched any of them."""

    def __init__(self, dtype=np.float32, shape=(N,)):
        self.arrays = {
            name: np.arange(1, N + 1).reshape(shape).astype(dtype)
            for name in ("h", "g", "x", "a", "b")
        }
        self.before = {name: array.copy() for name, array in self.arrays.items()}
        self.__dict__.update(self.arrays)

    def untouched(self):
        pairs = ((self.arrays[name], self.before[name]) for name in self.arrays)
        return all(now.tobytes() == then.tobytes() for now, then in pairs)


def refused(status, argument, call, operands):
    with pytest.raises(mish.MishError) as info:
        call()
    error = info.value
    assert error.name == f"MISH_STATUS_{status}", error
    assert error.message.startswith(argument + ":"), error
    assert operands.untouched()
    return error


@pytest.fixture
def o():
    return Operands()


@pytest.fixture
def grid():
    return Operands(shape=(4, 6))


class Unusual:
    """An array interface with some entries of one's own."""

    def __init__(self, array, **entries):
        self.array = array
        self.dtype = array.dtype
        self.__array_interface__ = {**array.__array_interface__, **entries}


def test_null(o):
    null = Unusual(o.x, data=(0, False))
    refused("NULL_POINTER", "x", lambda: mish.forward(null, out=o.a), o)
    refused("NULL_POINTER", "out", lambda: mish.forward(o.x, out=null), o)
    refused("NULL_POINTER", "grad_y", lambda: mish.backward(null, o.x, out=o.a), o)
    refused("NULL_POINTER", "x", lambda: mish.backward(o.g, null, out=o.a), o)
    refused("NULL_POINTER", "out", lambda: mish.backward(o.g, o.x, out=null), o)
    for position, name in enumerate(("grad_grad_x", "grad_y", "x")):
        inputs = [o.h, o.g, o.x]
        inputs[position] = null
        call = lambda: mish.double_backward(*inputs, out=(o.a, o.b))  # noqa: B023, E731
        refused("NULL_POINTER", name, call, o)


def test_no_output_at_all(o):
    error = refused(
        "NULL_POINTER",
        "grad_grad_y, grad_x",
        lambda: mish.double_backward(o.h, o.g, o.x, out=(None, None)),
        o,
    )
    assert "at least one output" in error.message


@pytest.mark.parametrize(
    "dtype", [np.int32, np.int8, np.bool_, np.complex64, np.longdouble, ">f4", ">f2", "S4"]
)
def test_element_types(o, dtype):
    other = np.zeros(N, dtype)
    refused("UNSUPPORTED_DTYPE", "x", lambda: mish.forward(other, out=o.a), o)
    refused("UNSUPPORTED_DTYPE", "out", lambda: mish.forward(o.x, out=other), o)
    refused("UNSUPPORTED_DTYPE", "grad_y", lambda: mish.backward(other, o.x, out=o.a), o)


def test_other_16_bit_types(o):
    other = np.zeros(N, ml_dtypes.float8_e4m3fn)
    refused("UNSUPPORTED_DTYPE", "x", lambda: mish.forward(other, out=o.a), o)
    void = np.zeros(N, "V2")
    refused("UNSUPPORTED_DTYPE", "x", lambda: mish.forward(void, out=o.a), o)


def test_byte_order_of_bfloat16():
    half = Operands(ml_dtypes.bfloat16)
    swapped = half.x.view(half.x.dtype.newbyteorder(">"))
    refused("UNSUPPORTED_DTYPE", "x", lambda: mish.forward(swapped), half)
    refused("UNSUPPORTED_DTYPE", "out", lambda: mish.forward(half.x, out=swapped), half)


def test_bfloat16_by_any_type_string():
    half = Operands(ml_dtypes.bfloat16)
    expected = mish.forward(half.x)
    for typestr in ("<V2", "|V2", "<f2"):
        mish.forward(Unusual(half.x, typestr=typestr), out=half.a)
        assert half.a.tobytes() == expected.tobytes()


def test_dtype_mismatch(o):
    double = o.x.astype(np.float64)
    refused("DTYPE_MISMATCH", "out", lambda: mish.forward(o.x, out=double), o)
    refused("DTYPE_MISMATCH", "x", lambda: mish.backward(o.g, double, out=o.a), o)
    half = Operands(np.float16)
    brain = half.x.astype(ml_dtypes.bfloat16)
    refused("DTYPE_MISMATCH", "out", lambda: mish.forward(half.x, out=brain), half)
    call = lambda: mish.double_backward(o.h, o.g, o.x, out=(o.a, double))  # noqa: E731
    refused("DTYPE_MISMATCH", "out[1]", call, o)


def test_shape_mismatch(o):
    refused("SHAPE_MISMATCH", "out", lambda: mish.forward(o.x, out=o.a[:-1]), o)
    refused("SHAPE_MISMATCH", "out", lambda: mish.forward(o.x, out=o.a.reshape(4, 6)), o)
    refused("SHAPE_MISMATCH", "x", lambda: mish.backward(o.g[:1], o.x, out=o.a), o)
    call = lambda: mish.double_backward(o.h, o.g[1:], o.x, out=(o.a, o.b))  # noqa: E731
    refused("SHAPE_MISMATCH", "grad_y", call, o)
    call = lambda: mish.double_backward(o.h, o.g, o.x, out=(o.a[1:], o.b))  # noqa: E731
    refused("SHAPE_MISMATCH", "out[0]", call, o)


def test_misaligned(o):
    memory = np.zeros(4 * N + 8, np.uint8)
    for offset in (1, 2, 3):
        off = memory[offset : offset + 4 * N].view(np.float32)
        refused("MISALIGNED", "x", lambda: mish.forward(off, out=o.a), o)
        refused("MISALIGNED", "out", lambda: mish.forward(o.x, out=off), o)
        refused("MISALIGNED", "x", lambda: mish.forward(off[::2], out=o.a[::2]), o)
    packed = np.zeros(N, np.dtype([("a", "<f4"), ("b", "u1")]))["a"]
    refused("MISALIGNED", "x", lambda: mish.forward(packed, out=o.a), o)


def test_overlap(o):
    refused("OVERLAP", "out", lambda: mish.forward(o.x[:-1], out=o.x[1:]), o)
    refused("OVERLAP", "out", lambda: mish.forward(o.x[1:], out=o.x[:-1]), o)
    refused("OVERLAP", "out", lambda: mish.forward(o.x, out=o.x[::-1]), o)
    refused("OVERLAP", "out", lambda: mish.backward(o.g[:-1], o.x[1:], out=o.g[1:]), o)
    call = lambda: mish.double_backward(o.h, o.g, o.x, out=(o.a, o.a))  # noqa: E731
    refused("OVERLAP", "out[1]", call, o)
    call = lambda: mish.double_backward(o.h, o.g, o.x, out=(o.x, o.x))  # noqa: E731
    refused("OVERLAP", "out[1]", call, o)


def test_overlap_of_views(grid):
    refused("OVERLAP", "out", lambda: mish.forward(grid.x[:, :4], out=grid.x[:, 1:5]), grid)
    square = grid.x[:, :4]
    refused("OVERLAP", "out", lambda: mish.forward(square, out=square.T), grid)


def test_output_that_overlaps_itself(o):
    twice = as_strided(o.a, (N // 2, 2), (4, 4))
    source = o.x.reshape(N // 2, 2)
    refused("SELF_OVERLAP", "out", lambda: mish.forward(source, out=twice), o)
    still = as_strided(o.a, (N,), (0,))
    refused("SELF_OVERLAP", "out", lambda: mish.forward(o.x, out=still), o)


def test_read_only(o):
    for make in (lambda a: a.view(), lambda a: np.broadcast_to(a, (N,))):
        locked = make(o.a)
        locked.flags.writeable = False
        refused("READ_ONLY", "out", lambda: mish.forward(o.x, out=locked), o)
        refused("READ_ONLY", "out", lambda: mish.backward(o.g, o.x, out=locked), o)
        call = lambda: mish.double_backward(o.h, o.g, o.x, out=(o.b, locked))  # noqa: E731
        refused("READ_ONLY", "out[1]", call, o)
    locked = o.x.view()
    locked.flags.writeable = False
    mish.forward(locked)  # as an input it will do


def test_strides_that_overflow(o):
    far = Unusual(o.x.reshape(4, 6), strides=(2**62, 4))
    refused("STRIDE_OVERFLOW", "x", lambda: mish.forward(far, out=o.a.reshape(4, 6)), o)
    refused("STRIDE_OVERFLOW", "out", lambda: mish.forward(o.x.reshape(4, 6), out=far), o)


def test_shapes_that_cannot_be(o):
    many = Unusual(o.x, shape=(2**40, 2**40))
    refused("TOO_LARGE", "x", lambda: mish.forward(many, out=Unusual(o.a, shape=(2**40, 2**40),
                                                                    strides=(4, 4))), o)
    negative = Unusual(o.x, shape=(-1,), strides=(8,))
    refused("INVALID_SHAPE", "x", lambda: mish.forward(negative, out=negative), o)


def test_numbers_of_more_bits_than_the_library_takes(o):
    """ctypes cuts them off without a word."""
    for shape in ((2**40, 2**40), (2**62 + 1, 4), (2**64 + 4,)):
        for strides in (None, (8,) * len(shape)):
            out = Unusual(o.a, shape=shape, strides=strides)
            source = Unusual(o.x, shape=shape, strides=strides)
            refused("TOO_LARGE", "x", lambda: mish.forward(source, out=out), o)  # noqa: B023
    short, out = (Unusual(a, shape=(4,), strides=(2**66 + 8,)) for a in (o.x, o.a))
    refused("STRIDE_OVERFLOW", "x", lambda: mish.forward(short, out=out), o)
    for address in (o.x.ctypes.data + 2**64, -8):
        elsewhere = Unusual(o.x, data=(address, False))
        refused("TOO_LARGE", "x", lambda: mish.forward(elsewhere, out=o.a), o)  # noqa: B023
    for stream in (2**64, -1):
        with pytest.raises(ValueError, match="^stream: "):
            mish.forward(o.x, out=o.a, stream=stream)
    assert o.untouched()
    with pytest.raises(ValueError, match="^ordinal: 4294967296 "):
        mish.warmup("cpu", 2**32)
    with pytest.raises(ValueError, match="^device: 4294967297 "):
        mish.device_count(2**32 + 1)
    for call in (mish.set_num_threads, mish.warmup, mish.device_count):
        with pytest.raises(TypeError):
            call(1.0)


def test_interfaces_that_contradict_themselves(o):
    negative = Unusual(o.x, shape=(-1, -4))
    refused("INVALID_SHAPE", "x", lambda: mish.forward(negative, out=o.a), o)
    for shape, strides in (((4, 6), (4,)), ((4, 6), ()), ((24,), (96, 4))):
        wrong = Unusual(o.x, shape=shape, strides=strides)
        with pytest.raises(TypeError, match="^x: the array interface has . strides for . dim"):
            mish.forward(wrong, out=o.a.reshape(shape))
    for data in (None, b"ab", 5, (o.x.ctypes.data,)):
        with pytest.raises(TypeError, match="^x: the array interface has no data pointer"):
            mish.forward(Unusual(o.x, data=data), out=o.a)
    for entry in ("typestr", "shape"):
        lacking = Unusual(o.x)
        del lacking.__array_interface__[entry]
        with pytest.raises(TypeError, match=f"^x: the array interface has no '{entry}'"):
            mish.forward(lacking, out=o.a)
    for interface in (None, 5):
        lacking.__array_interface__ = interface
        with pytest.raises(TypeError, match="^x: expected a NumPy array"):
            mish.forward(lacking, out=o.a)
    locked = Unusual(o.a, data=o.a.tobytes())
    refused("READ_ONLY", "out", lambda: mish.forward(o.x, out=locked), o)
    assert o.untouched()


def test_stream_on_the_cpu(o):
    for stream in (1, 2, 0xDEAD0):
        refused("INVALID_STREAM", "stream", lambda: mish.forward(o.x, out=o.a, stream=stream), o)
        call = lambda: mish.backward(o.g, o.x[::-1], out=o.a, stream=stream)  # noqa: E731
        refused("INVALID_STREAM", "stream", call, o)
    mish.forward(o.x, out=o.a, stream=0)


def test_what_is_no_array(o):
    for thing in ([1.0], 1.0, None, "x", memoryview(bytes(4))):
        with pytest.raises(TypeError, match="^x: expected"):
            mish.forward(thing)
        with pytest.raises(TypeError, match="^grad_y: expected"):
            mish.backward(thing, o.x)
    with pytest.raises(TypeError, match="^out: expected"):
        mish.forward(o.x, out=[0.0] * N)
    with pytest.raises(TypeError, match="^out: expected a pair"):
        mish.double_backward(o.h, o.g, o.x, out=o.a)
    with pytest.raises(TypeError, match="^stream: expected"):
        mish.forward(o.x, stream="0")
    with pytest.raises(TypeError, match="^x: masked"):
        mish.forward(np.ma.masked_array(o.x))
    with pytest.raises(TypeError, match="^x: masked"):
        mish.forward(Unusual(o.x, mask=o.x > 2), out=o.a)
    with pytest.raises(TypeError, match="^x: masked"):
        mish.forward(Unusual(o.x, mask=o.x > 2, data=o.x.tobytes()), out=o.a)
    assert o.untouched()


def test_devices():
    for call in (mish.device_count, mish.warmup):
        with pytest.raises(ValueError, match="^device: 'gpu'"):
            call("gpu")
        with pytest.raises(mish.MishError) as info:
            call(7)
        assert info.value.name == "MISH_STATUS_UNKNOWN_DEVICE"
        assert info.value.message.startswith("device: 7")
    with pytest.raises(mish.MishError) as info:
        mish.warmup("cpu", 1)
    assert info.value.name == "MISH_STATUS_INVALID_ORDINAL"
    assert mish.device_count("cpu") == 1
    mish.warmup("cpu")


def test_errors_are_pickled(o):
    error = refused("INVALID_STREAM", "stream", lambda: mish.forward(o.x, out=o.a, stream=5), o)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.status, copy.name, copy.message) == (error.status, error.name, error.message)
    assert str(copy) == f"{error.name}: {error.message}"

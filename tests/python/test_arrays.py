"""Arrays of every layout: results are those of contiguous copies, bit for bit."""

import threading

import mish
import ml_dtypes
import numpy as np
import pytest
import vectors
from numpy.lib.stride_tricks import as_strided

DTYPES = [dtype.type for dtype, _ in vectors.DTYPES.values()]


def sample(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return (3 * rng.standard_normal(shape)).astype(dtype)


def same(got, expected):
    return got.shape == expected.shape and got.tobytes() == expected.tobytes()


def check(x, grad_y=None, grad_grad_x=None):
    """All three operations on views against the same on contiguous copies."""
    grad_y = x if grad_y is None else grad_y
    grad_grad_x = x if grad_grad_x is None else grad_grad_x
    copies = [np.array(a, order="C", copy=True) for a in (grad_grad_x, grad_y, x)]
    assert same(mish.forward(x), mish.forward(copies[2]))
    assert same(mish.backward(grad_y, x), mish.backward(*copies[1:]))
    got = mish.double_backward(grad_grad_x, grad_y, x)
    expected = mish.double_backward(*copies)
    assert same(got[0], expected[0]) and same(got[1], expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(dtype):
    x = sample((4, 6, 5), dtype)
    views = [
        x,
        x[::-1],
        x[:, ::-2],
        x[..., 1:4],
        x.transpose(2, 0, 1),
        np.asfortranarray(x),
        x[1:2, 3:4],
        x[0, 0, 0:1],
        x.reshape(-1)[7::3],
        np.broadcast_to(x[0, 0], (3, 2, 5)),
        np.broadcast_to(x[:, :1], (4, 6, 5)),
        as_strided(x, (5, 5), (x.itemsize, x.itemsize)),
        as_strided(x[2:], (3, 4), (-x.itemsize, 0)),
        x.reshape(1, 4, 1, 6, 1, 5, 1, 1)[:, ::2],
    ]
    for view in views:
        check(view)


def test_operands_may_differ_in_layout():
    x, g, h = sample((6, 8), seed=1), sample((8, 6), seed=2).T, sample((6, 16), seed=3)[:, ::2]
    check(x, g, h)
    check(g, x, np.broadcast_to(h[0], (6, 8)))


def test_random_views():
    rng = np.random.default_rng(5)
    for seed in range(300):
        ndim = rng.integers(0, 6)
        x = sample(tuple(rng.integers(1, 6, ndim)), DTYPES[seed % 4], seed)
        index = tuple(
            slice(None, None, int(rng.choice([-2, -1, 1, 2, 3]))) for _ in range(ndim)
        )
        view = x[(*index, ...)].transpose(rng.permutation(ndim))
        check(view)
        # A result with gaps between its elements, in the opposite order.
        block = np.full(2 * view.size, 7, x.dtype)
        out = block[::2].reshape(view.shape)[(*[slice(None, None, -1)] * ndim, ...)]
        assert np.shares_memory(out, block)
        mish.forward(view, out=out)
        assert same(out.copy(), mish.forward(view.copy(order="C")))
        assert (block[1::2] == 7).all()


def test_many_dimensions():
    x = sample((2,) * 12)
    assert same(mish.forward(x), mish.forward(x.reshape(-1)).reshape(x.shape))
    with pytest.raises(mish.MishError) as info:
        mish.forward(x[..., ::-1])
    assert info.value.name == "MISH_STATUS_INVALID_SHAPE"


def test_zero_dimensions_and_empty():
    for dtype in DTYPES:
        x = np.array(1, dtype)
        y = mish.forward(x)
        assert y.shape == () and y.dtype == x.dtype and abs(float(y) - 0.865) < 0.01
        for shape in ((0,), (3, 0, 2)):
            assert mish.forward(np.empty(shape, dtype)).shape == shape
            first, second = mish.double_backward(*[np.empty(shape, dtype)] * 3)
            assert first.shape == second.shape == shape
    assert mish.forward(np.empty((4, 0), np.float32)[::2, ::-1]).shape == (2, 0)


def test_scalars_are_arrays_without_dimensions():
    y = mish.forward(np.float32(1))
    assert y.shape == () and y.dtype == np.float32
    with pytest.raises(mish.MishError) as info:
        mish.forward(np.float32(1), out=np.float32(2))
    assert info.value.name == "MISH_STATUS_READ_ONLY"


def test_in_place():
    for source in (sample((5, 6)), sample((5, 12))[:, ::-2], sample((6, 5)).T):
        x = source.copy() if source.flags.c_contiguous else source
        expected = mish.forward(x.copy())
        assert mish.forward(x, out=x) is x
        assert same(np.ascontiguousarray(x), np.ascontiguousarray(expected))
    x, g, h = sample(9, seed=1), sample(9, seed=2), sample(9, seed=3)
    first, second = mish.double_backward(h, g, x)
    mish.double_backward(h, g, x, out=(g, x))
    assert same(g, first) and same(x, second)


def test_out_and_skipped_results():
    x, g, h = sample(50, seed=1), sample(50, seed=2), sample(50, seed=3)
    first, second = mish.double_backward(h, g, x)
    block = np.full(102, 7, np.float32)
    got = mish.double_backward(h, g, x, out=(block[1:101:2], None))
    assert got[1] is None and same(np.ascontiguousarray(got[0]), first)
    assert (block[::2] == 7).all() and block[101] == 7
    got = mish.double_backward(h, g, x, out=[None, np.empty_like(x)])
    assert isinstance(got, tuple) and got[0] is None and same(got[1], second)


def test_misaligned_for_vectors_is_fine():
    memory = np.zeros(4 * 100 + 64, np.uint8)
    x = sample(100)
    for offset in range(0, 64, 4):
        view = memory[offset : offset + 400].view(np.float32)
        view[:] = x
        assert same(mish.forward(view), mish.forward(x))


def test_fields_of_a_record():
    records = np.zeros(10, [("a", np.float32), ("b", np.float32)])
    records["b"] = sample(10)
    check(records["b"])


def test_result_keeps_the_layout():
    x = np.asfortranarray(sample((3, 4)))
    assert mish.forward(x).flags.f_contiguous


def test_result_is_a_plain_array():
    class Special(np.ndarray):
        pass

    assert type(mish.forward(sample((2, 2)).view(Special))) is np.ndarray


def test_anything_with_an_array_interface():
    class Holder:
        def __init__(self, array):
            self.array = array
            self.__array_interface__ = array.__array_interface__

    x = sample(7)
    y = mish.forward(Holder(x))
    assert isinstance(y, np.ndarray) and same(y, mish.forward(x))
    out = np.empty_like(x)
    mish.forward(Holder(x), out=Holder(out))
    assert same(out, y)


def test_an_array_interface_over_a_buffer():
    class Image:
        """As Pillow has it: no address, but bytes."""

        def __init__(self, data):
            self.__array_interface__ = {
                "version": 3,
                "shape": (2, 3),
                "typestr": "<f4",
                "data": data,
            }

    x = sample((2, 3))
    expected = mish.forward(x)
    assert same(mish.forward(Image(x.tobytes())), expected)
    memory = bytearray(24)
    mish.forward(Image(x.tobytes()), out=Image(memory))
    assert bytes(memory) == expected.tobytes()


def test_threads():
    x = sample((1000, 37))
    expected = mish.forward(x)
    good = []

    def work():
        for _ in range(20):
            if not same(mish.forward(x), expected):
                return
            try:
                mish.forward(x, out=x[1:])
            except mish.MishError as error:
                if error.name != "MISH_STATUS_SHAPE_MISMATCH":
                    return
        good.append(True)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(good) == 8


def test_number_of_threads():
    x = sample(400_001)
    expected = mish.forward(x)
    for count in (1, 3, 0):
        mish.set_num_threads(count)
        assert same(mish.forward(x), expected)
    with pytest.raises(ValueError, match="threads"):
        mish.set_num_threads(-1)


def test_the_stride_of_a_single_element_is_not_looked_at():
    fields = np.dtype({"names": ["a"], "formats": ["f4"], "itemsize": 6})
    array = np.zeros((8, 1), fields)["a"][::2]
    array[...] = np.linspace(-3, 3, 4, dtype=np.float32)[:, None]
    assert array.strides == (12, 6)
    assert (mish.forward(array) == mish.forward(array.copy())).all()

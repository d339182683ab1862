"""Every result against the correctly rounded one."""

import mish
import numpy as np
import pytest
import vectors
from mish import _abi

FORMATS = {dtype.name: dtype for dtype in _abi.DTYPES}


def limit(name, order):
    """How many numbers a result may be from the correctly rounded one. On these points float64
    keeps to float32's bounds."""
    return int(_abi.BOUNDS["f32" if name == "f64" else name][order])


@pytest.fixture(params=vectors.DTYPES)
def name(request):
    return request.param


def assert_close(got, expected, order, data, name, scale):
    x = data["x"].astype(np.float64)
    good = vectors.distance(got, expected, name) <= limit(name, order)
    if order:
        # Where a derivative vanishes its last place does too: there the last place at 1/16
        # counts, times the factor in front.
        unit = 2.0 ** (-4 - FORMATS[name].digits + 1) * np.abs(scale.astype(np.float64))
        with np.errstate(invalid="ignore"):
            error = np.abs(got.astype(np.float64) - expected.astype(np.float64))
        good |= _abi.is_near_zero(order, x) & (error <= unit)
    bad = np.flatnonzero(~good)
    rows = [f"x {data['x'][i]!r} got {got[i]!r} expected {expected[i]!r}" for i in bad[:5]]
    assert not bad.size, f"{bad.size} of {good.size}: {rows}"


def test_forward(name):
    data = vectors.load(name)
    y = mish.forward(data["x"])
    assert y.dtype == data["x"].dtype
    assert_close(y, data["y"], 0, data, name, None)
    zeros = data["y"].astype(np.float64) == 0
    assert np.array_equal(np.signbit(y[zeros]), np.signbit(data["y"][zeros]))


def test_backward(name):
    data = vectors.load(name)
    grad_x = mish.backward(data["grad_y"], data["x"])
    assert_close(grad_x, data["grad_x"], 1, data, name, data["grad_y"])


def test_double_backward(name):
    data = vectors.load(name)
    first, second = mish.double_backward(data["grad_grad_x"], data["grad_y"], data["x"])
    assert_close(first, data["grad_grad_y"], 1, data, name, data["grad_grad_x"])
    scale = data["grad_grad_x"].astype(np.float64) * data["grad_y"].astype(np.float64)
    assert_close(second, data["grad_x_2"], 2, data, name, scale)


def test_the_vectors_cover_what_they_should(name):
    x = vectors.load(name)["x"].astype(np.float64)
    assert np.isnan(x).any() and np.isposinf(x).any() and np.isneginf(x).any()
    assert (x == 0).sum() == 2 and np.signbit(x[x == 0]).sum() == 1
    smallest = 2.0 ** (FORMATS[name].min_exponent - FORMATS[name].digits + 1)
    assert smallest in x and -smallest in x
    assert x.size > 500

"""Every result against the correctly rounded one."""

import mish
import numpy as np
import pytest
import vectors

# Units in the last place by which a result may miss, for mish, mish' and mish''.
BOUNDS = {"f16": (0, 0, 0), "bf16": (0, 0, 0), "f32": (1, 2, 2), "f64": (1, 2, 2)}
ZEROS = (-1.19243, -2.25638, 1.49057)


@pytest.fixture(params=vectors.DTYPES)
def name(request):
    return request.param


def assert_close(got, expected, order, data, name, scale):
    x = data["x"].astype(np.float64)
    good = vectors.distance(got, expected, name) <= BOUNDS[name][order]
    if order:
        # Where a derivative vanishes its last place does too: there the last place at 1/16
        # counts, times the factor in front.
        digits = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}[name]
        unit = 2.0 ** (-4 - digits + 1) * np.abs(scale.astype(np.float64))
        near = np.min([np.abs(x - zero) for zero in ZEROS], axis=0) < 0.35
        with np.errstate(invalid="ignore"):
            error = np.abs(got.astype(np.float64) - expected.astype(np.float64))
        good |= near & (error <= unit)
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
    smallest = float(vectors.DTYPES[name][0].type(1)) * {
        "f16": 2.0**-24,
        "bf16": 2.0**-133,
        "f32": 2.0**-149,
        "f64": 2.0**-1074,
    }[name]
    assert smallest in x and -smallest in x
    assert x.size > 500

"""The identities behind the kernels, checked symbolically; zeros, limits and thresholds."""

import importlib.util
import re
from pathlib import Path

import mpmath as mp
import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("derivation", ROOT / "tools" / "derivation.py")
derivation = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(derivation)


@pytest.mark.parametrize("name, holds", list(derivation.identities()))
def test_identity(name, holds):
    assert holds


def test_the_check_can_fail():
    assert not derivation.same(derivation.FIRST, derivation.FIRST + derivation.E**9)


def test_formulas_are_the_derivatives_numerically():
    def plain(t):
        return t * mp.tanh(mp.log(1 + mp.exp(t)))

    with mp.workdps(60):
        for point in (-60, -2.2, -0.1, 0, 0.4, 1.5, 7, 40):
            for order in (0, 1, 2):
                found = derivation.exact(order, mp.mpf(point))
                with mp.workdps(160):
                    wanted = mp.diff(plain, mp.mpf(point), order)
                assert abs(found - wanted) <= abs(wanted) * mp.mpf(10) ** -30, (order, point)


def test_zeros():
    found = derivation.zeros()
    assert [mp.nstr(root, 8) for root in found["mish'"]] == ["-1.1924312"]
    assert [mp.nstr(root, 8) for root in found["mish''"]] == ["-2.2563764", "1.4905712"]


def test_limits():
    limits = dict(derivation.limits())
    ones = {"mish', x -> oo", "mish/(x e^x), x -> -oo", "mish''/(-8 x e^-2x), x -> oo"}
    assert {name for name, limit in limits.items() if limit == 1} == ones
    assert all(limit == 0 for name, limit in limits.items() if name not in ones)


def test_where_exp_overflows():
    rows = derivation.overflow()
    assert {name: powers[0] for name, (powers, _) in rows.items()} == {
        "float16": 12,
        "bfloat16": 89,
        "float32": 89,
        "float64": 710,
    }


def test_thresholds_of_the_kernels():
    """Beyond its thresholds the code uses constants: they must be the rounded results."""
    math = ROOT / "kernels" / "math"
    part, text = ((math / f"{name}.cuh").read_text() for name in ("double_word", "multiplied"))
    names = ("forward_min", "backward_min", "second_min", "second_max", "first_max")
    pairs = {
        name: mp.mpf(re.search(rf" {name}\(\) {{ return (-?[\d.]+)f;", part)[1]) for name in names
    }
    # float64: of |x|, in the order of the operations.
    forward, backward, second = map(mp.mpf, re.findall(r"const Multiplied c\(x, ([\d.]+), ", text))
    far = max(map(mp.mpf, re.findall(r"mish_size\(x\) >= mish_size\(([\d.]+)\)", text)))
    multiplied = dict(zip(names, (-forward, -backward, -second, second, far)))
    for limit, digits, smallest, largest in (
        (pairs, 24, mp.mpf(2) ** -149, mp.mpf(2) ** 128),
        (multiplied, 53, mp.mpf(2) ** -1074, mp.mpf(2) ** 1024),
    ):
        zero = smallest / 2
        assert abs(derivation.exact(0, limit["forward_min"])) < zero
        assert largest * abs(derivation.exact(1, limit["backward_min"])) < zero
        for end in ("second_min", "second_max"):
            assert largest**2 * abs(derivation.exact(2, limit[end])) < zero
        half = mp.mpf(2) ** -(digits + 1)
        with mp.workdps(60):
            right = limit["first_max"]
            assert abs(derivation.exact(1, right) - 1) < half
            assert abs(derivation.exact(0, right) - right) < half * right

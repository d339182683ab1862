"""The derivation in docs/derivation.md, executed: symbolic identities, zeros, limits, pictures.

    python tools/derivation.py               check everything, print what it finds
    python tools/derivation.py --figures     also draw docs/images/ (needs matplotlib)
    python tools/derivation.py --near-zeros  also the degrees of expansions about the zeros

Needs sympy, mpmath and numpy. tests/python/test_derivation.py runs the checks.
"""

import pathlib
import sys

import mpmath as mp
import numpy as np
import sympy as sp

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
from mish import _abi  # noqa: E402

x = sp.Symbol("x", real=True)
E = sp.Symbol("e", positive=True)  # e^x, once derivatives have been taken

DEFINITION = x * sp.tanh(sp.log(1 + sp.exp(x)))

# The formulas of kernels/math and src/cpu/math, in e = e^x, z, d and w.
z = 1 + E
d = z**2 + 1
w = 1 / d
MISH = x * E * (z + 1) * w
FIRST = E * w * (z + 1 + 4 * x * z * w)
ONE_MINUS_MISH = 1 - x + 2 * x * w
SECOND = 4 * E * w**2 * (2 + x + 2 * E * ONE_MINUS_MISH)

# The same multiplied out, as the references use them: on the left in e, on the right in u = e^-x.
u = 1 / E
DELTA = E * (E + 2) + 2
D = 1 + 2 * u + 2 * u**2
LEFT = (
    x * E * (E + 2) / DELTA,
    E * (E**3 + 4 * E**2 + (4 * x + 6) * E + 4 * (x + 1)) / DELTA**2,
    4 * E * (2 * (E + 1) * DELTA + x * (2 + 2 * E - 3 * E**2 - 2 * E**3)) / DELTA**3,
)
RIGHT = (
    x * (1 + 2 * u) / D,
    (1 + 4 * u + (4 * x + 6) * u**2 + 4 * (x + 1) * u**3) / D**2,
    4 * u**2 * (2 * (1 + u) * D + x * (2 * u**3 + 2 * u**2 - 3 * u - 2)) / D**3,
)


def in_e(expression):
    """The expression with tanh and log resolved and e^x replaced by the symbol e."""
    return sp.expand(expression.rewrite(sp.exp)).subs(sp.exp(x), E)


def same(a, b):
    """Whether two rational functions of x and e are identical."""
    return sp.cancel(sp.together(a - b)) == 0


def derivative(rational):
    """d/dx of a rational function of x and e = e^x, reduced."""
    return sp.cancel(sp.together(sp.diff(rational, x) + E * sp.diff(rational, E)))


def identities():
    """(name, whether it holds) for each identity, from the definition."""
    value = in_e(DEFINITION)
    first = derivative(value)
    second = derivative(first)
    # The rule used from here on, against differentiation of the definition itself.
    yield "d/dx at fixed e and d/de together", same(in_e(sp.diff(DEFINITION, x)), first)
    yield "mish = x e (z + 1) w", same(value, MISH)
    yield "mish' = e w (z + 1 + 4 x z w)", same(first, FIRST)
    yield "1 - mish = 1 - x + 2 x w", same(1 - value, ONE_MINUS_MISH)
    yield "mish'' = 4 e w^2 (2 + x + 2 e (1 - mish))", same(second, SECOND)
    yield "e (z + 1) = d - 2", same(E * (z + 1), d - 2)
    for name, forms in (("x < 0", LEFT), ("x >= 0", RIGHT)):
        for order, form in enumerate(forms):
            prime = "'" * order
            yield f"mish{prime} multiplied out, {name}", same((value, first, second)[order], form)
    # Where the code writes them otherwise.
    g = E / 2
    quarter = g**2 + g + sp.Rational(1, 2)
    shared = g / quarter
    m = 1 + g + x * (shared + 1 / (2 * quarter))
    yield "mish' = a (1 + g + x (a + 1/(2 d))), g = e/2, a = g/d", same(first, shared * m)
    inner = 1 + x / 2 + 2 * g * (1 - x) + x * shared
    yield "mish'' = a/d (1 + x/2 + 2 g (1 - x) + x a)", same(second, shared / quarter * inner)
    inner = 1 + x / 2 + g * (2 - 2 * x + x / quarter)
    yield "mish'' = a/d (1 + x/2 + g (2 - 2 x + x/d))", same(second, shared / quarter * inner)
    n = E**2 + 2 * E
    yield "mish = x n/(n + 2), n = e^2 + 2 e", same(value, x * n / (n + 2))
    a = E + 2
    yield "mish = x e a/(e a + 2), a = e + 2", same(value, x * E * a / (E * a + 2))
    for name, small, s, t in (("x <= 0", E, 1, E), ("x > 0", u, u, 1)):
        # In u = e^-|x|, which nothing overflows in: kernels/math/factored.cuh.
        h = 1 + small
        i = 1 / (h**2 + s**2)
        inner = s * (1 + x / 2) + t * (1 - x + 2 * x * s**2 * i)
        yield f"mish' in e^-|x|, {name}", same(first, i * (h + s + 4 * x * h * s**2 * i) * t)
        yield f"mish'' in e^-|x|, {name}", same(second, 8 * i**2 * inner * small * s)


NUMERIC = [sp.lambdify((x, E), form, "mpmath") for form in (MISH, FIRST, SECOND)]


def exact(order, at):
    """mish and its derivatives at an mpf, from the formulas in this file."""
    return NUMERIC[order](at, mp.exp(at))


def zeros():
    """The zeros of mish' and mish'' to 20 digits, and the values of mish there."""
    with mp.workdps(40):
        return {
            "mish'": [mp.findroot(lambda t: exact(1, t), -1.2)],
            "mish''": [mp.findroot(lambda t: exact(2, t), start) for start in (-2.2, 1.5)],
        }


def limits():
    """(name, limit) at both ends, symbolically."""
    for name, form, end in (
        ("mish, x -> -oo", LEFT[0], -sp.oo),
        ("mish', x -> -oo", LEFT[1], -sp.oo),
        ("mish'', x -> -oo", LEFT[2], -sp.oo),
        ("mish - x, x -> oo", RIGHT[0] - x, sp.oo),
        ("mish', x -> oo", RIGHT[1], sp.oo),
        ("mish'', x -> oo", RIGHT[2], sp.oo),
        ("mish/(x e^x), x -> -oo", sp.cancel(LEFT[0] / (x * E)), -sp.oo),
        ("mish''/(-8 x e^-2x), x -> oo", sp.cancel(RIGHT[2] / (-8 * x * u**2)), sp.oo),
    ):
        yield name, sp.limit(form.subs(E, sp.exp(x)), x, end)


# name: bits of the significand, largest finite number, smallest subnormal
FORMATS = {
    dtype.full_name: (
        dtype.digits,
        mp.mpf(2) ** (2 - dtype.min_exponent) * (1 - mp.mpf(2) ** -dtype.digits),
        mp.mpf(2) ** (dtype.min_exponent - dtype.digits + 1),
    )
    for dtype in _abi.DTYPES
}


def overflow():
    """Per type: the first integer x at which e^x, e^2x and e^3x overflow, and the last x at which
    mish, mish' and mish'' do not round to zero."""
    rows = {}
    for name, (_, largest, smallest) in FORMATS.items():
        powers = [int(mp.ceil(mp.log(largest) / n)) for n in (1, 2, 3)]
        vanish = []
        for order, start in ((0, mp.log(smallest) - 2), (1, mp.log(smallest) - 2)):
            vanish.append(
                mp.findroot(lambda t, o=order: mp.log(-exact(o, t) / (smallest / 2)), start)
            )
        vanish.append(
            mp.findroot(
                lambda t: mp.log(-exact(2, t) / (smallest / 2)), -mp.log(smallest) / 2 + 2
            )
        )
        rows[name] = (powers, [mp.nstr(v, 6) for v in vanish])
    return rows


def expansion_degree(order, zero, window, bits):
    """The degree at which P in (x - zero) P(x - zero) is mish' or mish'' within 2^-bits of itself."""
    with mp.workdps(50):
        zero, window = mp.findroot(lambda t: exact(order, t), zero), mp.mpf(window)
        quotient = lambda t: exact(order, zero + t) / t
        # No node of the fit lies at 0.
        ends = [-window, window * (1 + mp.mpf(10) ** -9)]
        for degree in range(1, 40):
            _, error = mp.chebyfit(quotient, ends, degree + 1, error=True)
            if error < abs(quotient(window)) * mp.mpf(2) ** -bits:
                return degree


def bytes_moved():
    """Bytes per element and step of training, without and with one saved intermediate."""
    # forward: read x, write y; backward: read x and grad_y, write grad_x.
    recompute, saved = 2 + 3, (2 + 1) + (3 + 1)
    return {size: (recompute * size, saved * size, size) for size in (2, 4, 8)}


def plain_errors():
    """x, and the worst error in ULP per bin of x, of the formulas as they stand in float32."""
    edges = np.linspace(-110, 60, 341)
    middles = (edges[1:] + edges[:-1]) / 2
    random = np.random.default_rng(1)
    points = random.uniform(edges[:-1, None], edges[1:, None], (middles.size, 4000))
    single = points.astype(np.float32)
    functions = [sp.lambdify((x, E), form, "numpy") for form in (MISH, FIRST, SECOND)]
    wide = single.astype(np.longdouble)
    with np.errstate(all="ignore"):
        results = []
        for order, function in enumerate(functions):
            found = function(single, np.exp(single)).astype(np.longdouble)
            right = function(wide, np.exp(wide))
            exponent = np.maximum(np.frexp(right)[1] - 1, -126)
            near = _abi.is_near_zero(order, wide)
            exponent = np.where(near, np.maximum(exponent, -4), exponent)
            error = np.abs(found - right) / np.ldexp(np.longdouble(1), exponent - 23)
            results.append(np.where(np.isfinite(error), error, np.inf).max(axis=1).astype(float))
    return middles, results


def figures():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder = ROOT / "docs" / "images"
    folder.mkdir(exist_ok=True)
    colours = ("#0b5fa5", "#d95f02", "#1b9e77")
    labels = ("mish", "mish′", "mish″")

    grid = np.linspace(-7, 5, 481)
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for form, colour, label in zip((MISH, FIRST, SECOND), colours, labels):
        axes.plot(grid, sp.lambdify((x, E), form, "numpy")(grid, np.exp(grid)), colour, label=label)
    found = zeros()
    for name, colour in (("mish'", colours[1]), ("mish''", colours[2])):
        for index, zero in enumerate(found[name]):
            axes.plot(float(zero), 0, "o", color=colour, ms=6)
            axes.annotate(
                f"{float(zero):.5f}", (float(zero), 0), (36 if name == "mish'" else 0, 8 - 22 * (name == "mish'")),
                textcoords="offset points", ha="left" if index else "right", fontsize=9, color=colour,
            )  # fmt: skip
    axes.axhline(0, color="black", lw=0.6)
    axes.set_ylim(-0.6, 2.2)
    axes.set_xlabel("x")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left")
    axes.set_title("Mish, its derivative and its second derivative")
    figure.savefig(folder / "mish.png", dpi=100, metadata={"Software": None})
    plt.close(figure)

    middles, errors = plain_errors()
    figure, panels = plt.subplots(3, 1, figsize=(8, 6.4), sharex=True, layout="constrained")
    for panel, error, colour, label, bound in zip(panels, errors, colours, labels, (1, 2, 2)):
        lost = ~np.isfinite(error)
        panel.plot(middles, np.where(lost, np.nan, np.maximum(error, 0.1)), colour, lw=1)
        panel.plot(middles[lost], np.full(lost.sum(), 2e8), "x", color=colour, ms=4)
        panel.axhline(bound, color="black", lw=0.8, ls="--")
        panel.set_yscale("log")
        panel.set_ylim(0.1, 5e8)
        panel.set_ylabel(f"{label}: ULP")
        panel.grid(alpha=0.25)
    panels[-1].set_xlabel("x")
    figure.suptitle("float32, the formulas as they stand (dashed: libmish's bound, ×: not finite)")
    figure.savefig(folder / "plain-error.png", dpi=100, metadata={"Software": None})
    plt.close(figure)


def main():
    ok = True
    for name, holds in identities():
        print(f"{'holds ' if holds else 'FAILS '} {name}")
        ok &= holds
    for name, roots in zeros().items():
        for root in roots:
            print(f"{name} = 0 at {mp.nstr(root, 20)}, where mish = {mp.nstr(exact(0, root), 12)}")
    for name, limit in limits():
        print(f"{name}: {limit}")
    for name, (powers, vanish) in overflow().items():
        print(f"{name}: e^x, e^2x, e^3x overflow from {powers}; mish, mish', mish'' end {vanish}")
    for size, (recompute, saved, kept) in bytes_moved().items():
        print(f"{size}-byte types: {recompute} bytes recomputed, {saved} saved, {kept} more kept")
    if "--near-zeros" in sys.argv:
        for window in ("1/32", "1/16", str(_abi.NEAR_ZERO)):
            for name, roots in zeros().items():
                for root in roots:
                    degrees = [
                        expansion_degree(name.count("'"), root, mp.mpmathify(window), bits)
                        for bits in (27, 56)
                    ]
                    at = mp.nstr(root, 6)
                    print(f"{name} within {window} of {at}: degree {degrees[0]} to 2^-27, {degrees[1]} to 2^-56")
    if "--figures" in sys.argv:
        figures()
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())

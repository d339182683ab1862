"""Computes the constants of the Mish formulas and writes them for Rust and CUDA.

    python tools/constants.py [--check]

Writes src/cpu/math/constants.rs and kernels/math/constants.cuh; needs mpmath. On |r| <= ln 2/2, e^r
(or, where its low bits are carried along, (e^r - 1 - r)/r^2) is fitted by least squares at
Chebyshev nodes, weighted so that the relative error of e^r is even; the error that the fit leaves
is written beside it.
"""

import pathlib
import struct
import sys

import mpmath as mp

mp.mp.dps = 60
ROOT = pathlib.Path(__file__).resolve().parent.parent
# A little past ln 2/2: k is the nearest integer to a rounded product.
REACH = mp.log(2) / 2 * mp.mpf("1.0005")


def exp(r):
    return mp.e**r


def tail(r):
    if abs(r) < mp.mpf(10) ** -12:
        return mp.mpf(1) / 2 + r / 6 + r * r / 24
    return (mp.expm1(r) - r) / r**2


def fit(function, weight, degree, nodes=120, reach=REACH):
    """Coefficients, lowest first, and the largest weighted error for |r| up to `reach`."""
    rows = mp.matrix(nodes, degree + 1)
    values = mp.matrix(nodes, 1)
    for i in range(nodes):
        r = reach * mp.cos(mp.pi * (2 * i + 1) / (2 * nodes))
        for j in range(degree + 1):
            rows[i, j] = weight(r) * (r / reach) ** j
        values[i] = weight(r) * function(r)
    solution = mp.lu_solve(rows, values)
    coefficients = [solution[j] / reach**j for j in range(degree + 1)]
    grid = [reach * (2 * mp.mpf(i) / 1000 - 1) for i in range(1001)]
    error = max(
        abs(weight(r) * (function(r) - mp.polyval(coefficients[::-1], r))) for r in grid
    )
    return coefficients, error


def nearest(value, single):
    value = float(value)
    return struct.unpack("f", struct.pack("f", value))[0] if single else value


def text(value, single):
    """The shortest decimal that reads back as the same number."""
    if single:
        for digits in range(1, 12):
            short = f"{value:.{digits}e}"
            if nearest(float(short), True) == value:
                break
    else:
        short = repr(value)
    mantissa, _, exponent = short.partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    return mantissa + ("e" + str(int(exponent)) if exponent else "")


def logarithm(name, single):
    kind = "f32" if single else "f64"
    high = nearest(mp.log(2), single)
    low = nearest(mp.log(2) - mp.mpf(high), single)
    yield f"LN2_HIGH_{name}", kind, "ln 2, rounded", text(high, single)
    yield f"LN2_LOW_{name}", kind, "ln 2 less the above", text(low, single)


def whole(name, single, degree):
    """e^r, for arithmetic with bits to spare."""
    coefficients, error = fit(exp, lambda r: exp(-r), degree)
    power = mp.nstr(mp.log(error, 2), 4)
    return polynomial(name, single, coefficients, f"e^r, highest power first, to 2^{power}")


def exponential(name, single, degree, reach=REACH):
    """The part of e^r that needs rounding in one number only; r^2 is what it is used with."""
    coefficients, error = fit(tail, lambda r: r**2, degree, reach=reach)
    power = mp.nstr(mp.log(error, 2), 4)
    note = f"(e^r - 1 - r)/r^2, highest power first; leaves an error of 2^{power} in e^r"
    return polynomial(name, single, coefficients, note)


def polynomial(name, single, coefficients, note):
    values = [text(nearest(c, single), single) for c in reversed(coefficients)]
    yield name, "f32" if single else "f64", note, values


def powers(name, count, digits):
    """2^(j/count) to a few digits, its bits less j/count of those of an exponent's 1, so that adding
    a whole number of counts to them multiplies by the power; and the logarithm of what that lacks."""
    values = []
    for j in range(count):
        exact = mp.mpf(2) ** (mp.mpf(j) / count)
        short = mp.nint(exact * 2 ** (digits - 1)) / 2 ** (digits - 1)
        bits = struct.unpack("<q", struct.pack("<d", float(short)))[0] - (j * 2**52 // count)
        less = struct.unpack("<d", struct.pack("<q", bits))[0]
        values.append(f"{{{text(less, False)}, {text(float(mp.log(exact / short)), False)}}}")
    note = f"2^(j/{count}) to {digits} bits, less j/{count} in the exponent's bits, and the logarithm of what the {digits} bits lack"
    yield name, "f64", note, values


def root(name, order, digits=16, reach=None):
    """The exponent of e^(x/order), so short that its product with a 16-bit x is exact in float. What
    it lacks, l, is made up for by a factor 1 + x l instead of e^(x l). Where that shows, the factor's
    l is such that the error is even over 0 > x > -reach, or l + x l^2/2 on both sides of 0."""
    exact = 1 / (order * mp.log(2))
    scale = mp.mpf(2) ** (digits - 1 - int(mp.floor(mp.log(exact, 2))))
    short = mp.nint(exact * scale) / scale
    lacking = 1 - short / exact
    items = [("", f"log2(e){f'/{order}' if order > 1 else ''} to {digits} bits", short)]
    if reach is None:
        items.append(("_LACKING", "what that lacks, relatively", lacking))
    else:
        # On 0..1, t^2/2 is nearest to (sqrt(2) - 1) t.
        even = lacking * (1 - (mp.sqrt(2) - 1) * lacking * reach)
        items.append(("_LACKING", f"what that lacks, relatively, for x from -{reach} to 0", even))
        items.append(("_LACKING_BOTH_SIDES", "the same for any x, at x = 0", lacking))
        items.append(("_LACKING_SLOPE", "and what x adds to it", lacking**2 / 2))
    for suffix, note, value in items:
        yield name + suffix, "f32", note, text(nearest(value, True), True)


def rust():
    """In f32 for float16, in f64 for bfloat16 and float32, in pairs for float32 and float64."""
    lines = [
        "//! The constants of the exponential in `f32` and `f64`: ln 2 in two parts, and fits of e^r with",
        "//! the error that each leaves; `docs/derivation.md`, \"The exponential\".",
        "//!",
        "//! Generated by `tools/constants.py`; do not edit.",
        "// The very numbers of the generator, the same as in the CUDA file.",
        "#![allow(clippy::approx_constant)]",
        "",
    ]
    items = [
        *logarithm("F32", True),
        *logarithm("F64", False),
        *whole("EXP_F32", True, 5),
        *whole("EXP_F64", False, 6),
        *exponential("EXP_TAIL_F32", True, 4),
        *exponential("EXP_TAIL_F64", False, 9),
    ]
    for name, kind, note, value in items:
        lines.append(f"/// {note}.")
        if isinstance(value, list):
            lines.append("#[rustfmt::skip]")
            lines.append(f"pub const {name}: [{kind}; {len(value)}] = [")
            lines += [f"    {v}," for v in value]
            lines.append("];")
        else:
            lines.append(f"pub const {name}: {kind} = {value};")
    return "\n".join(lines) + "\n"


def cuda():
    """For double words, for float in double, and for the hardware's exponential in 16-bit types."""
    lines = [
        "// The constants of the formulas: fits of e^r, and numbers cut into parts, whose low bits are kept",
        "// apart. Which errors they leave stands beside each; where they come from, in docs/derivation.md",
        "// (\"The exponential\"). Generated by tools/constants.py; do not edit.",
        "#pragma once",
        "",
    ]
    items = [
        ("LOG2_E", "f64", "log2(e)", text(float(1 / mp.log(2)), False)),
        *logarithm("F32", True),
        *exponential("EXP_TAIL_F32", True, 4),
        *logarithm("F64", False),
        # A sixteenth of the range, and what rounding 2^(j/16) to 11 bits adds to it.
        *exponential("EXP_TAIL_SHORT_F64", False, 4, REACH / 16 * mp.mpf("1.02")),
        *powers("EXP2_SIXTEENTHS_F64", 16, 11),
        *whole("EXP_F64", False, 6),
        *root("LOG2_E_13", 1, 13, 20),
        *root("LOG2_E_16", 1),
        *root("LOG2_E_HALF", 2),
        *root("LOG2_E_THIRD", 3),
    ]
    for name, kind, note, value in items:
        suffix = "f" if kind == "f32" else ""
        lines.append(f"// {note}")
        if isinstance(value, list):
            lines.append(f"#define MISH_{name} " + ", ".join(f"{v}{suffix}" for v in value))
        else:
            lines.append(f"#define MISH_{name} {value}{suffix}")
    return "\n".join(lines) + "\n"


def main():
    stale = []
    for path, content in (("src/cpu/math/constants.rs", rust()), ("kernels/math/constants.cuh", cuda())):
        file = ROOT / path
        if not file.exists() or file.read_text() != content:
            stale.append(path)
            if "--check" not in sys.argv:
                file.write_text(content)
    if stale and "--check" in sys.argv:
        sys.exit(f"differs from tools/constants.py: {', '.join(stale)}")


if __name__ == "__main__":
    main()

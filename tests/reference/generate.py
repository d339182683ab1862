"""Writes the reference vectors beside this file, with mpmath at 80 digits.

Each `<dtype>.csv` has one line per point: the bit patterns, in hexadecimal, of the inputs `x`,
`grad_y` and `grad_grad_x`, and of the correctly rounded results

    y            mish(x)
    grad_x       grad_y * mish'(x)
    grad_grad_y  grad_grad_x * mish'(x)
    grad_x_2     grad_grad_x * grad_y * mish''(x)

`example.csv` has the inputs and results that the programs in `examples/` print, as decimals that
identify the float32.

    python tests/reference/generate.py [--check]
"""

import json
import math
import struct
import sys
from pathlib import Path

import mpmath

mpmath.mp.dps = 80

CATALOGUE = json.loads(
    (Path(__file__).resolve().parents[2] / "bindings" / "mish.abi.json").read_text()
)
# Bits of the significand (with the leading one), exponent bits.
FORMATS = {
    dtype["name"]: (dtype["digits"], dtype["bits"] - dtype["digits"])
    for dtype in CATALOGUE["element_types"]
}

# Points around the zeros of mish' and mish''; with further digits the vectors would be others.
AROUND = (-1.192432, -2.256376, 1.490570)
THRESHOLDS = (
    *(-745.2, -745.1, -744.4, -710.0, -709.0, -708.4, -355.0, -104.1, -103.9, -103.3, -95.0),
    *(-89.0, -88.8, -88.7, -87.5, -87.3, -80.0, -44.5, -37.5, -36.7, -20.5, -17.4, -16.6),
    *(-11.2, -9.8, -9.7, -5.6, 5.6, 8.4, 9.8, 11.1, 11.2, 16.6, 17.4, 18.0, 20.0, 20.5, 22.2),
    *(36.7, 37.5, 44.0, 44.5, 52.0, 87.3, 88.7, 88.8, 89.0, 104.0, 354.0, 355.0, 372.5, 373.0),
    *(709.0, 709.8, 745.0, 746.0),
)
GRADS = (1.0, -0.75, 1.5, 3.25, -2.0, 0.0625, 0.0)
GRAD_GRADS = (1.0, 0.5, -1.25, -3.0, 7.0)

EXAMPLE_X = (-20.0, -5.0, -2.0, -1.0, 0.0, 0.5, 1.0, 10.0)


class Format:
    """Rounding to a binary format, and its bit patterns."""

    def __init__(self, name):
        self.name = name
        self.digits, self.exponent_bits = FORMATS[name]
        self.bias = (1 << (self.exponent_bits - 1)) - 1
        self.smallest = 1 - self.bias
        self.width = self.digits + self.exponent_bits

    @property
    def sign_bit(self):
        return 1 << (self.width - 1)

    @property
    def infinity(self):
        return ((1 << self.exponent_bits) - 1) << (self.digits - 1)

    def round(self, value):
        """The bit pattern of an mpf, rounded to nearest, ties to even."""
        if mpmath.isnan(value):
            return self.infinity | 1 << (self.digits - 2)
        sign = self.sign_bit if value < 0 else 0
        if mpmath.isinf(value):
            return sign | self.infinity
        if value == 0:
            return sign
        _, mantissa, exponent, count = abs(value)._mpf_
        mantissa = int(mantissa)
        # Of the last place that the format keeps.
        last = max(exponent + count - 1, self.smallest) - self.digits + 1
        shift = last - exponent
        if shift <= 0:
            kept = mantissa << -shift
        else:
            kept, rest = mantissa >> shift, mantissa & ((1 << shift) - 1)
            half = 1 << (shift - 1)
            if rest > half or (rest == half and kept & 1):
                kept += 1
        # Adding the significand carries into the exponent where it must.
        exponent_field = last + self.digits - 1 - self.smallest
        return sign | min((exponent_field << (self.digits - 1)) + kept, self.infinity)

    def value(self, bits):
        """The mpf of a bit pattern."""
        negative = bits & self.sign_bit
        bits &= self.sign_bit - 1
        if bits > self.infinity:
            return mpmath.nan
        if bits == self.infinity:
            return -mpmath.inf if negative else mpmath.inf
        field, fraction = bits >> (self.digits - 1), bits & ((1 << (self.digits - 1)) - 1)
        if field:
            fraction += 1 << (self.digits - 1)
        else:
            field = 1
        exponent = field - 1 + self.smallest - self.digits + 1
        value = mpmath.ldexp(fraction, exponent)
        return -value if negative else value

    def hex(self, bits):
        return f"{bits:0{self.width // 4}x}"


def mish(x):
    """mish(x), mish'(x), mish''(x), without differences of neighbouring numbers."""
    if mpmath.isnan(x):
        return x, x, x
    if x > 20000:  # beyond every format's last place, and beyond what exp can be asked for
        return x, mpmath.mpf(1), mpmath.mpf(0)
    if x < -20000:
        return mpmath.mpf(0), mpmath.mpf(0), mpmath.mpf(0)
    with mpmath.workdps(150):
        e = mpmath.exp(x)
        # tanh(softplus(x)) = (w^2 - 1) / (w^2 + 1) with w = 1 + e; d is 1 - t^2.
        w = 1 + e
        t = e * (e + 2) / (w * w + 1)
        d = 4 * w * w / (w * w + 1) ** 2
        s = e / w
        first = t + x * d * s
        # (x d s)' with s' = s (1 - s) and d' = -2 t d s
        second = d * s * (2 + x * (1 / w - 2 * t * s))
        return x * t, first, second


def inputs(fmt):
    """Bit patterns of x: special values, limits of the format, thresholds, a grid."""
    patterns = [fmt.sign_bit | fmt.infinity, fmt.infinity, fmt.infinity | 1 << (fmt.digits - 2)]
    largest, normal = fmt.infinity - 1, 1 << (fmt.digits - 1)
    for magnitude in (0, 1, 2, normal // 3, normal - 1, normal, normal + 1, largest - 1, largest):
        patterns += [magnitude, fmt.sign_bit | magnitude]
    for power in range(fmt.smallest + 1, fmt.bias, max(1, fmt.bias // 24)):
        pattern = fmt.round(mpmath.ldexp(1.3, power))
        patterns += [pattern, fmt.sign_bit | pattern]
    patterns += [fmt.round(mpmath.mpf(threshold)) for threshold in THRESHOLDS]
    for centre in AROUND:
        patterns += [fmt.round(mpmath.mpf(centre) + step * 0.01) for step in range(-40, 41, 3)]
    patterns += [fmt.round(mpmath.mpf(step) * 0.231) for step in range(-180, 181)]
    return list(dict.fromkeys(patterns))


def vectors(name):
    fmt = Format(name)
    lines = ["x,grad_y,grad_grad_x,y,grad_x,grad_grad_y,grad_x_2"]
    for i, pattern in enumerate(inputs(fmt)):
        x = fmt.value(pattern)
        grad, grad_grad = mpmath.mpf(GRADS[i % 7]), mpmath.mpf(GRAD_GRADS[i % 5])
        value, first, second = mish(x)
        y = fmt.round(value)
        if value == 0:
            y = pattern & fmt.sign_bit  # the zero has the sign of x
        columns = [pattern, fmt.round(grad), fmt.round(grad_grad), y]
        columns += [
            fmt.round(product)
            for product in (grad * first, grad_grad * first, grad_grad * grad * second)
        ]
        lines.append(",".join(fmt.hex(column) for column in columns))
    return "\n".join(lines) + "\n"


def example():
    """grad_y is 1, 2, … and grad_grad_x 8, 7, …, so that no operand can pass for another."""
    fmt = Format("f32")

    def decimal(value):
        number = struct.unpack("<f", struct.pack("<I", fmt.round(value)))[0]
        assert math.isfinite(number)
        return f"{number:.9g}"

    lines = ["operation,index,expected"]
    results = {"forward": [], "backward": [], "grad_grad_y": [], "grad_x": []}
    for i, x in enumerate(EXAMPLE_X):
        grad, grad_grad = i + 1, 8 - i
        value, first, second = mish(mpmath.mpf(x))
        results["forward"].append(value)
        results["backward"].append(grad * first)
        results["grad_grad_y"].append(grad_grad * first)
        results["grad_x"].append(grad_grad * grad * second)
    for operation, values in results.items():
        lines += [f"{operation},{i},{decimal(value)}" for i, value in enumerate(values)]
    return "\n".join(lines) + "\n"


def check_derivatives():
    """The closed forms agree with numerical differentiation of the definition."""
    for x in (-60, -30, -2.2, -1.1, -0.1, 0, 0.4, 1.5, 7, 40):
        value, first, second = mish(mpmath.mpf(x))
        mpmath.mp.dps = 160
        plain = lambda t: t * mpmath.tanh(mpmath.log(1 + mpmath.exp(t)))  # noqa: E731
        for order, expected in ((1, first), (2, second)):
            found = mpmath.diff(plain, x, order)
            assert abs(found - expected) <= abs(expected) * mpmath.mpf(10) ** -50, (x, order)
        mpmath.mp.dps = 80


def main():
    check_derivatives()
    folder = Path(__file__).resolve().parent
    files = {f"{name}.csv": vectors(name) for name in FORMATS}
    files["example.csv"] = example()
    stale = []
    for name, text in files.items():
        path = folder / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text)
    print(f"{len(files)} files, {len(stale)} changed: {', '.join(stale)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())

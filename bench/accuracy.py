"""Measures how accurate Mish is on the CPU: libmish beside PyTorch, composed Mish and JAX.

    python bench/accuracy.py [--out FILE] [--quick]      measure, write FILE, draw
    python bench/accuracy.py --draw FILE                 draw only

Needs xtask/requirements/accuracy.txt and libmish (MISH_LIBRARY, or the repository's release
build). Inputs: every float16 and bfloat16, every 256th float32 (2^24 of them), 10^6 float64 (random
bit patterns, and even in x). The reference is evaluated in float64, for float64 in the x87's 80-bit
format, with the numerators multiplied out so that nothing cancels away from the derivatives'
zeros. Errors are in units of the last place of the exact result, within 0.35 of a derivative's
zero never less than those of 1/16. Draws docs/images/accuracy-<operation>.png.
"""

import argparse
import ctypes
import datetime
import json
import math
import os
import pathlib
import platform
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATIONS = ("forward", "backward", "double_backward")
DTYPES = ("f16", "bf16", "f32", "f64")
# Bits of the significand, smallest normal exponent, the range of x in the pictures.
FORMATS = {
    "f16": (11, -14, (-20, 20)),
    "bf16": (8, -126, (-110, 110)),
    "f32": (24, -126, (-110, 110)),
    "f64": (53, -1022, (-760, 760)),
}
ZEROS = {"forward": (), "backward": (-1.1924312,), "double_backward": (-2.2563764, 1.4905712)}
BINS = 220
IMPLEMENTATIONS = ("libmish", "PyTorch", "composed", "JAX")


def inputs(dtype, quick):
    """Blocks of finite x."""
    import ml_dtypes

    if dtype in ("f16", "bf16"):
        kind = np.float16 if dtype == "f16" else ml_dtypes.bfloat16
        blocks = [np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(kind)]
    elif dtype == "f32":
        # An odd offset into each stride, so that low bits take all values.
        stratum = np.arange(2**24, dtype=np.uint64)
        if quick:
            stratum = stratum[::64]
        bits = (stratum * 256 + (stratum * 181 + 97) % 256).astype(np.uint32)
        blocks = np.array_split(bits.view(np.float32), 16)
    else:
        count = 10_000 if quick else 500_000
        random = np.random.default_rng(64)
        anywhere = random.integers(0, 2**64, count, dtype=np.uint64).view(np.float64)
        blocks = np.array_split(np.concatenate([anywhere, random.uniform(-760, 760, count)]), 4)
    for block in blocks:
        with np.errstate(invalid="ignore"):
            yield block[np.isfinite(block.astype(np.float64))]


def reference(x):
    """mish, mish' and mish'' in the precision of x."""
    negative = x < 0
    e = np.exp(-np.abs(x))  # exp(x) on the left, exp(-x) on the right
    d = np.where(negative, e * (e + 2) + 2, 1 + e * (2 + 2 * e))
    with np.errstate(all="ignore"):
        y = np.where(negative, x * e * (e + 2), x * (1 + 2 * e)) / d
        first = np.where(
            negative,
            e * (e * (e * (e + 4) + 4 * x + 6) + 4 * (x + 1)),
            1 + e * (4 + e * (4 * x + 6 + e * 4 * (x + 1))),
        )
        second = np.where(
            negative,
            4 * e * (2 * (e + 1) * d + x * (2 + e * (2 - e * (3 + 2 * e)))),
            4 * e * e * (2 * (1 + e) * d + x * (e * (e * (2 * e + 2) - 3) - 2)),
        )
        # Where e is 0, so are the products that x would otherwise make infinite or NaN.
        first = np.where(e == 0, np.where(negative, 0, 1), first / d**2)
        second = np.where(e == 0, 0, second / d**3)
        y = np.where(e == 0, np.where(negative, 0, x), y)
    return dict(zip(OPERATIONS, (y, first, second)))


def implementations():
    """By name, each a function from x to the three results; and the versions used."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import torch

    sys.path.insert(0, str(ROOT / "bindings" / "python"))
    from mish._library import check, library

    torch.set_num_threads(2)
    codes = {"float16": 1, "bfloat16": 2, "float32": 3, "float64": 4}

    def ours(x):
        one, results = np.ones_like(x), {}
        pointer = lambda array: None if array is None else ctypes.c_void_p(array.ctypes.data)

        def call(name, *arrays):
            code = codes[x.dtype.name]
            pointers = [pointer(a) for a in arrays]
            check(getattr(library(), "mish_" + name)(1, code, *pointers, x.size, None))
            return arrays[-1]

        results["forward"] = call("forward", x, np.empty_like(x))
        results["backward"] = call("backward", one, x, np.empty_like(x))
        outputs = np.empty_like(x), np.empty_like(x)
        results["double_backward"] = call("double_backward", one, one, x, *outputs)
        return results

    def to_torch(x):
        if x.dtype.name == "bfloat16":
            return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
        return torch.from_numpy(x.copy())

    def from_torch(t, like):
        t = t.detach()
        if t.dtype == torch.bfloat16:
            return t.view(torch.int16).numpy().view(like.dtype)
        return t.numpy()

    def autograd(function, x):
        t = to_torch(x).requires_grad_()
        y = function(t)
        (first,) = torch.autograd.grad(y, t, torch.ones_like(y), create_graph=True)
        (second,) = torch.autograd.grad(first, t, torch.ones_like(first))
        return [from_torch(result, x) for result in (y, first, second)]

    def pytorch(x):
        results = dict(zip(OPERATIONS, autograd(torch.nn.functional.mish, x)))
        # What backward runs when no second derivative is asked for.
        t = to_torch(x)
        results["backward"] = from_torch(torch.ops.aten.mish_backward(torch.ones_like(t), t), x)
        return results

    def composed(x):
        plain = lambda t: t * torch.tanh(torch.nn.functional.softplus(t))
        return dict(zip(OPERATIONS, autograd(plain, x)))

    first = jax.grad(lambda t: jax.nn.mish(t).sum())
    second = jax.grad(lambda t: first(t).sum())
    compiled = [jax.jit(f) for f in (jax.nn.mish, first, second)]

    def with_jax(x):
        return {name: np.asarray(f(x)) for name, f in zip(OPERATIONS, compiled)}

    versions = {"torch": torch.__version__, "jax": jax.__version__, "numpy": np.__version__}
    return dict(zip(IMPLEMENTATIONS, (ours, pytorch, composed, with_jax))), versions


class Tally:
    """One implementation, dtype and operation."""

    def __init__(self, dtype, operation):
        self.dtype, self.operation = dtype, operation
        self.worst, self.at = 0.0, None
        self.count = self.rounded = self.non_finite = self.sign = 0
        self.profile = np.zeros(BINS)

    def add(self, x, got, exact):
        digits, smallest, (low, high) = FORMATS[self.dtype]
        wide = exact.dtype.type
        exponent = np.maximum(np.frexp(exact)[1] - 1, smallest)
        unit = np.ldexp(wide(1), exponent - digits + 1)
        got = got.astype(wide)
        with np.errstate(all="ignore"):
            miss = np.abs(got - exact)
            self.rounded += int((miss <= unit * wide(0.5)).sum())
            self.sign += int((got * exact < 0).sum())
            near = np.zeros(x.shape, bool)
            for zero in ZEROS[self.operation]:
                near |= np.abs(x.astype(np.float64) - zero) < 0.35
            unit = np.where(near, np.maximum(unit, np.ldexp(wide(1), -4 - digits + 1)), unit)
            error = (miss / unit).astype(np.float64)
        lost = ~np.isfinite(got)
        self.count += x.size
        self.non_finite += int(lost.sum())
        error[lost] = 0
        at = int(error.argmax())
        if error[at] > self.worst:
            self.worst, self.at = float(error[at]), float(x[at])
        error[lost] = np.inf
        bins = np.floor((x.astype(np.float64) - low) / (high - low) * BINS)
        inside = (bins >= 0) & (bins < BINS)
        np.maximum.at(self.profile, bins[inside].astype(int), error[inside])

    def row(self, implementation):
        return {
            "implementation": implementation,
            "dtype": self.dtype,
            "operation": self.operation,
            "inputs": self.count,
            "worst_ulp": self.worst,
            "at": self.at,
            "correctly_rounded": self.rounded / self.count,
            "non_finite": self.non_finite,
            "wrong_sign": self.sign,
            # The worst error per bin of x; null where a result is not finite.
            "profile": [float(f"{e:.4g}") if math.isfinite(e) else None for e in self.profile],
        }


def at_infinity(functions):
    """What each returns at -inf and inf, as text because JSON has no NaN."""
    x = np.array([-math.inf, math.inf, math.nan], np.float32)
    return {
        name: {op: [str(float(v)) for v in result] for op, result in function(x).items()}
        for name, function in functions.items()
    }


def measure(quick):
    functions, versions = implementations()
    rows = []
    for dtype in DTYPES:
        tallies = {(i, o): Tally(dtype, o) for i in functions for o in OPERATIONS}
        for x in inputs(dtype, quick):
            x = np.ascontiguousarray(x)
            exact = reference(x.astype(np.longdouble if dtype == "f64" else np.float64))
            for name, function in functions.items():
                for operation, got in function(x).items():
                    tallies[name, operation].add(x, got, exact[operation])
        for (name, _), tally in tallies.items():
            row = tally.row(name)
            rows.append(row)
            print(
                "{dtype:5} {operation:16} {implementation:9} worst {worst_ulp:.5g} ULP at {at}, "
                "correctly rounded {correctly_rounded:.5%}, {non_finite} of {inputs} not finite, "
                "{wrong_sign} of the wrong sign".format(**row),
                flush=True,
            )
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    header = {
        "what": "error of Mish on a CPU in units of the last place",
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "cpu": cpu(),
        "python": platform.python_version(),
        **versions,
        "command": "python bench/accuracy.py",
        "bins": {dtype: FORMATS[dtype][2] for dtype in DTYPES},
    }
    return {"header": header, "at_infinity": at_infinity(functions), "rows": rows}


def cpu():
    """The model and the vector extensions that decide which loop runs."""
    text = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    known = {"avx2", "fma", "f16c", "avx512f"} & set(fields.get("flags", "").split())
    return {"model": fields.get("model name", platform.machine()), "extensions": sorted(known)}


def draw(results):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = dict(zip(IMPLEMENTATIONS, ("#0b5fa5", "#d95f02", "#7a7a7a", "#1b9e77")))
    names = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64"}
    titles = {"forward": "mish", "backward": "mish′", "double_backward": "mish″"}
    order = ("composed", "PyTorch", "JAX", "libmish")
    floor, top = 0.1, 1e17
    for operation in OPERATIONS:
        figure, panels = plt.subplots(2, 2, figsize=(10, 6), sharey=True, layout="constrained")
        for dtype, panel in zip(DTYPES, panels.flat):
            low, high = results["header"]["bins"][dtype]
            middles = low + (np.arange(BINS) + 0.5) * (high - low) / BINS
            # The last lies above the others.
            for name, width in zip(order, (2.6, 1.6, 0.8, 1.8)):
                (row,) = (
                    r
                    for r in results["rows"]
                    if (r["implementation"], r["dtype"], r["operation"]) == (name, dtype, operation)
                )
                errors = np.array([np.nan if e is None else e for e in row["profile"]])
                lost = np.isnan(errors)
                line = np.clip(errors, floor, top)
                panel.plot(middles, line, color=colours[name], lw=width, label=name)
                panel.plot(
                    middles[lost], np.full(lost.sum(), top), "x", color=colours[name], ms=4
                )
            panel.set_yscale("log")
            panel.set_ylim(floor, top * 3)
            panel.set_title(names[dtype], fontsize=10)
            panel.grid(alpha=0.25)
        for panel in panels[:, 0]:
            panel.set_ylabel("worst error, ULP")
        for panel in panels[1]:
            panel.set_xlabel("x")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], ncols=4, loc="outside lower center")
        figure.suptitle(f"{titles[operation]}: error against x (× along the top: not finite)")
        path = ROOT / "docs" / "images" / f"accuracy-{operation.replace('_', '-')}.png"
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=100, metadata={"Software": None})
        plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    today = datetime.date.today().isoformat()
    default = ROOT / "bench" / "results" / f"accuracy-peers-cpu-{today}.json"
    parser.add_argument("--out", type=pathlib.Path, default=default)
    parser.add_argument("--draw", type=pathlib.Path, help="draw these results, measure nothing")
    parser.add_argument("--quick", action="store_true", help="fewer float32 and float64 inputs")
    arguments = parser.parse_args()
    if arguments.draw:
        results = json.loads(arguments.draw.read_text())
    else:
        results = measure(arguments.quick)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n  ".join(json.dumps(row) for row in results["rows"])
        head = json.dumps({k: v for k, v in results.items() if k != "rows"}, indent=1)
        arguments.out.write_text(f'{head[:-2]},\n "rows": [\n  {lines}\n ]\n}}\n')
    draw(results)


if __name__ == "__main__":
    main()

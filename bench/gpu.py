"""Checks libmish on a GPU and sweeps its error. How fast it is, bench/bench.py measures.

    python bench/gpu.py --out FOLDER [--quick]

Needs PyTorch with CUDA and MISH_LIBRARY (or the repository's release build). Writes
`accuracy.json` and prints it. The reference is PyTorch in float64 with formulas
that do not cancel away from the derivatives' zeros; an error is in units of the last place of the
exact result, near a zero of the derivative never less than those of 1/16.
"""

import argparse
import ctypes
import functools
import json
import math
import os
import pathlib
import platform
import subprocess
import sys

import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
from mish import _abi  # noqa: E402
from mish._library import check, library  # noqa: E402

FORMATS = {dtype.name: dtype for dtype in _abi.DTYPES}


def stream():
    return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)


def call(name, dtype, *tensors):
    n = tensors[0].numel()
    pointers = [None if t is None else ctypes.c_void_p(t.data_ptr()) for t in tensors]
    check(getattr(library(), "mish_" + name)(_abi.MISH_DEVICE_CUDA, FORMATS[dtype].code, *pointers, n, stream()))


def reference(x):
    """mish, mish' and mish'' of a float64 tensor."""
    negative = x < 0
    e = torch.exp(-x.abs())
    # Where x >= 0, e is exp(-x).
    d = torch.where(negative, e * (e + 2) + 2, 1 + 2 * e + 2 * e * e)
    f = torch.where(negative, x * e * (e + 2), x * (1 + 2 * e)) / d
    f1 = torch.where(
        negative,
        e * (e**3 + 4 * e**2 + (4 * x + 6) * e + 4 * (x + 1)),
        1 + 4 * e + (4 * x + 6) * e**2 + 4 * (x + 1) * e**3,
    ) / d**2
    f2 = torch.where(
        negative,
        4 * e * (2 * (e + 1) * d + x * (2 + 2 * e - 3 * e**2 - 2 * e**3)),
        4 * e * e * (2 * (1 + e) * d + x * (2 * e**3 + 2 * e**2 - 3 * e - 2)),
    ) / d**3
    return f, f1, f2


def torch_dtype(name):
    return getattr(torch, FORMATS[name].full_name)


def ulps(got, exact, dtype, floor=None):
    bits, smallest = FORMATS[dtype].digits, FORMATS[dtype].min_exponent
    _, exponent = torch.frexp(exact)
    exponent = (exponent - 1).clamp(min=smallest)
    if floor is not None:
        exponent = torch.where(floor, exponent.clamp(min=-4), exponent)
    return (got.double() - exact).abs() / torch.ldexp(torch.ones_like(exact), exponent - bits + 1)


def last(op, dtype, x):
    """The last output of an operation, with gradients of 1."""
    inputs, outputs, _ = _abi.OPERATIONS[op]
    y, one = torch.empty_like(x), torch.ones_like(x)
    operands = [x if name == "x" else one for name in inputs]
    call(op, dtype, *operands, *[None] * (len(outputs) - 1), y)
    return y


def call_all(dtype, x, grad_y, grad_grad_x):
    """Every operation; its outputs."""
    named = {"x": x, "grad_y": grad_y, "grad_grad_x": grad_grad_x}
    for op, (inputs, outputs, _) in _abi.OPERATIONS.items():
        results = [torch.empty_like(x) for _ in outputs]
        call(op, dtype, *(named[name] for name in inputs), *results)
        yield from results


def accuracy(quick):
    rows = []
    peers = {
        "libmish": {op: functools.partial(last, op) for op in _abi.OPERATIONS},
        "torch": {
            "forward": lambda d, x: F.mish(x),
            "backward": lambda d, x: torch.ops.aten.mish_backward(torch.ones_like(x), x),
        },
    }

    for dtype in ("f16", "bf16", "f32"):
        kind = torch_dtype(dtype)
        worst = {}
        total = 2**32 if dtype == "f32" else 2**16
        chunk = min(total, 2**26)
        step = 64 if quick and dtype == "f32" else 1
        for start in range(0, total // step, chunk):
            if dtype == "f32":
                bits = (torch.arange(start, start + chunk, device="cuda") * step).to(torch.int64)
                bits = torch.where(bits >= 2**31, bits - 2**32, bits).to(torch.int32)
            else:
                bits = torch.arange(-(2**15), 2**15, device="cuda").to(torch.int16)
            x = bits.view(kind)
            finite = torch.isfinite(x)
            exact_x = torch.where(finite, x.double(), 0.0)
            exact = dict(zip(_abi.OPERATIONS, reference(exact_x)))
            near = {op: _abi.is_near_zero(order, exact_x) for order, op in enumerate(_abi.OPERATIONS)}
            for impl, ops in peers.items():
                for op, function in ops.items():
                    got = function(dtype, x)
                    error = ulps(got, exact[op], dtype, near[op])
                    error = torch.where(finite, error, 0.0)
                    bad = finite & ~torch.isfinite(got)
                    # What must overflow may.
                    bad &= exact[op].abs() < torch.finfo(kind).max
                    error = torch.where(bad, math.inf, error).nan_to_num(nan=math.inf)
                    at = error.argmax()
                    rounded = exact[op].to(kind) == got
                    row = worst.setdefault((impl, op), [0.0, None, 0, 0, 0])
                    if error[at] > row[0]:
                        row[0], row[1] = error[at].item(), x[at].item()
                    row[2] += int((rounded & finite).sum())
                    row[3] += int(finite.sum())
                    row[4] += int(bad.sum())
        for (impl, op), (error, at, rounded, count, bad) in worst.items():
            rows.append(dict(impl=impl, dtype=dtype, op=op, max_ulp=error, at=at,
                             correctly_rounded=rounded / count, inputs=count, non_finite=bad))
            print("{impl:8} {dtype:5} {op:16} max {max_ulp:.5g} ULP at {at!r}, correctly rounded {correctly_rounded:.6f} of {inputs}, wrongly non-finite {non_finite}".format(**rows[-1]), flush=True)
    return rows


def special():
    for dtype in FORMATS:
        kind = torch_dtype(dtype)
        x = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan], device="cuda", dtype=kind)
        one = torch.ones_like(x)
        print(dtype, "special", *(result.tolist() for result in call_all(dtype, x, one, one)), flush=True)


def header():
    smi = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    return dict(gpu=torch.cuda.get_device_name(), smi=smi, torch=torch.__version__, cuda=torch.version.cuda,
                python=platform.python_version(), commit=os.environ.get("MISH_COMMIT", "unknown"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    print(json.dumps(header()), flush=True)
    special()
    rows = accuracy(arguments.quick)
    (arguments.out / "accuracy.json").write_text(json.dumps(dict(header=header(), rows=rows), indent=1))


if __name__ == "__main__":
    main()

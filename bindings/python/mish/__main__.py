"""``python -m mish``: what the library is, what it runs on, and a self-check."""

import sys

from . import _abi, _selfcheck
from ._errors import LibraryError, MishError
from ._info import build_info, device_count
from ._library import find, library

# Tensors that an operation moves, each element once.
_MOVED = {
    name: len(inputs) + len(outputs) for name, (inputs, outputs, _) in _abi.OPERATIONS.items()
}


def main():
    try:
        path = find()
        library()
    except LibraryError as error:
        print(f"mish: {error}", file=sys.stderr)
        return 1
    info = build_info()
    print(f"libmish {info['version']}, ABI {library().mish_abi_version()}: {path}")
    print(f"package {_abi.VERSION}, made for ABI {_abi.MISH_ABI_VERSION}")
    print(f"CPU: {info.get('simd')}, {info.get('threads')} threads")
    gpus = _report_cuda(info.get("cuda"))
    is_good = _check("CPU", _selfcheck.Host(), 1 << 20)
    if gpus:
        memory = _selfcheck.Gpu()
        try:
            is_good = _check("GPU 0", memory, 1 << 26) and is_good
        finally:
            memory.close()
    else:
        print("\nself-check on the GPU: not run, there is none")
    print("\nself-check passed" if is_good else "\nself-check FAILED")
    return 0 if is_good else 1


def _report_cuda(cuda):
    """Prints what is known about CUDA; returns the number of GPUs."""
    if cuda is None:
        print("CUDA: this build of the library has none")
        return 0
    print(f"CUDA: embedded kernels for {', '.join(cuda['images'])}")
    if cuda["driver"]:
        print(f"      driver for CUDA {cuda['driver']}")
    for gpu in cuda["devices"]:
        kernel = gpu["image"] or "no kernel"
        print(
            f"      GPU {gpu['ordinal']}: {gpu['name']}, compute capability "
            f"{gpu['compute_capability']}, runs {kernel}"
        )
    try:
        count = device_count("cuda")
    except MishError as error:
        print(f"      {error}")
        return 0
    if count == 0:
        print("      no device")
    return count


def _check(where, memory, n):
    print(f"\nself-check on the {where}: worst error in ULP")
    print("          " + "".join(f"{name:>10}" for name in _selfcheck.OPERATIONS))
    is_good = True
    for dtype, bounds in _selfcheck.BOUNDS.items():
        worst = _selfcheck.accuracy(memory, dtype)
        is_within = all(error <= bound for error, bound in zip(worst, bounds))
        is_good = is_good and is_within
        numbers = "".join(f"{error:10.2f}" for error in worst)
        verdict = "" if is_within else f"  FAILED: allowed are {bounds}"
        print(f"{dtype:10}{numbers}{verdict}")
    print(f"time on {n} float32, fastest of several")
    for name, seconds in _selfcheck.timings(memory, n).items():
        speed = _MOVED[name] * 4 * n / seconds / 1e9
        print(f"{name:16}{seconds * 1e6:10.1f} us  {speed:8.1f} GB/s")
    return is_good


if __name__ == "__main__":
    sys.exit(main())

"""What threads gain: libmish on a CPU beside PyTorch's SiLU, with helpers that are awake or asleep.

    python bench/threads.py [--out FILE] [--threads 2] [--dtypes f32,f16] [--ops forward,backward]
        [--sizes 16384,1048576] [--modes back,idle,beside] [--rounds 9] [--against LIBRARY]

Needs PyTorch and MISH_LIBRARY; on a quiet machine with at least so many cores. How a call meets
the threads:

    back    calls back to back
    idle    3 ms of sleep before each call
    beside  right before each call PyTorch ran one, so that its threads still spin

and who calls:

    silu    PyTorch's SiLU
    fresh   the same with an output that PyTorch allocates in the call
    torch   libmish in PyTorch, after mish.torch.enable(), on PyTorch's threads, likewise
    C       the C ABI in a process without PyTorch, on the library's own threads (in `beside`: in
            PyTorch's process)
    before  the same of another build of the library, with --against

All take turns in every round, in another order each time; PyTorch and either library have a process
each, of which the others sleep meanwhile. A turn is one millisecond of unmeasured calls and three of
measured ones, each timed by itself, or three calls after a pause each. What counts is the median of
the turns' medians, and the least of all calls. `ratio`: of the medians to SiLU's
in the same mode, of `torch` to `fresh`; `ratio_of_min`: of the least.
"""

import argparse
import ctypes
import itertools
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))

from mish import _abi  # noqa: E402

DTYPES = {dtype.name: dtype for dtype in _abi.DTYPES}
TENSORS = {"forward": 2, "backward": 3}
SIZES = [2**k for k in range(14, 25)]
MODES = ("back", "idle", "beside")
PAUSE = 3e-3


def timed(mode, call, other):
    """Microseconds a call: the median and the least of a turn's calls."""
    before = {"back": lambda: None, "idle": lambda: time.sleep(PAUSE), "beside": other}[mode]
    warm = 0 if mode == "idle" else 1e-3
    times, begin = [], time.perf_counter()
    while True:
        before()
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        if start - begin >= warm:
            times.append(end - start)
        # Some milliseconds, in which more or fewer calls fit.
        if len(times) >= 3 and (mode == "idle" or end - begin > 4e-3):
            return statistics.median(times) * 1e6, min(times) * 1e6


def c_call(library, dtype, op, n, pointers):
    function = getattr(library, f"mish_{op}")
    arguments = [ctypes.c_void_p(pointer) for pointer in pointers]
    arguments = (ctypes.c_int32(_abi.MISH_DEVICE_CPU), ctypes.c_int32(DTYPES[dtype].code), *arguments, ctypes.c_uint64(n), None)
    assert function(*arguments) == 0, "the library refused the call"
    return lambda: function(*arguments)


def values(dtype, n):
    """Bytes of n numbers from -4 to 4."""
    step = 4096
    numbers = [8 * ((i * 2654435761 % step) / step) - 4 for i in range(step)]
    if dtype == "bf16":
        block = b"".join(bytes(ctypes.c_float(x))[2:] for x in numbers)
    else:
        import struct

        letter = {2: "e", 4: "f", 8: "d"}[DTYPES[dtype].size]
        block = struct.pack(f"{step}{letter}", *numbers)
    return block * (n // step)


def plain_worker(path):
    """The C ABI without PyTorch."""
    library, held = ctypes.CDLL(path), {}

    def prepared(dtype, op, n):
        if (dtype, n) not in held:
            held.clear()
            held[dtype, n] = [ctypes.create_string_buffer(values(dtype, n), n * DTYPES[dtype].size + 64) for _ in range(3)]
        pointers = [-(-ctypes.addressof(buffer) // 64) * 64 for buffer in held[dtype, n]]
        return c_call(library, dtype, op, n, pointers[: TENSORS[op]]), None

    return lambda who, *key: prepared(*key)


def torch_worker(path):
    """SiLU, the operators, and the C ABI beside PyTorch."""
    import torch

    import mish.torch

    mish.torch.enable()
    torch.set_grad_enabled(False)
    torch.set_num_threads(int(os.environ["RAYON_NUM_THREADS"]))
    library, held, aten = ctypes.CDLL(path), {}, torch.ops.aten
    kinds = {name: getattr(torch, dtype.full_name) for name, dtype in DTYPES.items()}

    def prepared(who, dtype, op, n):
        if (dtype, n) not in held:
            held.clear()
            raw = bytearray(values(dtype, n))
            held[dtype, n] = [torch.frombuffer(raw, dtype=kinds[dtype]).clone() for _ in range(3)]
        g, x, y = held[dtype, n]
        silu = {
            "forward": lambda: torch._C._nn.silu(x, out=y),
            "backward": lambda: aten.silu_backward.grad_input(g, x, grad_input=y),
        }[op]
        if who == "silu":
            return silu, silu
        if who == "fresh":
            return {"forward": lambda: torch._C._nn.silu(x), "backward": lambda: aten.silu_backward(g, x)}[op], silu
        if who == "torch":
            return {"forward": lambda: torch._C._nn.mish(x), "backward": lambda: aten.mish_backward(g, x)}[op], silu
        tensors = (x, y) if op == "forward" else (g, x, y)
        return c_call(library, dtype, op, n, [tensor.data_ptr() for tensor in tensors]), silu

    return prepared


def work(worker):
    prepare = {"plain": plain_worker, "torch": torch_worker}[worker](os.environ["MISH_LIBRARY"])
    for line in sys.stdin:
        mode, *key = json.loads(line)
        print(*timed(mode, *prepare(*key)), flush=True)


class Worker:
    def __init__(self, kind, library, threads):
        environment = dict(os.environ, MISH_LIBRARY=str(library), RAYON_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
        self.process = subprocess.Popen([sys.executable, __file__, "--worker", kind], env=environment, stdin=-1, stdout=-1, text=True)

    def ask(self, *request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"the worker for {request} ended with {self.process.wait()}")
        return [float(word) for word in answer.split()]


def summary(turns):
    medians, least = zip(*turns)
    return statistics.median(medians), min(least)


def measure(arguments):
    library = os.environ["MISH_LIBRARY"]
    torch, plain = (Worker(kind, library, arguments.threads) for kind in ("torch", "plain"))
    workers = {"silu": torch, "fresh": torch, "torch": torch, "C": plain}
    if arguments.against:
        workers["before"] = Worker("plain", arguments.against, arguments.threads)
    turns, rows = random.Random(0), []
    for dtype in arguments.dtypes:
        for op in arguments.ops:
            for n in arguments.sizes:
                # Beside PyTorch's threads means in its process, which holds one build of the library.
                cases = [case for case in itertools.product(arguments.modes, workers) if case != ("beside", "before")]
                times = {case: [] for case in cases}
                for _ in range(arguments.rounds):
                    for mode, who in turns.sample(cases, len(cases)):
                        worker = torch if mode == "beside" else workers[who]
                        # Until the threads of the one before sleep.
                        time.sleep(0.03)
                        times[mode, who].append(worker.ask(mode, who, dtype, op, n))
                for mode in arguments.modes:
                    line = f"{dtype:4} {op:8} n=2^{n.bit_length() - 1:<2} {mode:6}"
                    for who in workers:
                        if (mode, who) not in times:
                            continue
                        median, least = summary(times[mode, who])
                        peer = summary(times[mode, "fresh" if who == "torch" else "silu"])
                        row = dict(dtype=dtype, op=op, n=n, mode=mode, who=who)
                        row.update(us_median=round(median, 2), us_min=round(least, 2))
                        row.update(ratio=round(median / peer[0], 3), ratio_of_min=round(least / peer[1], 3))
                        rows.append(row)
                        line += f"  {who} {row['us_median']:.1f} ({row['us_min']:.1f}) x{row['ratio']:.2f} ({row['ratio_of_min']:.2f})"
                    print(line, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--against", type=pathlib.Path, help="another build of the library")
    parser.add_argument("--trial", action="store_true", help="say in the file that the machine was not quiet")
    for name, choices in (("dtypes", ("f16", "bf16", "f32")), ("ops", ("forward", "backward")), ("modes", MODES)):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=list(choices))
    parser.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=SIZES, help="multiples of 4096")
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return
    rows = measure(arguments)
    if arguments.out:
        # Not before the workers have the machine to themselves: this loads PyTorch.
        import bench

        kind = argparse.Namespace(quick=False, trial=arguments.trial)
        header = bench.describe("cpu", kind)
        header.update(threads=arguments.threads, outputs="preallocated; of fresh and torch allocated in the call")
        bench.write(arguments.out, header, rows)


if __name__ == "__main__":
    main()

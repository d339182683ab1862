"""Times libmish beside its peers, in turns, over sizes, dtypes and operations.

    python bench/bench.py cpu|gpu --out FILE [--quick] [--threads N] [--simd avx2] [--dtypes f32,f64]
        [--ops backward,double_backward] [--sizes 1024,1048576] [--impls libmish,F.mish]

`cargo xtask bench cpu|gpu` prepares what this needs and names the file. On a machine without Rust:
PyTorch, NumPy and MISH_LIBRARY; JAX is timed if it is there. bench/contenders.py says what is
compared. FILE is written anew after every size, so that a run cut short leaves what it has.

How: all cases of one dtype and length take turns, a slice each, for several rounds, in another order
each time, so that none always follows the same one; the median, least and largest of the slices
count. CPU: a slice is as many calls as fill some milliseconds by
the clock, after a millisecond of unmeasured ones, in which other thread pools go to sleep. GPU: a
slice is several calls between two events; up to 2^24 elements they are replayed from a CUDA graph,
after an unmeasured replay, beyond that enqueued behind a pause, so that launching is not timed. JAX
enqueues on a stream of its own and is timed by the clock over the calls of a slice until the last
result is there: for it, launching counts, and only lengths whose kernels take longer than that
compare.
"""

import argparse
import datetime
import gc
import json
import os
import pathlib
import platform
import random
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))

from mish import _abi  # noqa: E402

DTYPES = tuple(dtype.name for dtype in _abi.DTYPES)
OPS = tuple(_abi.OPERATIONS)
# The tensor of the benchmark of mish-cuda.
MISH_CUDA = 16 * 10 * 256 * 256
SIZES = {
    "cpu": sorted([4**k for k in range(15)] + [MISH_CUDA]),
    "gpu": sorted([4**k for k in range(5, 15)] + [MISH_CUDA, 2**27]),
}
QUICK = {"cpu": [1, 64, 2**10, 2**14, 2**20, 2**24], "gpu": [2**10, 2**20, MISH_CUDA, 2**24, 2**26]}
# How each implementation is told to leave wider vectors alone: what a desktop without them measures.
SIMD = {
    "avx2": {
        "MISH_SIMD": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
}
# A longer call is not tried; the length before foretells it, if it was long enough for that.
LONGEST_CALL_S, FORETELLING = 2.0, 2**20
GRAPH_UP_TO = 2**24
# Beyond this a case is prepared for each of its slices, so that only one holds memory at a time.
KEEP_UP_TO = 2**24


class Cpu:
    """Slices by the clock."""

    kind = "cpu"

    def __init__(self, quick):
        self.quick = quick

    def rounds(self, n):
        return 3 if n > 2**24 or self.quick else 5 if n > 2**20 else 9

    def finished(self, case, call):
        if not case.jax:
            return call
        import jax

        return lambda: jax.block_until_ready(call())

    def ready(self, case, call, n, again):
        """The slice to take turns: a function that returns microseconds per call. `again`: the
        same case had a slice before, so that nothing is left to happen in the first call."""
        call = self.finished(case, call)
        if again:
            return lambda: self.clock(call, 1) * 1e6
        first = self.clock(call, 1)
        # The calls that fill a slice, found by doubling; long calls are not repeated for it.
        wanted = 1.5e-3 if self.quick else 4e-3
        inner, took = 1, first if n > KEEP_UP_TO else self.clock(call, 1)
        while took < wanted / 4 and inner < 2**16:
            inner *= 2
            took = self.clock(call, inner)
        inner = max(1, round(inner * wanted / took))

        def timed():
            if took < 0.02:
                until = time.perf_counter() + 1e-3
                while time.perf_counter() < until:
                    call()
            return self.clock(call, inner) / inner * 1e6

        return timed

    @staticmethod
    def clock(call, inner):
        begin = time.perf_counter()
        for _ in range(inner):
            call()
        return time.perf_counter() - begin

    def free_bytes(self):
        with open("/proc/meminfo", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))

    def release(self):
        gc.collect()


class Gpu:
    """Slices between events, of a stream of their own."""

    kind = "cuda"

    def __init__(self, quick):
        import torch

        self.torch, self.quick = torch, quick
        # Capturing needs a stream other than the default one, and autograd runs on the stream of
        # the forward pass.
        self.stream = torch.cuda.Stream()
        torch.cuda.set_stream(self.stream)
        # The graphs never run at once and nobody reads their results: they may share memory.
        self.pool = torch.cuda.graph_pool_handle()

    def rounds(self, n):
        return 5 if self.quick else 7 if n > 2**24 else 15

    def ready(self, case, call, n, again):
        inner = 20 if n <= GRAPH_UP_TO else 8 if n <= 2**26 else 4
        if case.jax:
            import jax

            if not again:
                jax.block_until_ready(call())

            def by_clock():
                begin = time.perf_counter()
                for _ in range(inner):
                    result = call()
                jax.block_until_ready(result)
                return (time.perf_counter() - begin) / inner * 1e6

            return by_clock
        if not again:
            for _ in range(2):
                call()
        self.torch.cuda.synchronize()
        if n > GRAPH_UP_TO:
            return lambda: self.events(call, inner, pause=True)
        graph = self.torch.cuda.CUDAGraph()
        # Another thread's call, such as JAX's, does not spoil the capture.
        try:
            graph.capture_begin(self.pool, capture_error_mode="thread_local")
            try:
                for _ in range(inner):
                    call()
            finally:
                graph.capture_end()
        except Exception:
            self.pool = self.torch.cuda.graph_pool_handle()
            raise

        def replayed():
            # Once unmeasured: what ran before, such as JAX on its stream, is over, and the kernel is
            # where instructions are fetched from.
            graph.replay()
            return self.events(graph.replay, 1) / inner

        return replayed

    def events(self, call, inner, pause=False):
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        if pause:
            # About half a millisecond of nothing, in which the host gets ahead.
            self.torch.cuda._sleep(1_000_000)
        begin.record()
        for _ in range(inner):
            call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1000 / inner

    def free_bytes(self):
        return self.torch.cuda.mem_get_info()[0] + self.torch.cuda.memory_reserved() - self.torch.cuda.memory_allocated()

    def release(self):
        # Not gc.collect(): with every framework loaded it takes longer than the measurement.
        self.torch.cuda.synchronize()
        self.torch.cuda.empty_cache()
        # A pool whose graphs are gone is not to be used again.
        self.pool = self.torch.cuda.graph_pool_handle()


def reason(error):
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]


class Run:
    def __init__(self, timer, contenders, arguments):
        self.timer, self.contenders, self.arguments = timer, contenders, arguments
        self.rows, self.skipped = [], []
        # Least seconds a call, and the length, of what was timed last.
        self.before = {}
        # What failed once for a dtype is not tried with every length.
        self.broken = set()

    def skip(self, case, dtype, n, why):
        self.skipped.append(dict(impl=case.impl, dtype=dtype, op=case.op, n=n, reason=why))

    def size(self, dtype, n):
        import contenders

        timer, width = self.timer, contenders.KINDS[dtype].itemsize
        free = timer.free_bytes()
        if 5 * n * width > 0.9 * free:
            self.skipped.append(dict(impl="all", dtype=dtype, op="all", n=n, reason=f"5 tensors of {n * width / 1e9:.1f} GB; {free / 1e9:.0f} GB free"))
            return
        operands = contenders.Operands(timer.kind, dtype, n)
        free = 0.9 * timer.free_bytes()
        slices = []
        for case in self.contenders.cases(operands, self.arguments.ops):
            key = case.impl, dtype, case.op
            seconds, length = self.before.get(key, (0, n))
            foretold = seconds * n / length if length >= FORETELLING else 0
            if key in self.broken:
                continue
            if foretold > LONGEST_CALL_S:
                self.skip(case, dtype, n, f"would take over {LONGEST_CALL_S:g} s a call")
            elif case.spare * n * width > free:
                self.skip(case, dtype, n, f"needs {case.spare * n * width / 1e9:.0f} GB beside its operands; {free / 1e9:.0f} GB free")
            else:
                slices.append((case, key, [], []))
        turns = random.Random(n)
        for number in range(timer.rounds(n)):
            for case, key, kept, times in turns.sample(slices, len(slices)):
                if key in self.broken:
                    continue
                try:
                    if not kept:
                        kept.append(timer.ready(case, case.prepare(), n, again=number > 0))
                    times.append(kept[0]())
                except Exception as error:  # noqa: BLE001  a peer that fails is left out, with its reason
                    self.broken.add(key)
                    self.skip(case, dtype, n, reason(error))
                if n > KEEP_UP_TO:
                    kept.clear()
        found = [(case, times) for case, key, _, times in slices if times and key not in self.broken]
        copies = [2 * n * width / statistics.median(times) for case, times in found if case.impl == "copy"]
        for case, times in found:
            moved = contenders.TENSORS[case.op] * n * width
            median = statistics.median(times)
            self.before[case.impl, dtype, case.op] = min(times) / 1e6, n
            self.rows.append(
                dict(
                    impl=case.impl,
                    device=timer.kind,
                    dtype=dtype,
                    op=case.op,
                    n=n,
                    bytes=moved,
                    us_median=round(median, 4),
                    us_min=round(min(times), 4),
                    us_max=round(max(times), 4),
                    tb_per_s=float(f"{moved / median / 1e6:.5g}"),
                    ratio_to_copy=float(f"{moved / median / copies[0]:.4g}") if copies else None,
                )
            )
        line = "  ".join(f"{c.impl} {c.op[:3]} {statistics.median(t):.2f}" for c, t in found if c.of() in ("copy", "F.mish", "libmish"))
        print(f"{dtype} n={n} µs: {line}", flush=True)


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip().split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def commit():
    if os.environ.get("MISH_COMMIT"):
        return os.environ["MISH_COMMIT"]
    found = first_line(["git", "rev-parse", "--short", "HEAD"])
    dirty = found and first_line(["git", "status", "--porcelain", "--untracked-files=no"])
    return (found or "unknown") + (" dirty" if dirty else "")


def processor():
    """The CPU's name, with the numbers that tell the model where a hypervisor's name doesn't, and its
    widest vector instructions that are used."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"^model name\s*: (.*)$", text, re.M)
    numbers = [re.search(rf"^{key}\s*: (\d+)$", text, re.M) for key in ("cpu family", "model")]
    flags = set(re.search(r"^flags\s*: (.*)$", text, re.M)[1].split())
    simd = os.environ.get("MISH_SIMD") or ("avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "baseline")
    model = f" (family {numbers[0][1]}, model {numbers[1][1]})" if all(numbers) else ""
    return (name[1] if name else platform.machine()) + model, simd


def slug(header):
    """The device as a part of a file's name."""
    name = re.sub(r"\(.*?\)|nvidia|amd|intel|geforce|tesla", " ", header["name"].lower())
    words = re.findall(r"[a-z]*\d*[a-z0-9]*", name)
    first = next(word for word in words if word)
    if header["device"] == "cuda":
        return first
    threads = header["threads"]
    return f"{first}-{header['instructions']}-{threads}-thread{'s' if threads > 1 else ''}"


def describe(kind, arguments):
    import numpy
    import torch

    header = dict(device=kind, name=None, instructions=None, driver=None)
    if kind == "cuda":
        header["name"] = torch.cuda.get_device_name()
        header["driver"] = first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
        header["cuda"] = torch.version.cuda
    else:
        header["name"], header["instructions"] = processor()
        header["load_average"] = round(os.getloadavg()[0], 2)
    header.update(
        threads=torch.get_num_threads() if kind == "cpu" else None,
        versions=dict(python=platform.python_version(), numpy=numpy.__version__),
        commit=commit(),
        date=datetime.date.today().isoformat(),
        mode="quick" if arguments.quick else "full",
        outputs="preallocated where the implementation can; \"(fresh)\": allocated by PyTorch in the call",
        trial=arguments.trial,
    )
    return header


def write(path, header, rows):
    """One row a line: small, and a change to it can be read."""
    body = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"header": {json.dumps(header, indent=1)},\n"rows": [\n{body}\n]}}\n'
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def listed(kind=str):
    return lambda text: [kind(part) for part in text.split(",")]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=("cpu", "gpu"))
    parser.add_argument("--out", type=pathlib.Path, help="the file, or a folder: DEVICE-DATE.json in it", required=True)
    parser.add_argument("--quick", action="store_true", help="few sizes and rounds")
    parser.add_argument("--trial", action="store_true", help="say in the header that the machine was not quiet")
    parser.add_argument("--threads", type=int, help="CPU: threads of every implementation (default: all)")
    parser.add_argument("--simd", choices=SIMD, help="CPU: vector instructions of every implementation (default: the machine's)")
    parser.add_argument("--dtypes", type=listed(), default=DTYPES)
    parser.add_argument("--ops", type=listed(), default=OPS)
    parser.add_argument("--sizes", type=listed(int))
    parser.add_argument("--impls", type=listed(), help="without their modes; copy is always among them")
    return parser


def prepare_environment(arguments):
    """Before PyTorch, JAX and oneDNN start their thread pools."""
    # JAX would take three quarters of the GPU's memory otherwise.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if arguments.device == "gpu":
        return
    os.environ["JAX_PLATFORMS"] = "cpu"
    threads = arguments.threads or len(os.sched_getaffinity(0))
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "NPROC"):
        os.environ[name] = str(threads)
    os.environ.update(SIMD.get(arguments.simd, {}))
    if threads == 1:
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()


def main():
    parser = options()
    arguments = parser.parse_args()
    prepare_environment(arguments)
    import torch

    import contenders

    unknown = set(arguments.dtypes) - set(DTYPES) | set(arguments.ops) - set(OPS) | set(arguments.impls or ()) - set(contenders.IMPLS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; dtypes {DTYPES}, ops {OPS}, impls {contenders.IMPLS}")
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    timer = (Cpu if arguments.device == "cpu" else Gpu)(arguments.quick)
    header = describe(timer.kind, arguments)
    if arguments.out.is_dir():
        arguments.out /= f"{slug(header)}-{header['date']}.json"
    begin = time.monotonic()
    wanted = {"copy", *(arguments.impls or contenders.IMPLS)}
    found = contenders.Contenders(timer.kind, wanted)
    header["versions"].update(found.versions)
    header["missing"] = found.missing
    run = Run(timer, found, arguments)
    sizes = arguments.sizes or (QUICK if arguments.quick else SIZES)[arguments.device]
    for dtype in arguments.dtypes:
        for n in sizes:
            if not arguments.sizes and arguments.device == "gpu" and n == (2**28 if dtype == "f64" else 2**27):
                # The largest of a GPU: 2^28, and as many bytes of float64.
                continue
            if not arguments.sizes and header["threads"] == 1 and n > 2**26:
                run.skipped.append(dict(impl="all", dtype=dtype, op="all", n=n, reason="timed with all threads only"))
                continue
            run.size(dtype, n)
            # Now that no case holds the operands any more.
            timer.release()
            header.update(seconds=round(time.monotonic() - begin, 1), skipped=run.skipped)
            write(arguments.out, header, run.rows)
    for impl, why in found.missing.items():
        print(f"not here: {impl}: {why}")
    for row in run.skipped:
        print("left out: {impl} {dtype} {op} n={n}: {reason}".format(**row))
    print(f"{len(run.rows)} rows in {header['seconds']:.0f} s: {arguments.out}")


if __name__ == "__main__":
    main()

"""Times candidate policies of the contiguous kernels on a GPU.

    python bench/tune.py --out FILE [--rounds N]

Compiles kernels/mish.cu for the GPU at hand with every candidate (nvcc), runs all of them in turn
beside PyTorch's copy, ReLU and ReLU's backward, and writes the medians. src/cuda/policy.rs is where
the result goes. Needs nvcc and PyTorch with CUDA.
"""

import argparse
import concurrent.futures
import ctypes
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATIONS = {"forward": ("Forward", 2), "backward": ("Backward", 3), "double_backward": ("DoubleBackward", 5)}
DTYPES = {"f16": ("F16", torch.float16), "bf16": ("BF16", torch.bfloat16), "f32": ("F32", torch.float32), "f64": ("F64", torch.float64)}
VECTOR_BYTES = 16


class Span(ctypes.Structure):
    """`Span` of kernels/contiguous.cuh."""

    _fields_ = [("n", ctypes.c_uint64), ("vectors", ctypes.c_uint64), ("head", ctypes.c_uint32), ("per_thread", ctypes.c_uint32)]


FIELDS = ("threads", "vectors", "resident", "load", "store")
CANDIDATES = list(itertools.product((64, 128, 192, 256), (1, 2, 4), (1024, 1280, 1536, 1792, 2048), ("DEFAULT", "NO_L1"), ("DEFAULT",)))


def header(candidate):
    threads, vectors, resident, load, store = candidate
    text = "template <class O, class E> struct Policy;\n"
    for (op, _), (element, _) in itertools.product(OPERATIONS.values(), DTYPES.values()):
        text += (
            f"template <> struct Policy<{op}, {element}> {{ static const int THREADS = {threads};"
            f" static const int BLOCKS = {max(1, resident // threads)}; static const int VECTORS = {vectors};"
            f" static const int VECTOR_BYTES = {VECTOR_BYTES}; static const Cache LOAD = CACHE_{load};"
            f" static const Cache STORE = CACHE_{store}; static const int STRIDED_UNITS = 1; }};\n"
        )
    return text


def compiled(candidate, folder, architecture):
    here = pathlib.Path(folder) / "-".join(map(str, candidate))
    here.mkdir()
    (here / "policy.cuh").write_text(header(candidate))
    cubin = here / "mish.cubin"
    command = ["nvcc", "-cubin", f"-arch=sm_{architecture}", "-std=c++17", "-O3", "-fmad=false", "-I", str(here),
               "-I", str(ROOT / "kernels"), "-o", str(cubin), str(ROOT / "kernels" / "mish.cu")]
    subprocess.run(command, check=True, capture_output=True)
    return candidate, cubin


DRIVER = ctypes.CDLL("libcuda.so.1")


def driver(name, *arguments):
    code = getattr(DRIVER, name)(*arguments)
    if code:
        raise RuntimeError(f"{name}: {code}")


def loaded(cubin):
    """The kernels of an image, by name."""
    module = ctypes.c_void_p()
    driver("cuModuleLoad", ctypes.byref(module), str(cubin).encode())
    functions = {}
    for op, dtype in itertools.product(OPERATIONS, DTYPES):
        name = f"mish_{op}_{dtype}"
        functions[name] = ctypes.c_void_p()
        driver("cuModuleGetFunction", ctypes.byref(functions[name]), module, name.encode())
    return functions


def launcher(function, candidate, tensors):
    """What src/cuda/launch.rs does for aligned operands whose length is whole vectors."""
    threads, unrolled = candidate[:2]
    device = torch.cuda.get_device_properties(0)
    n, size = tensors[0].numel(), tensors[0].element_size()
    vectors = n * size // VECTOR_BYTES
    resident = device.multi_processor_count * device.max_threads_per_multi_processor
    per_thread = unrolled if vectors >= resident * unrolled else 1
    while threads > 64 and -(-vectors // threads) < device.multi_processor_count:
        threads //= 2
    values = [ctypes.c_void_p(t.data_ptr()) for t in tensors] + [Span(n, vectors, 0, per_thread)]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    blocks = -(-vectors // (per_thread * threads))
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    # The closure keeps what the pointers lead to.
    return lambda: values and driver("cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, stream, pointers, None)


def microseconds(call, inner):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(inner):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1000 / inner


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    major, minor = torch.cuda.get_device_capability()
    torch.cuda.init()
    torch.zeros(1, device="cuda")  # a current context
    with tempfile.TemporaryDirectory() as folder:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(compiled, c, folder, f"{major}{minor}") for c in CANDIDATES]
            modules = {}
            for job in concurrent.futures.as_completed(jobs):
                candidate, cubin = job.result()
                modules[candidate] = loaded(cubin)
        print(len(modules), "candidates compiled", flush=True)
        rows = time_all(modules, arguments.rounds)
    report = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "commit": os.environ.get("MISH_COMMIT", "unknown"), "fields": FIELDS, "rows": rows}
    arguments.out.write_text(json.dumps(report, indent=0))


def time_all(modules, rounds):
    rows = []
    for (dtype, (_, kind)), n in itertools.product(DTYPES.items(), (2**28, 10485760)):
        if kind == torch.float64 and n == 2**28:
            n //= 2
        tensors = [torch.randn(n, device="cuda", dtype=torch.float32).to(kind) for _ in range(3)]
        tensors += [torch.empty_like(tensors[0]) for _ in range(2)]
        h, g, x, y, z = tensors
        operands = {"forward": [x, y], "backward": [g, x, y], "double_backward": [h, g, x, y, z]}
        relu_backward = torch.ops.aten.threshold_backward.grad_input
        cases = {
            ("copy", "forward", None): lambda: y.copy_(x),
            ("relu", "forward", None): lambda: torch.clamp_min(x, 0, out=y),
            ("relu", "backward", None): lambda: relu_backward(g, x, 0, grad_input=y),
        }
        for candidate, module in sorted(modules.items()):
            for op in OPERATIONS:
                function = module[f"mish_{op}_{dtype}"]
                cases["libmish", op, candidate] = launcher(function, candidate, operands[op])
        inner = 4 if n > 2**26 else 20
        times = {case: [] for case in cases}
        for case, call in cases.items():
            call()
        torch.cuda.synchronize()
        for _ in range(rounds):
            for case, call in cases.items():
                times[case].append(microseconds(call, inner))
        for (impl, op, candidate), us in times.items():
            moved = OPERATIONS[op][1] * n * x.element_size()
            median = statistics.median(us)
            rows.append({"impl": impl, "dtype": dtype, "op": op, "n": n, "policy": candidate, "us_median": round(median, 3), "us_min": round(min(us), 3), "tb_per_s": round(moved / median / 1e6, 4)})
        for op in OPERATIONS:
            ours = sorted((r for r in rows if r["op"] == op and r["n"] == n and r["dtype"] == dtype), key=lambda r: r["us_median"])
            print(f"{dtype} n={n} {op}", flush=True)
            for r in [r for r in ours if r["impl"] != "libmish"] + [r for r in ours if r["impl"] == "libmish"][:8]:
                print("   ", r["impl"], r["policy"], r["us_median"], r["us_min"], r["tb_per_s"], flush=True)
        del tensors, h, g, x, y, z, operands, cases
        torch.cuda.empty_cache()
    return rows


if __name__ == "__main__":
    main()

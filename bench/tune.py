"""Times candidate policies of the contiguous kernels on a GPU.

    python bench/tune.py compile --out FOLDER [--sm 90] [--kernels FOLDER] [--jobs N]
    python bench/tune.py time --images FOLDER --out FILE [--rounds N] [--dtypes f64,bf16]

`compile` makes an image of mish.cu in kernels/ (or another version's folder) for every candidate
with the NVRTC and the header that the library is built with (`cargo xtask build`), and notes which
kernels spill; it needs no GPU. `time` runs every kernel that does not spill in turn beside PyTorch's
copy, ReLU and ReLU's backward, timed as bench/bench.py does, and writes the medians, a line for
each candidate; it needs PyTorch with CUDA. src/gpu/tuning.rs is where the result goes, and a run
that decided a rule becomes one of the `runs` in bench/results/tune-*.json.
"""

import argparse
import concurrent.futures
import ctypes
import itertools
import json
import os
import pathlib
import re
import statistics
import sys
import types

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
from mish import _abi  # noqa: E402

TENSORS = {op: len(inputs) + len(outputs) for op, (inputs, outputs, _) in _abi.OPERATIONS.items()}
DTYPES = {dtype.name: dtype for dtype in _abi.DTYPES}
HEADER = "catalogue.cuh"
VECTOR_BYTES = 16
# As in src/gpu/geometry/mod.rs.
MIN_THREADS = 128

# Threads of a block, vectors per thread, threads per multiprocessor to leave registers for, words
# of a vector to compute at once, hints of loads and stores (`Cache` of kernels/device/device.cuh).
CANDIDATES = list(itertools.product((128, 256), (1, 2, 4), (1024, 1280, 1536, 1792, 2048), (0, 1, 2), (0,), (0,)))
# For float64 alone: its elements are two words, so that 0 and 2 are the same, and its table wants the
# first-level cache for itself (loads CACHE_NO_L1, stores CACHE_STREAM).
CANDIDATES_F64 = [
    (threads, vectors, resident, words_at_once, *hints)
    for threads, hints in ((128, (0, 0)), (128, (2, 1)), (256, (0, 0)))
    for vectors, resident, words_at_once in itertools.product((1, 2, 4), (768, 1024, 1280, 1536, 1792), (1, 2))
]


def header(candidate, sm, dtypes):
    """The header that the library was built with for the architecture (kernels/header.rs), with the
    candidate's policy in all of its kernels, and no others than those of these types."""
    found = ROOT.glob(f"target/*/build/libmish-*/out/kernels/sm_{sm}.{HEADER}")
    text = max(found, key=lambda path: path.stat().st_mtime).read_text()
    threads, vectors, resident, words_at_once, load, store = candidate
    policy = {
        "int THREADS": threads,
        "int RESIDENT_BLOCKS": max(1, resident // threads),
        "int VECTORS": vectors,
        "int VECTOR_BYTES": VECTOR_BYTES,
        "int GROUPS_AT_ONCE": words_at_once,
        "Cache LOAD": f"Cache({load})",
        "Cache STORE": f"Cache({store})",
        "int STRIDED_UNITS": 1,
    }
    for name, value in policy.items():
        text, count = re.subn(rf"static const {name} = [^;]+;", f"static const {name} = {value};", text)
        if count != len(TENSORS) * len(DTYPES):
            raise RuntimeError(f"{HEADER} has {count} times {name}")
    for other in set(DTYPES) - set(dtypes):
        text = re.sub(rf" \\\n    X\(mish_[a-z_]+_{other}, [^)]+\)", "", text)
    return text


def compiled(candidate, sm, folder, kernels, dtypes):
    """Writes the candidate's image; the registers of its kernels, None for those that spill."""
    nvrtc = ctypes.CDLL(str(next((ROOT / ".deps").rglob("libnvrtc.so.12"))))

    def call(name, *arguments):
        if code := getattr(nvrtc, name)(*arguments):
            raise RuntimeError(f"{name}: {code}")

    def fetch(size_name, name):
        size = ctypes.c_size_t()
        call(size_name, program, ctypes.byref(size))
        data = ctypes.create_string_buffer(size.value)
        call(name, program, data)
        return data.raw

    program = ctypes.c_void_p()
    source = (kernels / "mish.cu").read_text()
    texts = (ctypes.c_char_p * 1)(header(candidate, sm, dtypes).encode())
    names = (ctypes.c_char_p * 1)(HEADER.encode())
    call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"mish.cu", 1, texts, names)
    options = [f"--gpu-architecture=sm_{sm}", f"--include-path={kernels}", "--std=c++17", "--fmad=false", "--ptxas-options=-v"]
    call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*(o.encode() for o in options)))
    (folder / ("-".join(map(str, candidate)) + ".cubin")).write_bytes(fetch("nvrtcGetCUBINSize", "nvrtcGetCUBIN"))
    log = fetch("nvrtcGetProgramLogSize", "nvrtcGetProgramLog").decode()
    registers = {}
    for part in log.split("Compiling entry function '")[1:]:
        clean = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in part
        registers[part[: part.index("'")]] = int(re.search(r"Used (\d+) registers", part)[1]) if clean else None
    return registers


def compile_all(arguments):
    arguments.out.mkdir(parents=True, exist_ok=True)
    candidates = CANDIDATES_F64 if arguments.dtypes == ["f64"] else CANDIDATES
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = {c: pool.submit(compiled, c, arguments.sm, arguments.out, arguments.kernels, arguments.dtypes) for c in candidates}
        report = {"-".join(map(str, c)): job.result() for c, job in jobs.items()}
    (arguments.out / "registers.json").write_text(json.dumps(report, indent=1))


class Span(ctypes.Structure):
    """`Span` of kernels/loops/contiguous.cuh."""

    _fields_ = [("n", ctypes.c_uint64), ("vectors", ctypes.c_uint64), ("head", ctypes.c_uint32), ("tiles", ctypes.c_uint32)]


def driver(name, *arguments):
    if code := getattr(driver.library, name)(*arguments):
        raise RuntimeError(f"{name}: {code}")


def loaded(cubin, names):
    """Functions of an image, by name."""
    module = ctypes.c_void_p()
    driver("cuModuleLoad", ctypes.byref(module), str(cubin).encode())
    functions = {name: ctypes.c_void_p() for name in names}
    for name, function in functions.items():
        driver("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
    return functions


def launcher(torch, function, candidate, tensors):
    """What src/gpu/geometry/contiguous.rs does for aligned operands whose length is whole vectors."""
    threads, unrolled = candidate[:2]
    device = torch.cuda.get_device_properties(0)
    n, size = tensors[0].numel(), tensors[0].element_size()
    vectors = n * size // VECTOR_BYTES
    resident = device.multi_processor_count * device.max_threads_per_multi_processor
    while threads > MIN_THREADS and -(-vectors // threads) < device.multi_processor_count:
        threads //= 2
    tiles = vectors // (threads * unrolled) if vectors >= resident * unrolled else 0
    values = [ctypes.c_void_p(t.data_ptr()) for t in tensors] + [Span(n, vectors, 0, tiles)]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    blocks = tiles + -(-(vectors - tiles * threads * unrolled) // threads)
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    # The closure keeps what the pointers lead to.
    return lambda: values and driver("cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, stream, pointers, None)


def time_all(arguments):
    import bench
    import torch

    gpu, one_stream = bench.Gpu(quick=False), types.SimpleNamespace(jax=False)
    driver.library = ctypes.CDLL("libcuda.so.1")
    torch.zeros(1, device="cuda")  # a current context
    kinds = {name: getattr(torch, dtype.full_name) for name, dtype in DTYPES.items()}
    registers = json.loads((arguments.images / "registers.json").read_text())
    modules = {}
    for text, kernels in registers.items():
        names = [name for name, count in kernels.items() if count and not name.endswith("_strided")]
        modules[tuple(map(int, text.split("-")))] = loaded(arguments.images / f"{text}.cubin", names)
    rows = {}
    for dtype, n in itertools.product(arguments.dtypes, arguments.sizes):
        if dtype == "f64" and n == 2**28:
            n //= 2
        x, g, h = (torch.randn(n, device="cuda", dtype=torch.float32).to(kinds[dtype]) for _ in range(3))
        y, z = torch.empty_like(x), torch.empty_like(x)
        named = {"x": x, "grad_y": g, "grad_grad_x": h}
        operands = {op: [*(named[name] for name in inputs), *(y, z)[: len(outputs)]] for op, (inputs, outputs, _) in _abi.OPERATIONS.items()}
        relu_backward = torch.ops.aten.threshold_backward.grad_input
        cases = {
            ("copy", "forward", None): lambda: y.copy_(x),
            ("relu", "forward", None): lambda: torch.clamp_min(x, 0, out=y),
            ("relu", "backward", None): lambda: relu_backward(g, x, 0, grad_input=y),
        }
        for (candidate, functions), op in itertools.product(modules.items(), TENSORS):
            if function := functions.get(f"mish_{op}_{dtype}"):
                cases["libmish", op, candidate] = launcher(torch, function, candidate, operands[op])
        slices = {case: gpu.ready(one_stream, call, n, again=False) for case, call in cases.items()}
        times = {case: [] for case in cases}
        for _ in range(arguments.rounds):
            for case, timed in slices.items():
                times[case].append(timed())
        found = []
        for (impl, op, candidate), us in times.items():
            median = statistics.median(us)
            rate = TENSORS[op] * n * x.element_size() / median / 1e6
            found.append({"impl": impl, "op": op, "policy": candidate, "us": median, "tb_per_s": rate})
            rows.setdefault((impl, dtype, op, candidate), {})[str(n)] = round(median, 3)
        for op in TENSORS:
            print(f"{dtype} n={n} {op}", flush=True)
            ours = sorted((r for r in found if r["op"] == op), key=lambda r: (r["impl"] == "libmish", r["us"]))
            for r in ours[:9]:
                print("   ", r["impl"], r["policy"], round(r["us"], 3), round(r["tb_per_s"], 4), flush=True)
        del x, g, h, y, z, operands, cases, slices
        gpu.release()
    report = {
        "gpu": torch.cuda.get_device_name(),
        "driver": bench.first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        "torch": torch.__version__,
        "commit": os.environ.get("MISH_COMMIT", "unknown"),
    }
    columns = ("impl", "dtype", "op", "policy")
    lines = [json.dumps({**dict(zip(columns, key)), "us": us}) for key, us in rows.items()]
    arguments.out.write_text(json.dumps(report)[:-1] + ', "rows": [\n' + ",\n".join(lines) + "\n]}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("compile")
    command.add_argument("--out", type=pathlib.Path, required=True)
    command.add_argument("--sm", type=int, default=90)
    command.add_argument("--kernels", type=pathlib.Path, default=ROOT / "kernels")
    command.add_argument("--jobs", type=int, default=os.cpu_count())
    command.add_argument("--dtypes", type=lambda text: text.split(","), default=list(DTYPES))
    command.set_defaults(run=compile_all)
    command = commands.add_parser("time")
    command.add_argument("--images", type=pathlib.Path, required=True)
    command.add_argument("--out", type=pathlib.Path, required=True)
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[2**28, 10485760, 2**20])
    command.add_argument("--dtypes", type=lambda text: text.split(","), default=list(DTYPES))
    command.set_defaults(run=time_all)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()

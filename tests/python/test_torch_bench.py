"""The benchmark times what it says: every Mish it compares computes Mish, and its rows are complete."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import bench  # noqa: E402
import contenders  # noqa: E402

ROW = ["impl", "device", "dtype", "op", "n", "bytes", "us_median", "us_min", "us_max", "tb_per_s", "ratio_to_copy"]
# Not the compiled one, which takes a compiler and most of a minute.
IMPLS = set(contenders.IMPLS) - {"torch.compile"}


class Counting:
    """A timer that does not time: every slice takes a microsecond."""

    kind = "cpu"

    def rounds(self, n):
        return 2

    def ready(self, case, call, n, again):
        call()
        return lambda: 1.0

    def free_bytes(self):
        return 2**40


@pytest.fixture(scope="module")
def found():
    with torch.no_grad():
        yield contenders.Contenders("cpu", IMPLS)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_contenders_agree(found, dtype):
    with torch.no_grad():
        o = contenders.Operands("cpu", dtype, 1024)
        exact = {}
        for op, function in contenders.Compiled.FUNCTIONS.items():
            results = function(*(t.double() for t in contenders.of_op(op, o)))
            exact[op] = results if op == "double_backward" else (results,)
        checked = set()
        for case in found.cases(o, contenders.TENSORS):
            if case.of() in ("copy", "relu", "silu", "softplus") or (case.of(), dtype) == ("oneDNN", "f64"):
                continue
            o.y.zero_()
            o.z.zero_()
            results = case.prepare()()
            if isinstance(results, torch.Tensor) or case.jax and case.op != "double_backward":
                results = (results,)
            if not isinstance(results, tuple):
                # A C call, which returns a status.
                assert results == 0
                results = o.y, o.z
            for got, want in zip(results, exact[case.op]):
                got = torch.from_dlpack(got) if case.jax else got
                assert torch.allclose(got.double().view(-1), want, rtol=1e-4, atol=1e-5), (case.impl, case.op)
            checked.add((case.impl, case.op))
        for op in contenders.TENSORS:
            assert {("libmish", op), ("libmish (fresh)", op), ("F.mish", op), ("composed", op)} <= checked


def test_rows(found, tmp_path):
    with torch.no_grad():
        run = bench.Run(Counting(), found, types.SimpleNamespace(ops=bench.OPS))
        run.size("f32", 256)
    bench.write(tmp_path / "x.json", dict(device="cpu"), run.rows)
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert all(list(row) == ROW for row in rows)
    by = {(row["impl"], row["op"]): row for row in rows}
    assert by["copy", "forward"]["bytes"] == 2 * 4 * 256
    assert by["libmish", "backward"]["bytes"] == 3 * 4 * 256
    assert by["libmish", "double_backward"]["ratio_to_copy"] == 2.5


def test_names_of_files():
    gpu = dict(device="cuda", name="NVIDIA H100 80GB HBM3")
    assert bench.slug(gpu) == "h100"
    cpu = dict(device="cpu", name="Intel(R) Xeon(R) Processor", instructions="avx512", threads=2)
    assert bench.slug(cpu) == "xeon-avx512-2-threads"
    assert bench.slug(cpu | dict(threads=1, name="AMD EPYC 9654")) == "epyc-avx512-1-thread"


def test_avx2_alone(monkeypatch):
    """`--simd avx2` reaches PyTorch, and the header and the file's name say so."""
    monkeypatch.setattr(bench.os, "environ", environment := dict(os.environ))
    environment.pop("XLA_FLAGS", None)
    arguments = bench.options().parse_args(["cpu", "--out", "x", "--simd", "avx2", "--threads", "1"])
    bench.prepare_environment(arguments)
    name, simd = bench.processor()
    assert simd == "avx2"
    assert "-avx2-" in bench.slug(dict(device="cpu", name=name, instructions=simd, threads=1))
    assert "--xla_cpu_max_isa=AVX2" in environment["XLA_FLAGS"]
    told = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    run = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "AVX2"

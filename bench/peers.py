"""Other implementations of Mish on the CPU, measured by the sweep.

    python bench/peers.py [--dtype LIST] [--quick]   sweep them all, write bench/results/
    python bench/peers.py --serve NAME DTYPE         what the sweep starts: tests/sweep/src/peer.rs

Needs xtask/requirements/accuracy.txt. Inputs: every one of up to 32 bits, 10^8 float64
(--quick: the reduced sweep's). bench/tables.py turns the results into docs/accuracy.md.
"""

import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
from mish import _abi  # noqa: E402

RESULTS = ROOT / "bench" / "results"


def autograd(function, x):
    """The function and its two derivatives, all by PyTorch."""
    import torch

    t = to_torch(x).requires_grad_()
    y = function(t)
    (first,) = torch.autograd.grad(y, t, torch.ones_like(y), create_graph=True)
    (second,) = torch.autograd.grad(first, t, torch.ones_like(first))
    return [from_torch(result, x) for result in (y, first, second)]


def to_torch(x):
    import torch

    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(x)


def from_torch(t, like):
    import torch

    t = t.detach()
    if t.dtype == torch.bfloat16:
        return t.view(torch.int16).numpy().view(like.dtype)
    return t.numpy()


def pytorch():
    import torch

    torch.set_num_threads(1)

    def functions(x):
        y, first, second = autograd(torch.nn.functional.mish, x)
        # What backward runs when no second derivative is asked for.
        t = to_torch(x)
        first = from_torch(torch.ops.aten.mish_backward(torch.ones_like(t), t), x)
        return y, first, second

    return f"PyTorch {torch.__version__}, F.mish", functions


def composed():
    import torch

    torch.set_num_threads(1)

    def functions(x):
        return autograd(lambda t: t * torch.tanh(torch.nn.functional.softplus(t)), x)

    return f"PyTorch {torch.__version__}, x * tanh(softplus(x))", functions


def with_jax():
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax
    import numpy as np

    jax.config.update("jax_enable_x64", True)
    first = jax.grad(lambda t: jax.nn.mish(t).sum())
    second = jax.grad(lambda t: first(t).sum())
    compiled = [jax.jit(function) for function in (jax.nn.mish, first, second)]
    return f"JAX {jax.__version__}, jax.nn.mish", lambda x: [np.asarray(f(x)) for f in compiled]


PEERS = {"pytorch": pytorch, "composed": composed, "jax": with_jax}


def serve(name, dtype):
    import ml_dtypes
    import numpy as np

    # The name of a peer may print: the results have standard output to themselves.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    full_name = {dtype.name: dtype.full_name for dtype in _abi.DTYPES}[dtype]
    kind = np.dtype(getattr(ml_dtypes, full_name, full_name))
    label, functions = PEERS[name]()
    output.write(label.encode() + b"\n")
    output.flush()
    while len(header := sys.stdin.buffer.read(8)) == 8:
        count = int.from_bytes(header, "little")
        x = np.frombuffer(bytearray(sys.stdin.buffer.read(count * kind.itemsize)), kind)
        with np.errstate(all="ignore"):
            results = functions(x)
        for result in results:
            assert result.dtype == kind and result.size == count
            output.write(result.tobytes())
        output.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", nargs=2, metavar=("NAME", "DTYPE"))
    parser.add_argument("--dtype", default=",".join(dtype.name for dtype in _abi.DTYPES))
    parser.add_argument("--peer", choices=list(PEERS), action="append")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(*arguments.serve)
    for name in arguments.peer or PEERS:
        command = ["cargo", "xtask", "sweep", "--dtype", arguments.dtype]
        command += ["--reduced"] if arguments.quick else ["--points", "100000000"]
        command += ["--peer", f"'{sys.executable}' bench/peers.py --serve {name}"]
        command += ["--json", str(RESULTS / f"sweep-{name}.json")]
        subprocess.run(command, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

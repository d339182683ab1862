"""What the benchmark compares: for every operation, the calls that take turns.

A call of the plain name writes into an output that exists, wherever the implementation can; what
cannot allocates its result in every call: everything composed, compiled or derived by autograd,
JAX, and the backward of `F.mish`. On the CPU, "NAME (fresh)" has PyTorch allocate the output on both
sides. All read x alone in backward and (grad_grad_x, grad_y, x) in double backward; PyTorch's own
double backward is autograd's, of a graph built beforehand.
"""

import ctypes
import functools
import types

import torch
import torch.nn.functional as F

import mish
import mish.torch
from mish import _abi, _library

KINDS = {dtype.name: getattr(torch, dtype.full_name) for dtype in _abi.DTYPES}
TENSORS = {op: len(inputs) + len(outputs) for op, (inputs, outputs, _) in _abi.OPERATIONS.items()}
MISH_DEVICE = {"cpu": _abi.MISH_DEVICE_CPU, "cuda": _abi.MISH_DEVICE_CUDA}
MISH_DTYPE = {dtype.name: dtype.code for dtype in _abi.DTYPES}
IMPLS = ("copy", "relu", "silu", "softplus", "F.mish", "composed", "torch.compile", "jax.jit", "oneDNN", "libmish")
# Compiled for shapes of so many columns, so that the length is known to be a multiple of it.
COLUMNS = 256
# On a CPU shorter tensors have a compilation of their own; the other is made for EXAMPLE elements.
SMALL, EXAMPLE = 2**15, 2**22


class Case:
    """A contender: `prepare` does what is not timed and returns the call to time. `spare` is how
    many tensors it holds at its peak beside the operands; `jax` whether its results are JAX's."""

    def __init__(self, impl, op, prepare, spare=0, jax=False, smallest=1):
        self.impl, self.op, self.prepare = impl, op, prepare
        self.spare, self.jax, self.smallest = spare, jax, smallest

    def of(self):
        """The implementation without its mode."""
        return self.impl.partition(" (")[0]


class Operands:
    """x, two gradients and two outputs of n elements."""

    def __init__(self, device, dtype, n):
        self.device, self.dtype, self.n = device, dtype, n
        # Normal numbers from float32, in pieces, so that no second set of this size is needed.
        self.x, self.g, self.h = (torch.empty(n, device=device, dtype=KINDS[dtype]) for _ in range(3))
        for tensor in (self.x, self.g, self.h):
            for piece in tensor.split(2**24):
                piece.copy_(torch.randn(piece.numel(), device=device))
        # Touched, so that no call meets pages it is the first to use.
        self.y, self.z = torch.zeros_like(self.x), torch.zeros_like(self.x)


def composed(x):
    return x * torch.tanh(F.softplus(x))


def composed_backward(g, x):
    return torch.func.vjp(composed, x)[1](g)[0]


def composed_double_backward(h, g, x):
    return torch.func.vjp(composed_backward, g, x)[1](h)


def of_op(op, operands):
    """The inputs of an operation."""
    named = {"x": operands.x, "grad_y": operands.g, "grad_grad_x": operands.h}
    return tuple(named[name] for name in _abi.OPERATIONS[op][0])


def c_abi(op, operands):
    """libmish as a C program calls it: nothing is converted or checked in the timed call."""
    o = operands
    outputs = (o.y, o.z) if op == "double_backward" else (o.y,)
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (*of_op(op, o), *outputs)]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream if o.device == "cuda" else None)
    # A handle of its own: this one declares no types, so ctypes has nothing to convert.
    function = getattr(ctypes.CDLL(_library.find()), f"mish_{op}")
    device, dtype = (ctypes.c_int32(table[key]) for table, key in ((MISH_DEVICE, o.device), (MISH_DTYPE, o.dtype)))
    call = functools.partial(function, device, dtype, *pointers, ctypes.c_uint64(o.n), stream)
    _library.check(call())
    return call


def autograd(function, op, operands):
    """The operation by PyTorch's autograd, its graph built now."""
    o = operands
    with torch.enable_grad():
        x, g = o.x.detach().requires_grad_(), o.g.detach().requires_grad_()
        y = function(x)
        if op == "backward":
            return lambda: torch.autograd.grad(y, x, o.g, retain_graph=True)
        (first,) = torch.autograd.grad(y, x, g, create_graph=True)
        return lambda: torch.autograd.grad(first, (g, x), o.h, retain_graph=True)


class Compiled:
    """torch.compile of composed Mish, one compilation per operation, dtype and size class."""

    FUNCTIONS = dict(zip(TENSORS, (composed, composed_backward, composed_double_backward)))

    def __init__(self):
        torch._dynamo.config.recompile_limit = 64
        self.made, self.warmed = {}, set()

    def prepared(self, op, operands):
        # What a length is compiled for follows from the first one: on a CPU, threads or none.
        small = operands.device == "cpu" and operands.n < SMALL
        inputs = of_op(op, operands)
        if (op, small) not in self.made:
            plain = self.FUNCTIONS[op]
            # The compiler remembers by code object: a copy is compiled anew.
            copy = types.FunctionType(plain.__code__.replace(), plain.__globals__)
            self.made[op, small] = torch.compile(copy)
        function = self.made[op, small]
        if not small and (op, operands.dtype) not in self.warmed:
            self.warmed.add((op, operands.dtype))
            function(*(dynamic(t.new_zeros(EXAMPLE)) for t in inputs))
        return functools.partial(function, *(dynamic(t) for t in inputs))


def dynamic(tensor):
    """As rows whose number is left open. One row would be compiled as no dimension at all."""
    rows = tensor.view(-1, COLUMNS)
    torch._dynamo.mark_dynamic(rows, 0)
    return rows


class Jax:
    """jax.jit of jax.nn.mish and its derivatives, on PyTorch's memory."""

    def __init__(self, device):
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax, self.device = jax, jax.devices("gpu" if device == "cuda" else "cpu")[0]
        mish_ = jax.nn.mish

        def backward(g, x):
            return jax.vjp(mish_, x)[1](g)[0]

        def double_backward(h, g, x):
            return jax.vjp(backward, g, x)[1](h)

        functions = dict(zip(TENSORS, (mish_, backward, double_backward)))
        self.compiled = {op: jax.jit(function) for op, function in functions.items()}

    def prepared(self, op, operands):
        if operands.device == "cuda":
            torch.cuda.synchronize()
        inputs = [self.jax.dlpack.from_dlpack(t) for t in of_op(op, operands)]
        return functools.partial(self.compiled[op], *inputs)


class Contenders:
    """The cases of one device; what a machine cannot offer is in `missing` with the reason."""

    def __init__(self, device, wanted):
        self.device, self.wanted, self.missing = device, wanted, {}
        self.versions = dict(libmish=mish.__version__, torch=torch.__version__)
        self.compiled = Compiled()
        self.jax = self.optional("jax.jit", lambda: Jax(device))
        self.onednn = None
        if device == "cpu":
            from onednn import OneDnn

            self.onednn = self.optional("oneDNN", OneDnn)
        if self.jax:
            self.versions["jax"] = self.jax.jax.__version__
        if self.onednn:
            self.versions["oneDNN"] = self.onednn.version()

    def optional(self, impl, make):
        if impl not in self.wanted:
            return None
        try:
            return make()
        except Exception as error:  # noqa: BLE001  whatever keeps it from being here is the reason
            self.missing[impl] = f"{type(error).__name__}: {error}".splitlines()[0]
            return None

    def cases(self, o, ops):
        """The cases for these operands, in the order in which they take turns."""
        nn, aten = torch._C._nn, torch.ops.aten
        threshold_backward = aten.threshold_backward
        plain = [
            Case("copy", "forward", lambda: lambda: o.y.copy_(o.x)),
            Case("relu", "forward", lambda: lambda: torch.clamp_min(o.x, 0, out=o.y)),
            Case("silu", "forward", lambda: lambda: nn.silu(o.x, out=o.y)),
            Case("softplus", "forward", lambda: lambda: nn.softplus(o.x, out=o.y)),
            Case("F.mish", "forward", lambda: lambda: nn.mish(o.x, out=o.y)),
            Case("relu", "backward", lambda: lambda: threshold_backward.grad_input(o.g, o.x, 0, grad_input=o.y)),
            Case("silu", "backward", lambda: lambda: aten.silu_backward.grad_input(o.g, o.x, grad_input=o.y)),
            Case("softplus", "backward", lambda: lambda: aten.softplus_backward.grad_input(o.g, o.x, 1, 20, grad_input=o.y)),
            Case("F.mish", "backward", lambda: lambda: aten.mish_backward(o.g, o.x), spare=1),
            Case("composed", "forward", lambda: lambda: composed(o.x), spare=3),
        ]
        for impl, function, orders in (
            ("composed", composed, ("backward", "double_backward")),
            ("silu", F.silu, ("double_backward",)),
            ("softplus", F.softplus, ("double_backward",)),
            ("F.mish", F.mish, ("double_backward",)),
        ):
            plain += [Case(impl, op, functools.partial(autograd, function, op, o), spare=6 if op == "backward" else 14) for op in orders]
        for op in TENSORS:
            results = 2 if op == "double_backward" else 1
            plain.append(Case("torch.compile", op, functools.partial(self.compiled.prepared, op, o), results, smallest=2 * COLUMNS))
            if self.jax:
                plain.append(Case("jax.jit", op, functools.partial(self.jax.prepared, op, o), results, jax=True))
            if self.onednn and op != "double_backward":
                pointers = [t.data_ptr() for t in (*of_op(op, o), o.y)]
                plain.append(Case("oneDNN", op, functools.partial(self.onednn.prepared, op, o.dtype, o.n, pointers)))
            plain.append(Case("libmish", op, functools.partial(c_abi, op, o)))
        if self.device == "cpu":
            plain += [
                Case("relu (fresh)", "forward", lambda: lambda: torch.relu(o.x), 1),
                Case("silu (fresh)", "forward", lambda: lambda: nn.silu(o.x), 1),
                Case("F.mish (fresh)", "forward", lambda: lambda: nn.mish(o.x), 1),
                Case("libmish (fresh)", "forward", lambda: lambda: mish.torch.mish(o.x), 1),
                Case("relu (fresh)", "backward", lambda: lambda: threshold_backward(o.g, o.x, 0), 1),
                Case("silu (fresh)", "backward", lambda: lambda: aten.silu_backward(o.g, o.x), 1),
                Case("F.mish (fresh)", "backward", lambda: lambda: aten.mish_backward(o.g, o.x), 1),
                Case("libmish (fresh)", "backward", lambda: lambda: torch.ops.mish.backward(o.g, o.x), 1),
                Case("libmish (fresh)", "double_backward", lambda: lambda: torch.ops.mish.double_backward(o.h, o.g, o.x), 2),
            ]
        return [c for c in plain if c.of() in self.wanted and c.op in ops and o.n >= c.smallest]

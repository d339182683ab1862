"""Every way into the library from PyTorch, as a function of one tensor."""

import contextlib

import torch
import torch.nn.functional as F

import mish.torch
from mish_cuda import MishCuda, MishCudaFunction, mish_forward

OPS = torch.ops.mish


def on_a_copy(overwrite):
    """A function of one tensor that overwrites a copy of it."""

    def function(x):
        y = x.clone()
        overwrite(y)
        return y

    return function


def on_a_view(x):
    y = torch.stack((x, x)).clone()
    mish.torch.mish(y[1], inplace=True)
    return y[1]


def into(x):
    y = torch.empty_like(x)
    OPS.forward.out(x, out=y)
    return y


def replaced(module):
    model = torch.nn.Sequential(torch.nn.Identity(), module)
    mish.torch.replace(model)
    return model


FUNCTIONS = {
    "mish": mish.torch.mish,
    "mish in place": on_a_copy(lambda y: mish.torch.mish(y, inplace=True)),
    "mish in place, view": on_a_view,
    "Mish": mish.torch.Mish(),
    "Mish in place": on_a_copy(mish.torch.Mish(inplace=True)),
    "replace": replaced(torch.nn.Mish()),
    "replace, in place": on_a_copy(replaced(torch.nn.Mish(inplace=True))),
    "forward": OPS.forward,
    "forward_": on_a_copy(OPS.forward_),
    "mish_cuda": mish_forward,
    "MishCuda": MishCuda(),
    "MishCudaFunction": MishCudaFunction.apply,
}
# PyTorch's own names, run by the library.
SWITCHED = {
    "F.mish": F.mish,
    "F.mish in place": on_a_copy(lambda y: F.mish(y, inplace=True)),
    "nn.Mish": torch.nn.Mish(),
    "nn.Mish in place": on_a_copy(torch.nn.Mish(inplace=True)),
}
NAMES = [*FUNCTIONS, *(f"{name}, {mode}" for mode in ("enable", "double") for name in SWITCHED)]


@contextlib.contextmanager
def entry_point(name):
    """The function of a name, with `enable()` in force where it is one of PyTorch's own."""
    if name in FUNCTIONS:
        yield FUNCTIONS[name]
        return
    name, _, mode = name.rpartition(", ")
    with mish.torch.enable(double_backward=mode == "double"):
        yield SWITCHED[name]


def exact(x):
    """Mish of PyTorch's elementary functions, whatever is switched on."""
    return x * torch.tanh(torch.log1p(torch.exp(x)))

"""The interface of the `mish-cuda` package, on libmish.

Code and pickled checkpoints that import it run unchanged, on any PyTorch that libmish serves and
on machines without a GPU. New code should use :mod:`mish.torch`.
"""

import torch
from mish.torch import mish as _mish

from ._C import mish_backward, mish_forward

__all__ = ["MishCuda", "MishCudaFunction", "mish_backward", "mish_forward"]


class MishCudaFunction:
    """``MishCudaFunction.apply(inp)``: Mish, differentiable any number of times.

    No ``torch.autograd.Function``: those lose the outer derivative of two in forward mode.
    """

    @staticmethod
    def apply(inp):
        return _mish(inp)


class MishCuda(torch.nn.Module):
    """Mish as a module without parameters or settings."""

    def forward(self, inp):
        return _mish(inp)

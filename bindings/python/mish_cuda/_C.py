"""The two functions of the package's former extension module."""

import torch
from mish.torch import mish


def mish_forward(input, out=None):
    """``mish(input)``, written to ``out`` and returned if there is one.

    ``input`` may have any strides, overlapping ones included; ``out`` has its shape and dtype.
    """
    if out is None:
        return mish(input)
    torch.ops.mish.forward.out(input, out=out)
    return out


def mish_backward(input, grad_out):
    """``grad_out * mish'(input)``; differentiable."""
    return torch.ops.mish.backward.default(grad_out, input)

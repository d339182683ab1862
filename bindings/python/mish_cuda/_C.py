"""The two functions of the package's former extension module."""

import torch
import mish.torch  # noqa: F401  registers the operators


def mish_forward(inp, out=None):
    """``mish(inp)``, written to ``out`` and returned if there is one.

    ``inp`` may have any strides, overlapping ones included; ``out`` has its shape and dtype.
    """
    if out is None:
        return torch.ops.mish.forward.default(inp)
    torch.ops.mish.forward.out(inp, out=out)
    return out


def mish_backward(inp, grad_out):
    """``grad_out * mish'(inp)``; differentiable."""
    return torch.ops.mish.backward.default(grad_out, inp)

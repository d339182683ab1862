"""The interface of the `mish-cuda` package, on libmish.

Code and pickled checkpoints that import it run unchanged, on any PyTorch that libmish serves and
on machines without a GPU. New code should use :mod:`mish.torch`.
"""

import torch
from mish.torch import mish as _mish

from ._C import mish_backward, mish_forward

__all__ = ["MishCuda", "MishCudaFunction", "mish_backward", "mish_forward"]


class MishCudaFunction(torch.autograd.Function):
    """``MishCudaFunction.apply(inp)``: Mish, differentiable any number of times."""

    generate_vmap_rule = True

    @staticmethod
    def forward(inp):
        return mish_forward(inp)

    @staticmethod
    def setup_context(ctx, inputs, output):
        (inp,) = inputs
        ctx.save_for_backward(inp)
        ctx.save_for_forward(inp)

    @staticmethod
    def backward(ctx, grad_out):
        (inp,) = ctx.saved_tensors
        return mish_backward(inp, grad_out) if ctx.needs_input_grad[0] else None

    @staticmethod
    def jvp(ctx, tangent):
        (inp,) = ctx.saved_tensors
        return mish_backward(inp, tangent)


class MishCuda(torch.nn.Module):
    """Mish as a module without parameters or settings."""

    def forward(self, inp):
        return _mish(inp)

"""The module."""

import torch
from torch import fx, nn

from ._functional import mish


class Mish(nn.Mish):
    """Drop-in for :class:`torch.nn.Mish`: ``x * tanh(softplus(x))``, element by element.

    Args:
        inplace: overwrite the input.
    """

    # Where it is to be found again, by pickle among others.
    __module__ = "mish.torch"

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_scripting():
            if self.inplace:
                torch.ops.mish.forward_(input)
                return input
            return torch.ops.mish.forward(input)
        if isinstance(input, fx.Proxy) and _is_leaf(self, input.tracer):
            path = input.tracer.path_of_module(self)
            return input.tracer.create_proxy("call_module", path, (input,), {})
        return mish(input, self.inplace)

    def _get_name(self):
        return "mish.torch.Mish"


def _is_leaf(module, tracer):
    """Whether torch.fx is to keep the module in the graph: if it would keep PyTorch's own, which
    most tracers know by the folder that it comes from."""
    if not isinstance(tracer, fx.Tracer):
        return False
    return tracer.is_leaf_module(nn.Mish(), tracer.path_of_module(module))

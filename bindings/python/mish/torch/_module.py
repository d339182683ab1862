"""The module, and swapping it in."""

import torch
from torch import nn

from . import _register as ops
from ._functional import mish


class Mish(nn.Module):
    """Drop-in for :class:`torch.nn.Mish`: ``x * tanh(softplus(x))``, element by element.

    Args:
        inplace: overwrite the input.
    """

    __constants__ = ["inplace"]
    inplace: bool

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_scripting():
            if self.inplace:
                torch.ops.mish.forward_(input)
                return input
            return torch.ops.mish.forward(input)
        return mish(input, self.inplace)

    def extra_repr(self):
        return "inplace=True" if self.inplace else ""


def replace(model):
    """Swaps every Mish of a model for :class:`Mish`, in place.

    Swapped are ``torch.nn.Mish`` and modules without parameters, buffers or submodules of their
    own (but for stock ``nn.Softplus`` and ``nn.Tanh``) that have "mish" in their class's name and
    compute it: each is tried on a few numbers. Modules with hooks are left alone.

    Args:
        model: a module. If it is a Mish itself, use the ``""`` entry's advice below.

    Returns:
        A list of ``(name, class name)`` of what was swapped, in order; empty if nothing was.
        A module that occurs under several names is swapped under each and stays one module.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: ``model`` is a Mish itself, which cannot be swapped inside itself: use
            ``mish.torch.Mish()`` in its place.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: must be a torch.nn.Module, not {type(model).__name__}")
    if _is_mish(model):
        raise ValueError("model: is a Mish itself; use mish.torch.Mish() in its place")
    swapped, made = [], {}
    for parent_name, parent in list(model.named_modules()):
        for name, child in list(parent._modules.items()):
            if child is None or (id(child) not in made and not _is_mish(child)):
                continue
            if id(child) not in made:
                new = Mish(bool(getattr(child, "inplace", False)))
                # The old one is kept, so that its id stays its own.
                made[id(child)] = child, new.train(child.training)
            parent._modules[name] = made[id(child)][1]
            path = f"{parent_name}.{name}" if parent_name else name
            swapped.append((path, f"{type(child).__module__}.{type(child).__qualname__}"))
    return swapped


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _is_mish(module):
    if type(module) is Mish or any(getattr(module, hooks, None) for hooks in _HOOKS):
        return False
    if type(module) is nn.Mish:
        return True
    parts = list(module.children())
    if "mish" not in type(module).__name__.lower() or any(
        type(part) not in (nn.Softplus, nn.Tanh) for part in parts
    ):
        return False
    if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
        return False
    return _computes_mish(module)


def _computes_mish(module):
    x = torch.tensor([-30.0, -5.0, -2.3, -1.2, -0.5, -0.0, 0.1, 0.7, 1.5, 4.0, 15.0, 40.0])
    try:
        with torch.no_grad():
            y = module(x.clone())
    except Exception:
        return False
    return (
        isinstance(y, torch.Tensor)
        and y.shape == x.shape
        and y.dtype == x.dtype
        and y.device == x.device
        and torch.allclose(y, ops.plain_forward(x), rtol=1e-5, atol=1e-6)
    )

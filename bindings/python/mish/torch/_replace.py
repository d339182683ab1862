"""Swapping the module into models, and out again."""

import weakref
from typing import NamedTuple

import torch
from torch import nn

from . import _formula
from . import _register as ops
from ._module import Mish

# What each Mish that `replace` made stands for. Not kept in the module itself: copies and saved
# models are to hold nothing but the module.
_originals = weakref.WeakKeyDictionary()


class Replaced(NamedTuple):
    """What :func:`replace` and :func:`restore` did."""

    #: ``(name, class)`` of each module that was swapped, the class being that of the old one.
    swapped: list
    #: ``(name, class, reason)`` of each that was left although it has to do with Mish.
    skipped: list


def replace(model):
    """Swaps every Mish of a model for :class:`Mish`, in place; :func:`restore` undoes it.

    Swapped are ``torch.nn.Mish`` and modules that have "mish" in their class's name or whose
    ``forward`` is the formula, if they have no parameters, buffers or submodules of their own (but
    for stock ``nn.Softplus`` and ``nn.Tanh``) and compute Mish and its gradient: each is tried on
    a few numbers. Left alone are modules with hooks, with a ``forward`` set on the instance,
    scripted ones, and whatever does more than Mish.

    Args:
        model: a module.

    Returns:
        ``(swapped, skipped)``, see :class:`Replaced`. A module that occurs under several names is
        swapped under each and stays one module. A module whose ``forward`` composes Mish among
        other things is skipped, and the reason says where.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: ``model`` is a Mish itself, which cannot be swapped inside itself: use
            ``mish.torch.Mish()`` in its place.
    """
    return _swap(model, _replacement)


def restore(model):
    """Puts back what :func:`replace` took out of a model, in place.

    Where that is not known, as in a copy of the model or one that was loaded, and for a
    :class:`Mish` that was there from the beginning, the module becomes a ``torch.nn.Mish``, so that
    the model no longer needs this package. Modules with hooks are left alone.

    Returns and raises what :func:`replace` does.
    """
    return _swap(model, _original)


class _Skip(Exception):
    """Why a module is left alone; without arguments, because Mish is not its business."""


def _swap(model, successor):
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: must be a torch.nn.Module, not {type(model).__name__}")
    swapped, skipped, made = [], [], {}
    for parent_name, parent in [("", None), *model.named_modules()]:
        children = {"": model} if parent is None else parent._modules
        for name, child in list(children.items()):
            path = f"{parent_name}.{name}" if parent_name else name
            if child is None:
                continue
            if id(child) not in made:
                try:
                    # The old one is kept, so that its id stays its own.
                    made[id(child)] = child, successor(child)
                except _Skip as reason:
                    made[id(child)] = child, reason
            new, kind = made[id(child)][1], _class_name(child)
            if isinstance(new, _Skip):
                if new.args:
                    skipped.append((path, kind, *new.args))
            elif parent is None:
                raise ValueError("model: is a Mish itself; use another in its place")
            else:
                parent._modules[name] = new
                swapped.append((path, kind))
    return Replaced(swapped, skipped)


def _class_name(module):
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _replacement(module):
    kind = type(module)
    if kind is Mish:
        raise _Skip
    if kind is nn.Mish:
        _check_swappable(module)
        in_place = module.inplace
    else:
        name = getattr(module, "original_name", kind.__name__)
        if not (_formula.is_mish(kind) or "mish" in name.lower()) or _is_network(module):
            place = _formula.find(kind)
            if place is None:
                raise _Skip
            raise _Skip(f"composes Mish among other things: call mish.torch.mish at {place}")
        _check_swappable(module)
        in_place = _check_computes_mish(module)
    new = Mish(in_place).train(module.training)
    _originals[new] = module
    return new


def _original(module):
    if type(module) is not Mish:
        raise _Skip
    _check_swappable(module)
    old = _originals.get(module) or nn.Mish(module.inplace)
    return old.train(module.training)


def _is_network(module):
    """Whether it is its parts that may be swapped."""
    parts = list(module.children())
    has_parameters = any(True for _ in module.parameters())
    return bool(parts) and (has_parameters or any(isinstance(part, nn.Mish) for part in parts))


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _check_swappable(module):
    if isinstance(module, torch.jit.ScriptModule):
        raise _Skip("is scripted")
    if any(getattr(module, hooks, None) for hooks in _HOOKS):
        raise _Skip("has hooks")
    if "forward" in vars(module):
        raise _Skip("has a forward of its own, set on the instance")
    for kind, members in (("parameters", module.parameters()), ("buffers", module.buffers())):
        if any(True for _ in members):
            raise _Skip(f"has {kind}")
    for part in module.children():
        if type(part) not in (nn.Softplus, nn.Tanh):
            raise _Skip(f"has a submodule of class {_class_name(part)}")


_POINTS = (-30.0, -5.0, -2.3, -1.2, -0.5, -0.0, 0.1, 0.7, 1.5, 4.0, 15.0, 40.0)


def _check_computes_mish(module):
    """Tries the module; returns whether it works in place."""
    training = module.training
    try:
        outcomes = []
        for module.training in (not training, training):
            try:
                outcomes.append(_try(module, "cpu"))
            except _Skip:
                # Some are for GPUs alone.
                if not torch.cuda.is_available():
                    raise
                outcomes.append(_try(module, "cuda"))
    finally:
        module.training = training
    return all(outcomes)


def _try(module, device):
    x = torch.tensor(_POINTS, device=device)
    leaf = x.clone().requires_grad_()
    given = leaf.clone()
    try:
        with torch.enable_grad():
            y = module(given)
            (grad,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
    except Exception as error:
        raise _Skip(f"was tried and raised {type(error).__name__}: {error}") from None
    _check_close("value", y, x, ops.plain_forward(x))
    _check_close("gradient", grad, x, ops.plain_backward(torch.ones_like(x), x))
    return y.data_ptr() == given.data_ptr()


def _check_close(what, got, x, want):
    if got.shape != x.shape or got.dtype != x.dtype or got.device != x.device:
        raise _Skip(f"gives a {what} of another shape, dtype or device than its input's")
    is_off = ~torch.isclose(got.detach(), want, rtol=1e-5, atol=1e-6)
    if is_off.any():
        i = int(is_off.nonzero()[0])
        raise _Skip(
            f"gives another {what} than Mish: {got[i].item():.6g} instead of "
            f"{want[i].item():.6g} at {x[i].item():g}"
        )

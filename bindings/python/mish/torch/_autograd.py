"""Derivatives: each operator's gradient is the next operator, one kernel each.

First order is ``backward``, second ``double_backward``; what lies beyond is composed of these and
of ``_third`` below, which PyTorch differentiates further by itself.
"""

import sys
from functools import partial

import torch
from torch import _C
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad

# What torch.func itself derives from inside a transform's level, which is where an autograd kernel
# runs. It also spares each call what Function.apply adds in Python.
from torch.autograd.function import _SingleLevelFunction as _Function

from . import _register as ops

_is_grad_enabled = torch.is_grad_enabled
_in_transform = _C._are_functorch_transforms_active


def _below(op, keyset, *args, **kwargs):
    """Calls the operator's next kernel under its autograd rule."""
    with _C._AutoDispatchBelowAutograd():
        return op.redispatch(keyset & _C._after_autograd_keyset, *args, **kwargs)


def _outer(op, keyset):
    """As `_below`, for a transform's level: what lies below is the next level out, which must
    find the gradient modes as they were before this level's autograd.Function turned them off."""
    grad, forward_grad = _is_grad_enabled(), _C._is_fwd_grad_enabled()

    def below(*args):
        with torch.set_grad_enabled(grad), forward_ad._set_fwd_grad_enabled(forward_grad):
            return _below(op, keyset, *args)

    return below


def _third(x):
    """The third derivative of mish, composed so that autograd can take it from there."""
    dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    # Beyond this it is zero, and infinity times zero must not come up.
    z = x.to(dtype).clamp(-1e3, 1e3)
    negative = z < 0
    # Not abs(): its derivative at 0 is 0, neither side's.
    e = torch.exp(torch.where(negative, z, -z))
    e2 = e * e
    below = 12 + e * (24 - e2 * (24 + e * (21 + 6 * e)))
    below = below + z * (4 - e2 * (32 + e * (24 - e * (5 + 4 * e))))
    above = -6 - e * (21 + e * (24 - e2 * (24 + 12 * e)))
    above = above + z * (4 + e * (5 - e * (24 + e * (32 - 4 * e2))))
    scale_below = 4 * e / (e * (e + 2) + 2) ** 4
    scale_above = 4 * e2 / (1 + 2 * e + 2 * e2) ** 4
    third = torch.where(negative, scale_below * below, scale_above * above)
    return third.to(x.dtype)


def _sum(*terms):
    present = [term for term in terms if term is not None]
    return sum(present[1:], present[0]) if present else None


class Forward(_Function):
    """``y = mish(x)`` for an operator's autograd kernel. Keeps x alone."""

    @staticmethod
    def forward(ctx, below, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return below(x)

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        return None, ops.backward(grad_y, x)

    @staticmethod
    def jvp(ctx, _below, tangent):
        (x,) = ctx.saved_tensors
        return ops.backward(tangent, x)


class EagerForward(_Function):
    """``y = mish(x)`` on plain tensors outside of every transform, without the detour through
    an autograd kernel."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return ops.plain_forward(x)

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        if _is_grad_enabled() or _in_transform():
            return ops.backward(grad_y, x)
        return ops.plain_backward(grad_y, x)

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return ops.backward(tangent, x)


class ForwardInPlace(_Function):
    """``x = mish(x)``. Keeps a copy of the old x: one tensor more, as a new output would be."""

    @staticmethod
    def forward(ctx, below, x):
        with _C._AutoDispatchBelowAutograd():
            old = x.clone()
        ctx.save_for_backward(old)
        ctx.save_for_forward(old)
        below(x)
        ctx.mark_dirty(x)
        return x

    backward = Forward.backward

    @staticmethod
    def jvp(ctx, _below, tangent):
        (x,) = ctx.saved_tensors
        return tangent.copy_(ops.backward(tangent, x))


class Backward(_Function):
    """``grad_x = grad_y * mish'(x)``."""

    @staticmethod
    def forward(ctx, below, grad_y, x):
        ctx.save_for_backward(grad_y, x)
        ctx.save_for_forward(grad_y, x)
        return below(grad_y, x)

    @staticmethod
    def backward(ctx, grad_grad_x):
        grad_y, x = ctx.saved_tensors
        _, needs_grad_y, needs_x = ctx.needs_input_grad
        if not needs_x:
            return None, ops.backward(grad_grad_x, x) if needs_grad_y else None, None
        return None, *ops.double_backward(grad_grad_x, grad_y, x)

    @staticmethod
    def jvp(ctx, _below, grad_y_tangent, x_tangent):
        grad_y, x = ctx.saved_tensors
        return _sum(
            None if grad_y_tangent is None else ops.backward(grad_y_tangent, x),
            None if x_tangent is None else ops.double_backward(x_tangent, grad_y, x)[1],
        )


class DoubleBackward(_Function):
    """``grad_grad_y = a * mish'(x)``, ``grad_x = a * g * mish''(x)``."""

    @staticmethod
    def forward(ctx, below, a, g, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(a, g, x)
        ctx.save_for_forward(a, g, x)
        return below(a, g, x)

    @staticmethod
    def backward(ctx, first, second):
        a, g, x = ctx.saved_tensors
        _, needs_a, needs_g, needs_x = ctx.needs_input_grad
        grad_a = grad_g = grad_x = None
        if needs_a:
            grad_a = _sum(
                None if first is None else ops.backward(first, x),
                None if second is None else ops.double_backward(second, g, x)[1],
            )
        if needs_g and second is not None:
            grad_g = ops.double_backward(second, a, x)[1]
        if needs_x:
            grad_x = _sum(
                None if first is None else ops.double_backward(first, a, x)[1],
                None if second is None else second * a * g * _third(x),
            )
        return None, grad_a, grad_g, grad_x

    @staticmethod
    def jvp(ctx, _below, a_tangent, g_tangent, x_tangent):
        a, g, x = ctx.saved_tensors
        first = _sum(
            None if a_tangent is None else ops.backward(a_tangent, x),
            None if x_tangent is None else ops.double_backward(x_tangent, a, x)[1],
        )
        second = _sum(
            None if a_tangent is None else ops.double_backward(a_tangent, g, x)[1],
            None if g_tangent is None else ops.double_backward(a, g_tangent, x)[1],
            None if x_tangent is None else x_tangent * a * g * _third(x),
        )
        return first, second


def prepare():
    """Registers what only matters once another part of PyTorch is loaded."""
    if "torch.distributed.tensor" in sys.modules:
        from . import _sharding

        _sharding.register()
        return _sharding
    return None


def kernel(op, function):
    """The kernel that an operator has under the Autograd keys."""

    def autograd(keyset, *args):
        prepare()
        if not (_is_grad_enabled() and _C._any_requires_grad(*args)):
            if forward_ad._current_level < 0 and not _in_transform():
                return _below(op, keyset, *args)
        if _in_transform():
            with enable_single_level_autograd_function():
                return function.apply(_outer(op, keyset), *args)
        return function.apply(partial(_below, op, keyset), *args)

    return autograd


def _forward_out(keyset, x, *, out):
    if _is_grad_enabled() and _C._any_requires_grad(x, out):
        raise RuntimeError(
            "mish::forward(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the arguments requires grad."
        )
    return _below(ops.forward_out, keyset, x, out=out)


_forward_in_place = kernel(ops.forward_, ForwardInPlace)


def _in_place(keyset, x):
    # The schema has no result.
    sharding = prepare()
    if sharding is not None and sharding.is_sharded(x):
        x.copy_(ops.forward(x))
    else:
        _forward_in_place(keyset, x)


def _mutating(op, changed):
    """The kernel that tells autograd and views that an operator has written to a tensor."""

    def bump(keyset, *args, **kwargs):
        with _C._AutoDispatchBelowADInplaceOrView():
            op.redispatch(keyset & _C._after_ADInplaceOrView_keyset, *args, **kwargs)
        torch.autograd.graph.increment_version(kwargs[changed] if kwargs else args[0])

    return bump


def _register():
    impl = ops.definitions.impl
    for name, op, function in (
        ("forward", ops.forward, Forward),
        ("backward", ops.backward, Backward),
        ("double_backward", ops.double_backward, DoubleBackward),
    ):
        impl(name, kernel(op, function), "Autograd", with_keyset=True)
    impl("forward_", _in_place, "Autograd", with_keyset=True)
    impl("forward.out", _forward_out, "Autograd", with_keyset=True)
    for name, op in (
        ("forward_", ops.forward_),
        ("_forward_", ops.plain_forward_),
        ("forward.out", ops.forward_out),
    ):
        impl(name, _mutating(op, "out"), "ADInplaceOrView", with_keyset=True)


_register()

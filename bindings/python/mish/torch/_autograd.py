"""Derivatives: each operator's gradient is the next operator, one kernel each.

First order is ``backward``, second ``double_backward``; what lies beyond is composed of these and
of ``_third`` below, which PyTorch differentiates further by itself.
"""

import sys
from functools import partial

import torch
from torch import Tensor, _C
from torch._functorch.utils import enable_single_level_autograd_function
from torch._guards import TracingContext
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from . import _register as ops
from . import _rules

_is_compiling = torch.compiler.is_dynamo_compiling
_is_grad_enabled = torch.is_grad_enabled
_in_transform = _C._are_functorch_transforms_active
_modes = _C._len_torch_dispatch_stack
# forward_ad.unpack_dual() asks a counter that compiled code, which enters levels by itself, leaves
# alone. There is but one level; torch.func stacks its own.
_unpack_dual = partial(torch._VF._unpack_dual, level=0)


def _differentiates(*tensors):
    """Whether a derivative may come to be wanted of what is computed from these."""
    return (
        (_is_grad_enabled() and _C._any_requires_grad(*tensors))
        or _in_transform()
        or _is_forward_mode(*tensors)
    )


def _is_forward_mode(*tensors):
    """Whether these may have tangents."""
    if forward_ad._current_level >= 0:
        return True
    if not _modes():
        return _have_tangents(*tensors)
    # Modes are not to see the question, nor graphs to hold it; torch.compile alone, which enters a
    # level past the counter, is asked.
    if TracingContext.try_get() is None:
        return False
    from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

    with disable_proxy_modes_tracing():
        return _have_tangents(*tensors)


def _have_tangents(*tensors):
    # Others, None among them, are refused further down.
    strided = [
        tensor
        for tensor in tensors
        if isinstance(tensor, Tensor) and tensor.layout is torch.strided and not tensor.is_nested
    ]
    return any(_unpack_dual(tensor).tangent is not None for tensor in strided)


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


def _third(x, *factors):
    """The third derivative of mish times the factors, composed so that autograd can take it from
    there."""
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
    # The factors' own product may be beyond a 16-bit type when the result is not.
    for factor in factors:
        third = third * factor
    return third.to(x.dtype)


def _sum(*terms):
    present = [term for term in terms if term is not None]
    return sum(present[1:], present[0]) if present else None


def _gradient(grad_y, x):
    """``mish::backward``, by the short way if nobody records or watches it."""
    if (
        _is_compiling()
        or type(grad_y) is not Tensor
        or type(x) is not Tensor
        or _is_grad_enabled()
        or _in_transform()
        or forward_ad._current_level >= 0
        or _modes()
    ):
        return ops.backward(grad_y, x)
    return ops.plain_backward(grad_y, x)


class _Function(_SingleLevelFunction):
    """A rule for one level of differentiation, applied to ``below``, the operator's next kernel,
    and its tensors. The base is what torch.func itself derives from inside a transform's level,
    which is where an autograd kernel runs; it spares each call what Function.apply adds in Python.
    """

    @staticmethod
    def _compiled_autograd_key(ctx):
        # Nothing but tensors is kept, so the class alone tells what backward does.
        return (ctx._autograd_function_id,)

    @staticmethod
    def jvp(ctx, _below, *tangents):
        """``tangent`` of the class, so that forward mode can be nested: PyTorch calls this with
        forward mode off, in which the levels further out would lose their tangents, and with this
        level's tangents still on what was saved."""
        primals = [_unpack_dual(saved).primal for saved in ctx.saved_tensors]
        with forward_ad._set_fwd_grad_enabled(True):
            return ctx._forward_cls.tangent(*primals, *tangents)


# PyTorch shows the classes' names in profiles, messages and `grad_fn`.


class Mish(_Function):
    """``y = mish(x)``. Keeps x alone."""

    @staticmethod
    def forward(ctx, below, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return below(x)

    @staticmethod
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        return None, _gradient(grad_y, x)

    @staticmethod
    def tangent(x, x_tangent):
        return ops.backward(x_tangent, x)


class MishInPlace(_Function):
    """``x = mish(x)``. Keeps a copy of the old x: one tensor more, as a new output would be.
    Without forward mode, for which `in_place_kernel` composes the operator."""

    @staticmethod
    def forward(ctx, below, x):
        # With x's history, which derivatives of the gradient follow.
        with torch.enable_grad():
            ctx.save_for_backward(x.clone())
        ctx.mark_dirty(x)
        below(x)
        return x

    backward = Mish.backward


class MishBackward(_Function):
    """``grad_x = grad_y * mish'(x)``."""

    @staticmethod
    def forward(ctx, below, grad_y, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad_y, x)
        ctx.save_for_forward(grad_y, x)
        return below(grad_y, x)

    @staticmethod
    def backward(ctx, grad_grad_x):
        if grad_grad_x is None:
            return None, None, None
        grad_y, x = ctx.saved_tensors
        _, needs_grad_y, needs_x = ctx.needs_input_grad
        if not needs_x:
            return None, _gradient(grad_grad_x, x) if needs_grad_y else None, None
        return None, *ops.double_backward(grad_grad_x, grad_y, x)

    @staticmethod
    def tangent(grad_y, x, grad_y_tangent, x_tangent):
        return _sum(
            None if grad_y_tangent is None else ops.backward(grad_y_tangent, x),
            None if x_tangent is None else ops.double_backward(x_tangent, grad_y, x)[1],
        )


class MishDoubleBackward(_Function):
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
                None if second is None else _third(x, second, a, g),
            )
        return None, grad_a, grad_g, grad_x

    @staticmethod
    def tangent(a, g, x, a_tangent, g_tangent, x_tangent):
        first = _sum(
            None if a_tangent is None else ops.backward(a_tangent, x),
            None if x_tangent is None else ops.double_backward(x_tangent, a, x)[1],
        )
        second = _sum(
            None if a_tangent is None else ops.double_backward(a_tangent, g, x)[1],
            None if g_tangent is None else ops.double_backward(a, g_tangent, x)[1],
            None if x_tangent is None else _third(x, x_tangent, a, g),
        )
        # PyTorch takes no None here.
        return torch.zeros_like(x) if first is None else first, second


def prepare():
    """Registers what only matters once another part of PyTorch is loaded."""
    if "torch.distributed.tensor" in sys.modules:
        from . import _sharding

        _sharding.register()
        return _sharding
    return None


def _is_sharded(*tensors):
    sharding = prepare()
    return sharding is not None and any(map(sharding.is_sharded, tensors))


def kernel(op, function):
    """The kernel that an operator has under the Autograd keys."""

    def autograd(keyset, *args):
        prepare()
        if not _differentiates(*args):
            return _below(op, keyset, *args)
        if _in_transform():
            with enable_single_level_autograd_function():
                return function.apply(_outer(op, keyset), *args)
        return function.apply(partial(_below, op, keyset), *args)

    return autograd


def in_place_kernel(op):
    """The same for an operator that overwrites x and returns it."""

    def autograd(keyset, x):
        if isinstance(x, Tensor) and x.is_nested:
            # Jagged ones would write, and then miss the result that the schema has not.
            raise NotImplementedError("mish: nested tensors cannot be overwritten")
        differentiates, sharded = _differentiates(x), _is_sharded(x)
        if not (differentiates or sharded):
            return _below(op, keyset, x)
        # A Function finds out too late that x must not be overwritten, as a leaf or a view may
        # not, and in forward mode would have to overwrite the tangent. PyTorch's copy_ knows all.
        if (
            sharded
            or _in_transform()
            or x.is_leaf
            or x._is_view()
            or _is_forward_mode(x)
        ):
            _rules.refuse_overlap(x)
            return x.copy_(ops.forward(x.clone() if differentiates else x))
        return MishInPlace.apply(partial(_below, op, keyset), x)

    return autograd


_overwrite = in_place_kernel(ops.forward_)


def _forward_in_place(keyset, x):
    # The schema has no result.
    _overwrite(keyset, x)


def _forward_out(keyset, x, *, out):
    if _is_grad_enabled() and _C._any_requires_grad(x, out):
        raise RuntimeError(
            "mish::forward(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the arguments requires grad."
        )
    if _is_forward_mode(x, out) and _have_tangents(x, out):
        raise NotImplementedError(
            "Trying to use forward AD with mish::forward.out that does not support it because "
            "it is an out= function"
        )
    if _is_sharded(x, out):
        _rules.into(x, out=out)
    else:
        _below(ops.forward_out, keyset, x, out=out)


def mutating_kernel(op):
    """The kernel that tells autograd and views that an operator has written to a tensor: to its
    only one, or to `out`."""

    def bump(keyset, *args, **kwargs):
        changed = kwargs["out"] if kwargs else args[0]
        if changed is None:
            raise RuntimeError("mish: expected a tensor to overwrite, but got None")
        if changed.is_inference():
            # Inside of inference mode there is nothing to tell, and this is not called.
            raise RuntimeError(
                "Inplace update to inference tensor outside InferenceMode is not allowed. "
                "You can make a clone to get a normal tensor before doing inplace update. "
                "See https://github.com/pytorch/rfcs/pull/17 for more details."
            )
        with _C._AutoDispatchBelowADInplaceOrView():
            result = op.redispatch(keyset & _C._after_ADInplaceOrView_keyset, *args, **kwargs)
        torch.autograd.graph.increment_version(changed)
        return result

    return bump


def _register():
    impl = ops.definitions.impl
    for name, op, function in (
        ("forward", ops.forward, Mish),
        ("backward", ops.backward, MishBackward),
        ("double_backward", ops.double_backward, MishDoubleBackward),
    ):
        impl(name, kernel(op, function), "Autograd", with_keyset=True)
    impl("forward_", _forward_in_place, "Autograd", with_keyset=True)
    impl("forward.out", _forward_out, "Autograd", with_keyset=True)
    for name, op in (("forward_", ops.forward_), ("forward.out", ops.forward_out)):
        impl(name, mutating_kernel(op), "ADInplaceOrView", with_keyset=True)


_register()

"""What the operators are to the rest of PyTorch: shapes for tracing, batching for ``vmap``."""

import torch

from . import _register as ops


_SERVED = ops.SERVED
_NAMES = ("grad_grad_x", "grad_y", "x")
_TRANSFORMS = "FuncTorchDynamicLayerFrontMode"


def _check_like(name, tensor, x):
    """What the kernels check, in their words."""
    if tensor.dtype != x.dtype:
        raise RuntimeError(
            f"expected {name} to have dtype {x.dtype}, like x, but got {tensor.dtype}"
        )
    if tensor.device != x.device:
        raise RuntimeError(
            "expected all tensors to be on the same device, "
            f"but {name} is on {tensor.device} and x on {x.device}"
        )

    def message():
        return f"expected {name} to have shape {list(x.shape)}, like x, but got {list(tensor.shape)}"

    torch._check(tensor.dim() == x.dim(), message)
    for size, expected in zip(tensor.shape, x.shape):
        torch._check(size == expected, message)


def _like(*tensors):
    """The result on tensors without data."""
    x = tensors[-1]
    if x.dtype not in _SERVED:
        raise NotImplementedError(f"\"mish\" not implemented for '{x.dtype}'")
    for name, tensor in zip(_NAMES[-len(tensors) :], tensors[:-1]):
        _check_like(name, tensor, x)
    return torch.empty_like(x)


def _out(x, *, out):
    _like(x)
    _check_like("out", out, x)


def _pair(grad_grad_x, grad_y, x):
    return _like(grad_grad_x, grad_y, x), torch.empty_like(x)


def _aligned(info, in_dims, tensors):
    """The tensors with the batch dimension in front, made where it is missing."""
    aligned = []
    for tensor, dim in zip(tensors, in_dims):
        if dim is None:
            aligned.append(tensor.expand(info.batch_size, *tensor.shape))
        else:
            aligned.append(tensor.movedim(dim, 0))
    return aligned


def _forward_vmap(op):
    return lambda info, in_dims, x: (op(x), in_dims[0])


def _many_vmap(op):
    out_dims = len(op._schema.returns)

    def rule(info, in_dims, *tensors):
        if len(set(in_dims)) == 1:
            dim = in_dims[0]
        else:
            dim, tensors = 0, _aligned(info, in_dims, tensors)
        return op(*tensors), dim if out_dims == 1 else (dim,) * out_dims

    return rule


# Before torch.func looks at them: each transform knows the operators that these consist of, and
# functionalisation, forward mode and vmap need no rule of their own for those that overwrite.


def _in_place(x):
    x.copy_(ops.forward(x.clone()))


def into(x, *, out):
    """``forward.out``, composed."""
    _check_like("out", out, x)
    out.copy_(ops.forward(x))


# PyTorch's own rule for lazily negated tensors fails before 2.15 on operators without a result.


def _negated_in_place(x):
    x.copy_(ops.plain_forward(x.resolve_neg()))


def _negated_into(x, *, out):
    out.copy_(ops.plain_forward(x.resolve_neg()))


def _register():
    lib = ops.definitions
    for name in ops.PLAIN:
        fake = _pair if name == "double_backward" else _like
        for name in (name, "_" + name):
            torch.library.register_fake(f"mish::{name}", fake, lib=lib)
    torch.library.register_fake("mish::forward_", lambda x: None, lib=lib)
    torch.library.register_fake("mish::forward.out", _out, lib=lib)

    for name in ops.PLAIN:
        rule = _forward_vmap if name == "forward" else _many_vmap
        for op in (getattr(ops, name), getattr(ops, "plain_" + name)):
            torch.library.register_vmap(op, rule(op), lib=lib)
    for key, in_place, out in (
        (_TRANSFORMS, _in_place, into),
        ("Negative", _negated_in_place, _negated_into),
    ):
        lib.impl("forward_", in_place, key)
        lib.impl("forward.out", out, key)
    # The shortest call asks neither whether a transform nor whether a mode is active: they send it
    # to the public operator, which has derivatives and is what modes know.
    for key in (_TRANSFORMS, "Python"):
        lib.impl("_forward", lambda x: ops.forward(x), key)


_register()

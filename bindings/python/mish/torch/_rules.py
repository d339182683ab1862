"""What the operators are to the rest of PyTorch: shapes for tracing, batching for ``vmap``."""

import torch

from .. import _abi
from . import _register as ops


_TRANSFORMS = "FuncTorchDynamicLayerFrontMode"


def _check_like(name, tensor, x):
    """What the kernels check, in their words."""
    if tensor.dtype != x.dtype:
        raise RuntimeError(
            _abi.WRONG_DTYPE.format(name=name, expected=x.dtype, found=tensor.dtype)
        )
    if tensor.device != x.device:
        raise RuntimeError(
            _abi.WRONG_DEVICE.format(name=name, expected=x.device, found=tensor.device)
        )

    def message():
        shapes = {"expected": list(x.shape), "found": list(tensor.shape)}
        return _abi.WRONG_SHAPE.format(name=name, **shapes)

    torch._check(tensor.dim() == x.dim(), message)
    for size, expected in zip(tensor.shape, x.shape):
        torch._check(size == expected, message)


def check_dtype(x):
    """Refuses an element type that the kernels do not compute in."""
    if x.dtype not in ops.SERVED:
        raise NotImplementedError(_abi.NOT_IMPLEMENTED.format(dtype=x.dtype)) from None


def _fake(inputs, outputs):
    """The results on tensors without data."""

    def rule(*tensors):
        x = tensors[-1]
        check_dtype(x)
        for name, tensor in zip(inputs[:-1], tensors):
            _check_like(name, tensor, x)
        made = tuple(torch.empty_like(x) for _ in outputs)
        return made if len(made) > 1 else made[0]

    return rule


def _out(x, *, out):
    check_dtype(x)
    _check_like("out", out, x)


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


def refuse_overlap(x):
    """Refuses to overwrite a tensor of which two elements are one. PyTorch's ``copy_`` sees only
    strides of 0; the kernels, which look themselves, do not run here."""
    if torch.compiler.is_compiling() or 0 in x.shape:
        return
    dims = sorted((step, size) for size, step in zip(x.shape, x.stride()) if size > 1)
    reach = 0
    for step, size in dims:
        if step <= reach:
            break
        reach += step * (size - 1)
    else:
        return
    offsets = [0]
    # Not nested, which is rare: few are counted, and many count as overlapping.
    if x.numel() <= 2**16:
        for step, size in dims:
            offsets = [offset + i * step for offset in offsets for i in range(size)]
        if len(set(offsets)) == len(offsets):
            return
    raise RuntimeError(
        "unsupported operation: more than one element of the written-to tensor refers to a single "
        "memory location. Please clone() the tensor before performing the operation."
    )


def _in_place(x):
    refuse_overlap(x)
    x.copy_(ops.forward(x.clone()))


def into(x, *, out):
    """``forward.out``, composed."""
    _check_like("out", out, x)
    refuse_overlap(out)
    out.copy_(ops.forward(x))


# PyTorch's own rule for lazily negated tensors fails before 2.15 on operators without a result.


def _negated_in_place(x):
    refuse_overlap(x)
    x.copy_(ops.plain_forward(x.resolve_neg()))


def _negated_into(x, *, out):
    refuse_overlap(out)
    out.copy_(ops.plain_forward(x.resolve_neg()))


def _register():
    lib = ops.definitions
    for operation, (inputs, outputs, _) in _abi.OPERATIONS.items():
        for name in (operation, "_" + operation):
            torch.library.register_fake(f"mish::{name}", _fake(inputs, outputs), lib=lib)
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

"""What the operators are to the rest of PyTorch: shapes for tracing, batching for ``vmap``."""

import torch

from . import _register as ops


def _like(*tensors):
    """The result on tensors without data; checks what the kernels check."""
    x = tensors[-1]
    for tensor in tensors:
        if not tensor.dtype.is_floating_point or tensor.dtype.itemsize < 2:
            raise NotImplementedError(f'"mish" not implemented for \'{tensor.dtype}\'')
        if tensor.dtype != x.dtype:
            raise RuntimeError(f"expected dtype {x.dtype}, like x, but got {tensor.dtype}")
        torch._check(
            tensor.dim() == x.dim(), lambda: f"expected shape {x.shape}, got {tensor.shape}"
        )
        for size, expected in zip(tensor.shape, x.shape):
            torch._check(
                size == expected, lambda: f"expected shape {x.shape}, got {tensor.shape}"
            )
    return torch.empty_like(x)


def _out(x, *, out):
    _like(out, x)


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


def _many_vmap(op, out_dims):
    def rule(info, in_dims, *tensors):
        if len(set(in_dims)) == 1:
            dim = in_dims[0]
        else:
            dim, tensors = 0, _aligned(info, in_dims, tensors)
        return op(*tensors), dim if out_dims == 1 else (dim,) * out_dims

    return rule


def _in_place(x):
    # Each of the two has a batching rule of its own.
    x.copy_(ops.forward(x))


def _into(x, *, out):
    out.copy_(ops.forward(x))


def _register():
    lib = ops.definitions
    for name, fake in (
        ("forward", _like),
        ("forward_", lambda x: None),
        ("backward", _like),
        ("double_backward", _pair),
    ):
        torch.library.register_fake(f"mish::{name}", fake, lib=lib)
        torch.library.register_fake(f"mish::_{name}", fake, lib=lib)
    torch.library.register_fake("mish::forward.out", _out, lib=lib)

    for prefix in ("", "_"):
        find = getattr
        forward = find(torch.ops.mish, prefix + "forward").default
        backward = find(torch.ops.mish, prefix + "backward").default
        double_backward = find(torch.ops.mish, prefix + "double_backward").default
        for op, rule in (
            (forward, _forward_vmap(forward)),
            (backward, _many_vmap(backward, 1)),
            (double_backward, _many_vmap(double_backward, 2)),
        ):
            torch.library.register_vmap(op, rule, lib=lib)
        lib.impl(prefix + "forward_", _in_place, "FuncTorchBatched")
    lib.impl("forward.out", _into, "FuncTorchBatched")


_register()

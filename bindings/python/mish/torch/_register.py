"""Declares the operators and has ``libmish.so`` register their kernels.

libtorch exports a C interface that stays from release to release; the library finds it at run
time, so nothing here is compiled against a version of PyTorch.
"""

import os

import torch

from .. import _abi, _library
from .._errors import MishError

# Each has one with an underscore in front, the same kernel without an autograd rule.
PLAIN = tuple(_abi.OPERATIONS)
# The one that is met most comes first.
SERVED = tuple(
    getattr(torch, dtype.full_name)
    for dtype in sorted(_abi.DTYPES, key=lambda dtype: dtype.full_name != "float32")
)


def _register():
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    cpu = os.path.join(folder, "libtorch_cpu.so")
    cuda = os.path.join(folder, "libtorch_cuda.so")
    if not os.path.isfile(cuda) or torch.version.cuda is None:
        cuda = None
    library = _library.library()
    definitions = torch.library.Library("mish", "FRAGMENT")
    tags = (torch.Tag.pt2_compliant_tag, torch.Tag.pointwise)
    for name, schema in _abi.OPERATORS.items():
        definitions.define(name + schema, tags=tags)
    status = library.mish_torch_register(
        os.fsencode(cpu), None if cuda is None else os.fsencode(cuda), 0
    )
    if status != _abi.MISH_STATUS_OK:
        definitions._destroy()
        message = library.mish_last_error().decode("utf-8", "replace")
        raise ImportError(f"mish.torch cannot use PyTorch {torch.__version__}: {message}")
    for name in PLAIN:
        definitions.impl(f"_{name}", torch.library.fallthrough_kernel, "Autograd")
    return definitions


# Held for good: what a Library registers lasts as long as it does.
definitions = _register()

_ops = torch.ops.mish
forward = _ops.forward.default
forward_ = _ops.forward_.default
forward_out = _ops.forward.out
backward = _ops.backward.default
double_backward = _ops.double_backward.default
plain_forward = _ops._forward.default
plain_backward = _ops._backward.default
plain_double_backward = _ops._double_backward.default


def replace_native(on):
    """Puts the library's kernels in the place of PyTorch's own, or takes them out again."""
    library = _library.library()
    status = library.mish_torch_replace(int(on))
    if status != _abi.MISH_STATUS_OK:
        raise MishError(status, library.mish_last_error().decode("utf-8", "replace"))

"""Mish for PyTorch: native operators, full autograd, and a switch for existing models.

>>> import torch, mish.torch
>>> y = mish.torch.mish(torch.randn(8, requires_grad=True))

``Mish`` is a drop-in for ``torch.nn.Mish``; ``replace(model)`` swaps it in, ``restore(model)`` out
again; ``enable()`` makes ``torch.nn.functional.mish`` itself run this library. The operators are
``torch.ops.mish.forward``, ``forward_``, ``forward.out``, ``backward`` and ``double_backward``.
"""

try:
    import torch as _torch
except ImportError as error:
    raise ImportError("mish.torch needs PyTorch 2.9 or newer: pip install torch") from error

if tuple(int(part) for part in _torch.__version__.split(".")[:2]) < (2, 9):
    raise ImportError(f"mish.torch needs PyTorch 2.9 or newer; this is {_torch.__version__}")

from . import _autograd, _rules  # noqa: F401  registers on import
from ._enable import disable, enable
from ._functional import mish
from ._module import Mish
from ._replace import Replaced, replace, restore

__all__ = ["Mish", "Replaced", "disable", "enable", "mish", "replace", "restore"]

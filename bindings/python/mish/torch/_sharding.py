"""DTensor: the operators are pointwise, so every operand is sharded alike.

Operators without a result, as the in-place ones are, have no rule in PyTorch before 2.15:
`_autograd` composes them for a DTensor.
"""

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.experimental import register_sharding

from .. import _abi
from . import _register as ops

_done = False


def register():
    """Registers the rules, once."""
    global _done
    if _done:
        return
    _done = True
    for name, (inputs, outputs, _) in _abi.OPERATIONS.items():
        register_sharding(getattr(ops, name))(_pointwise(len(inputs), len(outputs)))
    # Whether a tensor has a tangent is asked through this one, for which PyTorch 2.9 has no rule.
    alias = torch.ops.aten.alias.default
    tables = vars(DTensor._op_dispatcher.sharding_propagator).values()
    if not any(isinstance(table, dict) and alias in table for table in tables):
        register_sharding(alias)(_pointwise(1, 1))


def is_sharded(tensor):
    """Whether it is a DTensor."""
    return isinstance(tensor, DTensor)


def _pointwise(inputs, outputs):
    def rule(*operands, **_kwargs):
        placements = [Replicate(), *(Shard(dim) for dim in range(operands[-1].ndim))]
        return [([place] * outputs, [place] * inputs) for place in placements]

    return rule

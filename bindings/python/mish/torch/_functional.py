"""``mish(x)`` by the shortest way that is right."""

import torch
from torch import Tensor, _C
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function_unary

from . import _autograd, _rules
from . import _register as ops

# Nothing but a constant unless torch.compile traces it. Other tracers pass tensors of their own type.
_is_compiling = torch.compiler.is_dynamo_compiling
_is_grad_enabled = torch.is_grad_enabled
_in_transform = _C._are_functorch_transforms_active
_is_tracing = _C._is_tracing
_modes = _C._len_torch_dispatch_stack
_record = _autograd.Mish.apply
# The function below OpOverload.__call__, which is a fifth of the whole call.
_plain_forward = getattr(ops.plain_forward, "_op", ops.plain_forward)


def mish(input, inplace=False):
    """Mish, element by element: ``x * tanh(softplus(x))``.

    Args:
        input: a float16, bfloat16, float32 or float64 tensor on the CPU or a CUDA device, of any
            shape and strides.
        inplace: overwrite ``input`` and return it. Without gradients nothing is allocated; with
            gradients the old values are kept in a copy, as ``torch.nn.Mish`` does.

    Returns:
        A tensor of the input's shape, dtype, device and memory format.

    Gradients of every order and forward-mode derivatives are supported; for first order only
    ``input`` is kept, and each of the first two orders is one kernel.
    """
    # Tensor subclasses and modes decide, and torch.fx gets its node.
    if has_torch_function_unary(input):
        return handle_torch_function(mish, (input,), input, inplace=inplace)
    # is_compiling comes first: torch.compile traces no further.
    if _is_compiling() or inplace or type(input) is not Tensor or _is_tracing():
        return _general(input, inplace)
    try:
        if input.requires_grad and _is_grad_enabled():
            if not (_in_transform() or _modes()):
                return _record(_plain_forward, input)
        elif forward_ad._current_level < 0:
            # Under a transform or a mode this becomes the public operator: `_rules`.
            return _plain_forward(input)
    except RuntimeError:
        # Said below by the public operator, in its name.
        pass
    return _general(input, inplace)


# Where it is to be found again, by torch.fx and pickle.
mish.__module__ = "mish.torch"


def _general(input, inplace):
    """Leaves it to the dispatcher, which knows transforms, tracing and subclasses."""
    if torch.onnx.is_in_onnx_export():
        # ONNX has a Mish of its own, and PyTorch knows from which version on.
        return functional.mish(input, inplace)
    if _is_compiling():
        return _dispatch(input, inplace)
    if not isinstance(input, Tensor):
        raise TypeError(f"mish(): argument 'input' must be Tensor, not {type(input).__name__}")
    _autograd.prepare()
    try:
        return _dispatch(input, inplace)
    except NotImplementedError:
        raise
    except RuntimeError:
        _rules.check_dtype(input)
        raise


def _scriptable(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        torch.ops.mish.forward_(input)
        return input
    return torch.ops.mish.forward(input)


# What torch.jit.script compiles in mish's place.
mish.__prepare_scriptable__ = lambda: _scriptable


def _dispatch(input, inplace):
    if inplace:
        ops.forward_(input)
        return input
    return ops.forward(input)

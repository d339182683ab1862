"""The three operations on arrays."""

import ctypes

from . import _abi, _cuda
from ._arrays import Operand, empty_like
from ._errors import MishError
from ._library import last_error, library


def forward(x, out=None, stream=None):
    """``mish(x)``, element by element.

    Args:
        x: a NumPy array, or a GPU array with ``__cuda_array_interface__``; float16, bfloat16,
            float32 or float64, any strides.
        out: the array to write, of the same shape, type and device; may be ``x`` itself.
            Without it a new one is made.
        stream: for GPU arrays, an integer handle or a stream object; without it the stream that
            the operands export, else the legacy default stream. The call is asynchronous on it, and
            ordered with the other streams that the operands export.

    Returns:
        ``out``, or the new array.
    """
    if out is None:
        out = empty_like(x, "x")
    _call("forward", (x, out), ("out",), stream)
    return out


def backward(grad_y, x, out=None, stream=None):
    """The gradient with respect to ``x``: ``grad_y * mish'(x)``.

    ``grad_y`` is the gradient with respect to the output, ``x`` the input of the forward pass;
    ``out`` may be one of the two. Everything else is as for :func:`forward`.
    """
    if out is None:
        out = empty_like(x, "x")
    _call("backward", (grad_y, x, out), ("out",), stream)
    return out


def double_backward(grad_grad_x, grad_y, x, out=None, stream=None):
    """The gradient of :func:`backward`, with respect to both of its inputs.

    Args:
        grad_grad_x: the gradient with respect to the output of :func:`backward`.
        grad_y, x: what :func:`backward` was given.
        out: a pair of arrays to write; ``None`` in place of one of them leaves that result out.
            Each may be one of the inputs, not both the same.
        stream: as for :func:`forward`.

    Returns:
        The pair ``(grad_grad_x * mish'(x), grad_grad_x * grad_y * mish''(x))``: the gradients
        with respect to ``grad_y`` and to ``x``.
    """
    if out is None:
        out = (empty_like(x, "x"), empty_like(x, "x"))
    elif not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError("out: expected a pair of arrays, either of which may be None")
    arrays = (grad_grad_x, grad_y, x, out[0], out[1])
    _call("double_backward", arrays, ("out[0]", "out[1]"), stream)
    return tuple(out)


def _call(name, arrays, outs, stream):
    """Calls an operation on arrays in the order of the C function; ``outs`` are the outputs' names
    here."""
    names, outputs, _ = _abi.OPERATIONS[name]
    inputs, names = len(names), names + outs
    operands = []
    for position, array in enumerate(arrays):
        if array is None and name == "double_backward" and position >= inputs:
            operands.append(None)
            continue
        operand = Operand(array, names[position])
        if operand.is_read_only and position >= inputs:
            raise MishError(
                _abi.MISH_STATUS_READ_ONLY, f"{names[position]}: the array is read-only"
            )
        operands.append(operand)
    present = [operand for operand in operands if operand is not None]
    handle, others = _cuda.order(stream, present)
    first = present[0]
    if all(operand.is_like(first) for operand in present):
        function = getattr(library(), "mish_" + name)
        pointers = [None if operand is None else operand.pointer for operand in operands]
        status = function(first.device, first.dtype, *pointers, first.size, handle)
    else:
        function = getattr(library(), "mish_tensor_" + name)
        tensors = [None if operand is None else operand.tensor() for operand in operands]
        pointers = [None if tensor is None else ctypes.byref(tensor) for tensor in tensors]
        status = function(*pointers, handle)
    if status != _abi.MISH_STATUS_OK:
        raise _renamed(last_error(status), dict(zip(outputs, outs)))
    _cuda.release(handle, others)


def _renamed(error, outputs):
    """The error with the output called what it is called here."""
    argument, colon, rest = error.message.partition(":")
    if argument in outputs:
        return MishError(error.status, outputs[argument] + colon + rest)
    return error

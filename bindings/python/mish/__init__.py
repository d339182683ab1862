"""Mish, its gradient and its second derivative as single fused passes.

``mish(x) = x * tanh(softplus(x))`` on NumPy arrays and on GPU arrays that have
``__cuda_array_interface__``, for float16, bfloat16, float32 and float64. Derivatives need the
input of the forward pass and nothing else.

Operands of a call have one shape, element type and device; nothing is broadcast, converted or
moved. Any strides will do. Errors are :class:`MishError` and leave the outputs untouched.
"""

from ._abi import VERSION as __version__
from ._errors import LibraryError, MishError
from ._info import build_info, device_count, set_num_threads, version, warmup
from ._ops import backward, double_backward, forward

__all__ = [
    "LibraryError",
    "MishError",
    "__version__",
    "backward",
    "build_info",
    "device_count",
    "double_backward",
    "forward",
    "set_num_threads",
    "version",
    "warmup",
]

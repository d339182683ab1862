"""Arrays of any library, as the C ABI sees them."""

import ctypes
import sys

from . import _abi, _cuda
from ._errors import MishError

# MISH_DTYPE_* and size by the interfaces' type string; bfloat16 has none of its own.
_BFLOAT16 = (_abi.MISH_DTYPE_BF16, 2)
_DTYPES = {
    f"<f{dtype.size}": (dtype.code, dtype.size)
    for dtype in _abi.DTYPES
    if dtype.code != _abi.MISH_DTYPE_BF16
}
# DLPack's type code and bits by MISH_DTYPE_*.
_DLPACK = {dtype.code: dtype.dlpack for dtype in _abi.DTYPES}


class Operand:
    """Pointer, element type, shape and strides of an array, which it keeps alive.

    ``steps`` are the strides in bytes, ``strides`` in elements; both may be ``None`` if the array
    is contiguous.
    """

    __slots__ = (
        "device",
        "dtype",
        "exported_stream",
        "is_contiguous",
        "is_read_only",
        "item",
        "keep",
        "name",
        "pointer",
        "shape",
        "size",
        "steps",
        "strides",
    )

    def __init__(self, array, name):
        self.name = name
        numpy = sys.modules.get("numpy")
        if numpy is not None and type(array) is numpy.ndarray:
            self._from_numpy(array, name)
        else:
            self._from_interface(array, name)
        self.pointer = self.pointer or None
        self.strides = None
        if not self.is_contiguous:
            item = self.item
            # Of a dimension that nobody steps along, the stride may be anything.
            self.strides = tuple(
                _in_elements(stride, item, name) if length > 1 else 0
                for stride, length in zip(self.steps, self.shape)
            )
        size = 1
        for length in self.shape:
            size *= length
        self.size = size

    def _from_numpy(self, array, name):
        """What the interface says too, in half the time."""
        self.device = _abi.MISH_DEVICE_CPU
        self.keep = array
        typestr = array.dtype.str
        self.dtype, self.item = _DTYPES.get(typestr) or _dtype(array, typestr, name)
        flags = array.flags
        self.is_contiguous = flags.c_contiguous
        self.is_read_only = not flags.writeable
        self.shape, self.steps = array.shape, array.strides
        self.pointer = array.ctypes.data
        self.exported_stream = None

    def _from_interface(self, array, name):
        interface = getattr(array, "__cuda_array_interface__", None)
        if interface is not None:
            self.device = _abi.MISH_DEVICE_CUDA
        else:
            self.device = _abi.MISH_DEVICE_CPU
            array, interface = _host_interface(array, name)
        self.keep = array
        if interface.get("mask") is not None:
            raise TypeError(f"{name}: masked arrays are not supported")
        try:
            typestr, self.shape = interface["typestr"], tuple(interface["shape"])
        except KeyError as missing:
            raise TypeError(f"{name}: the array interface has no {missing}") from None
        self.dtype, self.item = _dtype(array, typestr, name)
        self.steps = interface.get("strides")
        self.exported_stream = interface.get("stream")
        data = interface.get("data")
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise TypeError(f"{name}: the array interface has no data pointer")
        self.pointer, self.is_read_only = data
        steps = self.steps
        _check_interface(self.shape, steps, self.pointer, name)
        self.is_contiguous = steps is None or _is_contiguous(self.shape, steps, self.item)

    def is_like(self, other):
        """Whether one contiguous call serves both."""
        return (
            self.is_contiguous
            and other.is_contiguous
            and self.dtype == other.dtype
            and self.device == other.device
            and self.shape == other.shape
        )

    def tensor(self):
        """The operand as a C struct, which keeps its shape and strides alive."""
        ndim = len(self.shape)
        extents = ctypes.c_int64 * ndim
        code, bits = _DLPACK[self.dtype]
        ordinal = 0
        if self.device == _abi.MISH_DEVICE_CUDA and self.pointer:
            ordinal = _cuda.ordinal(self.pointer)
        return _abi.mish_tensor(
            data=self.pointer,
            device_type=self.device,
            device_id=ordinal,
            ndim=ndim,
            dtype=_abi.mish_dltype(code, bits, 1),
            shape=extents(*self.shape),
            strides=None if self.strides is None else extents(*self.strides),
            byte_offset=0,
        )


def _host_interface(array, name):
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(array, numpy.generic):
        # A scalar's interface points to memory that is gone at once.
        array = numpy.asarray(array)
        array.flags.writeable = False
    if numpy is not None and isinstance(array, numpy.ma.MaskedArray):
        raise TypeError(f"{name}: masked arrays are not supported")
    interface = getattr(array, "__array_interface__", None)
    if not isinstance(interface, dict):
        raise TypeError(
            f"{name}: expected a NumPy array, or an object with __array_interface__ or "
            f"__cuda_array_interface__; got {type(array).__name__}"
        )
    addressed = isinstance(interface.get("data"), (tuple, list))
    if not addressed and interface.get("mask") is None:
        array = _over_buffer(array, interface, name)
        interface = array.__array_interface__
    return array, interface


def _over_buffer(array, interface, name):
    """The same as NumPy's, of an array whose interface names no address but a buffer (Pillow's
    images) or is one itself."""
    data = interface.get("data")
    try:
        import numpy

        # Unlike asarray(), this looks where the buffer ends.
        return numpy.ndarray(
            tuple(interface["shape"]),
            interface["typestr"],
            array if data is None else data,
            interface.get("offset", 0),
            interface.get("strides"),
        )
    except (ImportError, KeyError, TypeError, ValueError) as error:
        raise TypeError(f"{name}: the array interface has no data pointer ({error})") from error


def _check_interface(shape, steps, pointer, name):
    """Refuses what an interface can say and an array cannot be: ctypes cuts numbers off to their
    type's bits, and strides are read for each dimension."""
    if steps is not None and len(steps) != len(shape):
        raise TypeError(
            f"{name}: the array interface has {len(steps)} strides for {len(shape)} dimensions"
        )
    size = 1
    for dimension, length in enumerate(shape):
        if length < 0:
            raise MishError(
                _abi.MISH_STATUS_INVALID_SHAPE,
                f"{name}: dimension {dimension} has the negative size {length}",
            )
        size *= length
    if size >= 2**63:
        raise MishError(
            _abi.MISH_STATUS_TOO_LARGE,
            f"{name}: shape {list(shape)} has more elements than the address space holds",
        )
    if pointer is not None and not 0 <= pointer < 2**64:
        raise MishError(
            _abi.MISH_STATUS_TOO_LARGE, f"{name}: {pointer:#x} is not in the address space"
        )
    if any(abs(step) >= 2**63 for step in steps or ()):
        raise MishError(
            _abi.MISH_STATUS_STRIDE_OVERFLOW,
            f"{name}: strides of {list(steps)} bytes reach further than the address space",
        )


def _dtype(array, typestr, name):
    dtype = getattr(array, "dtype", None)
    words = getattr(dtype, "name", None) or str(dtype)
    # Before the others: some libraries call it "<f2".
    if words.rpartition(".")[2] == "bfloat16" and typestr in ("<V2", "|V2", "<f2"):
        return _BFLOAT16
    known = _DTYPES.get(typestr)
    if known is not None:
        return known
    *others, last = (known.full_name for known in _abi.DTYPES)
    raise MishError(
        _abi.MISH_STATUS_UNSUPPORTED_DTYPE,
        f"{name}: the element type is {words if dtype is not None else typestr} ({typestr}); "
        f"{', '.join(others)} and {last} in the machine's byte order are supported",
    )


def _is_contiguous(shape, strides, item):
    expected = item
    for length, stride in zip(reversed(shape), reversed(strides)):
        if length == 0:
            return True
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


def _in_elements(stride, item, name):
    steps, rest = divmod(stride, item)
    if rest:
        raise MishError(
            _abi.MISH_STATUS_MISALIGNED,
            f"{name}: a stride of {stride} bytes is not a multiple of the element size {item}",
        )
    return steps


def empty_like(array, name):
    """A new array of the same shape, element type and device as an input."""
    if getattr(array, "__cuda_array_interface__", None) is None:
        array, _ = _host_interface(array, name)
        import numpy

        if isinstance(array, numpy.ndarray):
            return numpy.empty_like(array, subok=False)
        return numpy.empty_like(numpy.asarray(array))
    # The class may be a subclass defined by a user; the library is further up.
    for base in type(array).__mro__:
        module = sys.modules.get(base.__module__.partition(".")[0])
        make = getattr(module, "empty_like", None)
        if make is not None:
            return make(array)
    raise TypeError(
        f"out: required, because {type(array).__module__} has no empty_like to make it with"
    )

"""Memory of the first GPU for the tests, through nothing but the driver."""

import ctypes

import mish
import numpy as np
import pytest
from mish import _cuda


def gpus():
    try:
        return mish.device_count("cuda")
    except mish.MishError:
        return 0


needs_gpu = pytest.mark.skipif(gpus() == 0, reason="no GPU here")
without_gpu = pytest.mark.skipif(gpus() > 0, reason="there is a GPU here")


class DeviceArray:
    """An array in the memory of the first GPU, freed with the fixture's context."""

    allocated = []

    def __init__(self, values, stream=None):
        self.values = np.ascontiguousarray(values)
        self.dtype, self.stream = self.values.dtype, stream
        self.bytes = ctypes.c_size_t(max(self.values.nbytes, 1))
        self.pointer = ctypes.c_uint64()
        _cuda.call("cuMemAlloc_v2", ctypes.byref(self.pointer), self.bytes)
        self.allocated.append(self.pointer)
        source = ctypes.c_void_p(self.values.ctypes.data)
        _cuda.call("cuMemcpyHtoD_v2", self.pointer, source, self.bytes)
        # From pageable memory the copy may still be under way, and a stream of its own does not
        # wait for it.
        _cuda.call("cuCtxSynchronize")

    @property
    def __cuda_array_interface__(self):
        interface = self.values.__array_interface__
        keep = {key: interface[key] for key in ("shape", "typestr", "strides")}
        return {
            **keep,
            "data": (self.pointer.value, False),
            "version": 3,
            "stream": self.stream,
        }

    def free(self):
        self.allocated.remove(self.pointer)
        _cuda.call("cuMemFree_v2", self.pointer)

    def numpy(self):
        _cuda.call("cuCtxSynchronize")
        found = np.empty_like(self.values)
        target = ctypes.c_void_p(found.ctypes.data)
        _cuda.call("cuMemcpyDtoH_v2", target, self.pointer, self.bytes)
        return found


class View:
    """A strided view of a DeviceArray, described by one of its host copy."""

    def __init__(self, base, view):
        self.base, self.dtype = base, view.dtype
        interface = dict(view.__array_interface__)
        offset = interface["data"][0] - base.values.ctypes.data
        interface["data"] = (base.pointer.value + offset, False)
        interface["version"] = 3
        self.__cuda_array_interface__ = interface

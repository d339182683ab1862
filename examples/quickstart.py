"""Mish, its gradient and its second derivative from Python: on NumPy arrays and, where there is a
GPU, on device memory, here the driver's own; arrays of CuPy, Numba or PyTorch are passed the same
way.

    PYTHONPATH=bindings/python python examples/quickstart.py
"""

import ctypes
import sys

import mish
import numpy as np

x = np.array([-20, -5, -2, -1, 0, 0.5, 1, 10], np.float32)
grad_y = np.arange(1, 9, dtype=np.float32)
grad_grad_x = np.arange(8, 0, -1, dtype=np.float32)


def show(device, operation, values):
    for i, value in enumerate(values):
        print(f"{device} {operation} {i} {value:.9g}")


def on_host():
    show("cpu", "forward", mish.forward(x))
    show("cpu", "backward", mish.backward(grad_y, x))
    grad_grad_y, grad_x = mish.double_backward(grad_grad_x, grad_y, x)
    show("cpu", "grad_grad_y", grad_grad_y)
    show("cpu", "grad_x", grad_x)


def cuda(function, *arguments):
    code = getattr(ctypes.CDLL("libcuda.so.1"), function)(*arguments)
    if code != 0:
        raise RuntimeError(f"{function} failed: {code}")


class DeviceArray:
    """float32 in device memory, as any library may describe its own."""

    def __init__(self, values):
        self.shape, self.bytes = values.shape, ctypes.c_size_t(values.nbytes)
        self.pointer = ctypes.c_uint64()
        cuda("cuMemAlloc_v2", ctypes.byref(self.pointer), self.bytes)
        cuda("cuMemcpyHtoD_v2", self.pointer, ctypes.c_void_p(values.ctypes.data), self.bytes)

    @property
    def __cuda_array_interface__(self):
        data = (self.pointer.value, False)
        return {"shape": self.shape, "typestr": "<f4", "data": data, "version": 3}

    def numpy(self):
        values = np.empty(self.shape, np.float32)
        # A copy on the default stream waits for what was enqueued there.
        cuda("cuMemcpyDtoH_v2", ctypes.c_void_p(values.ctypes.data), self.pointer, self.bytes)
        return values


def on_gpu():
    context = ctypes.c_void_p()
    cuda("cuInit", 0)
    cuda("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
    cuda("cuCtxSetCurrent", context)
    dx, dg, dh = DeviceArray(x), DeviceArray(grad_y), DeviceArray(grad_grad_x)
    first, second = DeviceArray(x), DeviceArray(x)
    show("cuda", "forward", mish.forward(dx, out=first).numpy())
    show("cuda", "backward", mish.backward(dg, dx, out=first).numpy())
    mish.double_backward(dh, dg, dx, out=(first, second))
    show("cuda", "grad_grad_y", first.numpy())
    show("cuda", "grad_x", second.numpy())


on_host()
try:
    gpus = mish.device_count("cuda")
except mish.MishError as error:
    print(f"no GPU: {error}", file=sys.stderr)
else:
    if gpus:
        on_gpu()

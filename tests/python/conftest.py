"""The tests are of the package beside them, whatever is installed; with MISH_TEST_INSTALLED set,
of what is installed."""

import ctypes
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

if not os.environ.get("MISH_TEST_INSTALLED"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python"))


@pytest.fixture
def inductor():
    """For tests of torch.compile, which compiles C++ that includes Python's headers."""
    if not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("torch.compile: g++ is not installed")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        pytest.skip("torch.compile: Python's headers (python3-dev) are not installed")


@pytest.fixture
def context():
    """The primary context of the first GPU, current; frees what tests allocate in it."""
    from gpu import DeviceArray
    from mish import _cuda

    handle = ctypes.c_void_p()
    _cuda.call("cuInit", 0)
    _cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(handle), 0)
    _cuda.call("cuCtxPushCurrent_v2", handle)
    yield handle
    _cuda.call("cuCtxSynchronize")
    while DeviceArray.allocated:
        _cuda.call("cuMemFree_v2", DeviceArray.allocated.pop())
    _cuda.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
    _cuda.call("cuDevicePrimaryCtxRelease_v2", 0)

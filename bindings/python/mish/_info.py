"""Versions, devices, settings."""

import ctypes
import json

from . import _abi
from ._library import check, library

_DEVICES = {"cpu": _abi.MISH_DEVICE_CPU, "cuda": _abi.MISH_DEVICE_CUDA}


def _device(device):
    if isinstance(device, str):
        try:
            return _DEVICES[device]
        except KeyError:
            raise ValueError(f"device: {device!r} is neither 'cpu' nor 'cuda'") from None
    return device


def version():
    """The version of the loaded library."""
    return library().mish_version().decode()


def build_info():
    """What the loaded library is and what it runs on, as a dictionary."""
    return json.loads(library().mish_build_info().decode())


def device_count(device="cuda"):
    """The number of devices of a kind, ``"cpu"`` or ``"cuda"``.

    Raises :class:`~mish.MishError` (``MISH_STATUS_NO_DRIVER``) for ``"cuda"`` on a machine
    without the CUDA driver.
    """
    count = ctypes.c_int32(0)
    check(library().mish_device_count(_device(device), ctypes.byref(count)))
    return count.value


def warmup(device="cuda", ordinal=0):
    """Loads the kernels now, so that the first call or a graph capture need not."""
    check(library().mish_warmup(_device(device), ordinal))


def set_num_threads(threads):
    """The most threads that a call on the CPU uses; 0 is the default."""
    if not 0 <= threads < 2**32:
        raise ValueError(f"threads: {threads} is not in 0 .. 2**32 - 1")
    check(library().mish_set_num_threads(threads))

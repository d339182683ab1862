"""Versions, devices, settings."""

import ctypes
import json
import operator

from . import _abi
from ._library import check, library

_DEVICES = {"cpu": _abi.MISH_DEVICE_CPU, "cuda": _abi.MISH_DEVICE_CUDA}


def _device(device):
    if isinstance(device, str):
        try:
            return _DEVICES[device]
        except KeyError:
            raise ValueError(f"device: {device!r} is neither 'cpu' nor 'cuda'") from None
    return _within("device", device, -(2**31), 2**31)


def _within(name, value, low, end):
    """The number, which ctypes would cut off to its type's bits."""
    value = operator.index(value)
    if not low <= value < end:
        raise ValueError(f"{name}: {value} is not in {low} .. {end - 1}")
    return value


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
    check(library().mish_warmup(_device(device), _within("ordinal", ordinal, -(2**31), 2**31)))


def set_num_threads(threads):
    """The most threads that a call on the CPU uses; 0 is the default."""
    check(library().mish_set_num_threads(_within("threads", threads, 0, 2**32)))

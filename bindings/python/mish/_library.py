"""Finds and loads ``libmish.so``, once."""

import ctypes
import os
import threading
from pathlib import Path

from . import _abi
from ._errors import LibraryError, MishError

_FILE = "libmish.so"
_lock = threading.Lock()
_loaded = None


def library():
    """The loaded library, its functions declared."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _load(find())
    return _loaded


def find():
    """The path of the library; raises :class:`LibraryError` that says where it looked."""
    named = os.environ.get("MISH_LIBRARY")
    if named:
        if not os.path.isfile(named):
            raise LibraryError(f"MISH_LIBRARY is set to {named!r}, which is not a file")
        return named
    package = Path(__file__).resolve().parent
    candidates = [package / _FILE]
    if len(package.parents) > 2:
        candidates.append(package.parents[2] / "target" / "release" / _FILE)
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    places = "".join(f"\n  {candidate}" for candidate in candidates)
    raise LibraryError(
        f"{_FILE} was not found; looked at the environment variable MISH_LIBRARY (not set) and"
        f"{places}"
    )


def _load(path):
    try:
        handle = ctypes.CDLL(path)
        handle.mish_abi_version.restype = ctypes.c_uint32
        found = handle.mish_abi_version()
    except (OSError, AttributeError) as error:
        raise LibraryError(f"{path} is no usable {_FILE}: {error}") from error
    if found != _abi.MISH_ABI_VERSION:
        raise LibraryError(
            f"{path} has ABI version {found}; this package needs {_abi.MISH_ABI_VERSION}"
        )
    try:
        return _abi.declare(handle)
    except AttributeError as error:
        raise LibraryError(f"{path} does not fit this package: {error}") from error


def last_error(status):
    """The exception for a status that is not ``MISH_STATUS_OK``."""
    message = library().mish_last_error().decode("utf-8", "replace")
    return MishError(status, message)


def check(status):
    """Raises :class:`MishError` unless the status is ``MISH_STATUS_OK``."""
    if status != _abi.MISH_STATUS_OK:
        raise last_error(status)

"""Finds and loads ``libmish.so``, once."""

import ctypes
import os
import stat
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
    """The absolute path of the library; raises :class:`LibraryError` that says where it looked."""
    named = os.environ.get("MISH_LIBRARY")
    if named:
        # Absolute, or the loader would look for a bare name elsewhere.
        path = os.path.abspath(named)
        if not os.path.isfile(path):
            raise LibraryError(f"MISH_LIBRARY is set to {named!r}, which is not a file")
        return path
    package = Path(__file__).resolve().parent
    looked = ["the environment variable MISH_LIBRARY (not set)", package / _FILE]
    if (package / _FILE).is_file():
        return str(package / _FILE)
    root = _checkout(package)
    if root is not None:
        built = root / "target" / "release" / _FILE
        writable = _writable_by_all(root, built)
        if built.is_file() and writable is None:
            return str(built)
        why = f" (not taken: everyone may write to {writable})" if writable else ""
        looked.append(f"{built}{why}")
    raise LibraryError(f"{_FILE} was not found; looked at" + "".join(f"\n  {p}" for p in looked))


def _checkout(package):
    """The root of the project's sources, if that is where the package lies."""
    if package.parts[-3:] != ("bindings", "python", "mish"):
        return None
    root = package.parents[2]
    try:
        manifest = (root / "Cargo.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return root if 'name = "libmish"' in manifest.splitlines() else None


def _writable_by_all(root, file):
    """What everyone may write to, of the file and the folders from the root to it."""
    for path in (root, root / "target", file.parent, file):
        if path.exists() and path.stat().st_mode & stat.S_IWOTH:
            return path
    return None


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

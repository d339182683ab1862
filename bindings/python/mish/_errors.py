"""What can go wrong."""

from . import _abi

_NAMES = {
    value: name for name, value in vars(_abi).items() if name.startswith("MISH_STATUS_")
}


class LibraryError(OSError):
    """``libmish.so`` was not found, cannot be loaded or does not fit this package."""


class MishError(Exception):
    """A call that was refused or failed; its outputs are untouched.

    Attributes:
        status: the number, one of the ``MISH_STATUS_*`` constants.
        name: the constant's name, such as ``"MISH_STATUS_NULL_POINTER"``.
        message: which argument is wrong, what was passed and what is expected.
    """

    def __init__(self, status, message):
        self.status = status
        self.name = _NAMES.get(status, "MISH_STATUS_UNKNOWN")
        self.message = message
        super().__init__(f"{self.name}: {message}")

    def __reduce__(self):
        return MishError, (self.status, self.message)

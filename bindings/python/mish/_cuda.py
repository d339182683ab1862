"""Streams, and the little of the CUDA driver that arrays from several streams need."""

import ctypes
import operator


_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9
_EVENT_DISABLE_TIMING = 2
_driver = None


class DriverError(RuntimeError):
    """A CUDA driver call that failed."""


def driver():
    """The CUDA driver, or ``None`` on a machine without it."""
    global _driver
    if _driver is None:
        try:
            _driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            _driver = False
    return _driver or None


def call(function, *arguments):
    """Calls a function of the driver."""
    code = getattr(driver(), function)(*arguments)
    if code != 0:
        text = ctypes.c_char_p()
        driver().cuGetErrorName(code, ctypes.byref(text))
        raise DriverError(f"{function}: {(text.value or b'unknown error').decode()} ({code})")


def ordinal(pointer):
    """The ordinal of the device that memory belongs to; 0 where the driver does not know."""
    found = ctypes.c_int(0)
    if driver() is not None:
        attribute = _POINTER_ATTRIBUTE_DEVICE_ORDINAL
        code = driver().cuPointerGetAttribute(
            ctypes.byref(found), attribute, ctypes.c_uint64(pointer)
        )
        if code == 0 and found.value >= 0:
            return found.value
    return 0


def order(given, operands):
    """The handle to run on, after making it wait for the streams that the operands export; and
    those other streams, each with an address, to be handed to :func:`release` after the call."""
    exporting = [found for found in operands if found.exported_stream is not None]
    if given is None and not exporting:
        return None, []
    exported = {_handle(found.exported_stream): found.pointer for found in exporting}
    if given is not None:
        handle = _handle(given)
    else:
        handle = next(iter(exported), None)
    # Arrays without memory have nothing to wait for.
    others = [
        (other, pointer)
        for other, pointer in exported.items()
        if pointer and _normal(other) != _normal(handle)
    ]
    for other, pointer in others:
        _wait(handle, other, pointer)
    return handle, others


def release(handle, others):
    """Makes the streams that the operands export wait in turn: who goes on with an output there finds
    it finished, and who overwrites an input does not do so before it was read."""
    for other, pointer in others:
        _wait(other, handle, pointer)


def _handle(given):
    handle = _handle_of(given)
    # ctypes would cut it off, to NULL's stream perhaps.
    if handle is not None and not 0 <= handle < 2**64:
        raise ValueError(f"stream: {handle} is no handle")
    return handle


def _handle_of(given):
    if isinstance(given, ctypes.c_void_p):
        return given.value
    if hasattr(given, "__index__"):
        return operator.index(given) or None
    protocol = getattr(given, "__cuda_stream__", None)
    if protocol is not None:
        _, handle = protocol() if callable(protocol) else protocol
        return handle or None
    for attribute in ("ptr", "cuda_stream", "handle"):
        handle = getattr(given, attribute, None)
        if handle is not None:
            handle = getattr(handle, "value", handle)
            return handle or None
    raise TypeError(
        f"stream: expected an integer handle or a stream object; got {type(given).__name__}"
    )


def _normal(handle):
    # NULL and 1 are both the legacy default stream.
    return handle or 1


def _wait(handle, other, pointer):
    """Work enqueued on ``handle`` from now on starts after what ``other`` has to do now."""
    if driver() is None:
        return  # the call itself will say so
    # An event belongs to a context, and this thread may have none: the framework's is the primary
    # one of the device.
    device = ordinal(pointer)
    context, event = ctypes.c_void_p(), ctypes.c_void_p()
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        call("cuCtxPushCurrent_v2", context)
        try:
            call("cuEventCreate", ctypes.byref(event), _EVENT_DISABLE_TIMING)
            try:
                call("cuEventRecord", event, ctypes.c_void_p(other))
                call("cuStreamWaitEvent", ctypes.c_void_p(handle), event, 0)
            finally:
                call("cuEventDestroy_v2", event)
        finally:
            call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
    finally:
        call("cuDevicePrimaryCtxRelease_v2", device)

"""The switch: PyTorch's own Mish runs this library."""

import importlib.abc
import importlib.util
import sys
import threading
import warnings

import torch

from . import _autograd
from . import _register as ops

_aten = torch.ops.aten
_lock = threading.RLock()
_TABLE = "torch._inductor.decomposition"
_TAG = "libmish"
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


class _State:
    """What is in force now."""

    enabled = False
    double_backward = False
    # The Autograd-key kernels of `double_backward`.
    library = None
    # Inductor's own rules, to be put back.
    rules = None
    # Whether PyTorch has given its one warning about replaced kernels.
    warned = False


class _Enabled:
    """What :func:`enable` returns: leaving it restores what was before."""

    def __init__(self, before):
        self._before = before

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        _switch(*self._before)
        return False

    def __repr__(self):
        return f"mish.torch.enable(double_backward={_State.double_backward})"


def enable(double_backward=False):
    """Makes ``torch.nn.functional.mish``, ``torch.nn.Mish`` and ``aten::mish_backward`` run this
    library, on the CPU and on CUDA, for the whole process.

    PyTorch's own first-order autograd stays, so a call costs what it did. Under ``torch.compile``
    Inductor calls the library instead of decomposing Mish; functions compiled before are compiled
    anew. Undone by :func:`disable`, or used as a context manager: ``with mish.torch.enable(): ...``.

    Args:
        double_backward: also give the second order the library's fused and finite kernel.
            PyTorch's own composes some nine operations and is NaN for large ``x``. The rule is
            written in Python, so that a call that needs gradients costs a few microseconds more.

    No other thread may run Mish during the call.
    """
    with _lock:
        before = _State.enabled, _State.double_backward
        _switch(True, bool(double_backward))
        return _Enabled(before)


def disable():
    """Undoes :func:`enable`: PyTorch's own kernels, rules and lowerings are back."""
    _switch(False, False)


def _switch(enabled, double_backward):
    with _lock:
        if (enabled, double_backward) == (_State.enabled, _State.double_backward):
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warning only once for all operators")
            if _State.library is not None:
                _State.library._destroy()
                _State.library = None
            if enabled and not _State.enabled:
                _use_up_warning()
                ops.replace_native(True)
            elif not enabled and _State.enabled:
                ops.replace_native(False)
            if double_backward:
                _State.library = _autograd_kernels()
        if enabled != _State.enabled:
            (_patch_inductor if enabled else _restore_inductor)()
        _State.enabled, _State.double_backward = enabled, double_backward
        if "torch._dynamo" in sys.modules:
            # What was compiled holds what was in force then.
            torch.compiler.reset()


def _use_up_warning():
    """PyTorch warns once in a process when a kernel is replaced: from C++ on the standard error,
    from Python as a warning, which is ignored here."""
    if not _State.warned:
        _State.warned = True
        with torch.library._scoped_library("mish", "IMPL") as library:
            library.impl("_forward", torch.nn.functional.mish, "CPU")


def _autograd_kernels():
    library = torch.library.Library("aten", "IMPL")
    mish_ = _aten.mish_.default
    rule = _autograd.kernel(_aten.mish_backward.default, _autograd.MishBackward)

    def backward(keyset, grad, x):
        return rule(keyset, grad, x) if _is_alike(grad, x) else _promoted(grad, x)

    for key in ("AutogradCPU", "AutogradCUDA"):
        for name, function in (
            ("mish", _autograd.kernel(_aten.mish.default, _autograd.Mish)),
            ("mish_", _autograd.in_place_kernel(mish_)),
            ("mish_backward", backward),
        ):
            library.impl(name, function, key, with_keyset=True)
    # PyTorch's own refuses an inference tensor after it was overwritten.
    library.impl(
        "mish_", _autograd.mutating_kernel(mish_), "ADInplaceOrView", with_keyset=True
    )
    return library


def _is_alike(grad, x):
    """Whether there is nothing to promote, or nothing that could be: the kernel's error says it."""
    if not (grad.is_floating_point() and x.is_floating_point()) or grad.device != x.device:
        return True
    if grad.layout != torch.strided:
        return True
    return grad.dtype == x.dtype and grad.shape == x.shape


def _promoted(grad, x):
    """``aten::mish_backward`` of operands that differ in shape or type, which PyTorch broadcasts
    and converts."""
    dtype = torch.result_type(grad, x)
    wide = torch.broadcast_tensors(grad.to(dtype), x.to(dtype))
    return _aten.mish_backward.default(*wide).to(x.dtype)


def _decomposed_backward(grad, x):
    return ops.backward(grad, x) if _is_alike(grad, x) else _promoted(grad, x)


# Under torch.compile.


def _patch_inductor():
    # Compiled code on disk is filed under this tag among others.
    config = torch.compiler.config
    config.cache_key_tag += _TAG
    # Tracing takes mish_backward apart, as it does every operator with a composite definition,
    # before Inductor's table is asked.
    _aten.mish_backward.default.py_impl(_COMPOSITE)(_decomposed_backward)
    if _TABLE in sys.modules:
        _patch_table(sys.modules[_TABLE])
    else:
        # Importing Inductor takes seconds: wait until somebody else does.
        sys.meta_path.insert(0, _hook)


def _restore_inductor():
    config = torch.compiler.config
    config.cache_key_tag = config.cache_key_tag.replace(_TAG, "", 1)
    _aten.mish_backward.default.py_kernels.pop(_COMPOSITE, None)
    _aten.mish_backward.default._dispatch_cache.clear()
    if _hook in sys.meta_path:
        sys.meta_path.remove(_hook)
    if _State.rules is not None:
        _set_rules(sys.modules[_TABLE], _State.rules)
        _State.rules = None


def _patch_table(module):
    rules = {_aten.mish.default: ops.forward, _aten.mish_backward.default: _decomposed_backward}
    _State.rules = {op: module.decompositions.get(op) for op in rules}
    _set_rules(module, rules)


def _set_rules(module, rules):
    for op, rule in rules.items():
        if rule is None:
            module.decompositions.pop(op, None)
        else:
            module.decompositions[op] = rule
    # A copy of the table with random operators added.
    module.fast_random_decomps.cache_clear()


class _Hook(importlib.abc.MetaPathFinder):
    """Changes Inductor's table right after its import."""

    def find_spec(self, name, path=None, target=None):
        if name != _TABLE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            with _lock:
                if _State.enabled and _State.rules is None:
                    _patch_table(module)

        spec.loader.exec_module = exec_module
        return spec


_hook = _Hook()

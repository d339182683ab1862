"""mish.torch.enable(): what it replaces, what it leaves, and that nothing stays behind."""

import os
import subprocess
import sys
import textwrap

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch.autograd import gradgradcheck  # noqa: E402

import mish.torch  # noqa: E402
from mish.torch._register import SERVED as DTYPES  # noqa: E402



@pytest.fixture(autouse=True)
def undone():
    yield
    mish.torch.disable()


def is_libmish():
    # PyTorch's own forward of -inf is NaN.
    return not F.mish(torch.tensor([-torch.inf])).isnan().item()


def is_libmish_gradient():
    x = torch.tensor([torch.inf], requires_grad=True)
    return not torch.autograd.grad(F.mish(x), x)[0].isnan().item()


def is_libmish_second():
    x = torch.tensor([100.0], requires_grad=True)
    (grad,) = torch.autograd.grad(F.mish(x), x, create_graph=True)
    return not torch.autograd.grad(grad, x)[0].isnan().item()


def state():
    return is_libmish(), is_libmish_gradient(), is_libmish_second()


def test_nothing_before_and_nothing_after():
    assert state() == (False, False, False)
    mish.torch.enable()
    assert state() == (True, True, False)
    mish.torch.enable()
    assert state() == (True, True, False)
    mish.torch.enable(double_backward=True)
    assert state() == (True, True, True)
    mish.torch.enable()
    assert state() == (True, True, False)
    mish.torch.disable()
    assert state() == (False, False, False)
    mish.torch.disable()
    assert state() == (False, False, False)


def test_context_managers_nest():
    with mish.torch.enable():
        assert state() == (True, True, False)
        with mish.torch.enable(double_backward=True):
            assert state() == (True, True, True)
        assert state() == (True, True, False)
    assert state() == (False, False, False)
    with pytest.raises(KeyError), mish.torch.enable():
        raise KeyError
    assert state() == (False, False, False)


@pytest.mark.parametrize("double_backward", (False, True))
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_the_operators(dtype, double_backward):
    x = (torch.randn(6, 7).double() * 4).to(dtype)
    want = mish.torch.mish(x)
    grad = torch.randn(6, 7).to(dtype)
    with mish.torch.enable(double_backward=double_backward):
        assert torch.equal(F.mish(x), want)
        assert torch.equal(torch.nn.Mish()(x), want)
        y = x.clone()
        assert F.mish(y, inplace=True) is y and torch.equal(y, want)
        assert torch.equal(torch.ops.aten.mish_backward(grad, x), torch.ops.mish.backward(grad, x))
        wanted = x.clone().requires_grad_()
        for inplace in (False, True):
            (got,) = torch.autograd.grad(F.mish(wanted * 1, inplace=inplace), wanted, grad)
            assert torch.equal(got, torch.ops.mish.backward(grad, x))
        image = torch.randn(2, 3, 4, 5).to(dtype).to(memory_format=torch.channels_last)
        assert F.mish(image).stride() == image.stride()
        assert F.mish(torch.empty(0, 2, dtype=dtype)).shape == (0, 2)


def test_second_order_rule():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    with mish.torch.enable(double_backward=True):
        assert gradgradcheck(F.mish, (x,), check_fwd_over_rev=True)
        assert torch.autograd.gradcheck(F.mish, (x,), check_forward_ad=True)
        ours = torch.func.hessian(lambda v: F.mish(v).sum())(x.detach()[0])
    torch.testing.assert_close(ours, torch.func.hessian(lambda v: F.mish(v).sum())(x.detach()[0]))


def test_bad_input_stays_an_error():
    with mish.torch.enable():
        for bad in (torch.ones(3, dtype=torch.int32), torch.ones(3, dtype=torch.complex64)):
            with pytest.raises(RuntimeError, match="not implemented for"):
                F.mish(bad)
        with pytest.raises(TypeError):
            F.mish([1.0])


def run_python(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_quiet():
    result = run_python(
        """
        import torch, mish.torch
        for double_backward in (False, True):
            with mish.torch.enable(double_backward=double_backward):
                torch.nn.functional.mish(torch.ones(3))
        """
    )
    assert "verrid" not in result.stderr and result.stdout == ""


# In a process of its own: caches of compiled code on disk and whether Inductor is loaded matter.
COMPILED = """
import sys, torch, mish.torch
import torch.nn.functional as F

assert "torch._inductor.decomposition" not in sys.modules
if {import_first}:
    import torch._inductor.decomposition


def operators():
    x = torch.randn(40, requires_grad=True)
    step = torch.compile(lambda x: F.mish(x * 2).sum(), fullgraph=True)
    with torch.profiler.profile() as profile:
        step(x).backward()
    names = {{event.name for event in profile.events()}}
    return {{name for name in names if name.startswith("mish::")}}


assert operators() == set(), operators()
with mish.torch.enable(double_backward={double_backward}):
    found = operators()
    assert found == {{"mish::forward", "mish::backward"}}, found
assert operators() == set()
assert not any(type(finder).__module__.startswith("mish") for finder in sys.meta_path)
assert "libmish" not in torch.compiler.config.cache_key_tag
"""


# The second takes the first one's caches on disk, which must not be mixed up.
@pytest.mark.usefixtures("inductor")
def test_compiled_code(tmp_path):
    for first, double in ((False, False), (False, False), (True, True)):
        code = COMPILED.format(import_first=first, double_backward=double)
        run_python(code, TORCHINDUCTOR_CACHE_DIR=str(tmp_path))

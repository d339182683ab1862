"""What watches, compiles or transforms a program: names, layouts, samples of PyTorch's own suite."""

import itertools
from functools import partial

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.func import functionalize, hessian, jvp, vmap  # noqa: E402

import mish.torch  # noqa: E402
from entry_points import NAMES, entry_point, exact, into  # noqa: E402
from mish.torch._register import SERVED  # noqa: E402

OPS = torch.ops.mish


def in_place(x):
    return mish.torch.mish(x * 1, inplace=True)


@pytest.mark.parametrize("function", (mish.torch.mish, in_place, into))
def test_functionalize(function):
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(functionalize(function)(x), F.mish(x))
    torch.testing.assert_close(vmap(functionalize(function))(x), F.mish(x))


@pytest.fixture(params=("eager", "aot_eager", "inductor"))
def backend(request):
    if request.param == "inductor":
        request.getfixturevalue("inductor")
    torch.compiler.reset()
    return request.param


COMPILED = ["mish", "mish in place", "forward", "F.mish, double", "F.mish in place, double"]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_autograd(name, backend):
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    with entry_point(name) as function:
        for order in range(3):
            ours, theirs = function(x), exact(x)
            for _ in range(order):
                ours, theirs = (
                    torch.autograd.grad(y.sum(), x, create_graph=True)[0] for y in (ours, theirs)
                )
            (want,) = torch.autograd.grad(theirs.sum(), x)
            x.grad = None
            with torch._dynamo.compiled_autograd._enable(torch.compile(backend=backend)):
                ours.sum().backward()
            torch.testing.assert_close(x.grad, want)


def dual_level(function):
    """The tangent that a level of its own gives."""

    def derive(x):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.ones_like(x))
            return forward_ad.unpack_dual(function(dual)).tangent

    return derive


FORWARD_MODE = {
    "dual level": dual_level,
    "jvp": lambda f: lambda x: jvp(f, (x,), (x,))[1],
    "hessian": lambda f: hessian(lambda x: f(x).sum()),
}


# Compiled code enters levels of forward mode past the counter that PyTorch keeps in Python.
@pytest.mark.parametrize("derive", FORWARD_MODE.values(), ids=FORWARD_MODE)
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("compiler", ("eager", "aot_eager"))
def test_compiled_forward_mode(compiler, name, derive):
    x = torch.randn(5, dtype=torch.float64)
    want = derive(exact)(x)
    torch.compiler.reset()
    with entry_point(name) as function:
        got = torch.compile(derive(function), backend=compiler)(x)
    torch.testing.assert_close(got, want)


def test_selective_checkpointing():
    from torch.utils.checkpoint import (
        CheckpointPolicy,
        checkpoint,
        create_selective_checkpoint_contexts,
    )

    seen = []

    def policy(context, op, *args, **kwargs):
        seen.append(op)
        is_mish = op == OPS.forward.default
        return CheckpointPolicy.MUST_SAVE if is_mish else CheckpointPolicy.PREFER_RECOMPUTE

    contexts = partial(create_selective_checkpoint_contexts, policy)
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = checkpoint(mish.torch.mish, x, use_reentrant=False, context_fn=contexts)
    y.sum().backward()
    assert OPS.forward.default in seen
    torch.testing.assert_close(x.grad, torch.autograd.grad(F.mish(x).sum(), x)[0])


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_script_a_function_that_calls_it():
    def function(x: torch.Tensor) -> torch.Tensor:
        return mish.torch.mish(x) + mish.torch.mish(x * 2, inplace=True)

    x = torch.randn(4)
    torch.testing.assert_close(torch.jit.script(function)(x), F.mish(x) + F.mish(2 * x))


def test_names():
    x = torch.randn(3, requires_grad=True)
    with torch.profiler.profile() as profile:
        y = mish.torch.mish(x)
        z = in_place(x)
        (y + z).sum().backward(create_graph=True)
    names = {event.name for event in profile.events()}
    assert {"Mish", "MishInPlace", "MishBackward", "MishInPlaceBackward"} <= names
    assert y.grad_fn.name() == "MishBackward" and z.grad_fn.name() == "MishInPlaceBackward"
    assert x.grad.grad_fn is not None
    with pytest.raises(NotImplementedError, match="'mish::forward'"):
        mish.torch.mish(torch.ones(3).to_sparse())


def test_layouts_are_as_traced():
    from torch._subclasses import FakeTensorMode

    buffer = torch.randn(64)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor
    for dims in range(4):
        # Some thousand: every mixture of empty, single and expanded dimensions.
        for shape in itertools.product((0, 1, 3), repeat=dims):
            for strides in itertools.product((0, 1, 3), repeat=dims):
                x = buffer.as_strided(shape, strides)
                traced = OPS.forward(fake(x)).stride()
                assert OPS.forward(x).stride() == traced, (shape, strides)
                assert OPS.backward(x, x).stride() == traced, (shape, strides)


@pytest.mark.parametrize("dtype", SERVED)
@pytest.mark.parametrize("name", NAMES)
def test_samples_of_pytorchs_suite(name, dtype):
    pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest")
    from torch.testing._internal.common_methods_invocations import op_db

    (info,) = [op for op in op_db if op.name == "nn.functional.mish"]
    samples = list(info.sample_inputs("cpu", dtype, requires_grad=True))
    assert samples
    for sample in samples:
        x = sample.input
        wide = x.detach().double().requires_grad_()
        want = exact(wide)
        with entry_point(name) as function:
            y = function(x)
            (grad,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(y, want.to(dtype))
        torch.testing.assert_close(grad, torch.autograd.grad(want.sum(), wide)[0].to(dtype))
        assert y.stride() == torch.sigmoid(x).stride()


@pytest.mark.parametrize("dtype", SERVED)
@pytest.mark.parametrize("name", NAMES)
def test_infinite_gradients(name, dtype):
    # An infinity of the derivative's sign, where the derivative rounds to 0 too.
    inf = torch.inf
    points = [-inf, -1e4, -100.0, -20.0, -3.0, -1.0, 0.0, 2.0, 30.0, 1e4, inf]
    want = torch.tensor([-inf] * 5 + [inf] * 6, dtype=dtype)
    x = torch.tensor(points, dtype=dtype, requires_grad=True)
    with entry_point(name) as function:
        for sign in (1, -1):
            gradient = torch.full_like(x, sign * inf)
            (got,) = torch.autograd.grad(function(x), x, gradient)
            assert torch.equal(got, sign * want), sign
            if ", enable" not in name:
                # PyTorch's own forward mode multiplies by a derivative that it has rounded.
                _, got = jvp(function, (x.detach(),), (gradient,))
                assert torch.equal(got, sign * want), sign


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_third_order_of_large_gradients(dtype):
    # The product of the gradients is beyond float16, the result is not.
    x = torch.tensor([9.0, 40.0, 500.0], dtype=dtype)
    a, g, second = (torch.full_like(x, value).requires_grad_() for value in (300.0, 300.0, 2.0))
    wide = x.double().requires_grad_()
    x.requires_grad_()
    (got,) = torch.autograd.grad(OPS.double_backward(a, g, x)[1], x, second.detach())
    (want,) = torch.autograd.grad(OPS.double_backward(a.double(), g.double(), wide)[1], wide, second.double())
    torch.testing.assert_close(got, want.to(dtype), rtol=2e-2, atol=1e-3)

"""What watches, compiles or transforms a program: names, layouts, samples of PyTorch's own suite."""

import itertools
from functools import partial

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch.func import functionalize, vmap  # noqa: E402

import mish.torch  # noqa: E402
from mish.torch._register import SERVED  # noqa: E402

OPS = torch.ops.mish


def in_place(x):
    return mish.torch.mish(x * 1, inplace=True)


def into(x):
    y = torch.empty_like(x)
    OPS.forward.out(x, out=y)
    return y


@pytest.mark.parametrize("function", (mish.torch.mish, in_place, into))
def test_functionalize(function):
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(functionalize(function)(x), F.mish(x))
    torch.testing.assert_close(vmap(functionalize(function))(x), F.mish(x))


@pytest.mark.parametrize("function", (mish.torch.mish, OPS.forward, in_place))
def test_compiled_autograd(function):
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
        function(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.autograd.grad(F.mish(x).sum(), x)[0])


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
def test_samples_of_pytorchs_suite(dtype):
    from torch.testing._internal.common_methods_invocations import op_db

    (info,) = [op for op in op_db if op.name == "nn.functional.mish"]
    samples = list(info.sample_inputs("cpu", dtype, requires_grad=True))
    assert samples
    for sample in samples:
        for function in (mish.torch.mish, OPS.forward):
            x = sample.input
            y, want = function(x), F.mish(x)
            torch.testing.assert_close(y, want)
            assert y.stride() == want.stride()
            torch.testing.assert_close(
                torch.autograd.grad(y.sum(), x), torch.autograd.grad(want.sum(), x)
            )

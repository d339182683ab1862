"""Overwriting: what may not be overwritten is refused before anything is written."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402

import mish.torch  # noqa: E402

OPS = torch.ops.mish


def switched(overwrite):
    def run(x):
        with mish.torch.enable(double_backward=True):
            overwrite(x)

    return run


OVERWRITE = {
    "mish": lambda x: mish.torch.mish(x, inplace=True),
    "Mish": mish.torch.Mish(inplace=True),
    "forward_": OPS.forward_,
    "F.mish": switched(lambda x: F.mish(x, inplace=True)),
    "nn.Mish": switched(torch.nn.Mish(inplace=True)),
}


def leaf():
    return torch.randn(4, requires_grad=True)


def inference():
    with torch.inference_mode():
        return torch.randn(4)


def without_history():
    with torch.no_grad():
        return (torch.randn(4, requires_grad=True) * 1).requires_grad_()[1:]


def misaligned(n):
    memory = torch.frombuffer(bytearray(4 * n + 4), dtype=torch.float32, count=n, offset=1)
    return memory.copy_(torch.arange(n))


# Views of which two elements are one, by no stride of 0, where the work goes through copies.
OVERLAPPING = {
    "aligned": lambda: torch.arange(7.0).as_strided((4, 4), (1, 1)),
    "misaligned": lambda: misaligned(7).as_strided((4, 4), (1, 1)),
    "misaligned expanded": lambda: misaligned(1).expand(4),
    "ten dimensions": lambda: torch.arange(800.0).as_strided(
        (2,) * 10, (1, 3, 7, 15, 31, 63, 100, 130, 40, 1)
    ),
    "negated": lambda: torch._neg_view(torch.arange(7.0)).as_strided((4, 4), (1, 1)),
    "recorded view": lambda: (torch.arange(7.0).requires_grad_() * 1).as_strided((4, 4), (1, 1)),
}


# PyTorch copies negated tensors itself for its own operators, and sees strides of 0 alone.
OWN = [("F.mish", "negated"), ("nn.Mish", "negated")]


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in OVERWRITE for case in OVERLAPPING if (name, case) not in OWN],
)
def test_overlapping(name, case):
    x = OVERLAPPING[case]()
    before = x.detach().clone()
    with pytest.raises(RuntimeError, match="memory"):
        OVERWRITE[name](x)
    assert x.detach().equal(before)


@pytest.mark.parametrize("case", [case for case in OVERLAPPING if case != "recorded view"])
def test_overlapping_out(case):
    out = OVERLAPPING[case]()
    x, before = torch.randn(out.shape), out.clone()
    with pytest.raises(RuntimeError, match="memory"):
        OPS.forward.out(x, out=out)
    assert out.equal(before)


def test_out_that_shares_memory_with_x():
    memory = misaligned(10)
    before = memory.clone()
    with pytest.raises(RuntimeError, match="out: shares memory with x"):
        OPS.forward.out(memory[:9], out=memory[1:])
    assert memory.equal(before)
    # Exactly x is in place, wherever it lies; interleaved is apart.
    expected = F.mish(memory.clone())
    OPS.forward.out(memory, out=memory)
    torch.testing.assert_close(memory, expected)
    memory = misaligned(10)
    OPS.forward.out(memory[::2], out=memory[1::2])
    torch.testing.assert_close(memory[1::2], F.mish(memory[::2]))


def test_strides_that_do_not_nest_and_do_not_overlap():
    """Elements at 0, 2, 4, 3, 5, 7."""
    for make in (lambda: torch.arange(8.0), lambda: misaligned(8), lambda: torch._neg_view(torch.arange(8.0))):
        x = make().as_strided((2, 3), (3, 2))
        expected = F.mish(x.clone())
        mish.torch.mish(x, inplace=True)
        torch.testing.assert_close(x.clone(), expected)


REFUSED = {
    "leaf": (leaf, "a leaf Variable that requires grad"),
    "view of a leaf": (lambda: leaf()[1:], "a view of a leaf Variable that requires grad"),
    "one view of many": (lambda: (leaf() * 1).view(2, 2).unbind()[0], "multiple views"),
    "view without a history": (without_history, "no_grad mode"),
    "inference tensor": (inference, "inference tensor outside InferenceMode"),
    "expanded": (lambda: (torch.randn(1, requires_grad=True) * 1).expand(4), "memory location"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", OVERWRITE)
def test_refused(name, case):
    make, words = REFUSED[case]
    x = make()
    before = x.detach().clone()
    with pytest.raises(RuntimeError, match=words) as refused:
        OVERWRITE[name](x)
    assert torch.equal(x.detach(), before)
    if name == "mish":
        # As PyTorch words it.
        with pytest.raises(RuntimeError) as own:
            F.mish(make(), inplace=True)
        squeezed = ["".join(str(error.value).split()) for error in (refused, own)]
        assert squeezed[0] == squeezed[1]


@pytest.mark.parametrize("name", OVERWRITE)
def test_refused_types_leave_no_history(name):
    x = torch.randn(3, dtype=torch.complex64, requires_grad=True) * 1
    before, history, version = x.detach().clone(), x.grad_fn, x._version
    with pytest.raises(RuntimeError, match="not implemented for"):
        OVERWRITE[name](x)
    assert torch.equal(x.detach(), before)
    assert x.grad_fn is history and x._version == version


def test_out_outside_inference_mode():
    out = inference()
    before = out.clone()
    with pytest.raises(RuntimeError, match="inference tensor"):
        OPS.forward.out(torch.randn(4), out=out)
    assert torch.equal(out, before)


@pytest.mark.parametrize("name", OVERWRITE)
def test_what_is_allowed(name):
    overwrite = OVERWRITE[name]
    with torch.no_grad():
        x = leaf()
        want = F.mish(x)
        overwrite(x)
        torch.testing.assert_close(x, want)
    with torch.inference_mode():
        x = torch.randn(4)
        want = F.mish(x)
        overwrite(x)
        torch.testing.assert_close(x, want)
    # A window of something with a history: the rest keeps its gradient, the window gets Mish's.
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    y = x * 2
    overwrite(y[1:3])
    (got,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    z = torch.cat((x[:1] * 2, F.mish(x[1:3] * 2), x[3:] * 2))
    (want,) = torch.autograd.grad(z.sum(), x, create_graph=True)
    torch.testing.assert_close(y, z)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        torch.autograd.grad(got.sum(), x), torch.autograd.grad(want.sum(), x)
    )


@pytest.mark.parametrize("name", OVERWRITE)
def test_what_autograd_saved_is_watched(name):
    x = leaf() * 1
    product = x * x
    OVERWRITE[name](x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.*Mish"):
        product.sum().backward()

"""Derivatives of derivatives, forward and reverse in any nesting, of every entry point."""

import itertools

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.autograd.functional as AF  # noqa: E402
from torch.autograd import forward_ad, gradcheck, gradgradcheck  # noqa: E402
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap  # noqa: E402

import mish.torch  # noqa: E402
from entry_points import NAMES, entry_point, exact, into  # noqa: E402
from mish_cuda import mish_backward  # noqa: E402

OPS = torch.ops.mish
NESTINGS = [
    nesting for depth in range(1, 5) for nesting in itertools.product((jacfwd, jacrev), repeat=depth)
]  # fmt: skip


@pytest.fixture(params=NAMES)
def function(request):
    with entry_point(request.param) as function:
        yield function


def sample(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * 2


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nesting", NESTINGS, ids=lambda n: "-".join(t.__name__ for t in n))
def test_nestings(nesting, function):
    x = torch.tensor([-3.1, 0.4], dtype=torch.float64)
    ours, theirs = function, exact
    for transform in nesting:
        ours, theirs = transform(ours), transform(theirs)
    same(ours(x), theirs(x))


def test_transforms_together(function):
    x, t = sample(4), sample(2, 2).flatten()
    for derive in (
        lambda f: hessian(lambda v: f(v).sum())(x),
        lambda f: vmap(grad(grad(grad(f))))(x),
        lambda f: vmap(jacfwd(jacfwd(f)))(x),
        # A Laplacian, as for equations with derivatives in them.
        lambda f: vmap(lambda v: jacfwd(jacrev(lambda u: f(u).sum()))(v).trace())(sample(3, 4)),
        lambda f: vmap(lambda v: jacfwd(jacfwd(lambda u: f(u).sum()))(v).trace())(sample(3, 4)),
        lambda f: jacfwd(vmap(jacfwd(f)))(x),
        lambda f: vmap(vmap(jacfwd(jacfwd(f))))(sample(2, 3)),
        lambda f: jvp(lambda v: jvp(f, (v,), (t,))[1], (x,), (t,)),
        lambda f: jvp(lambda v: vjp(f, v)[1](t)[0], (x,), (t,)),
        lambda f: vjp(lambda v: jvp(f, (v,), (t,))[1], x)[1](t)[0],
    ):
        same(derive(function), derive(exact))


def test_autograd_functional(function):
    x, t = sample(4), sample(2, 2).flatten()
    for derive in (
        lambda f: AF.jacobian(f, x),
        lambda f: AF.jacobian(f, x, vectorize=True),
        lambda f: AF.jacobian(f, x, vectorize=True, strategy="forward-mode"),
        lambda f: AF.hessian(lambda v: f(v).sum(), x),
        lambda f: AF.hessian(lambda v: f(v).sum(), x, vectorize=True, outer_jacobian_strategy="forward-mode"),  # noqa: E501
        lambda f: AF.jvp(f, x, t),
        lambda f: AF.vjp(f, x, t),
        lambda f: AF.hvp(lambda v: f(v).sum(), x, t),
        lambda f: AF.vhp(lambda v: f(v).sum(), x, t),
    ):
        same(derive(function), derive(exact))


@pytest.mark.parametrize("create_graph", (False, True))
def test_dual_levels(create_graph, function, request):
    if "enable" in request.node.name and not create_graph:
        # PyTorch's own gradient, which without a graph has no forward mode.
        with pytest.raises(NotImplementedError, match="forward AD with aten::mish_backward"):
            dual_derivatives(function, create_graph)
    else:
        same(dual_derivatives(function, create_graph), dual_derivatives(exact, create_graph))


def dual_derivatives(f, create_graph):
    x = sample(4).requires_grad_()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        y = f(dual)
        tangent = forward_ad.unpack_dual(y).tangent
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=create_graph, retain_graph=True)
        found = [tangent, gradient, forward_ad.unpack_dual(gradient).tangent]
        # Reverse over forward.
        (over,) = torch.autograd.grad(tangent.sum(), x)
        return [value.detach().clone() for value in (*found, over)]


def test_gradcheck(function):
    x = sample(5).requires_grad_()
    assert gradcheck(function, (x,), check_forward_ad=True, check_backward_ad=True,
                     check_batched_grad=True, check_batched_forward_grad=True)  # fmt: skip
    assert gradgradcheck(function, (x,), check_fwd_over_rev=True, check_rev_over_rev=True)


def exact_backward(g, x):
    return vmap(grad(exact))(x) * g


def exact_double_backward(a, g, x):
    return a * vmap(grad(exact))(x), a * g * vmap(grad(grad(exact)))(x)


OPERATORS = {
    "backward": (OPS.backward, exact_backward, 2),
    "mish_backward": (lambda g, x: mish_backward(x, g), exact_backward, 2),
    "double_backward": (OPS.double_backward, exact_double_backward, 3),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_gradients(name):
    op, reference, count = OPERATORS[name]
    operands = tuple(sample(4 + i)[:3].clone().requires_grad_() for i in range(count))
    assert gradcheck(op, operands, check_forward_ad=True, check_backward_ad=True,
                     check_batched_grad=True, check_batched_forward_grad=True)  # fmt: skip
    assert gradgradcheck(op, operands, check_fwd_over_rev=True, check_rev_over_rev=True)
    still = tuple(operand.detach()[:2] for operand in operands)
    for first, second in itertools.product((jacfwd, jacrev), repeat=2):
        for i, j in itertools.product(range(count), repeat=2):
            same(first(op, i)(*still), first(reference, i)(*still))
            same(second(first(op, i), j)(*still), second(first(reference, i), j)(*still))


def test_backward_of_pytorch_switched():
    aten = torch.ops.aten.mish_backward
    g, x = sample(4).requires_grad_(), sample(2, 2).flatten().requires_grad_()
    with mish.torch.enable(double_backward=True):
        assert gradcheck(aten, (g, x), check_forward_ad=True)
        assert gradgradcheck(aten, (g, x), check_fwd_over_rev=True)
        still = g.detach(), x.detach()
        same(jacfwd(jacfwd(aten, 1), 1)(*still), jacfwd(jacfwd(exact_backward, 1), 1)(*still))


def test_out():
    x = sample(4)
    # Under a transform it is what it says: a copy into `out`.
    same(jacfwd(jacfwd(into))(x), jacfwd(jacfwd(exact))(x))
    same(jacrev(jacfwd(into))(x), jacrev(jacfwd(exact))(x))
    same(vmap(into)(sample(3, 2)), exact(sample(3, 2)))
    with pytest.raises(RuntimeError, match="out.*dtype"):
        vmap(lambda v: OPS.forward.out(v, out=torch.empty_like(v, dtype=torch.float32)))(x)
    # Outside it is refused, as PyTorch refuses its own.
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        into(x.requires_grad_())
    x = x.detach()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        for a, out in ((dual, torch.empty_like(x)), (x, dual)):
            before = out.clone()
            with pytest.raises(NotImplementedError, match="out= function"):
                OPS.forward.out(a, out=out)
            assert out is not dual or torch.equal(out, before)

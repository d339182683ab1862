"""mish.torch: values, gradients of every order, transforms, tracing, bad input."""

import copy
import importlib.util
import io
import math
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

import mish.torch  # noqa: E402
from mish import _abi  # noqa: E402
from mish.torch._register import SERVED as DTYPES  # noqa: E402

OPS = torch.ops.mish
# Loose enough for PyTorch's own float32 reference at these magnitudes.
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-12}


def sample(*shape, dtype=torch.float64, grad=False):
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    x = torch.randn(*shape, generator=generator, dtype=torch.float64) * 3
    return x.to(dtype).requires_grad_(grad)


def reference(x):
    return F.mish(x.double()).to(x.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradient(dtype):
    x = sample(7, 11, dtype=dtype, grad=True)
    y = mish.torch.mish(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y, reference(x), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    weights = sample(7, 11, dtype=dtype)
    (got,) = torch.autograd.grad((y * weights).sum(), x)
    wide = x.detach().double().requires_grad_()
    (want,) = torch.autograd.grad((F.mish(wide) * weights.double()).sum(), wide)
    torch.testing.assert_close(
        got, want.to(dtype), rtol=2 * TOLERANCE[dtype], atol=2 * TOLERANCE[dtype]
    )


LAYOUTS = {
    "empty": lambda: torch.empty(0, 3),
    "scalar": lambda: torch.tensor(1.5),
    "channels_last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "channels_last_3d": lambda: torch.randn(2, 3, 4, 5, 6).to(
        memory_format=torch.channels_last_3d
    ),
    "transposed": lambda: torch.randn(5, 7).t(),
    "sliced": lambda: torch.randn(9, 8)[1::2, ::3],
    "flipped offset": lambda: torch.randn(33)[1:],
    "expanded": lambda: torch.randn(4, 1).expand(4, 6),
    "overlapping": lambda: torch.randn(10).as_strided((4, 5), (1, 1)),
    "twelve dimensions": lambda: torch.randn(*[2] * 12),
    "twelve dimensions, sliced": lambda: torch.randn(*[2] * 11, 4)[..., ::2],
    "nine dimensions, every other": lambda: torch.randn(*[4] * 9)[(slice(None, None, 2),) * 9],
    "twelve dimensions, permuted": lambda: torch.randn(*[2] * 12).permute(*range(11, -1, -1)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    x = LAYOUTS[name]()
    y = mish.torch.mish(x)
    assert y.stride() == torch.empty_like(x).stride()
    assert torch.equal(y, mish.torch.mish(x.contiguous()))
    grad = torch.randn(x.shape)
    got = OPS.backward(grad, x)
    assert got.stride() == torch.empty_like(x).stride()
    assert torch.equal(got, OPS.backward(grad, x.contiguous()))
    assert torch.equal(OPS.backward(grad.to(memory_format=torch.contiguous_format), x), got)


def test_in_place_and_out():
    x = sample(5, 6)
    want = mish.torch.mish(x)
    y = x.clone()
    version = y._version
    assert mish.torch.mish(y, inplace=True) is y
    assert torch.equal(y, want) and y._version > version
    out = torch.empty_like(x)
    assert OPS.forward.out(x, out=out) is None
    assert torch.equal(out, want)
    window = x.clone()
    mish.torch.mish(window[1:4, ::2], inplace=True)
    assert torch.equal(window[1:4, ::2], want[1:4, ::2]) and torch.equal(window[0], x[0])


def test_in_place_gradient():
    x = sample(5, 6, grad=True)
    (got,) = torch.autograd.grad(mish.torch.mish(x * 2, inplace=True).sum(), x)
    (want,) = torch.autograd.grad(F.mish(x * 2).sum(), x)
    torch.testing.assert_close(got, want)
    with pytest.raises(RuntimeError, match="leaf"):
        mish.torch.mish(x, inplace=True)
    saved = x * 1
    product = saved * saved
    mish.torch.mish(saved, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_gradients_to_third_order():
    x, g, a = (sample(n, 3, grad=True) for n in (4, 4, 4))
    g, a = g.detach().neg().requires_grad_(), a.detach().mul(0.5).requires_grad_()
    assert gradcheck(mish.torch.mish, (x,), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(mish.torch.mish, (x,), check_fwd_over_rev=True)
    assert gradcheck(OPS.backward, (g, x), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(OPS.backward, (g, x))
    assert gradcheck(OPS.double_backward, (a, g, x), check_forward_ad=True)
    assert gradgradcheck(OPS.double_backward, (a, g, x))


def test_third_order_at_large_arguments():
    x = torch.tensor([-800.0, -30.0, 0.0, 30.0, 800.0, math.inf], dtype=torch.float64)
    x.requires_grad_()
    y = mish.torch.mish(x)
    for _ in range(3):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_second_order_is_finite(dtype):
    x = torch.tensor([-100.0, -12.0, 11.5, 90.0, 800.0], dtype=dtype, requires_grad=True)
    (first,) = torch.autograd.grad(mish.torch.mish(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.isfinite(second).all()


def test_each_order_is_one_kernel():
    x = sample(8, grad=True)
    with torch.profiler.profile() as first:
        (grad,) = torch.autograd.grad(mish.torch.mish(x), x, torch.ones(8).double())
    names = [event.name for event in first.events() if event.name.startswith(("mish::", "aten::"))]
    assert [name for name in names if name.startswith("mish")] == [
        "mish::_forward",
        "mish::_backward",
    ]


def test_transforms():
    from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

    v = sample(5)
    for ours, theirs in (
        (jacrev(mish.torch.mish)(v), jacrev(F.mish)(v)),
        (jacfwd(mish.torch.mish)(v), jacfwd(F.mish)(v)),
        (hessian(lambda x: mish.torch.mish(x).sum())(v), hessian(lambda x: F.mish(x).sum())(v)),
        (jvp(mish.torch.mish, (v,), (v + 1,))[1], jvp(F.mish, (v,), (v + 1,))[1]),
        (vmap(mish.torch.mish, 1, 0)(sample(3, 4)), F.mish(sample(3, 4)).t()),
        (vmap(grad(grad(grad(mish.torch.mish))))(v), vmap(grad(grad(grad(F.mish))))(v)),
        (
            vmap(OPS.backward, (0, None))(sample(3, 4), sample(4)),
            torch.ops.aten.mish_backward(sample(3, 4), sample(4).expand(3, 4)),
        ),
        (grad(lambda x: torch.ops.mish.forward(x).sum())(v), grad(lambda x: F.mish(x).sum())(v)),
    ):
        torch.testing.assert_close(ours, theirs)

    def in_place(x):
        y = x * 1
        return mish.torch.mish(y, inplace=True)

    torch.testing.assert_close(vmap(in_place)(sample(3, 4)), F.mish(sample(3, 4)))
    torch.testing.assert_close(vmap(grad(in_place))(v), vmap(grad(F.mish))(v))


@pytest.mark.parametrize("plain", ("", "_"))
def test_opcheck(plain):
    x, g = sample(3, 4, grad=not plain), sample(3, 4, grad=not plain)
    still = sample(3, 4)
    checks = [
        ("forward", "default", (x,), {}),
        ("backward", "default", (g, x), {}),
        ("double_backward", "default", (g, g, x), {}),
    ]
    if not plain:
        checks += [
            ("forward_", "default", (still.clone(),), {}),
            ("forward_", "default", (x.clone(),), {}),
            ("forward", "out", (still,), {"out": torch.empty_like(still)}),
        ]
    for name, overload, args, kwargs in checks:
        torch.library.opcheck(getattr(getattr(OPS, plain + name), overload), args, kwargs)


@pytest.mark.usefixtures("inductor")
@pytest.mark.parametrize("dynamic", (False, True))
@pytest.mark.parametrize("inplace", (False, True))
def test_compile(dynamic, inplace):
    module = mish.torch.Mish(inplace)

    @torch.compile(fullgraph=True, dynamic=dynamic)
    def step(x):
        return (module(x * 2) + 1).sum()

    for n in (6, 9):
        x = sample(n, 3, grad=True)
        (got,) = torch.autograd.grad(step(x), x)
        (want,) = torch.autograd.grad(F.mish(x * 2).sum(), x)
        torch.testing.assert_close(got, want)


def test_export_and_fake_tensors():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), mish.torch.Mish())
    x = torch.randn(5, 3)
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    assert "mish.forward" in str(program.graph)
    torch.testing.assert_close(program.module()(torch.randn(7, 3) * 0 + 1), model(torch.ones(7, 3)))
    meta = torch.empty(2, 3, 4, 5, device="meta").to(memory_format=torch.channels_last)
    assert mish.torch.mish(meta).stride() == meta.stride()
    with pytest.raises(RuntimeError, match="shape"):
        OPS.backward(torch.empty(3, device="meta"), torch.empty(4, device="meta"))


def test_module_is_a_drop_in(tmp_path):
    module = mish.torch.Mish(inplace=True)
    assert isinstance(module, torch.nn.Mish) and not module.state_dict()
    assert repr(module) == f"mish.torch.{torch.nn.Mish(inplace=True)}"
    assert repr(mish.torch.Mish()) == "mish.torch.Mish()"
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), module)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin[1]) is mish.torch.Mish and twin[1].inplace
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    x = torch.randn(2, 3)
    assert torch.equal(loaded(x), model(x))


def test_script_and_trace():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), mish.torch.Mish())
    x = torch.randn(2, 3)
    for make in (lambda: torch.jit.trace(model, (x,)), lambda: torch.jit.script(model)):
        traced = make()
        assert "mish::forward" in str(traced.inlined_graph)
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        loaded = torch.jit.load(file)
        torch.testing.assert_close(loaded(x), model(x))
        (got,) = torch.autograd.grad(loaded(x).sum(), loaded.parameters().__next__())
        (want,) = torch.autograd.grad(model(x).sum(), model[0].weight)
        torch.testing.assert_close(got, want)


def test_autocast_keeps_the_dtype():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(4, dtype=dtype, requires_grad=True)
            y = mish.torch.mish(x)
            assert y.dtype == dtype
            y.sum().backward()
            assert x.grad.dtype == dtype


def test_saves_the_input_alone():
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        x = sample(6, grad=True)
        mish.torch.mish(x)
    assert len(saved) == 1 and saved[0] is x


def test_memory():
    # As `bench/torch_overhead.py` measures it: the allocations that the profiler sees.
    path = Path(__file__).resolve().parents[2] / "bench" / "torch_overhead.py"
    spec = importlib.util.spec_from_file_location("torch_overhead", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    peaks = bench.memory()
    training = peaks.pop("ten layers, training step")
    assert training["mish.torch.Mish"] == training["nn.Mish"] > 0
    off, on = peaks["in place, gradient off"], peaks["in place, gradient on"]
    assert off["mish.torch.Mish"] == 0
    assert 0 < on["mish.torch.Mish"] <= on["nn.Mish"]


def test_inference_mode_and_detached():
    with torch.inference_mode():
        x = torch.randn(3)
        want = F.mish(x)
        torch.testing.assert_close(mish.torch.mish(x), want)
        torch.testing.assert_close(mish.torch.mish(x, inplace=True), want)
        assert not mish.torch.mish(torch.ones(3, requires_grad=True)).requires_grad


@pytest.mark.parametrize("reentrant", (False, True))
def test_activation_checkpointing(reentrant):
    from torch.utils.checkpoint import checkpoint

    x = sample(5, grad=True)
    with torch.autograd.graph.save_on_cpu():
        checkpoint(mish.torch.mish, x, use_reentrant=reentrant).sum().backward()
    torch.testing.assert_close(x.grad, torch.autograd.grad(F.mish(x).sum(), x)[0])


def test_dispatch_modes_and_subclasses_see_the_operators():
    from torch._subclasses import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        seen = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.seen.append(function._schema.name)
            return function(*args, **(kwargs or {}))

    x = torch.randn(5, requires_grad=True)
    with Names():
        mish.torch.mish(x).backward(torch.ones(5))
    ours = [name for name in Names.seen if name.startswith("mish::")]
    assert ours == ["mish::forward", "mish::backward"]
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert mish.torch.mish(x).shape == (5,)
    parameter = torch.nn.Parameter(torch.randn(3))
    torch.testing.assert_close(mish.torch.mish(parameter), F.mish(parameter))


def test_lazy_tensors():
    imaginary = torch.randn(4, dtype=torch.complex64).conj().imag
    want = F.mish(imaginary.resolve_neg())
    assert imaginary.is_neg()
    torch.testing.assert_close(mish.torch.mish(imaginary), want)
    out = torch.empty(4, dtype=torch.complex64).conj().imag
    OPS.forward.out(imaginary, out=out)
    torch.testing.assert_close(out.resolve_neg(), want)
    changed = imaginary.resolve_neg()._neg_view()
    OPS.forward_(changed)
    torch.testing.assert_close(changed.resolve_neg(), F.mish(-imaginary.resolve_neg()))
    torch.testing.assert_close(mish.torch.mish(imaginary, inplace=True).resolve_neg(), want)
    x = torch.randn(4)
    torch.testing.assert_close(mish.torch.mish(torch._lazy_clone(x)), F.mish(x))
    zero = torch._efficientzerotensor((4,))
    assert torch.equal(OPS.backward(zero, x), torch.zeros(4))


# Bad input.


@pytest.mark.parametrize("make", (lambda: torch.ones(3, dtype=torch.int32), lambda: torch.ones(3) > 0,
                                  lambda: torch.ones(3, dtype=torch.complex64),
                                  lambda: torch.ones(3).to(torch.float8_e5m2),
                                  lambda: torch.ones(3).to_sparse(),
                                  lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)))  # fmt: skip
@pytest.mark.parametrize("inplace", (False, True))
def test_refused_tensors(make, inplace):
    with pytest.raises(NotImplementedError):
        F.mish(make(), inplace=inplace)
    with pytest.raises(NotImplementedError, match="mish"):
        mish.torch.mish(make(), inplace=inplace)


def test_no_tensor_at_all():
    for bad in (1.0, [1.0], None):
        with pytest.raises(TypeError, match="input"):
            mish.torch.mish(bad)
    x = torch.ones(3)
    calls = [lambda op=op: op(None) for op in (torch.ops.aten.mish, OPS.forward, OPS.forward_)]
    calls += [lambda: OPS.backward(None, x), lambda: OPS.backward(x, None)]
    calls += [lambda: OPS.double_backward(x, None, x), lambda: OPS.forward.out(x, out=None)]
    for call in calls:
        with pytest.raises(RuntimeError):
            call()


def nested(layout):
    return torch.nested.nested_tensor([torch.randn(3), torch.randn(2)], layout=layout)


def test_nested_tensors():
    jagged, strided = nested(torch.jagged), nested(torch.strided)
    torch.testing.assert_close(mish.torch.mish(jagged).values(), F.mish(jagged.values()))
    before = jagged.values().clone()
    refused = [(jagged, True), (strided, True), (strided, False)]
    for call in (F.mish, mish.torch.mish):
        for x, inplace in refused:
            with pytest.raises(NotImplementedError, match="mish"):
                call(x, inplace=inplace)
    assert torch.equal(jagged.values(), before)


@pytest.mark.parametrize("op", ("backward", "_backward"))
def test_mismatches(op):
    call = getattr(OPS, op)
    with pytest.raises(RuntimeError, match=r"grad_y.*shape \[4\].*\[3\]"):
        call(torch.ones(3), torch.ones(4))
    with pytest.raises(RuntimeError, match="grad_y.*dtype Float.*Double"):
        call(torch.ones(4).double(), torch.ones(4))
    with pytest.raises(RuntimeError, match="grad_grad_x.*shape"):
        OPS.double_backward(torch.ones(2), torch.ones(4), torch.ones(4))


def test_second_operands_of_the_wrong_kind():
    x = torch.ones(4)
    for op in (OPS.double_backward, OPS._double_backward):
        with pytest.raises(RuntimeError, match="grad_y.*dtype Float.*Double"):
            op(x, x.double(), x)
        with pytest.raises(RuntimeError, match=r"grad_grad_x.*shape \[4\].*\[4, 1\]"):
            op(x[:, None], x, x)
    sparse, quantized = x.to_sparse(), torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
    for bad in (sparse, quantized):
        for operands in ((bad, x), (x, bad)):
            with pytest.raises(NotImplementedError, match="mish::backward"):
                OPS.backward(*operands)
        with pytest.raises(NotImplementedError, match="mish::forward.out"):
            OPS.forward.out(x, out=bad)


def test_schemas_are_those_documented():
    text = (Path(__file__).parents[2] / "docs/pytorch.md").read_text()
    for name, schema in _abi.OPERATORS.items():
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(OPS, packet), overload or "default")
        assert str(operator._schema) == f"mish::{name}{schema}"
        assert name.startswith("_") or f"`mish::{name}{schema}`" in text


def test_kernels_and_tracing_say_the_same():
    x, wrong = torch.ones(4), torch.ones(2, 2)
    words = _abi.WRONG_SHAPE.format(name="grad_y", expected=[4], found=[2, 2])
    for operands in ((wrong, x), (wrong.to("meta"), x.to("meta"))):
        with pytest.raises(RuntimeError) as raised:
            OPS.backward(*operands)
        assert str(raised.value).startswith(words)


def test_mixed_devices():
    here, there = torch.ones(3), torch.ones(3, device="meta")
    for op in (OPS.backward, OPS._backward):
        for grad_y, x in ((here, there), (there, here)):
            with pytest.raises(RuntimeError, match="same device.*grad_y"):
                op(grad_y, x)
    with pytest.raises(RuntimeError, match="same device.*out"):
        OPS.forward.out(here, out=there)
    with pytest.raises(RuntimeError, match="expected grad_y to have shape"):
        OPS.backward(torch.ones(4, device="meta"), there)
    with pytest.raises(NotImplementedError, match="'torch.int32'"):
        mish.torch.mish(there.int())
    with pytest.raises(NotImplementedError, match="\"mish_cpu\" not implemented for 'Int'"):
        OPS.forward(here.int())


def test_bad_out():
    x = torch.randn(4)
    with pytest.raises(RuntimeError, match=r"out.*shape \[4\].*\[3\]"):
        OPS.forward.out(x, out=torch.empty(3))
    with pytest.raises(RuntimeError, match="out.*dtype Float.*Double"):
        OPS.forward.out(x, out=torch.empty(4).double())
    memory = torch.zeros(5)
    with pytest.raises(RuntimeError, match="out: shares memory with x"):
        OPS.forward.out(memory[:4], out=memory[1:])
    with pytest.raises(RuntimeError, match="memory"):
        OPS.forward.out(x, out=torch.zeros(1).expand(4))
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        OPS.forward.out(x.requires_grad_(), out=torch.empty(4))
    with pytest.raises(RuntimeError, match="memory"):
        mish.torch.mish(torch.zeros(1).expand(4), inplace=True)


def run_python(code):
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**__import__("os").environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_the_core_does_not_import_torch():
    run_python("import sys, mish; assert 'torch' not in sys.modules")


def test_an_old_torch_is_one_clear_error():
    run_python(
        """
        import torch
        torch.__version__ = "2.8.0"
        try:
            import mish.torch
        except ImportError as error:
            assert "2.9 or newer" in str(error), error
        else:
            raise SystemExit("imported")
        """
    )


def test_a_missing_shim_function_is_one_clear_error():
    # Any library without the shim stands for a PyTorch that lacks part of it.
    run_python(
        """
        import os, torch
        from mish import _library, _abi
        library = _library.library()
        path = os.path.join(os.path.dirname(torch.__file__), "lib", "libc10.so")
        status = library.mish_torch_register(path.encode(), None, 0)
        message = library.mish_last_error().decode()
        assert status == _abi.MISH_STATUS_MISSING_SYMBOL, (status, message)
        assert "aoti_torch_library_impl" in message and "2.9" in message, message
        status = library.mish_torch_register(b"/nowhere/libtorch_cpu.so", None, 0)
        assert status == _abi.MISH_STATUS_MISSING_LIBRARY
        assert library.mish_torch_replace(1) == _abi.MISH_STATUS_NOT_REGISTERED
        """
    )

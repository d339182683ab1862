"""mish.torch on a GPU: everything that a CPU cannot show."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

import mish.torch  # noqa: E402
from mish.torch._register import SERVED as DTYPES  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU that PyTorch can use"
)
OPS = torch.ops.mish
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-12}


def close(got, want, dtype):
    torch.testing.assert_close(
        got.double(), want.double(), rtol=2 * TOLERANCE[dtype], atol=2 * TOLERANCE[dtype]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(dtype):
    x = (torch.randn(1001, device="cuda").double() * 4).to(dtype).requires_grad_()
    grad = torch.randn(1001, device="cuda").to(dtype)
    wide = x.detach().double().requires_grad_()
    y, want = mish.torch.mish(x), F.mish(wide)
    close(y, want, dtype)
    (first,) = torch.autograd.grad(y, x, grad, create_graph=True)
    (wanted,) = torch.autograd.grad(want, wide, grad.double(), create_graph=True)
    close(first, wanted, dtype)
    (second,) = torch.autograd.grad(first, x, grad)
    (wanted,) = torch.autograd.grad(wanted, wide, grad.double())
    close(second, wanted, dtype)


def test_cpu_and_gpu_agree_in_every_layout():
    for make in (
        lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        lambda: torch.randn(9, 8)[1::2, ::3],
        lambda: torch.randn(33)[1:],
        lambda: torch.randn(4, 1).expand(4, 6),
        lambda: torch.randn(10).as_strided((4, 5), (1, 1)),
        lambda: torch.randn(*[2] * 12).permute(*range(11, -1, -1)),
        lambda: torch.empty(0, 3),
    ):
        x = make()
        # A copy to the GPU that keeps the strides, of views that overlap themselves as well.
        memory = torch.empty(4097, device="cuda")
        on_gpu = memory.as_strided(x.shape, x.stride(), 1)
        if x.numel():
            reach = 1 + sum((n - 1) * step for n, step in zip(x.shape, x.stride()))
            memory[1 : 1 + reach].copy_(x.as_strided((reach,), (1,), x.storage_offset()))
        y = mish.torch.mish(on_gpu)
        assert y.stride() == torch.empty_like(x).stride()
        torch.testing.assert_close(y.cpu(), mish.torch.mish(x), rtol=1e-6, atol=1e-6)


def test_more_than_2_to_the_32_elements():
    n = 2**32 + 13
    if torch.cuda.mem_get_info()[0] < 5 * 2 * n + 2**30:
        pytest.skip("needs 42 GiB of GPU memory")
    x = torch.empty(n, device="cuda", dtype=torch.float16).normal_()
    y = mish.torch.mish(x)
    grad = torch.ops.mish.backward(y, x)
    for at in (slice(0, 999), slice(2**31 - 7, 2**31 + 9), slice(2**32 - 99, n)):
        assert torch.equal(y[at], mish.torch.mish(x[at].clone()))
        assert torch.equal(grad[at], torch.ops.mish.backward(y[at].clone(), x[at].clone()))
    del grad
    first, second = torch.ops.mish.double_backward(x, y, x)
    for at in (slice(0, 999), slice(2**31 - 7, 2**31 + 9), slice(2**32 - 99, n)):
        parts = torch.ops.mish.double_backward(x[at].clone(), y[at].clone(), x[at].clone())
        assert torch.equal(first[at], parts[0]) and torch.equal(second[at], parts[1])


def test_in_place_and_out():
    x = torch.randn(100, device="cuda")
    want = mish.torch.mish(x)
    out = torch.empty_like(x)
    OPS.forward.out(x, out=out)
    assert torch.equal(out, want)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        mish.torch.mish(x, inplace=True)
    assert torch.cuda.max_memory_allocated() == before
    assert torch.equal(x, want)


def test_gradcheck():
    x = torch.randn(4, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    assert gradcheck(mish.torch.mish, (x,), check_forward_ad=True, nondet_tol=0.0)
    assert gradgradcheck(mish.torch.mish, (x,))
    assert gradgradcheck(OPS.backward, (torch.randn_like(x).requires_grad_(), x))


def test_the_current_stream():
    side = torch.cuda.Stream()
    x = torch.randn(1 << 22, device="cuda")
    want = mish.torch.mish(x)
    y = torch.empty_like(x)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        y.copy_(x)
        z = mish.torch.mish(y)  # sees the copy only if it runs after it, on this stream
    side.synchronize()
    assert torch.equal(z, want)


def test_cuda_graph():
    x = torch.randn(1000, device="cuda")
    mish.torch.mish(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = mish.torch.mish(x)
        grad = OPS.backward(y, x)
    x.copy_(torch.randn(1000, device="cuda"))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(y, mish.torch.mish(x))
    assert torch.equal(grad, OPS.backward(y, x))


def test_graphed_training_step():
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), mish.torch.Mish()).cuda()
    x = torch.randn(4, 8, device="cuda", requires_grad=True)
    graphed = torch.cuda.make_graphed_callables(model, (x,))
    graphed(x).sum().backward()
    got = [p.grad.clone() for p in model.parameters()]
    assert all(torch.isfinite(g).all() for g in got)


@pytest.mark.usefixtures("inductor")
@pytest.mark.parametrize("mode", ("default", "reduce-overhead"))
def test_compile(mode):
    step = torch.compile(lambda x: mish.torch.mish(x * 2).sum(), fullgraph=True, mode=mode)
    for _ in range(3):
        x = torch.randn(100, device="cuda", requires_grad=True)
        (got,) = torch.autograd.grad(step(x), x)
        (want,) = torch.autograd.grad(F.mish(x * 2).sum(), x)
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("double_backward", (False, True))
def test_enable(double_backward):
    x = torch.randn(1000, device="cuda", requires_grad=True)
    want = mish.torch.mish(x)
    infinite = torch.tensor([-torch.inf], device="cuda")
    assert F.mish(infinite).isnan().item()
    with mish.torch.enable(double_backward=double_backward):
        assert torch.equal(F.mish(x), want)
        assert not F.mish(infinite).isnan().item()
        (grad,) = torch.autograd.grad(F.mish(x).sum(), x)
        assert torch.equal(grad, OPS.backward(torch.ones_like(x), x))
        large = torch.full((3,), 100.0, device="cuda", requires_grad=True)
        (grad,) = torch.autograd.grad(F.mish(large).sum(), large, create_graph=True)
        (second,) = torch.autograd.grad(grad.sum(), large)
        assert torch.isfinite(second).all().item() == double_backward
        compiled = torch.compile(lambda x: F.mish(x * 1).sum(), fullgraph=True)
        with torch.profiler.profile() as profile:
            compiled(x).backward()
        assert any(event.name == "mish::forward" for event in profile.events())
    assert F.mish(infinite).isnan().item()


def test_autocast():
    with torch.autocast("cuda"):
        for dtype in (torch.float16, torch.float32):
            assert mish.torch.mish(torch.randn(4, device="cuda", dtype=dtype)).dtype == dtype


def test_training_keeps_the_input_alone():
    def peak(activation):
        torch.manual_seed(0)
        layers = [
            layer for _ in range(10) for layer in (torch.nn.Linear(256, 256), activation())
        ]
        model = torch.nn.Sequential(*layers).cuda()
        x = torch.randn(8192, 256, device="cuda")
        for _ in range(2):
            torch.cuda.reset_peak_memory_stats()
            model.zero_grad(set_to_none=True)
            model(x).sum().backward()
        return torch.cuda.max_memory_allocated()

    assert peak(mish.torch.Mish) == peak(torch.nn.Mish)


def test_mixed_devices_are_refused():
    with pytest.raises(RuntimeError, match="device"):
        OPS.backward(torch.ones(3), torch.ones(3, device="cuda"))
    with pytest.raises(NotImplementedError, match="not implemented for"):
        mish.torch.mish(torch.ones(3, dtype=torch.int32, device="cuda"))


def test_several_gpus():
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU only")
    x = torch.randn(100, device="cuda:1")
    torch.testing.assert_close(mish.torch.mish(x), F.mish(x))
    assert torch.cuda.current_device() == 0
    model = torch.nn.DataParallel(
        torch.nn.Sequential(torch.nn.Linear(8, 8), mish.torch.Mish()).cuda()
    )
    model(torch.randn(16, 8, device="cuda")).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())

"""The interface of the mish-cuda package."""

import io
import pickle

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

from mish_cuda import MishCuda, MishCudaFunction  # noqa: E402
from mish_cuda._C import mish_backward, mish_forward  # noqa: E402

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU that PyTorch can use"))]  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
def test_functions(device):
    x = torch.randn(5, 6, device=device)
    torch.testing.assert_close(mish_forward(x), F.mish(x))
    out = torch.empty_like(x)
    assert mish_forward(x, out) is out and torch.equal(out, mish_forward(x))
    grad = torch.randn(5, 6, device=device)
    wanted = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(F.mish(wanted), wanted, grad)
    torch.testing.assert_close(mish_backward(x, grad), want)


def test_keyword_names_of_the_original():
    x, grad, out = torch.randn(4), torch.randn(4), torch.empty(4)
    assert mish_forward(input=x, out=out) is out and torch.equal(out, mish_forward(input=x))
    assert torch.equal(mish_backward(input=x, grad_out=grad), mish_backward(x, grad))
    assert torch.equal(MishCuda()(inp=x), out)


@pytest.mark.parametrize("device", DEVICES)
def test_overlapping_strided_input(device):
    x = torch.randn(100, device=device).as_strided((12, 10), (3, 2))
    torch.testing.assert_close(mish_forward(x), F.mish(x.contiguous()))
    y = torch.randn(8, 6, 5, device=device).transpose(0, 2)[1:, ::2]
    torch.testing.assert_close(mish_forward(y), F.mish(y))
    out = torch.empty(12, 10, device=device).t().contiguous().t()
    assert torch.equal(mish_forward(x, out), mish_forward(x))


@pytest.mark.parametrize("device", DEVICES)
def test_gradients(device):
    x = torch.randn(4, 5, dtype=torch.float64, device=device, requires_grad=True)
    assert gradcheck(MishCudaFunction.apply, (x,), check_forward_ad=True)
    assert gradgradcheck(MishCudaFunction.apply, (x,))
    assert gradcheck(MishCuda(), (x,)) and gradgradcheck(MishCuda(), (x,))


@pytest.mark.parametrize("device", DEVICES)
def test_training(device):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), MishCuda(), torch.nn.Flatten(),
        torch.nn.Linear(144, 1),
    ).to(device)  # fmt: skip
    model(torch.randn(2, 3, 8, 8, device=device)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_checkpoints_load():
    # As protocol 2 writes `mish_cuda.MishCuda()` of an old PyTorch's nn.Module, by hand.
    text = (
        b"\x80\x02cmish_cuda\nMishCuda\n)\x81}(X\x08\x00\x00\x00training\x89"
        b"X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_buffers}X\x08\x00\x00\x00_modules}"
        b"X\x0e\x00\x00\x00_forward_hooks}X\x12\x00\x00\x00_forward_pre_hooks}"
        b"X\x0f\x00\x00\x00_backward_hooks}ub."
    )
    module = pickle.loads(text)
    assert type(module) is MishCuda and not module.training
    x = torch.randn(3)
    torch.testing.assert_close(module(x), F.mish(x))
    file = io.BytesIO()
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2), MishCuda()), file)
    file.seek(0)
    assert type(torch.load(file, weights_only=False)[1]) is MishCuda

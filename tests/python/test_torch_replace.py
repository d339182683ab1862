"""mish.torch.replace() and restore(): what is swapped, what is left and why, and the way back."""

import copy
import io
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

import mish.torch  # noqa: E402
from mish_cuda import MishCuda  # noqa: E402


class MishFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * F.softplus(x).tanh()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        t = torch.tanh(F.softplus(x))
        return grad * (t + x * torch.sigmoid(x) * (1 - t * t))


class WrongFunction(MishFunction):
    @staticmethod
    def backward(ctx, grad):
        return MishFunction.backward(ctx, torch.ones_like(grad)) + grad


class MemoryEfficientMish(nn.Module):
    def forward(self, x):
        return MishFunction.apply(x)


class WrongMemoryEfficientMish(nn.Module):
    def forward(self, x):
        return WrongFunction.apply(x)


class ComposedMish(nn.Module):
    @staticmethod
    def forward(x):
        return x * torch.tanh(F.softplus(x))


class LayeredMish(nn.Module):
    def __init__(self):
        super().__init__()
        self.softplus, self.tanh = nn.Softplus(), nn.Tanh()

    def forward(self, x):
        return x * self.tanh(self.softplus(x))


class InPlaceMish(nn.Module):
    def forward(self, x):
        return F.mish(x, inplace=True)


class Activation(nn.Module):
    """The formula, in a class whose name does not say so."""

    def forward(self, x):
        """Word for word."""
        soft = F.softplus(x)
        return torch.mul(x, torch.tanh(soft))


class Exponential(nn.Module):
    def forward(self, input):
        return input * (torch.log(1 + torch.exp(input))).tanh()


class Sharp(nn.Module):
    def forward(self, x):
        return x * torch.tanh(F.softplus(x, beta=8))


class HardMish(nn.Module):
    def forward(self, x):
        return x / 2 * (x + 2).clamp(0, 2)


class EvalMish(nn.Module):
    def forward(self, x):
        return F.mish(x) if self.training else F.silu(x)


class ScaledMish(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return F.mish(x) * self.scale


class BrokenMish(nn.Module):
    def forward(self, x):
        raise ValueError("for GPUs alone")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        y = self.layer(x)
        return y * torch.tanh(F.softplus(y))


SWAPPED = {
    "original": nn.Mish,
    "in place": lambda: nn.Mish(inplace=True),
    "memory efficient": MemoryEfficientMish,
    "composed": ComposedMish,
    "layers": LayeredMish,
    "composed in place": InPlaceMish,
    "without the name": Activation,
    "exponential": Exponential,
    "mish_cuda": MishCuda,
}


@pytest.mark.parametrize("name", SWAPPED)
def test_swapped_and_put_back(name):
    old = SWAPPED[name]()
    model = nn.Sequential(nn.Linear(3, 3), old).eval()
    x = torch.randn(5, 3)
    want = model(x.clone())
    kind = f"{type(old).__module__}.{type(old).__qualname__}"
    assert mish.torch.replace(model) == ([("1", kind)], [])
    assert type(model[1]) is mish.torch.Mish and not model[1].training
    assert model[1].inplace == (name in ("in place", "composed in place"))
    torch.testing.assert_close(model(x), want)
    assert mish.torch.replace(model) == ([], [])
    assert mish.torch.restore(model.train()) == ([("1", "mish.torch.Mish")], [])
    assert model[1] is old and old.training
    assert mish.torch.restore(model) == ([], [])


def hooked():
    module = nn.Mish()
    module.register_forward_hook(lambda *_: None)
    return module


def patched():
    module = nn.Mish()
    module.forward = lambda x: x
    return module


def buffered():
    module = ComposedMish()
    module.register_buffer("calls", torch.zeros(1))
    return module


def deeper():
    module = ComposedMish()
    module.gate = nn.Sigmoid()
    return module


SKIPPED = {
    "hooks": (hooked, "has hooks"),
    "a forward of its own": (patched, "on the instance"),
    "parameters": (ScaledMish, "has parameters"),
    "buffers": (buffered, "has buffers"),
    "submodules": (deeper, "submodule of class torch.nn.modules.activation.Sigmoid"),
    "values": (HardMish, "another value than Mish: .* at -5"),
    "values in evaluation": (EvalMish, "another value than Mish"),
    "gradient": (WrongMemoryEfficientMish, "another gradient than Mish"),
    "exception": (BrokenMish, "raised ValueError: for GPUs alone"),
    "scripted": (lambda: torch.jit.script(nn.Mish()), "is scripted"),
    "among other things": (Block, r"call mish.torch.mish at .*test_torch_replace.py:\d+"),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", SKIPPED)
def test_skipped_with_a_reason(name):
    make, reason = SKIPPED[name]
    old = make()
    model = nn.Sequential(old, nn.SiLU(), nn.Sequential(Sharp(), Sharp()))
    swapped, skipped = mish.torch.replace(model)
    assert swapped == [] and model[0] is old
    ((path, kind, why),) = skipped
    assert path == "0" and kind.endswith(type(old).__qualname__)
    pytest.raises(ValueError, lambda: (_ for _ in ()).throw(ValueError(why))).match(reason)


def test_the_reason_names_the_line():
    source = open(__file__, encoding="utf-8").read().splitlines()
    ((_, _, why),) = mish.torch.replace(nn.Sequential(Block())).skipped
    assert source[int(why.rpartition(":")[2]) - 1].strip() == "return y * torch.tanh(F.softplus(y))"


def test_shared_modules_and_networks():
    shared = nn.Mish(inplace=True)

    class MishNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Sequential(shared, nn.SiLU(), shared)

    model = MishNet()
    swapped, skipped = mish.torch.replace(model)
    assert [name for name, _ in swapped] == ["second.0", "second.2"] and skipped == []
    assert model.second[0] is model.second[2]
    mish.torch.restore(model)
    assert model.second[0] is model.second[2] is shared


def test_copies_and_saved_models():
    model = nn.Sequential(ComposedMish(), nn.Mish(inplace=True))
    mish.torch.replace(model)
    file = io.BytesIO()
    torch.save(model, file)
    assert b"ComposedMish" not in file.getvalue()
    file.seek(0)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert len(mish.torch.restore(twin).swapped) == 2
        assert [type(module) for module in twin] == [nn.Mish, nn.Mish]
        assert [module.inplace for module in twin] == [False, True]


def test_hooks_set_since():
    model = nn.Sequential(nn.Mish())
    mish.torch.replace(model)
    model[0].register_forward_hook(lambda *_: None)
    assert mish.torch.restore(model) == ([], [("0", "mish.torch.Mish", "has hooks")])


def test_a_class_without_source():
    code = (
        "import torch, mish.torch\n"
        "class Mish(torch.nn.Module):\n"
        "    def forward(self, x): return x * torch.nn.functional.softplus(x).tanh()\n"
        "assert len(mish.torch.replace(torch.nn.Sequential(Mish())).swapped) == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


def environment():
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_bad_models():
    for function in (mish.torch.replace, mish.torch.restore):
        with pytest.raises(TypeError, match="torch.nn.Module"):
            function("model")
    with pytest.raises(ValueError, match="is a Mish itself"):
        mish.torch.replace(nn.Mish())
    with pytest.raises(ValueError, match="is a Mish itself"):
        mish.torch.restore(mish.torch.Mish())

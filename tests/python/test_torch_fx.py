"""torch.fx traces the function and the modules as it traces PyTorch's own."""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402
from torch import fx, nn  # noqa: E402

import mish.torch  # noqa: E402
from mish_cuda import MishCuda  # noqa: E402
from mish_cuda._C import mish_backward, mish_forward  # noqa: E402


class Block(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 1), act

    def forward(self, x):
        return self.act(self.conv(x)) + 1


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.layer = function, nn.Linear(4, 4)

    def forward(self, x):
        return self.function(self.layer(x))


ACTIVATIONS = {
    "Mish": mish.torch.Mish,
    "Mish in place": lambda: mish.torch.Mish(inplace=True),
    "MishCuda": MishCuda,
}


def nodes(graph, op):
    return [node.target for node in graph.nodes if node.op == op]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_modules(name):
    model, x = Block(ACTIVATIONS[name]()), torch.randn(2, 3, 4, 4)
    traced = fx.symbolic_trace(model)
    for twin in (traced, copy.deepcopy(traced), pickle.loads(pickle.dumps(traced))):
        assert torch.equal(twin(x), model(x))
    with pytest.raises(AssertionError):
        assert torch.equal(traced(x + 1), model(x))


@pytest.mark.parametrize("inplace", (False, True))
def test_the_graph_is_that_of_the_original(inplace):
    graphs = [
        fx.symbolic_trace(Block(act(inplace))).graph for act in (nn.Mish, mish.torch.Mish)
    ]
    assert str(graphs[0]) == str(graphs[1]) and nodes(graphs[1], "call_module") == ["conv", "act"]

    class Through(fx.Tracer):
        def is_leaf_module(self, module, name):
            return False if isinstance(module, nn.Mish) else super().is_leaf_module(module, name)

    for act, function in ((nn.Mish, F.mish), (mish.torch.Mish, mish.torch.mish)):
        graph = Through().trace(Block(act(inplace)))
        assert nodes(graph, "call_module") == ["conv"]
        assert nodes(graph, "call_function")[0] is function


@pytest.mark.parametrize("inplace", (False, True))
def test_functions(inplace):
    model = Calls(lambda x: mish.torch.mish(x, inplace=inplace))
    traced, x = fx.symbolic_trace(model), torch.randn(3, 4)
    assert nodes(traced.graph, "call_function") == [mish.torch.mish]
    assert torch.equal(traced(x), model(x))
    assert "mish_torch_mish" in traced.code
    (got,) = torch.autograd.grad(traced(x).sum(), traced.layer.weight)
    (want,) = torch.autograd.grad(F.mish(model.layer(x)).sum(), model.layer.weight)
    torch.testing.assert_close(got, want)


def test_functions_of_the_extension_module():
    for function in (
        mish_forward,
        lambda x: mish_forward(x, torch.empty(3, 4)),
        lambda x: mish_backward(x, torch.ones(3, 4)),
    ):
        model = Calls(function)
        traced, x = fx.symbolic_trace(model), torch.randn(3, 4)
        with torch.no_grad():
            assert torch.equal(traced(x), model(x))


def test_graphs_built_by_hand():
    graph = fx.Graph()
    x = fx.Proxy(graph.placeholder("x"))
    graph.output(mish.torch.Mish()(x).node)
    traced = fx.GraphModule({}, graph)
    assert torch.equal(traced(torch.ones(3)), mish.torch.mish(torch.ones(3)))


def test_retracing_and_interpreting():
    model, x = Block(mish.torch.Mish()), torch.randn(1, 3, 2, 2)
    traced = fx.symbolic_trace(fx.symbolic_trace(model))
    assert torch.equal(fx.Interpreter(traced).run(x), model(x))
    assert torch.equal(fx.Transformer(traced).transform()(x), model(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_quantization(name):
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    x = torch.randn(4, 3, 5, 5)
    torch.manual_seed(0)
    plain = Block(nn.Mish(inplace=name == "Mish in place")).eval()
    ours = copy.deepcopy(plain)
    ours.act = ACTIVATIONS[name]()
    results = []
    for model in (plain, ours):
        mapping = get_default_qconfig_mapping("x86")
        prepared = prepare_fx(model, mapping, (x,))
        prepared(x)
        results.append(convert_fx(prepared)(x))
    scale = plain(x).abs().max() / 40
    assert (results[0] - results[1]).abs().max() < scale


class Seen(torch.Tensor):
    """Notes the functions that it is passed to."""

    functions = []

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.functions.append(function)
        return super().__torch_function__(function, types, args, kwargs or {})


def test_subclasses_and_modes():
    from torch.overrides import TorchFunctionMode

    class Doubled(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            return result * 2 if function is mish.torch.mish else result

    x = torch.randn(5)
    for call in (mish.torch.mish, mish.torch.Mish(), MishCuda()):
        Seen.functions.clear()
        y = call(x.as_subclass(Seen))
        assert Seen.functions == [mish.torch.mish] and type(y) is Seen
        assert torch.equal(y.as_subclass(torch.Tensor), mish.torch.mish(x))
        with Doubled():
            doubled = call(x)
        assert torch.equal(doubled, mish.torch.mish(x) * 2)
    with torch.device("meta"):
        assert mish.torch.mish(x).device.type == "cpu"
        assert torch.equal(torch.compile(mish.torch.mish, backend="eager")(x), mish.torch.mish(x))

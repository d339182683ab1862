"""Exported to ONNX, each entry point is what F.mish is: the standard's Mish from the exporter over
torch.export, its formula from the older one over TorchScript."""

import io
import warnings

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import torch.nn.functional as F  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

import mish.torch  # noqa: E402
from mish_cuda import MishCuda, MishCudaFunction  # noqa: E402
from mish_cuda._C import mish_forward  # noqa: E402


class Net(torch.nn.Module):
    def __init__(self, act):
        super().__init__()
        self.layer, self.act = torch.nn.Linear(3, 4), act

    def forward(self, x):
        return self.act(self.layer(x)) * 2


ENTRIES = {
    "function": lambda: mish.torch.mish,
    "function in place": lambda: lambda x: mish.torch.mish(x, inplace=True),
    "module": mish.torch.Mish,
    "module in place": lambda: mish.torch.Mish(inplace=True),
    "mish_cuda": MishCuda,
    "mish_cuda function": lambda: MishCudaFunction.apply,
    "mish_cuda extension": lambda: mish_forward,
    "enable": lambda: F.mish,
    "enable in place": lambda: torch.nn.Mish(inplace=True),
    "enable, second order": lambda: F.mish,
    "enable, second order, in place": lambda: torch.nn.Mish(inplace=True),
}
FORMULA = {"Softplus", "Tanh", "Mul"}


def export(model, x, opset, dynamo):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            axes = {"dynamic_shapes": {"x": {0: torch.export.Dim("batch", min=2)}}}
        else:
            axes = {"dynamic_axes": {"x": {0: "batch"}}}
        torch.onnx.export(
            model, (x,), file, opset_version=opset, dynamo=dynamo, input_names=["x"], **axes
        )
    exported = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(exported)
    return exported


def operations(exported):
    inner = {function.name: function for function in exported.functions}
    found = set()
    for node in exported.graph.node:
        nodes = inner[node.op_type].node if node.op_type in inner else [node]
        found |= {node.op_type for node in nodes}
    return found


@pytest.mark.parametrize("opset, dynamo", ((17, False), (18, False), (18, True), (20, True)))
@pytest.mark.parametrize("name", ENTRIES)
def test_export(name, opset, dynamo):
    try:
        if "enable" in name:
            mish.torch.enable(double_backward="second order" in name)
        torch.manual_seed(0)
        model = Net(ENTRIES[name]()).eval()
        exported = export(model, torch.randn(5, 3), opset, dynamo)
    finally:
        mish.torch.disable()
    found = operations(exported)
    assert "Mish" in found if dynamo else FORMULA <= found, found
    assert not any(node.domain.startswith("mish") for node in exported.graph.node)
    x = torch.randn(7, 3) * 4
    (got,) = ReferenceEvaluator(exported).run(None, {"x": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got), model(x))

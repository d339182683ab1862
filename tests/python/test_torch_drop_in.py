"""enable(): whatever PyTorch's own Mish accepts is accepted, what it refuses is refused alike."""

import re

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.nn.functional as F  # noqa: E402

import mish.torch  # noqa: E402
from mish.torch._register import SERVED  # noqa: E402

ATEN = torch.ops.aten
DTYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint8, torch.int16,
    torch.int32, torch.int64, torch.uint16, torch.bool, torch.complex64, torch.complex128,
    torch.float8_e5m2, torch.float8_e4m3fn,
)  # fmt: skip


class Wrapped(torch.Tensor):
    """A subclass that changes nothing."""


def values(*shape):
    return torch.linspace(-4, 4, torch.Size(shape).numel()).reshape(shape)


def misaligned(dtype):
    n, size = 12, torch.empty(0, dtype=dtype).element_size()
    memory = torch.zeros(n * size + 1, dtype=torch.uint8)
    memory[1:] = values(n).to(dtype).view(torch.uint8)
    x = torch.frombuffer(memory.numpy(), dtype=dtype, offset=1)
    assert x.data_ptr() % 2
    return x.view(3, 4)


def inference():
    with torch.inference_mode():
        return values(3, 4)


INPUTS = {
    **{str(dtype)[6:]: lambda dtype=dtype: values(3, 4).to(dtype) for dtype in DTYPES},
    **{
        f"misaligned {str(dtype)[6:]}": lambda dtype=dtype: misaligned(dtype)
        for dtype in SERVED
    },
    "misaligned view": lambda: misaligned(torch.float32)[1:, ::2],
    "empty": lambda: torch.empty(3, 0),
    "empty int": lambda: torch.empty(0, dtype=torch.int32),
    "empty and expanded": lambda: torch.empty(1, 0).expand(3, 0),
    "no dimensions": lambda: torch.tensor(1.5),
    "transposed": lambda: values(3, 4).t(),
    "sliced": lambda: values(6, 9)[1::2, ::3],
    "nine dimensions": lambda: values(*[4] * 9)[(slice(None, None, 2),) * 9],
    "channels_last": lambda: values(2, 3, 2, 2).to(memory_format=torch.channels_last),
    "expanded": lambda: values(4, 1).expand(4, 3),
    "requires grad": lambda: values(3, 4).requires_grad_(),
    "no leaf": lambda: values(3, 4).requires_grad_() * 2,
    "a view of a leaf": lambda: values(3, 4).requires_grad_()[1:],
    "inference": inference,
    "meta": lambda: values(3, 4).to("meta"),
    "meta int": lambda: values(3, 4).int().to("meta"),
    "meta, expanded": lambda: torch.empty(1, 4, device="meta").expand(3, 4),
    "conj": lambda: values(3, 4).to(torch.complex64).conj(),
    "negative": lambda: (values(3, 4) * 1j).conj().imag,
    "zero": lambda: torch._efficientzerotensor((3, 4)),
    "sparse": lambda: values(3, 4).to_sparse(),
    "sparse rows": lambda: values(3, 4).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(values(3, 4), 0.1, 0, torch.qint8),
    "mkldnn": lambda: values(3, 4).to_mkldnn(),
    "nested": lambda: torch.nested.nested_tensor([values(3), values(2)]),
    "subclass": lambda: values(3, 4).as_subclass(Wrapped),
    "parameter": lambda: torch.nn.Parameter(values(3, 4)),
    "number": lambda: 1.5,
    "none": lambda: None,
}


def into(make_out):
    def call(x):
        out = make_out(x)
        assert ATEN.mish.out(x, out=out) is out
        return out

    return call


def through(gradient):
    """The result and its gradient for a given one."""

    def call(x):
        leaf = x.detach().clone().requires_grad_()
        y = F.mish(leaf * 1)
        return torch.autograd.grad(y, leaf, gradient(y))[0]

    return call


CALLS = {
    "F.mish": F.mish,
    "F.mish in place": lambda x: F.mish(x, inplace=True),
    "nn.Mish": torch.nn.Mish(),
    "nn.Mish in place": torch.nn.Mish(inplace=True),
    "aten.mish": ATEN.mish.default,
    "aten.mish_": ATEN.mish_.default,
    "aten.mish.out": into(torch.empty_like),
    "aten.mish.out of another shape": into(lambda x: x.new_empty(2)),
    "aten.mish.out of another dtype": into(lambda x: torch.empty_like(x, dtype=torch.float64)),
    "aten.mish_backward": lambda x: ATEN.mish_backward.default(x, x),
    "gradient": through(torch.ones_like),
    "expanded gradient": through(lambda y: torch.ones(()).expand(y.shape)),
}

GRADIENTS = {
    **{f"{str(dtype)[6:]}": lambda dtype=dtype: values(3, 4).to(dtype) for dtype in DTYPES},
    **{f"{str(dtype)[6:]} scalar": lambda dtype=dtype: torch.tensor(2).to(dtype) for dtype in DTYPES},
    "row": lambda: values(4),
    "column": lambda: values(3, 1),
    "more dimensions": lambda: values(2, 3, 4),
    "more dimensions, double": lambda: values(2, 3, 4).double(),
    "of one element": lambda: values(1, 1, 1),
    "too long": lambda: values(3, 5),
    "empty": lambda: values(3, 0),
    "transposed": lambda: values(4, 3).t(),
    "expanded": lambda: values(1, 4).expand(3, 4),
    "misaligned": lambda: misaligned(torch.float32),
    "zero": lambda: torch._efficientzerotensor((3, 4)),
    "negative": lambda: (values(3, 4) * 1j).conj().imag,
    "sparse": lambda: values(3, 4).to_sparse(),
    "meta": lambda: values(3, 4).to("meta"),
    "number": lambda: 2.0,
}
TARGETS = {
    **{
        str(dtype)[6:]: lambda dtype=dtype: values(3, 4).to(dtype)
        for dtype in DTYPES
        if dtype is not torch.uint16
    },
    "scalar": lambda: torch.tensor(1.5),
    "double scalar": lambda: torch.tensor(1.5).double(),
    "float8 scalar": lambda: torch.tensor(1.5).to(torch.float8_e5m2),
    "column": lambda: values(3, 1),
    "column, half": lambda: values(3, 1).half(),
    "misaligned": lambda: misaligned(torch.float64),
    "meta": lambda: values(3, 4).to("meta"),
}


def outcome(call, *make):
    """A tensor, or the kind and the text of an exception."""
    operands = [one() for one in make]
    try:
        return call(*operands)
    except Exception as error:
        assert not isinstance(error, AssertionError), error
        return type(error), str(error)


# Which of two devices or of autograd's reasons comes first.
OWN_WORDS = "same device|in-place operation"


def words(text):
    """A message without the kernel's name, and without which integer or complex type it is that
    two others promote to."""
    text = re.sub("mish(_backward)?_cpu", "mish", text.splitlines()[0])
    text = re.sub("B?Complex(Half|Float|Double|32)", "complex", text)
    return re.sub("'(Char|Byte|Short|Int|Long|UInt16|Bool)'", "'integer'", text)


def compare(name, ours, theirs, exact=True):
    if not isinstance(theirs, torch.Tensor):
        assert not isinstance(ours, torch.Tensor), f"{name}: accepted, not {theirs}"
        if not exact:
            # There may be two reasons, of which either comes first.
            assert issubclass(ours[0], RuntimeError), f"{name}: {ours}, not {theirs}"
            return
        assert ours[0] is theirs[0], f"{name}: {ours}, not {theirs}"
        said, expected = (words(text) for _, text in (ours, theirs))
        # Some of PyTorch's lack the space between sentences.
        alike = "".join(said.split()) == "".join(expected.split())
        assert alike or re.search(OWN_WORDS, said), f"{name}: {said}, not {expected}"
        return
    assert isinstance(ours, torch.Tensor), f"{name}: {ours}"
    for what in ("dtype", "device", "layout", "shape", "requires_grad", "is_leaf"):
        if what == "shape" and theirs.is_nested:
            continue
        assert getattr(ours, what) == getattr(theirs, what), f"{name}: {what}"
    assert type(ours) is type(theirs) and ours.is_inference() == theirs.is_inference(), name
    if exact and theirs.layout == torch.strided and not theirs.is_nested:
        steps = [
            [step for step, size in zip(tensor.stride(), tensor.shape) if size > 1]
            for tensor in (ours, theirs)
        ]
        assert ours.numel() == 0 or steps[0] == steps[1], f"{name}: strides {steps}"
    if theirs.device.type == "meta":
        return
    plain = [tensor.detach() for tensor in (ours, theirs)]
    if plain[0].is_nested:
        plain = [tensor.values() if tensor.layout == torch.jagged else tensor.to_padded_tensor(0.0) for tensor in plain]
    plain = [tensor.to_dense() if tensor.layout != torch.strided else tensor for tensor in plain]
    plain = [tensor.resolve_neg().as_subclass(torch.Tensor).double() for tensor in plain]
    loose = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float8_e5m2: 0.3}
    close = loose.get(theirs.dtype, 1e-5)
    torch.testing.assert_close(*plain, rtol=close, atol=close, msg=lambda text: f"{name}: {text}")


@pytest.fixture(params=(False, True), ids=("", "double_backward"))
def enabled(request):
    def run(call, *make):
        with mish.torch.enable(double_backward=request.param):
            return outcome(call, *make)

    yield run
    mish.torch.disable()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_calls(name, enabled):
    for kind, make in INPUTS.items():
        theirs = outcome(CALLS[name], make)
        compare(f"{name}, {kind}", enabled(CALLS[name], make), theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_gradients_of_another_kind(target, enabled):
    call = ATEN.mish_backward.default
    for kind, make in GRADIENTS.items():
        theirs = outcome(call, make, TARGETS[target])
        # The result has the layout of x here, and that of the gradient there.
        ours = enabled(call, make, TARGETS[target])
        compare(f"{kind} for {target}", ours, theirs, exact=False)

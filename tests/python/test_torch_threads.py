"""The operators on PyTorch's threads: results depend neither on how many there are nor on their
floating-point mode."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mish.torch  # noqa: E402
from mish import _abi  # noqa: E402
from mish.torch._register import SERVED  # noqa: E402

OPS = torch.ops.mish
# Split from some 2^14 elements on.
LENGTHS = (1000, 2**14, 50_000, 2**18 + 3)


def subnormals(dtype, n):
    """A subnormal in every other place, ordinary numbers between them."""
    x = torch.linspace(-9, 9, n, dtype=torch.float64).to(dtype)
    x[::2] = torch.finfo(dtype).tiny / 4 * (1 + torch.arange((n + 1) // 2, dtype=torch.float64) % 3)
    return x


@pytest.fixture
def restored():
    threads = torch.get_num_threads()
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


def bits(tensors):
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    tensors = tensors if isinstance(tensors, tuple) else (tensors,)
    return [tensor.view(kind[tensor.element_size()]) for tensor in tensors]


@pytest.mark.parametrize("dtype", SERVED, ids=str)
@pytest.mark.parametrize("name", _abi.OPERATIONS)
def test_flushing_and_threads_change_nothing(restored, dtype, name):
    call = getattr(OPS, name)
    for n in LENGTHS:
        torch.set_num_threads(1)
        x = subnormals(dtype, n)
        operands = [x] * len(_abi.OPERATIONS[name][0])
        expected = bits(call(*operands))
        # mish(x) is 0.6 x near zero: smaller still, and not nothing.
        assert expected[0][0] != 0
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for flush in (True, False):
                assert torch.set_flush_denormal(flush)
                found = bits(call(*operands))
                assert all(map(torch.equal, found, expected)), (n, threads, flush)

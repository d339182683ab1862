"""The operators on PyTorch's threads: results depend neither on how many there are nor on their
floating-point mode."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mish.torch  # noqa: E402

OPS = torch.ops.mish
# Split from some 2^14 elements on.
LENGTHS = (1000, 2**14, 50_000, 2**18 + 3)
CALLS = {
    "forward": lambda x: (OPS.forward(x),),
    "backward": lambda x: (OPS.backward(x, x),),
    "double_backward": lambda x: OPS.double_backward(x, x, x),
}


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
    return [tensor.view(kind[tensor.element_size()]) for tensor in tensors]


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16, torch.float32, torch.float64), ids=str)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_flushing_and_threads_change_nothing(restored, dtype, call):
    for n in LENGTHS:
        torch.set_num_threads(1)
        x = subnormals(dtype, n)
        expected = bits(call(x))
        # mish(x) is 0.6 x near zero: smaller still, and not nothing.
        assert expected[0][0] != 0
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for flush in (True, False):
                assert torch.set_flush_denormal(flush)
                found = bits(call(x))
                assert all(map(torch.equal, found, expected)), (n, threads, flush)

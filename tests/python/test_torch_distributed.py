"""Mish in data-parallel and sharded training: two processes on the CPU."""

import datetime
import os
import traceback

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402
import torch.nn.functional as F  # noqa: E402

import mish.torch  # noqa: E402

WORLD = 2


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8), mish.torch.Mish(), torch.nn.Linear(8, 4), mish.torch.Mish()
    )


def expected(x):
    """Gradients of the mean over both halves of the batch, without any parallelism."""
    model = network()
    model(x).sum().div(WORLD).backward()
    return [parameter.grad for parameter in model.parameters()]


def batch():
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


def ddp(rank):
    model = torch.nn.parallel.DistributedDataParallel(network())
    model(batch()[rank * 2 : rank * 2 + 2]).sum().backward()
    for got, want in zip(model.parameters(), expected(batch())):
        torch.testing.assert_close(got.grad, want)


def dtensor(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (WORLD,))
    full = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    want = F.mish(full)
    for placement in (Shard(0), Shard(1), Replicate()):
        x = distribute_tensor(full, mesh, [placement]).requires_grad_()
        y = mish.torch.mish(x)
        # Stays where it is: pointwise.
        assert y.placements == (placement,), y.placements
        torch.testing.assert_close(y.full_tensor(), want)
        (grad,) = torch.autograd.grad(y.sum().full_tensor(), x, create_graph=True)
        assert grad.placements == (placement,), grad.placements
        (second,) = torch.autograd.grad(grad.sum().full_tensor(), x)
        reference = full.clone().requires_grad_()
        (first,) = torch.autograd.grad(F.mish(reference).sum(), reference, create_graph=True)
        torch.testing.assert_close(grad.full_tensor(), first)
        (wanted,) = torch.autograd.grad(first.sum(), reference)
        torch.testing.assert_close(second.full_tensor(), wanted)
        with torch.no_grad():
            y = distribute_tensor(full, mesh, [placement]) * 1
            mish.torch.mish(y, inplace=True)
            torch.testing.assert_close(y.full_tensor(), want)
            torch.testing.assert_close(torch.ops.mish.forward(x).full_tensor(), want)
            out = torch.empty_like(y)
            assert torch.ops.mish.forward.out(x, out=out) is None
            assert out.placements == (placement,)
            torch.testing.assert_close(out.full_tensor(), want)
        with pytest.raises(RuntimeError, match="automatic differentiation"):
            torch.ops.mish.forward.out(x, out=out)
        with pytest.raises(RuntimeError, match="out.*dtype"):
            torch.ops.mish.forward.out(x.detach(), out=out.float())


def tensor_parallel(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = init_device_mesh("cpu", (WORLD,))
    model = parallelize_module(network(), mesh, {
        "0": ColwiseParallel(use_local_output=False), "2": RowwiseParallel()})  # fmt: skip
    model(batch()).sum().div(WORLD).backward()
    for got, want in zip(model.parameters(), expected(batch())):
        torch.testing.assert_close(got.grad.full_tensor(), want)


def fsdp2(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = network()
    mesh = init_device_mesh("cpu", (WORLD,))
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model(batch()[rank * 2 : rank * 2 + 2]).sum().backward()
    for got, want in zip(model.parameters(), expected(batch())):
        torch.testing.assert_close(got.grad.full_tensor(), want)


CASES = (ddp, dtensor, tensor_parallel, fsdp2)


def worker(rank, folder):
    """Every case in turn: starting processes takes longer than all of them."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=WORLD,
        timeout=datetime.timedelta(seconds=120),
    )  # fmt: skip
    for case in CASES:
        try:
            case(rank)
            result = "passed"
        except Exception:
            result = traceback.format_exc()
        (folder / f"{case.__name__}.{rank}").write_text(result)
    # Neither closes its sockets while the other still talks, and the end of the interpreter does
    # not meet gloo's threads: now and then PyTorch aborts there, after all is done.
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    if not dist.is_available():
        pytest.skip("this PyTorch was built without distributed")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(worker, (folder,), nprocs=WORLD)
    return folder


@pytest.mark.parametrize("case", [case.__name__ for case in CASES])
def test_two_processes(case, results):
    for rank in range(WORLD):
        result = (results / f"{case}.{rank}").read_text()
        assert result == "passed", f"process {rank}:\n{result}"


def test_data_parallel_without_gpus():
    if torch.cuda.device_count() > 1:
        pytest.skip("several GPUs: covered by the GPU tests")
    model = torch.nn.DataParallel(network())
    torch.testing.assert_close(model(batch()), network()(batch()).to(next(model.parameters()).device))

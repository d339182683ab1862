"""What a call costs from PyTorch, and what training keeps in memory.

    python bench/torch_overhead.py [--device cuda] [--out FILE] [--rounds N]

Call overhead: 8 elements, so that nothing but the call is measured. The contenders take turns in
rounds of some milliseconds; reported are medians over the rounds, and the ratio's median, in
which slow spells of the machine cancel out: by the clock, and in CPU time of the calling thread,
which does all the work, so that other processes count less. On a GPU that is the time to enqueue
the work: 8 elements take less than the call. Memory, on the CPU only: the allocations that
PyTorch's profiler sees in one training step of ten layers, and in one in-place call.
"""

import argparse
import datetime
import gc
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
if not os.environ.get("MISH_TEST_INSTALLED"):
    sys.path.insert(0, str(ROOT / "bindings" / "python"))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

import mish.torch  # noqa: E402

# By device: at most so many times as long as F.mish.
LIMITS = {
    "cpu": {
        "mish.torch.mish, no gradient": 1.3,
        "mish.torch.mish, forward + backward": 1.6,
        "F.mish after enable(), no gradient": 1.1,
        "F.mish after enable(), forward + backward": 1.1,
    },
    "cuda": {
        "mish.torch.mish, no gradient": 1.25,
        "F.mish after enable(), no gradient": 1.1,
        "F.mish after enable(), forward + backward": 1.1,
    },
}


def timed(function, calls):
    """Nanoseconds a call: by the clock, and of this thread's CPU time."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()  # nothing of the one before is in the queue
    wall, cpu_time = time.perf_counter_ns(), time.thread_time_ns()
    for _ in range(calls):
        function()
    cpu_time = time.thread_time_ns() - cpu_time
    return (time.perf_counter_ns() - wall) / calls, cpu_time / calls


def compare(base, contender, rounds, calls):
    """Median nanoseconds of each, and the median of the rounds' ratios."""
    pairs = []
    for _ in range(rounds + 3):
        before = base()
        first = timed(before, calls)
        after = contender()
        pairs.append((first, timed(after, calls)))
        done = getattr(contender, "undo", None)
        if done is not None:
            done()
    result = {}
    for clock, name in enumerate(("wall", "cpu")):
        taken = [(a[clock], b[clock]) for a, b in pairs[3:]]
        result[f"base {name} ns"] = round(statistics.median(a for a, _ in taken), 1)
        result[f"{name} ns"] = round(statistics.median(b for _, b in taken), 1)
        result[f"{name} ratio"] = round(statistics.median(b / a for a, b in taken), 3)
    return result


class Enabled:
    """F.mish with the switch on, off again afterwards."""

    def __init__(self, function, **options):
        self.function, self.options = function, options

    def __call__(self):
        mish.torch.enable(**self.options)
        return self.function

    def undo(self):
        mish.torch.disable()


def overhead(rounds, device):
    x = torch.randn(8, device=device)
    leaf = x.clone().requires_grad_()
    seed = torch.ones_like(x)

    def both(function):
        return lambda: function(leaf).backward(seed)

    def second(function):
        def run():
            (grad,) = torch.autograd.grad(function(leaf), leaf, seed, create_graph=True)
            torch.autograd.grad(grad, leaf, seed)

        return run

    def no_grad(function):
        return lambda: function(x)

    results = {}
    for kind, wrap, calls in (
        ("no gradient", no_grad, 2000),
        ("forward + backward", both, 300),
        ("forward + double backward", second, 100),
    ):
        base = wrap(F.mish)
        for name, contender in (
            ("mish.torch.mish", lambda: wrap(mish.torch.mish)),  # noqa: B023
            ("F.mish after enable()", Enabled(base)),
            ("F.mish after enable(double_backward=True)", Enabled(base, double_backward=True)),
        ):
            results[f"{name}, {kind}"] = compare(lambda: base, contender, rounds, calls)  # noqa: B023
    return results


def peak(function):
    """The most bytes allocated at once during the call, beyond what there was."""
    function()
    gc.collect()  # so that nothing older is freed meanwhile
    with torch.profiler.profile(profile_memory=True) as profile:
        function()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    now = most = 0
    for event in events:
        now += event.nbytes()
        most = max(most, now)
    return most


def memory():
    def training(activation):
        torch.manual_seed(0)
        layers = []
        for _ in range(10):
            layers += [torch.nn.Linear(64, 64), activation()]
        model = torch.nn.Sequential(*layers)
        x = torch.randn(4096, 64)

        # Ends as it began: the profiler does not know the size of what was there before.
        def step():
            model(x).sum().backward()
            model.zero_grad(set_to_none=True)

        return step

    def in_place(function, grad):
        x = torch.randn(2**20, requires_grad=grad)

        def step():
            with torch.set_grad_enabled(grad):
                function(x * 1 if grad else x)

        return step

    theirs, ours = torch.nn.Mish, mish.torch.Mish
    results = {"ten layers, training step": (peak(training(theirs)), peak(training(ours)))}
    for grad in (False, True):
        results[f"in place, gradient {'on' if grad else 'off'}"] = (
            peak(in_place(theirs(inplace=True), grad)),
            peak(in_place(ours(inplace=True), grad)),
        )
    return {name: {"nn.Mish": a, "mish.torch.Mish": b} for name, (a, b) in results.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu(),
        "commit": commit(),
        "load average": round(os.getloadavg()[1], 1),
        "elements": 8,
        "rounds": arguments.rounds,
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "call overhead": overhead(arguments.rounds, arguments.device),
        "peak bytes": memory() if arguments.device == "cpu" else {},
    }
    for name, result in report["call overhead"].items():
        limit = LIMITS[arguments.device].get(name)
        ratio = result["wall ratio"]
        verdict = "" if limit is None else "  ok" if ratio <= limit else "  TOO SLOW"
        print(
            f"{name:70} {result['wall ns']:9.0f} ns  {ratio:.2f} x F.mish"
            f"  (CPU time: {result['cpu ratio']:.2f} x){verdict}"
        )
    for name, result in report["peak bytes"].items():
        print(f"{name:70} " + "  ".join(f"{k} {v}" for k, v in result.items()))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def commit():
    if "MISH_COMMIT" in os.environ:
        return os.environ["MISH_COMMIT"]
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


if __name__ == "__main__":
    main()

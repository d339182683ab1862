"""Profiles every contiguous kernel at its benchmark size with Nsight Compute.

    python bench/ncu.py --out FILE

Runs itself under `ncu`, launching each kernel once after a warm-up, and writes per kernel: duration,
share of the peak memory bandwidth, share of the issue slots, share of the double-precision and
special-function pipes, and occupancy. Needs PyTorch with CUDA and MISH_LIBRARY (or the
repository's release build).
"""

import argparse
import csv
import io
import json
import os
import pathlib
import subprocess
import sys

METRICS = {
    "gpu__time_duration.sum": "duration",
    "dram__bytes.sum.per_second": "dram_bytes_per_second",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "sm__inst_issued.avg.pct_of_peak_sustained_active": "issue_slots_percent",
    "sm__pipe_fp64_cycles_active.avg.pct_of_peak_sustained_active": "fp64_pipe_percent",
    "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active": "special_function_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "launch__registers_per_thread": "registers",
}


def launch():
    import torch

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    import gpu

    for dtype in gpu.FORMATS:
        kind = gpu.torch_dtype(dtype)
        n = 2**27 if dtype == "f64" else 2**28
        x, g, h = (torch.randn(n, device="cuda", dtype=torch.float32).to(kind) for _ in range(3))
        for result in gpu.call_all(dtype, x, g, h):
            del result
        torch.cuda.synchronize()
        del x, g, h


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--launch", action="store_true", help="what runs under ncu")
    arguments = parser.parse_args()
    if arguments.launch:
        return launch()
    # The card's clocks are left as they are.
    command = ["ncu", "--csv", "--clock-control", "none", "--kernel-name", "regex:^mish_", "--metrics", ",".join(METRICS),
               sys.executable, __file__, "--launch"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    table = output[output.index('"ID"'):]
    kernels = {}
    for row in csv.DictReader(io.StringIO(table)):
        name = row["Kernel Name"].split("(")[0]
        value = float(row["Metric Value"].replace(",", ""))
        kernels.setdefault(name, {})[METRICS[row["Metric Name"]]] = f"{value:g} {row['Metric Unit']}".strip()
    smi = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True)
    report = {"gpu": smi.stdout.strip(), "commit": os.environ.get("MISH_COMMIT", "unknown"), "n": "2^28, float64 2^27", "kernels": kernels}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

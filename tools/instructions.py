"""Counts the instructions per element of the compiled kernels.

    python tools/instructions.py [--cubin FILE] [--nvdisasm FILE] [--out FILE]

Looks at the unrolled loop of every contiguous kernel in one architecture's machine code (by
default the newest release build's sm_90): all instructions, results of the special-function unit
(MUFU) and double-precision operations, loads, conversions and stores included. The disassembler is
the one that `cargo xtask test` fetches.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8}
# Tensors moved.
OPERATIONS = {"forward": 2, "backward": 3, "double_backward": 5}
# What an H200 can do in a second: 132 multiprocessors at 1.98 GHz, each issuing 4 instructions
# for 32 threads, 16 special-function results and 64 double-precision operations per cycle; and the
# bytes that a copy moves.
CYCLES = 132 * 1.98e9
ISSUE, SPECIAL, DOUBLE, BYTES = 128 * CYCLES, 16 * CYCLES, 64 * CYCLES, 4.3e12


def kernels(code):
    """Name and main loop, a list of instructions, of each contiguous kernel."""
    for section in re.split(r"\n\s*\.section\s+\.text\.", code)[1:]:
        name = re.match(r"\w+", section).group()
        if "strided" in name:
            continue
        best = []
        for block in re.split(r"\n\.L_x_\d+:", section):
            lines = re.findall(r"/\*[0-9a-f]{4,}\*/\s+([^;]+);", block)
            lines = [re.sub(r"^@!?U?P\w+\s+", "", line.strip()) for line in lines]
            if any(re.match(r"STG\S*\.(128|256)", line) for line in lines) and len(lines) > len(best):
                best = lines
        yield name, best


def count(name, loop):
    match = re.search(r"(double_backward|backward|forward)_(bf16|f16|f32|f64)", name)
    operation, dtype = match.groups()
    tensors = OPERATIONS[operation]
    stored = sum(int(m.group(1)) // 8 for m in (re.match(r"STG\S*\.(128|256)", line) for line in loop) if m)
    # Either output of double_backward may be left out: its stores lie in blocks of their own but
    # for one output's, which are these.
    elements = stored // SIZES[dtype]
    opcodes = [line.split()[0].split(".")[0] for line in loop]
    per_second = BYTES / (tensors * SIZES[dtype])
    return {
        "dtype": dtype,
        "operation": operation,
        "elements": elements,
        "instructions": round(len(loop) / elements, 1),
        "special": round(opcodes.count("MUFU") / elements, 2),
        "double": round(sum(o in ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX") for o in opcodes) / elements, 1),
        "time_for_instructions": round(ISSUE / per_second, 1),
        "time_for_special": round(SPECIAL / per_second, 1),
        "time_for_double": round(DOUBLE / per_second, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found = sorted(ROOT.glob("target/release/build/libmish-*/out/kernels/sm_90.cubin"), key=lambda p: p.stat().st_mtime)
    parser.add_argument("--cubin", type=pathlib.Path, default=found[-1] if found else None)
    default = ROOT / ".deps" / "nvdisasm" / "nvidia" / "cu13" / "bin" / "nvdisasm"
    parser.add_argument("--nvdisasm", type=pathlib.Path, default=default)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench" / "results" / "instructions.json")
    arguments = parser.parse_args()
    if arguments.cubin is None or not arguments.nvdisasm.exists():
        sys.exit("needs a release build and the disassembler: cargo xtask test rust")
    command = [arguments.nvdisasm, "--print-code", arguments.cubin]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [count(name, loop) for name, loop in kernels(code)]
    rows.sort(key=lambda row: (list(SIZES).index(row["dtype"]), list(OPERATIONS).index(row["operation"])))
    if len(rows) != 12:
        sys.exit(f"{len(rows)} contiguous kernels instead of 12")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    lines = ",\n".join(json.dumps(row) for row in rows)
    header = json.dumps({"architecture": arguments.cubin.stem, "commit": commit})
    arguments.out.write_text(f'{{\n"header": {header},\n"rows": [\n{lines}\n]\n}}\n')
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()

"""Counts the instructions per element of the compiled kernels.

    python tools/instructions.py [--cubin FILE] [--nvdisasm FILE] [--out FILE]

Looks at the widest tile of every contiguous kernel in one architecture's machine code (by default
the newest release build's sm_90): all instructions, results of the special-function unit (MUFU)
and double-precision operations, with loads, conversions, stores and what precedes the tile. The disassembler is
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


def parsed(section):
    """The instructions of a function and where its labels stand among them."""
    lines, labels = [], {}
    for text in section.splitlines():
        if label := re.match(r"\.(L_x_\d+):", text):
            labels[label[1]] = len(lines)
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+([^;]+);", text):
            lines.append(found[1].strip())
    return lines, labels


def opcode(line):
    """Without its predicate."""
    return re.sub(r"^@!?U?P\w+\s+", "", line).split()[0]


def stored(lines):
    """Bytes that one thread stores in vectors."""
    widths = (re.match(r"STG\S*\.(128|256)", opcode(line)) for line in lines)
    return sum(int(width[1]) // 8 for width in widths if width)


def usual(lines, labels, start, end):
    """What runs from `start` to `end` but for what branches forward usually skip: paths that touch
    no memory, for results that are not normal numbers."""
    taken, i = [], start
    while i < end:
        taken.append(lines[i])
        branch = re.search(r"^@\S+ BRA (?:!?U?P\d, )?`\(\.(L_x_\d+)\)", lines[i])
        to = labels.get(branch[1], 0) if branch else 0
        skipped = [opcode(line)[:3] for line in lines[i + 1 : to]]
        i = to if i < to <= end and not {"STG", "LDG"} & set(skipped) else i + 1
    return taken


def kernels(code):
    """Name and instructions of the widest tile of each contiguous kernel."""
    for section in re.split(r"\n\s*\.section\s+\.text\.", code)[1:]:
        name = re.match(r"\w+", section).group()
        if "strided" in name:
            continue
        lines, labels = parsed(section)
        # Tiles of different widths end with an exit or with a jump back.
        jumps = [opcode(line) in ("EXIT", "BRA") and not line.startswith("@") for line in lines]
        ends = [i + 1 for i, jump in enumerate(jumps) if jump]
        tiles = list(zip([0, *ends], ends))
        start, end = max(tiles, key=lambda tile: stored(lines[slice(*tile)]))
        tile = usual(lines, labels, start, end)
        back = re.search(r"BRA `\(\.(L_x_\d+)\)", lines[end - 1])
        if back and start <= labels[back[1]] < end:
            tile = usual(lines, labels, labels[back[1]], end)
        elif start > 0:
            # No loop: what precedes it runs as often. It ends with the jump to the tile.
            to = [name for name, at in labels.items() if at == start]
            before = [i for i in range(start) if any(f"(.{label})" in lines[i] for label in to)]
            tile = lines[: before[0] + 1] + tile
        yield name, tile


def count(name, loop):
    match = re.search(r"(double_backward|backward|forward)_(bf16|f16|f32|f64)", name)
    operation, dtype = match.groups()
    tensors = OPERATIONS[operation]
    elements = stored(loop) // SIZES[dtype] // (2 if operation == "double_backward" else 1)
    opcodes = [opcode(line).split(".")[0] for line in loop]
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

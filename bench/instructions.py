"""Counts the instructions per element of every compiled kernel and compares them with a file.

    cargo xtask gate [--write]      builds what this needs and runs it

GPU, every image: registers and local memory as its machine code states them. Of the widest tile of
a contiguous kernel: instructions, results of the special-function unit (MUFU) and double-precision
operations per element, with loads, conversions, stores and what precedes the tile, and how many
bytes its narrowest accesses move. Of a strided kernel: all its instructions and its widest
accesses. Instructions that only wait (NOP) are left out. Architectures that the disassembler does
not know have their PTX counted instead.

CPU, every instruction set: instructions per element, what n more elements execute, from
tests/gate/count.c. And the library's instructions of a CUDA call up to its launch, every check
included, from tests/gate/calls.c.

Nothing is timed. A count that grew by more than LIMIT fails, and so does an access that got
narrower; --write takes the counts as they are into the file.
"""

import argparse
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
from mish import _abi  # noqa: E402

FILE = ROOT / "bench" / "instructions.json"
LIMIT = 1.03

SIZES = {dtype.name: dtype.size for dtype in _abi.DTYPES}
OPERATIONS = tuple(_abi.OPERATIONS)
KERNELS = [f"{o} {d}{s}" for s in ("", " strided") for d in SIZES for o in OPERATIONS]
# The oldest architecture that the disassembler knows.
DISASSEMBLED = 75
# How an instruction set is counted: Valgrind does not know the newest.
SETS = {"baseline": "valgrind", "avx2": "valgrind", "avx512": "step"}
UNAVAILABLE = 77
# The part of the file with the instructions of a CUDA call.
CALL = "call"

# ---- GPU: instructions, in machine code and in PTX alike

LABEL = r"\.L_x_\d+|\$L__BB\w+"


def parsed(text):
    """The instructions of a function and where its labels stand among them."""
    lines, labels = [], {}
    for line in text.splitlines():
        if label := re.match(rf"({LABEL}):", line):
            labels[label[1]] = len(lines)
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+([^;]+);|\t([@a-z][^;]*);", line):
            lines.append((found[1] or found[2]).strip())
    return lines, labels


def opcode(line):
    """Without its predicate."""
    return re.sub(r"^@!?%?\w+\s+", "", line).split()[0]


def access(line):
    """Whether an instruction accesses global memory: "load" or "store", and how many bytes."""
    code = opcode(line)
    if found := re.match(r"(LDG|STG)\S*?(?:\.[US]?(8|16|64|128|256))?(?:\.SYS)?$", code):
        return ("load" if found[1] == "LDG" else "store"), int(found[2] or 32) // 8
    if found := re.match(r"(ld|st)\.global\S*?(?:\.v(\d))?\.[bfus](\d+)$", code):
        return ("load" if found[1] == "ld" else "store"), int(found[2] or 1) * int(found[3]) // 8
    return None


def widths(lines, kind):
    found = (access(line) for line in lines)
    return [size for which, size in filter(None, found) if which == kind]


def stored(lines):
    """Bytes that one thread stores in vectors."""
    return sum(size for size in widths(lines, "store") if size >= 16)


def tile(lines, labels):
    """What the widest tile executes: of the ways through a kernel that store the most in vectors, the
    shortest, which leaves out the paths for numbers out of the ordinary. Loops run once."""
    # For every instruction, from the last to the first: bytes stored from there on, less the
    # instructions, and which comes next.
    best = [(0, 0, None)] * (len(lines) + 1)
    for i in range(len(lines) - 1, -1, -1):
        code, branch = opcode(lines[i]).split(".")[0].lower(), re.search(LABEL, lines[i])
        ways = []
        # Branches on a uniform predicate name it as an operand.
        is_conditional = re.match(r"@|BRA\S* !?UP", lines[i])
        if code not in ("exit", "ret", "bra") or is_conditional:
            ways.append(i + 1)
        if code == "bra" and labels[branch[0]] > i:
            ways.append(labels[branch[0]])
        wide, fewest, to = max(((*best[way][:2], way) for way in ways), default=(0, 0, None))
        best[i] = wide + stored(lines[i : i + 1]), fewest - 1, to
    taken, i = [], 0
    while i is not None and i < len(lines):
        taken.append(lines[i])
        i = best[i][2]
    return taken


def counted(text, kernel, is_ptx=False):
    """The numbers of one kernel's code."""
    operation, dtype, *strided = kernel.split()
    lines, labels = parsed(text)
    name = "ptx_instructions" if is_ptx else "instructions"
    if strided:
        return {
            f"{name}_in_all": sum(opcode(line) != "NOP" for line in lines),
            "load_bytes": max(widths(lines, "load")),
            "store_bytes": max(widths(lines, "store")),
        }
    taken = [line for line in tile(lines, labels) if opcode(line) != "NOP"]
    elements = stored(taken) // SIZES[dtype] // (2 if operation == "double_backward" else 1)
    if elements == 0:
        sys.exit(f"{kernel}: no tile of vectors was found")
    numbers = {
        "elements": elements,
        name: round(len(taken) / elements, 1),
        "load_bytes": min(widths(taken, "load")),
        "store_bytes": min(widths(taken, "store")),
    }
    if not is_ptx:
        opcodes = [opcode(line).split(".")[0] for line in taken]
        double = sum(code in ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX") for code in opcodes)
        numbers["special"] = round(opcodes.count("MUFU") / elements, 2)
        numbers["double"] = round(double / elements, 1)
    return numbers


def kernel_of(symbol):
    """`mish_double_backward_f32_strided` as this file names it."""
    operation, dtype, strided = re.fullmatch(r"mish_(\w+)_(b?f\d\d)(_strided)?", symbol).groups()
    return f"{operation} {dtype}{' strided' if strided else ''}"


def functions(text, start):
    """The code of each kernel, by name, where `start` is what precedes a name."""
    parts = re.split(rf"{start}(mish_\w+)", text)
    return {kernel_of(name): body for name, body in zip(parts[1::2], parts[2::2])}


# ---- GPU: what a cubin states

REGISTERS, FRAME = 0x2F, 0x11


def resources(data):
    """Registers and bytes of local memory of every kernel, from a cubin's section .nv.info."""
    (at,) = struct.unpack_from("<Q", data, 40)
    number, names = struct.unpack_from("<HH", data, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, at + 64 * i) for i in range(number)]

    def string(table, offset):
        return data[sections[table][4] + offset :].split(b"\0", 1)[0].decode()

    by_name = {string(names, section[0]): section for section in sections}
    symbols, info = by_name[".symtab"], by_name[".nv.info"]
    found = {}
    at, end = info[4], info[4] + info[5]
    while at < end:
        form, attribute, size = struct.unpack_from("<BBH", data, at)
        at += 4
        if form != 4:
            continue
        if attribute in (REGISTERS, FRAME):
            index, value = struct.unpack_from("<II", data, at)
            (name,) = struct.unpack_from("<I", data, symbols[4] + 24 * index)
            kernel = found.setdefault(kernel_of(string(symbols[6], name)), {})
            kernel["registers" if attribute == REGISTERS else "local_bytes"] = value
        at += size
    return found


def gpu(folder, nvdisasm):
    """The numbers of every image by image and kernel; and which images' code was not looked at."""
    found, skipped = {}, []
    cubins = folder.glob("sm_*.cubin")
    images = sorted((path.stem for path in cubins), key=lambda name: int(name[3:]))
    for image in [*images, *sorted(path.stem for path in folder.glob("compute_*.ptx"))]:
        cubin = folder / f"{image}.cubin"
        stated = resources(cubin.read_bytes()) if cubin.exists() else {}
        is_ptx = not cubin.exists() or int(image[3:]) < DISASSEMBLED
        if is_ptx:
            text = (folder / f"{image}.ptx").read_text().rstrip("\0")
            code = functions(text, r"\.entry ")
        elif nvdisasm is not None:
            command = [nvdisasm, "--print-code", cubin]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            code = functions(text, r"\n\.text\.")
        else:
            skipped.append(image)
            code = {}
        for kernel in KERNELS:
            numbers = counted(code[kernel], kernel, is_ptx) if code else {}
            found[f"{image}: {kernel}"] = {**stated.get(kernel, {}), **numbers}
    return found, skipped


# ---- CPU


def executed(text):
    """The instructions of the library in one of Callgrind's dumps."""
    names, of, total, is_inclusive = {}, "", 0, False
    for line in text.splitlines():
        if found := re.match(r"c?ob=\((\d+)\)(?: (.+))?", line):
            names[found[1]] = found[2] or names[found[1]]
            of = names[found[1]] if line[0] == "o" else of
        elif line.startswith("calls="):
            is_inclusive = True
        elif found := re.match(r"(?:[+-]?\d+|\*) (\d+)$", line):
            total += 0 if is_inclusive or "libmish.so" not in of else int(found[1])
            is_inclusive = False
    return total


def run(command, environment):
    """The lines that a program prints; or why it does not run here."""
    environment = {**os.environ, **environment}
    try:
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        return [], f"{command[0]} is not installed"
    if result.returncode == UNAVAILABLE:
        return [], result.stderr.strip()
    if result.returncode != 0:
        sys.exit(f"{command}: {result.stdout}{result.stderr}")
    return result.stdout.splitlines(), None


def callgrind(program, environment):
    """The same, each line with the library's instructions in one call of `measured`."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--tool=callgrind", "--collect-atstart=no"]
        options += ["--toggle-collect=measured", "--dump-after=measured"]
        options += [f"--callgrind-out-file={folder}/dump"]
        lines, reason = run(["valgrind", *options, program], environment)
        dumps = [pathlib.Path(folder, f"dump.{i + 1}").read_text() for i in range(len(lines))]
        return [f"{line} {executed(dump)}" for line, dump in zip(lines, dumps)], reason


def cpu(counter, simd, environment):
    """The numbers of an instruction set by kernel; or why there are none."""
    environment = {**environment, "MISH_SIMD": simd}
    if SETS[simd] == "step":
        lines, reason = run([counter, "step"], environment)
    else:
        lines, reason = callgrind(counter, environment)
    counts = {}
    for line in lines:
        operation, dtype, n, count = line.split()
        counts.setdefault(f"{operation} {dtype}", {})[int(n)] = int(count)
    rows = {}
    for kernel, by_length in counts.items():
        few, many = sorted(by_length)
        number = (by_length[many] - by_length[few]) / (many - few)
        rows[f"{simd}: {kernel}"] = {"instructions": round(number, 2)}
    return rows, reason


def calls(counter, environment):
    """The instructions of CUDA calls; or why there are none."""
    lines, reason = callgrind(counter, environment)
    split = (line.rsplit(" ", 1) for line in lines)
    return {f"{CALL}: {name}": {"instructions": int(count)} for name, count in split}, reason


# ---- the file


def load(file):
    found = json.loads(file.read_text())
    return found["compilers"], found["counts"]


def save(file, compilers, counts):
    kernels = [f"{part}: {kernel}" for part in (*images(counts), *SETS) for kernel in KERNELS]
    calls = [key for key in counts if key.split(":")[0] == CALL]
    keys = [key for key in (*kernels, *calls) if key in counts]
    lines = [f"{json.dumps(key)}: {json.dumps(counts[key])}" for key in keys]
    text = ",\n".join(lines)
    file.write_text(f'{{\n"compilers": {json.dumps(compilers)},\n"counts": {{\n{text}\n}}\n}}\n')


def images(counts):
    """The images that were counted, in their order."""
    parts = dict.fromkeys(key.split(":")[0] for key in counts)
    return [part for part in parts if part not in (*SETS, CALL)]


def compared(before, now):
    """What is wrong with the numbers of one kernel, and what is better than before."""
    worse, better = [], []
    for name, new in now.items():
        if name == "elements":
            continue
        old = before.get(name)
        if old is None:
            worse.append(f"{name} is not in the file")
            continue
        change = f"{name} {old:g} → {new:g}" + (f" ({100 * (new / old - 1):+.1f} %)" if old else "")
        if name.endswith("_bytes") and name != "local_bytes":
            if new < old:
                worse.append(change)
        elif new > old * LIMIT:
            worse.append(change)
        elif new < old / LIMIT:
            better.append(change)
    return worse, better


def report(before, now, unmeasured):
    """Prints what changed; returns how many kernels passed, and which failed."""
    passed, failed = 0, []
    for key in dict.fromkeys([*before, *now]):
        if key.split(":")[0] in unmeasured and key not in now:
            continue
        if key not in now:
            worse, better = ["no such kernel any more"], []
        elif key not in before:
            worse, better = ["is not in the file"], []
        else:
            worse, better = compared(before[key], now[key])
        for change in worse:
            print(f"GREW    {key}: {change}")
        for change in better:
            print(f"better  {key}: {change}")
        passed += not worse
        failed += [key] if worse else []
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=pathlib.Path, required=True, help="the build's folder of images")
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--stub", help="the folder of bench/stub_cuda.c, compiled")
    parser.add_argument("--count", type=pathlib.Path, help="tests/gate/count.c, compiled")
    parser.add_argument("--calls", type=pathlib.Path, help="tests/gate/calls.c, compiled")
    parser.add_argument("--nvdisasm", type=pathlib.Path)
    parser.add_argument("--rustc", required=True, help="the compiler's version")
    parser.add_argument("--file", type=pathlib.Path, default=FILE)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()

    ptx = (arguments.kernels / "compute_60.ptx").read_text()
    nvrtc = re.search(r"Cuda compilation tools.*, V([\d.]+)", ptx)[1]
    compilers = {"nvrtc": nvrtc, "rustc": arguments.rustc}
    exists = arguments.file.exists()
    recorded, before = load(arguments.file) if exists else (compilers, {})

    now, no_code = gpu(arguments.kernels, arguments.nvdisasm)
    # By part, why not all of it was measured or can be compared.
    reasons = {image: "the disassembler cannot be fetched" for image in no_code}
    libraries = str(arguments.library.parent)
    of_rustc = (*SETS, CALL)
    for part in of_rustc:
        if arguments.count is None or arguments.calls is None:
            rows, reason = {}, "gcc is not installed"
        elif part == CALL:
            environment = {"LD_LIBRARY_PATH": f"{arguments.stub}:{libraries}"}
            rows, reason = calls(arguments.calls, environment)
        else:
            rows, reason = cpu(arguments.count, part, {"LD_LIBRARY_PATH": libraries})
        now |= rows
        if reason:
            reasons[part] = reason

    if arguments.write:
        # What cannot be measured here stays as it is, if the same compiler made it.
        for key, numbers in before.items():
            part = key.split(":")[0]
            compiler = "rustc" if part in of_rustc else "nvrtc"
            if part in reasons and recorded[compiler] == compilers[compiler]:
                now[key] = numbers | now.get(key, {})
        save(arguments.file, compilers, now)
        for part, reason in reasons.items():
            print(f"not measured: {part}: {reason}")
        return 0

    for compiler, version in compilers.items():
        if version != recorded[compiler]:
            reason = f"{compiler} is {version}, the file's counts are of {recorded[compiler]}"
            incomparable = of_rustc if compiler == "rustc" else images(now)
            reasons |= dict.fromkeys(incomparable, reason)
            now = {key: row for key, row in now.items() if key.split(":")[0] not in incomparable}
    passed, failed = report(before, now, reasons)
    # What the test runner reads: the lines of libtest's JSON.
    for part, reason in reasons.items():
        print(json.dumps({"type": "test", "event": "ignored", "name": part, "message": reason}))
    for key in failed:
        print(json.dumps({"type": "test", "event": "failed", "name": key}))
    if failed:
        print("if the growth is meant: cargo xtask gate --write, then python bench/tables.py")
    event = "failed" if failed else "ok"
    print(json.dumps({"type": "suite", "event": event, "passed": passed, "failed": len(failed)}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

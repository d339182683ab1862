"""Measures what each low part in kernels/math/double_word.cuh is worth, by leaving it out.

    python bench/error_budget.py [--out FILE]      bench/results/error-budget.json by default

For each term: a copy of kernels/ in which that term is 0, tests/kernels/math.cpp compiled against
it with g++, and the worst errors it then reports, in units of the last place. The inputs and the
documented errors of the hardware are those of that test.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = pathlib.Path("math", "double_word.cuh")
FUNCTIONS = ("mish", "mish'", "mish''")

# What the low parts stand for, by the number they belong to: the sum or product whose rounding they
# keep.
MEANING = {
    "q": "q = eʳ − 1",
    "e": "e = 2ᵏ·(1 + q)",
    "z": "z = 1 + e",
    "d": {"Denominator": "δ = z² + 1", "forward": "δ = n + 2, n's included"},
    "w_rel": "w = 1/δ, that of δ included",
    "ratio": "z·w",
    "remainder": "n/δ",
    "a": {"forward": "e + 2", "first": "z + 1"},
    "b": {"first": "4x·z·w", "second": "2 + x"},
    "m": "z + 1 + 4x·z·w, its operands' included",
    "g": "m·w, its operands' included",
    "p": "1 − x",
    "v": "1 − mish, its operands' included",
    "t": "2e·(1 − mish), its operands' included",
    "n": {
        "forward": "n = e·(e + 2), its operands' included",
        "second": "2 + x + 2e·(1 − mish), its operands' included",
    },
    "w2": "w²",
    "h": "n·w², its operands' included",
}
# The functions of `DoubleWord` and what they compute.
PLACES = {
    "DoubleWord": ("MISH_DEVICE DoubleWord(float x, bool second)", "e"),
    "Denominator": ("MISH_DEVICE explicit Denominator(const DoubleWord &c)", "δ"),
    "forward": ("static MISH_DEVICE float forward(float x)", "mish"),
    "first": ("MISH_DEVICE float first(float x, const Denominator &c) const", "mish′"),
    "second": ("MISH_DEVICE float second(float x, const Denominator &c) const", "mish″"),
}


def span(source, place):
    """Where a function's body is."""
    start = source.index(PLACES[place][0])
    indent = re.search(r"( *)$", source[:start])[1]
    return start, source.index(f"\n{indent}}}\n", start)


def terms(source):
    """Every low part: (function, name)."""
    for place in PLACES:
        start, end = span(source, place)
        pattern = r"\b(?:(\w+)\.low \+?=|Number (\w+) =|(w_rel|remainder) =)\s"
        names = ("".join(groups) for groups in re.findall(pattern, source[start:end]))
        yield from ((place, name) for name in dict.fromkeys(names))


def title(place, name):
    meaning = MEANING[name]
    if isinstance(meaning, dict):
        meaning = meaning[place]
    return f"{PLACES[place][1]}: {meaning}"


def without(source, place, name):
    """The source with what one function assigns to a low part replaced by 0."""
    start, end = span(source, place)
    # The rounding is computed, so that nothing else changes, and then dropped.
    if name in ("w_rel", "remainder"):
        body = re.sub(rf"\b{name} =\s([^;]*);", rf"{name} = 0 * (\1);", source[start:end])
    else:
        assigned = rf"(?:const )?((?:Number {name}|\b{name}\.low) \+?=\s[^;]*;)"
        body = re.sub(assigned, rf"\1 {name}.low *= 0;", source[start:end])
    return source[:start] + body + source[end:]


def measure(folder, source, everything):
    """What tests/kernels/math.cpp reports."""
    (folder / SOURCE).write_text(source)
    binary = folder / "math"
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas"]
    cpu = pathlib.Path("/proc/cpuinfo")
    if cpu.exists() and " fma " in cpu.read_text():
        flags.append("-mfma")
    test = ROOT / "tests" / "kernels" / "math.cpp"
    command = ["g++", *flags, f"-I{folder}", test, "-o", binary, "-lquadmath"]
    subprocess.run(command, check=True)
    arguments = [binary] if everything else [binary, "--wide"]
    output = subprocess.run(arguments, capture_output=True, text=True).stdout
    line = r"^(\w+(?: in \w+)?) (.*mish'*) +(\d+) results, worst (\S+) ULP of (\S+) at ([^\s,]+)(?:, (\d+) not)?"
    return [
        {
            "type": kind,
            "function": function,
            "results": int(results),
            "worst_ulp": float(worst),
            "bound": float(bound),
            "at": float(at),
            "not_correctly_rounded": int(wrong) if wrong else 0,
        }
        for kind, function, results, worst, bound, at, wrong in re.findall(line, output, re.M)
    ]


def errors(rows):
    """The columns of the table."""
    chosen = {"f32 in pairs": "f32"}
    return {
        f"{chosen[row['type']]} {row['function']}": row["worst_ulp"]
        for row in rows
        if row["type"] in chosen and row["function"] in FUNCTIONS
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "bench" / "results" / "error-budget.json"
    parser.add_argument("--out", type=pathlib.Path, default=default)
    arguments = parser.parse_args()
    source = (ROOT / "kernels" / SOURCE).read_text()
    rows = []
    columns = [f"{dtype} {function}" for dtype in ("f32",) for function in FUNCTIONS]
    print("| left out | " + " | ".join(columns) + " |\n|---" + "|---" * 3 + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shutil.copytree(ROOT / "kernels", folder, dirs_exist_ok=True)
        for term in [None, *terms(source)]:
            found = measure(folder, without(source, *term) if term else source, term is None)
            if term is None:
                complete = found
            row = errors(found)
            name = title(*term) if term else "nothing"
            rows.append({"left_out": name, **row})
            cells = [f"{row[column]:.3g}" for column in columns]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    text = [",\n".join(json.dumps(row, ensure_ascii=False) for row in part) for part in (complete, rows)]
    arguments.out.write_text(f'{{"kernels": [\n{text[0]}\n],\n"left_out": [\n{text[1]}\n]}}\n')


if __name__ == "__main__":
    main()

"""Measures what each low part in kernels/math.cuh is worth, by leaving it out.

    python tools/error_budget.py [--out FILE]

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
FUNCTIONS = ("mish", "mish'", "mish''")

# What is left out, the place (the function it stands in), the names set to 0.
TERMS = [
    ("nothing", None, ()),
    ("r_low: rounding of r = x - k ln 2", "Exact", ("r_low",)),
    ("q_low: rounding of q = e^r - 1", "Exact", ("q_low",)),
    ("z_low: rounding of z = 1 + e", "Exact", ("z_low",)),
    ("d_low: rounding of d = z^2 + 1", "Exact", ("d_low",)),
    ("ratio_low in mish", "forward", ("ratio_low",)),
    ("u_low in mish: rounding of x (1 + q)", "forward", ("u_low",)),
    ("b_low in mish': rounding of 4 x z w", "first", ("b_low",)),
    ("m_low in mish': all of it", "first", ("m_low",)),
    ("g_low in mish': rounding of m w", "first", ("g_low",)),
    ("v_low in mish': rounding of g (1 + q)", "first", ("v_low",)),
    ("w_rel in mish'': rounding of w = 1/d", "second", ("w_rel",)),
    ("v_low in mish'': rounding of 1 - mish", "second", ("v_low",)),
    ("t_low in mish'': rounding of 2 e (1 - mish)", "second", ("t_low",)),
    ("n_low in mish'': all of it", "second", ("n_low",)),
    ("g_low in mish'': rounding of n w", "second", ("g_low",)),
    ("h_low in mish'': rounding of n w^2 2^k", "second", ("h_low",)),
    ("s_low in mish'': rounding of h (1 + q)", "second", ("s_low",)),
]
STARTS = {
    "Exact": "MISH_DEVICE Exact(F x, bool wide)",
    "forward": "static MISH_DEVICE F forward(F x)",
    "first": "MISH_DEVICE F first(F x) const",
    "second": "MISH_DEVICE F second(F x) const",
}


def without(source, place, names):
    """The source with the assignments to these names in one function replaced by 0."""
    if place is None:
        return source
    start = source.index(STARTS[place])
    end = source.index("\n    }\n", start)
    body = source[start:end]
    for name in names:
        # The rounding is computed, so that nothing else changes, and then dropped.
        body, count = re.subn(rf"\b{name} = ([^;]*);", rf"{name} = F(0) * (\1);", body)
        if count == 0:
            sys.exit(f"kernels/math.cuh has no {name} in {place}")
    return source[:start] + body + source[end:]


def measure(folder, source):
    (folder / "math.cuh").write_text(source)
    binary = folder / "math"
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas"]
    cpu = pathlib.Path("/proc/cpuinfo")
    if cpu.exists() and " fma " in cpu.read_text():
        flags.append("-mfma")
    test = ROOT / "tests" / "kernels" / "math.cpp"
    command = ["g++", *flags, f"-I{folder}", test, "-o", binary, "-lquadmath"]
    subprocess.run(command, check=True)
    output = subprocess.run([binary, "--wide"], capture_output=True, text=True).stdout
    found = re.findall(r"^(f32|f64)(?: in pairs)? (mish'*) +\d+ results, worst ([\d.einf+-]+) ULP", output, re.M)
    return {f"{dtype} {function}": float(worst) for dtype, function, worst in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    source = (ROOT / "kernels" / "math.cuh").read_text()
    rows = []
    columns = [f"{dtype} {function}" for dtype in ("f32", "f64") for function in FUNCTIONS]
    print("| left out | " + " | ".join(columns) + " |\n|---" + "|---" * 6 + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for header in (ROOT / "kernels").glob("*.cuh"):
            shutil.copy(header, folder)
        for title, place, names in TERMS:
            row = measure(folder, without(source, place, names))
            rows.append({"left_out": title, **row})
            cells = [f"{row[column]:.3g}" for column in columns]
            print(f"| {title} | " + " | ".join(cells) + " |", flush=True)
    if arguments.out:
        lines = ",\n ".join(json.dumps(row) for row in rows)
        arguments.out.write_text(f"[\n {lines}\n]\n")


if __name__ == "__main__":
    main()

"""The tables and pictures of docs/{accuracy,derivation,performance}.md, from bench/results/.

    python bench/tables.py             write the tables into the documents
    python bench/tables.py --check     fail if a table is not that of the results
    python bench/tables.py --figures   also draw docs/images/{accuracy,speed}-*.png (needs matplotlib)

A table stands between `<!-- NAME -->` and `<!-- end -->`. Where the results come from:

    sweep-cpu.json            cargo xtask sweep --json bench/results/sweep-cpu.json
    sweep-cuda.json           the same with --device cuda
    sweep-{pytorch,composed,jax}.json    python bench/peers.py
    error-budget.json         python bench/error_budget.py
    ../instructions.json      cargo xtask gate --write
    cost.json                 bench/cost.c
    <device>-<date>.json      cargo xtask bench (bench/performance.py)
"""

import argparse
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
import performance  # noqa: E402
from mish import _abi  # noqa: E402

RESULTS = ROOT / "bench" / "results"
DOCUMENTS = [ROOT / "docs" / f"{name}.md" for name in ("accuracy", "derivation", "performance")]

NAMES = performance.NAMES
FUNCTIONS = ("mish", "mish′", "mish″")
QUANTITIES = {
    "forward": "forward: mish",
    "backward, gradient 1": "backward: mish′",
    "double_backward to grad_y, gradients 1": "double backward: mish′",
    "double_backward to x, gradients 1": "double backward: mish″",
    "backward, any gradient": "backward: grad · mish′",
    "double_backward to grad_y, any gradients": "double backward: grad · mish′",
    "double_backward to x, any gradients": "double backward: grad · grad · mish″",
}
# What implementations have in common, in the order of FUNCTIONS.
COMMON = ("forward", "backward, gradient 1", "double_backward to x, gradients 1")
SWEEPS = {
    "libmish": "sweep-cpu",
    "`F.mish`": "sweep-pytorch",
    "composed": "sweep-composed",
    "JAX": "sweep-jax",
}


def load(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def by_key(name):
    return {(row["dtype"], row["quantity"]): row for row in load(name)["rows"]}


def table(head, rows):
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def ulp(size):
    if isinstance(size, str) or size is None:
        return "not finite"
    if size < 0.51:
        return f"{size:.4f}"
    if size < 10:
        return f"{size:.3f}"
    if size < 1e4:
        return f"{size:.0f}"
    mantissa, exponent = f"{size:.0e}".split("e")
    return f"{mantissa}·10{superscript(int(exponent))}"


def superscript(number):
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def count(number):
    for power in (32, 24, 20):
        if number == 2**power:
            return f"2{superscript(power)}"
    return f"{number:,}"


def percent(share):
    """Rounded down, so that 100 % means all."""
    text = f"{int(share * 1e6) / 1e4:.4f}".rstrip("0").rstrip(".")
    return f"{text} %"


def number(x):
    return f"{x:.6g}".replace("-", "−")


def sweep(name):
    rows = []
    for row in load(name)["rows"]:
        near = row["near_zero_worst_ulp"]
        step = row["largest_step_back_ulp"]
        rows.append(
            [
                NAMES[row["dtype"]],
                QUANTITIES[row["quantity"]],
                f"{row['points']:,}",
                f"**{ulp(row['worst_ulp'])}**",
                number(row["worst"]["x"]),
                f"{row['bound']:g}",
                percent(row["correctly_rounded_share"]),
                "–" if near is None else ulp(near),
                "–" if step is None else f"{step:.0f}",
            ]
        )
    head = ["", "", "finite inputs", "worst ULP", "at x", "bound", "correctly rounded"]
    return table(head + ["near zeros, plain ULP", "step back"], rows)


def sweep_inputs():
    """What the sweep ran on, and how long."""
    header = load("sweep-cpu")["header"]
    lines = []
    for dtype in (name for name in NAMES if name in header["sets"]):
        sets = header["sets"][dtype]
        what = "; ".join(f"{count(part['points'])} {part['what']}" for part in sets)
        lines.append(f"- {NAMES[dtype]}, {header['seconds'][dtype]:.0f} s: {what}")
    sets = ", ".join(header["instruction_sets"])
    lines.append(f"\n{header['cpu']} ({sets}), {header['threads']} threads, {header['date']}.")
    return "\n".join(lines)


def references():
    rows = []
    for checked in load("sweep-cpu")["header"]["references_checked_log2"]:
        double = checked["doubles_against_pairs"]
        rows.append(
            [
                NAMES[checked["dtype"]],
                f"{checked['points']:,}",
                "–" if double is None else power(double),
                power(checked["pairs_against_256_bits"]),
                power(checked["bits_256_against_definition"]),
            ]
        )
    head = ["inputs of", "points", "double against pair", "pair against 256 bits"]
    return table(head + ["256 bits against the definition"], rows)


def power(exponent):
    whole, fraction = f"{exponent:.1f}".split(".")
    return f"2{superscript(int(whole))}˙{superscript(int(fraction))}"


def left_over():
    """The 16-bit inputs that are not correctly rounded."""
    rows = []
    for row in load("sweep-cpu")["rows"]:
        inputs = row["not_correctly_rounded"]
        if inputs is not None:
            shown = ", ".join(number(x) for x in sorted(inputs))
            name = QUANTITIES[row["quantity"]]
            rows.append([NAMES[row["dtype"]], name, str(len(inputs)), shown or "–"])
    return table(["", "", "inputs", "x"], rows)


def compared(cell, swept=None):
    swept = swept or {name: by_key(file) for name, file in SWEEPS.items()}
    rows = []
    for dtype in NAMES:
        for quantity, function in zip(COMMON, FUNCTIONS):
            cells = [cell(rows_of[dtype, quantity]) for rows_of in swept.values()]
            rows.append([f"{NAMES[dtype]} {function}", *cells])
    return table(["", *swept], rows)


def worst(row):
    bold = "**" if row["passed"] else ""
    return f"{bold}{ulp(row['worst_ulp'])}{bold}"


def wrong(row):
    kinds = ("wrongly_non_finite", "results_of_opposite_sign")
    shares = [row[kind] / row["points"] for kind in kinds]
    return " / ".join("0" if share == 0 else f"{100 * share:.2g} %" for share in shares)


def at_infinity(row):
    if row["at_infinity"] is None:
        return "–"
    names = {"inf": "∞", "-inf": "−∞", "NaN": "**NaN**"}
    values = [names.get(v, v.removesuffix(".0").replace("-", "−")) for v in row["at_infinity"]]
    return ", ".join(values)


def infinities():
    swept = {name: by_key(file) for name, file in SWEEPS.items()}
    rows = []
    for quantity, function, exact in zip(COMMON, FUNCTIONS, ("−0, ∞", "0, 1", "0, 0")):
        cells = [at_infinity(rows_of["f32", quantity]) for rows_of in swept.values()]
        rows.append([function, exact, *cells])
    return table(["at −∞, ∞", "limits", *swept], rows)


def versions():
    return "\n".join(f"- {name}: {load(file)['header']['of']}" for name, file in SWEEPS.items())


def budget():
    rows = load("error-budget")["left_out"]
    columns = [f"{dtype} {name}" for dtype in ("f32",) for name in ("mish", "mish'", "mish''")]
    least = rows[0]
    body = []
    for row in rows:
        cells = [f"{row[c]:.2f}" if row[c] < 100 else ulp(row[c]) for c in columns]
        cells = [
            f"**{cell}**" if row is not least and row[c] > 1.1 * least[c] else cell
            for c, cell in zip(columns, cells)
        ]
        body.append([row["left_out"], *cells])
    head = [c.replace("''", "″").replace("'", "′") for c in columns]
    return table(["left out", *head], body)


def hardware():
    names = {
        "f32 in double": "float32 in double",
        "f32 in pairs": "float32 in pairs",
        "bf16": "bfloat16 by `Factored` alone",
        "bf16 in vector": "bfloat16",
    }
    order = ("mish", "mish'", "mish''", "gradient x mish'", "gradients x mish''")
    found = {}
    for row in load("error-budget")["kernels"]:
        found.setdefault(row["type"], {})[row["function"]] = row
    rows = []
    for kind, functions in found.items():
        cells = []
        for function in order:
            row = functions[function]
            wrong = row["not_correctly_rounded"]
            cells.append(ulp(row["worst_ulp"]) + (f" ({wrong})" if "16" in kind else ""))
        rows.append([names.get(kind) or NAMES[kind], *cells])
    return table(["", *FUNCTIONS, "grad · mish′", "grad · grad · mish″"], rows)


# What an H200 can do in a second: 132 multiprocessors at 1.98 GHz, each issuing 4 instructions
# for 32 threads, 16 special-function results and 64 double-precision operations per cycle; and the
# bytes that a copy moves.
CYCLES = 132 * 1.98e9
PER_SECOND = {"instructions": 128 * CYCLES, "special": 16 * CYCLES, "double": 64 * CYCLES}
COPIED = 4.3e12
BYTES = {dtype.name: dtype.size for dtype in _abi.DTYPES}
TENSORS = {op: len(inputs) + len(outputs) for op, (inputs, outputs, _) in _abi.OPERATIONS.items()}


def instructions():
    counts = json.loads((RESULTS.parent / "instructions.json").read_text())["counts"]
    rows = []
    for dtype in NAMES:
        cells = []
        for operation, tensors in TENSORS.items():
            found = counts[f"sm_90: {operation} {dtype}"]
            elements_per_second = COPIED / (tensors * BYTES[dtype])
            parts = []
            for kind, unit in (("instructions", ""), ("special", " special"), ("double", " double")):
                limit = PER_SECOND[kind] / elements_per_second
                if found[kind] > 0:
                    parts.append(f"{found[kind]:g} of {limit:.0f}{unit}")
            cells.append("; ".join(parts))
        rows.append([NAMES[dtype], *cells])
    return table(["", *performance.OPS.values()], rows)


def cost():
    rows = []
    names = performance.OPS
    for row in load("cost")["rows"]:
        ratio = row["libmish_min"] / row["plain_min"]
        median = row["libmish_median"] / row["plain_median"]
        cells = [count(row["n"]), names[row["operation"]], f"{row['plain_min']:.2f}"]
        rows.append([*cells, f"{row['libmish_min']:.2f}", f"**{ratio:.2f}**", f"{median:.2f}"])
    head = ["elements", "", "plain, ns", "libmish, ns", "ratio", "ratio of medians"]
    return table(head, rows)


TABLES = {
    "sweep": lambda: sweep("sweep-cpu"),
    "sweep inputs": sweep_inputs,
    "references": references,
    "left over": left_over,
    "worst": lambda: compared(worst),
    "share": lambda: compared(lambda row: percent(row["correctly_rounded_share"])),
    "wrong": lambda: compared(wrong),
    "infinities": infinities,
    "versions": versions,
    "gpu": lambda: sweep("sweep-cuda"),
    "budget": budget,
    "hardware": hardware,
    "instructions": instructions,
    "cost": cost,
    **performance.tables(performance.newest()),
}


def filled(text):
    """The document with its tables as the results have them."""

    def fill(match):
        return f"<!-- {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- ([\w ]+) -->\n.*?<!-- end -->", fill, text, flags=re.S)


def figures():
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = dict(zip(SWEEPS, ("#0b5fa5", "#d95f02", "#7a7a7a", "#1b9e77")))
    swept = {name: by_key(file) for name, file in SWEEPS.items()}
    starts = load("sweep-cpu")["header"]["profile_from"]
    # The last lies above the others.
    order = (("composed", 2.6), ("`F.mish`", 1.6), ("JAX", 0.8), ("libmish", 1.8))
    floor, top = 0.1, 1e17
    for quantity, function, file in zip(COMMON, FUNCTIONS, ("forward", "backward", "double-backward")):
        figure, panels = plt.subplots(2, 2, figsize=(10, 6), sharey=True, layout="constrained")
        for (dtype, title), panel in zip(NAMES.items(), panels.flat):
            for name, width in order:
                profile = swept[name][dtype, quantity]["profile"]
                errors = np.array([np.nan if e is None else e for e in profile])
                start = starts[dtype]
                middles = start - 2 * start * (np.arange(errors.size) + 0.5) / errors.size
                lost = np.isnan(errors)
                label = name.strip("`")
                panel.plot(middles, np.clip(errors, floor, top), color=colours[name], lw=width, label=label)
                panel.plot(middles[lost], np.full(lost.sum(), top), "x", color=colours[name], ms=4)
            panel.set_yscale("log")
            panel.set_ylim(floor, top * 3)
            panel.set_title(title, fontsize=10)
            panel.grid(alpha=0.25)
        for panel in panels[:, 0]:
            panel.set_ylabel("worst error, ULP")
        for panel in panels[1]:
            panel.set_xlabel("x")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], ncols=4, loc="outside lower center")
        figure.suptitle(f"{function}: error against x (× along the top: not finite)")
        path = ROOT / "docs" / "images" / f"accuracy-{file}.png"
        figure.savefig(path, dpi=100, metadata={"Software": None})
        plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--figures", action="store_true")
    arguments = parser.parse_args()
    stale = []
    for path in DOCUMENTS:
        text = path.read_text()
        new = filled(text)
        if new != text:
            stale.append(path.name)
            if not arguments.check:
                path.write_text(new)
    if arguments.figures:
        figures()
        performance.figures()
    if arguments.check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run bench/tables.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())

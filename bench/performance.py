"""The tables and pictures of docs/performance.md, from bench/results/; bench/tables.py fills them in.

    python bench/performance.py PLACE    the same tables of a file or folder, on standard output

Results are what bench/bench.py writes, the newest file of each device. A ratio is the time of a peer
over that of libmish: above 1, libmish is faster.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings" / "python"))
from mish import _abi  # noqa: E402

RESULTS = ROOT / "bench" / "results"
IMAGES = ROOT / "docs" / "images"

NAMES = {dtype.name: dtype.full_name for dtype in _abi.DTYPES}
OPS = {op: op.replace("_", " ") for op in _abi.OPERATIONS}
PEERS = ("relu", "silu", "softplus", "F.mish", "composed", "torch.compile", "jax.jit", "oneDNN")
NONE = "Not measured yet."
SMALL = 1024


class Result:
    def __init__(self, path):
        data = json.loads(path.read_text(encoding="utf-8"))
        self.path, self.header, self.rows = path, data["header"], data["rows"]
        self.name = path.stem[: -len("-2026-01-01")]
        self.by = {(r["impl"], r["dtype"], r["op"], r["n"]): r for r in self.rows}
        self.on_cpu = self.header["device"] == "cpu"

    def dtypes(self):
        return [d for d in NAMES if any(r["dtype"] == d for r in self.rows)]

    def sizes(self, dtype=None):
        return sorted({r["n"] for r in self.rows if dtype in (None, r["dtype"])})

    def largest(self, dtype):
        return max(r["n"] for r in self.rows if r["impl"] == "libmish" and r["dtype"] == dtype)

    def us(self, impl, dtype, op, n):
        row = self.by.get((impl, dtype, op, n))
        return row and row["us_median"]

    def ratio(self, peer, dtype, op, n, fresh=None):
        """The peer's time over libmish's. By default libmish allocates if the peer has to; `fresh`:
        both do, or libmish does not whatever the peer does."""
        ours, theirs = "libmish", peer
        if self.on_cpu and (allocates(peer, op) if fresh is None else fresh):
            ours = "libmish (fresh)"
            theirs = f"{peer} (fresh)" if (f"{peer} (fresh)", dtype, op, n) in self.by else peer
        a, b = self.us(theirs, dtype, op, n), self.us(ours, dtype, op, n)
        return a / b if a and b else None

    def title(self):
        h = self.header
        where = f"{h['instructions']}, {h['threads']} thread{'s' * (h['threads'] > 1)}" if self.on_cpu else f"driver {h['driver']}, CUDA {h['cuda']}"
        versions = ", ".join(f"{name} {version}" for name, version in h["versions"].items())
        note = "; **a trial, the machine was busy**" if h["trial"] else ""
        file = f"[raw](../bench/results/{self.path.name})" if self.path.parent == RESULTS else self.path.name
        return f"- {self.name}: {h['name']}, {where}; {versions}; commit {h['commit']}, {h['date']}, {h['seconds']:.0f} s{note} ({file})"


def allocates(peer, op):
    """Whether the peer's only form allocates its result."""
    return peer in ("composed", "torch.compile", "jax.jit") or op == "double_backward" or (peer == "F.mish" and op == "backward")


def newest(folder=RESULTS):
    """The newest results of each device in a folder, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = data.get("rows") if isinstance(data, dict) else None
        if rows and "ratio_to_copy" in rows[0]:
            result = Result(path)
            found[result.name] = result
    return list(found.values())


def table(head, rows):
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def length(n):
    if n & (n - 1) == 0 and n > SMALL:
        return "2" + str(n.bit_length() - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{n:,}"


def times(ratio):
    """A ratio; marked where libmish is slower by more than the noise of a median."""
    if ratio is None:
        return "–"
    text = f"{ratio:.2f}" if ratio < 9.95 else f"{ratio:.0f}"
    return f"**{text}**" if ratio < 0.98 else text


def each(results, render):
    parts = [f"{r.name}:\n\n{text}" for r in results if (text := render(r))]
    return "\n\n".join(parts) or NONE


def rates(result, at=None):
    """TB/s of everybody at a length, the largest if none is given."""
    impls = [i for i in ("copy", *PEERS, "libmish") if any(r["impl"] == i for r in result.rows)]
    rows = []
    for dtype in result.dtypes():
        n = at or result.largest(dtype)
        for op, name in OPS.items():
            cells = []
            for impl in impls:
                # The copy is timed once, and beside everything.
                row = result.by.get((impl, dtype, "forward" if impl == "copy" else op, n))
                cell = "–" if row is None else f"{row['tb_per_s']:.3g}" if result.on_cpu else f"{row['tb_per_s']:.2f}"
                cells.append(f"**{cell}**" if impl == "libmish" else cell)
            rows.append([f"{NAMES[dtype]} {name}", length(n), *cells])
    return table(["TB/s", "n", *impls], rows)


def ratios(result, at=None, peers=PEERS, fresh=None, ops=tuple(OPS)):
    """Ratios to the peers at a length, the largest if none is given."""
    rows = []
    for dtype in result.dtypes():
        n = at or result.largest(dtype)
        for op in ops:
            found = [result.ratio(peer, dtype, op, n, fresh) for peer in peers]
            if any(found):
                rows.append([f"{NAMES[dtype]} {OPS[op]}", length(n), *map(times, found)])
    return rows and table(["peer's time / libmish's", "n", *peers], rows)


def against_mish(result, fresh=False):
    """The ratio to `F.mish` at every length."""
    columns = [(d, op) for op in OPS for d in result.dtypes()]
    rows = []
    for n in result.sizes():
        cells = [times(result.ratio("F.mish", d, op, n, fresh)) for d, op in columns]
        rows.append([length(n), *cells])
    return table(["n", *(f"{NAMES[d]} {OPS[op]}" for d, op in columns)], rows)


def short(result):
    """Microseconds of short calls, in float32."""
    dtype = "f32" if "f32" in result.dtypes() else result.dtypes()[0]
    impls = ("copy", "relu", "F.mish", "libmish", "F.mish (fresh)", "libmish (fresh)")
    impls = [i for i in impls if any(r["impl"] == i for r in result.rows)]
    rows = []
    for n in (n for n in result.sizes(dtype) if n <= (SMALL if result.on_cpu else 2**16)):
        for op in ("forward", "backward"):
            cells = [result.us(i, dtype, op, n) for i in impls]
            rows.append([f"{n:,} {op}", *("–" if c is None else f"{c:.2f}" for c in cells)])
    return rows and table([f"{NAMES[dtype]}, µs", *impls], rows)


def left_out(results):
    """What was not timed, and why."""
    lines = []
    for result in results:
        for impl, why in result.header["missing"].items():
            lines.append(f"- {result.name}: {impl}: {why}")
        grouped = {}
        for row in result.header["skipped"]:
            grouped.setdefault((row["impl"], row["op"], row["reason"]), []).append(f"{row['dtype']} {length(row['n'])}")
        for (impl, op, why), where in grouped.items():
            lines.append(f"- {result.name}: {impl}, {OPS.get(op, op)} ({', '.join(where)}): {why}")
    return "\n".join(lines) or ("Nothing." if results else NONE)


def overhead_torch(folder):
    path = folder / "overhead-torch.json"
    if not path.exists():
        return NONE
    data = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        [name, f"{row['base wall ns'] / 1000:.2f}", f"{row['wall ns'] / 1000:.2f}", f"{row['wall ratio']:.2f}", f"{row['cpu ratio']:.2f}"]
        for name, row in data["call overhead"].items()
    ]
    where = f"{data['cpu']}, one thread, {data['elements']} elements, PyTorch {data['torch']}, commit {data['commit']}, {data['date']}"
    return f"{where}:\n\n" + table(["", "`F.mish`, µs", "libmish, µs", "ratio of times", "of CPU times"], rows)


def overhead_c(folder):
    path = folder / "overhead-c.json"
    if not path.exists():
        return NONE
    data = json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for row in data["rows"]:
        found.setdefault(row["call"], {})[row["operation"]] = row
    rows = [[call, *(f"{ops[op]['overhead_median']:.0f}" for op in OPS)] for call, ops in found.items()]
    head = data.get("header", data)
    where = ", ".join(str(head[key]) for key in ("cpu", "commit", "date") if key in head)
    return f"{where}:\n\n" + table(["ns beyond cuLaunchKernel", *OPS.values()], rows)


def on(results, device, single=None):
    """The results of a kind of device; on the CPU of one thread, of several, or both."""
    kind = [r for r in results if r.header["device"] == device]
    return [r for r in kind if single is None or (r.header["threads"] == 1) == single]


def pictures(results):
    lines = [f"![{r.name}: {what} of each implementation](images/speed-{r.name}-{kind}.png)"
             for r in results for kind, what in (("time", "time against length"), ("roofline", "roofline"))]
    return "\n\n".join(lines) or NONE


def tables(results, folder=RESULTS):
    """The content of each marker."""
    r = results
    return {
        "speed machines": lambda: "\n".join(x.title() for x in r) or NONE,
        "gpu rates": lambda: each(on(r, "cuda"), rates),
        "gpu ratios": lambda: each(on(r, "cuda"), ratios),
        "gpu sizes": lambda: each(on(r, "cuda"), against_mish),
        "gpu short": lambda: each(on(r, "cuda"), short),
        "cpu one thread": lambda: each(on(r, "cpu", True), lambda x: ratios(x, 2**20)),
        "cpu fresh": lambda: each(
            on(r, "cpu", False), lambda x: ratios(x, 2**24, ("relu", "silu", "F.mish"), True, ("forward", "backward"))
        ),
        "cpu sizes": lambda: each(on(r, "cpu"), against_mish),
        "cpu sizes fresh": lambda: each(on(r, "cpu"), lambda x: against_mish(x, True)),
        "cpu short": lambda: each(on(r, "cpu"), short),
        "cpu rates": lambda: each(on(r, "cpu"), rates),
        "cpu ratios": lambda: each(on(r, "cpu"), ratios),
        "overhead torch": lambda: overhead_torch(folder),
        "overhead c": lambda: overhead_c(folder),
        "speed pictures": lambda: pictures(r),
        "speed left out": lambda: left_out(r),
    }


COLOURS = {
    "copy": "#000000", "relu": "#7a7a7a", "silu": "#e6ab02", "softplus": "#9ecae1", "F.mish": "#d95f02",
    "composed": "#7570b3", "torch.compile": "#e7298a", "jax.jit": "#1b9e77", "oneDNN": "#66a61e", "libmish": "#0b5fa5",
}  # fmt: skip

# Operations per element of the plain formulas, a +, x, / or exp counting as one, and bytes per
# element in widths: what is useful, whoever computes it.
WORK = dict(zip(OPS, ((6, 2), (17, 3), (34, 5))))
MISHES = ("F.mish", "composed", "torch.compile", "jax.jit", "oneDNN", "libmish")


def curves(plt, result):
    dtypes = result.dtypes()
    figure, panels = plt.subplots(3, len(dtypes), figsize=(4 * len(dtypes), 10), sharex=True, sharey=True, squeeze=False, layout="constrained")
    for line, (op, name) in zip(panels, OPS.items()):
        for panel, dtype in zip(line, dtypes):
            for impl, colour in COLOURS.items():
                source = "forward" if impl == "copy" else op
                points = [(n, result.us(impl, dtype, source, n)) for n in result.sizes(dtype)]
                points = [p for p in points if p[1]]
                if points:
                    style = dict(lw=2.4, zorder=3) if impl == "libmish" else dict(lw=1.1, ls="--" if impl == "copy" else "-")
                    panel.plot(*zip(*points), marker=".", ms=4, color=colour, label=impl, **style)
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_title(f"{NAMES[dtype]} {name}", fontsize=10)
            panel.grid(alpha=0.25)
        line[0].set_ylabel("µs a call")
    for panel in panels[-1]:
        panel.set_xlabel("elements")
    legend(figure, panels)
    figure.suptitle(f"{result.header['name']}: time against length" + threads(result))
    return figure


def roofline(plt, result):
    dtypes = result.dtypes()
    figure, panels = plt.subplots(1, len(dtypes), figsize=(4 * len(dtypes), 4.6), sharey=True, squeeze=False, layout="constrained")
    for panel, dtype in zip(panels[0], dtypes):
        n = result.largest(dtype)
        width = {known.name: known.size for known in _abi.DTYPES}[dtype]
        copy = result.by.get(("copy", dtype, "forward", n))
        span = [work / tensors / width for work, tensors in WORK.values()]
        edge = [min(span) / 1.4, max(span) * 1.4]
        if copy:
            panel.plot(edge, [copy["tb_per_s"] * 1e3 * x for x in edge], color="black", lw=1.2, label="copy speed")
        for impl in MISHES:
            points = []
            for (op, (work, tensors)), marker in zip(WORK.items(), "osD"):
                if us := result.us(impl, dtype, op, n):
                    points.append((work / tensors / width, work * n / us / 1e3, marker))
            for x, y, marker in points:
                first = (x, y, marker) == points[0]
                panel.plot(x, y, marker, color=COLOURS[impl], ms=8 if impl == "libmish" else 6, alpha=0.85, label=impl if first else None)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        ticks = sorted(set(span))
        panel.set_xticks(ticks, [f"{x:.2g}" for x in ticks])
        panel.minorticks_off()
        panel.set_title(f"{NAMES[dtype]}, {n:,} elements", fontsize=10)
        panel.set_xlabel("useful operations per byte")
        panel.grid(alpha=0.25)
    panels[0, 0].set_ylabel("useful operations, 10⁹ per second")
    legend(figure, panels)
    figure.suptitle(f"{result.header['name']}: roofline (○ forward, □ backward, ◇ double backward)" + threads(result))
    return figure


def threads(result):
    count = result.header["threads"]
    trial = ", a trial" if result.header["trial"] else ""
    return (f", {count} thread{'s' * (count > 1)}" if count else "") + trial


def legend(figure, panels):
    shown = {}
    for panel in panels.flat:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            shown.setdefault(label, handle)
    figure.legend(shown.values(), shown.keys(), ncols=len(shown), loc="outside lower center", fontsize=9)


def figures():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for old in IMAGES.glob("speed-*.png"):
        old.unlink()
    for result in newest():
        for kind, draw in (("time", curves), ("roofline", roofline)):
            figure = draw(plt, result)
            figure.savefig(IMAGES / f"speed-{result.name}-{kind}.png", dpi=80, metadata={"Software": None})
            plt.close(figure)


def main():
    place = pathlib.Path(sys.argv[1])
    results = newest(place) if place.is_dir() else [Result(place)]
    for name, render in tables(results, place if place.is_dir() else place.parent).items():
        if "pictures" not in name and (text := render()) != NONE:
            print(f"\n## {name}\n\n{text}")


if __name__ == "__main__":
    main()

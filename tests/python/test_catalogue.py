"""Lists of operations and element types are in the catalogue, and places that repeat one are few.

A *place* is up to four lines in a row in which every operation, or every element type, is named, in
any spelling: `f16`, `F16`, `float16`; `double_backward`, `DoubleBackward`. What has none:

- calls and definitions, names before a parenthesis: they show what a function does with operands
  of its own; Rust's `use`, which names what is defined elsewhere;
- `src/catalogue/` itself, what is generated from it, documents and their examples, measurements.

    python tests/python/test_catalogue.py    lists the places
"""

import re

import handwritten
import pytest

LINES = 4
MOST = 25

FOLDERS = ("bench", "bindings", "include", "kernels", "src", "tests", "tools", "xtask", "build.rs")
KINDS = {".c", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".in", ".jl", ".py", ".rs", ".sh"}
ELSEWHERE = ("src/catalogue/", "tests/python/test_catalogue.py")
USE = re.compile(r"^ *(?:pub )?use [^;]*;", re.MULTILINE)

TYPES = [
    re.compile(rf"(?<![a-zA-Z])({short}|{full})(?![0-9])", re.IGNORECASE)
    for short, full in (
        ("f16", "float16"),
        ("bf16", "bfloat16"),
        ("f32", "float32"),
        ("f64", "float64"),
    )
]
OPERATIONS = [
    re.compile(rf"{name}(?!\w*[(!])", re.IGNORECASE)
    for name in (r"forward", r"(?<!double)(?<!double_)backward", r"double_?backward")
]


def sources():
    """Path and lines of every file that is written by hand."""
    for path, text in handwritten.files(FOLDERS, KINDS):
        if path.startswith(ELSEWHERE):
            continue
        if path.endswith(".rs"):
            text = USE.sub(lambda found: "\n" * found[0].count("\n"), text)
        yield path, text.splitlines()


def places(lines, names):
    """First and last line of each place; none belongs to two."""
    last = [-LINES] * len(names)
    for number, line in enumerate(lines):
        last = [
            number if name.search(line) else found for name, found in zip(names, last, strict=True)
        ]
        if min(last) > number - LINES:
            yield min(last) + 1, number + 1
            last = [-LINES] * len(names)


def found(names):
    return [
        f"{path}:{first}-{end}" for path, lines in sources() for first, end in places(lines, names)
    ]


def test_a_place_is_what_it_says():
    types = ["[Dtype::F16, Dtype::BF16,", "Dtype::F32, Dtype::F64]"]
    assert list(places(types, TYPES)) == [(1, 2)]
    assert list(places(["bf16 f32 f64 bfloat16"], TYPES)) == []
    assert list(places(["f16 bf16 f32", "", "", "", "f64"], TYPES)) == []
    assert list(places(['"forward", "backward", "double_backward"'] * 2, OPERATIONS)) == [
        (1, 1),
        (2, 2),
    ]
    assert list(places(["Op::Forward | Op::DoubleBackward"], OPERATIONS)) == []
    assert list(places(["forward(x); backward(g, x); double_backward(h, g, x)"], OPERATIONS)) == []


@pytest.mark.parametrize("names", [TYPES, OPERATIONS], ids=["types", "operations"])
def test_few_places_spell_out_a_list(names):
    count = found(names)
    assert 0 < len(count) <= MOST, "\n".join(count)


if __name__ == "__main__":
    for what in (TYPES, OPERATIONS):
        print(len(found(what)), *found(what), sep="\n  ")

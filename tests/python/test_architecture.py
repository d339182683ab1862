"""The folders are the architecture: no part of `src/` uses one that stands above it in the table
of docs/architecture.md, parts of one row do not use each other, and the table has them all."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
# What lies apart: comments, and tests, which may use what they like.
COMMENT = re.compile(r"//[^\n]*")
TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod \w+ \{.*\Z", re.DOTALL)
USED = re.compile(r"\bcrate::(?:(\w+)|\{([^;]*)\})")


def layers():
    """Each part of `src/`, such as `cpu`, and the row in which it stands."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `src/")]
    return {
        name: rank
        for rank, row in enumerate(rows)
        for name in re.findall(r"`src/(\w+)(?:/|\.rs)`", row)
    }


def parts():
    return sorted({path.stem for path in SRC.iterdir()} - {"lib"})


def uses(text):
    """The parts that a file names by their path."""
    for one, several in USED.findall(TESTS.sub("", COMMENT.sub("", text))):
        yield from [one] if one else re.findall(r"(?:^|,)\s*(\w+)", several)


def upward(part, text, layers):
    """The parts that this one may not use and does."""
    return sorted({
        used for used in uses(text)
        if used in layers and used != part and layers[used] <= layers[part]
    })


def test_the_table_has_every_part():
    assert sorted(layers()) == parts()


@pytest.mark.parametrize("part", parts())
def test_uses_only_what_stands_below(part):
    files = [*SRC.glob(f"{part}/**/*.rs"), *SRC.glob(f"{part}.rs")]
    assert files
    wrong = {
        path.relative_to(ROOT).as_posix(): found
        for path in files
        if (found := upward(part, path.read_text(encoding="utf-8"), layers()))
    }
    assert not wrong


def test_a_use_upward_is_seen():
    order = {"abi": 0, "call": 1, "cpu": 2, "gpu": 2, "status": 3}
    assert upward("cpu", "use crate::status::Error;\ncrate::call::run()", order) == ["call"]
    assert upward("cpu", "use crate::{\n    abi::guard, gpu,\n    status::Error,\n};", order) == ["abi", "gpu"]
    assert upward("call", "// crate::abi\nuse crate::cpu;\n#[cfg(test)]\nmod tests { use crate::abi; }", order) == []

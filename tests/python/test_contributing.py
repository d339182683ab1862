"""CONTRIBUTING's lists of files are whole: each file exists, and a list that says how to find every
place (`all of FOLDERS: PATTERN`) names each of them."""

import re

import pytest
from handwritten import ROOT, files

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (How to add .*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
WITNESS = re.compile(r"<!-- all of (.*?): (.*?) -->")
KINDS = {".cpp", ".cs", ".cu", ".cuh", ".h", ".hpp", ".jl", ".lua", ".py", ".rs", ".toml", ".txt"}


def listed(section):
    """The paths in the table's first column; a name in capitals is the reader's to choose."""
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    paths = [path for cell in cells for path in re.findall(r"`([^`]+)`", cell)]
    return [path for path in paths if not re.search(r"[A-Z]{4}", path.rsplit("/", 2)[-1] or path)]


def places(folders, pattern):
    """The files written by hand that match."""
    return [file for file, text in files(folders.split(), KINDS) if re.search(pattern, text)]


def is_listed(file, paths):
    return any(file == path or path.endswith("/") and file.startswith(path) for path in paths)


@pytest.mark.parametrize("title", SECTIONS)
def test_listed_files_exist(title):
    paths = listed(SECTIONS[title])
    assert paths
    missing = [path for path in paths if "LANGUAGE" not in path and not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("title", [title for title in SECTIONS if WITNESS.search(SECTIONS[title])])
def test_every_place_is_listed(title):
    [(folders, pattern)] = WITNESS.findall(SECTIONS[title])
    found, paths = places(folders, pattern), listed(SECTIONS[title])
    assert found, "the pattern finds nothing"
    assert not [file for file in found if not is_listed(file, paths)]


def test_six_kinds_are_counted():
    assert sum(bool(WITNESS.search(section)) for section in SECTIONS.values()) == 6
    assert len(SECTIONS) == 7

"""The sources that are written by hand."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Results, and what a wheel was built from.
APART = ("bench/results/", "bindings/python/build/", "bindings/python/libmish.egg-info/")
GENERATED = re.compile(r"[Gg]enerated by `?cargo xtask bindings")


def files(folders, kinds):
    """Path and text of each file with one of these suffixes in these folders, or among them."""
    found = [path for folder in folders for path in (ROOT / folder, *(ROOT / folder).rglob("*"))]
    for path in sorted(found):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix not in kinds or name.startswith(APART) or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if not GENERATED.search(text[:400]):
            yield name, text

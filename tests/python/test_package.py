"""Finding the library, importing with little, and the report."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mish
import pytest
from mish import _abi, _library

PACKAGE = Path(mish.__file__).resolve().parent


def run(code, **environment):
    """Runs code in a new interpreter with the package on its path."""
    inherited = {key: value for key, value in os.environ.items() if key != "MISH_LIBRARY"}
    return subprocess.run(
        [sys.executable, *code],
        env={**inherited, "PYTHONPATH": str(PACKAGE.parent), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_versions():
    assert mish.version() == mish.__version__ == _abi.VERSION
    info = mish.build_info()
    assert info["version"] == mish.version() and info["abi"] == _abi.MISH_ABI_VERSION
    assert info["simd"] and info["threads"] >= 1 and "cuda" in info


def test_report():
    found = run(["-m", "mish"], MISH_LIBRARY=_library.find())
    assert found.returncode == 0, found.stdout + found.stderr
    for word in ("libmish", "ABI", "CPU:", "CUDA", "forward", "double_backward", "passed"):
        assert word in found.stdout
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        assert re.search(rf"^{dtype} +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d$", found.stdout, re.M)


def test_import_is_light():
    code = (
        "import sys; import mish;"
        "print(sorted({'numpy', 'torch', 'cupy', 'ml_dtypes'} & set(sys.modules)))"
    )
    found = run(["-c", code])
    assert (found.returncode, found.stdout.strip()) == (0, "[]"), found.stderr


def test_works_without_numpy():
    code = """
import ctypes, sys
sys.modules["numpy"] = None
import mish
class Array:
    def __init__(self, *values):
        self.memory = (ctypes.c_float * len(values))(*values)
        data = (ctypes.addressof(self.memory), False)
        self.__array_interface__ = dict(shape=(len(values),), typestr="<f4", data=data, version=3)
x = Array(0, 1)
mish.forward(x, out=x)
print(round(x.memory[1], 5))
"""
    found = run(["-c", code], MISH_LIBRARY=_library.find())
    assert (found.returncode, found.stdout.strip()) == (0, "0.8651"), found.stderr


@pytest.mark.parametrize("code", (["-m", "mish"], ["-c", "import mish; mish.version()"]))
def test_library_that_is_not_there(code, tmp_path):
    path = tmp_path / "libmish.so"
    found = run(code, MISH_LIBRARY=str(path))
    assert found.returncode == 1
    assert "MISH_LIBRARY" in found.stderr and str(path) in found.stderr


def test_places_that_are_looked_at(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/mish").symlink_to(PACKAGE)
    copy = tmp_path / "a/b/mish"
    copy.mkdir()
    for file in PACKAGE.glob("*.py"):
        (copy / file.name).write_text(file.read_text())
    found = run(["-c", "import mish; mish.version()"], PYTHONPATH=str(copy.parent))
    assert found.returncode == 1
    for place in ("MISH_LIBRARY", str(copy / "libmish.so"), "target/release/libmish.so"):
        assert place in found.stderr


def test_library_that_is_something_else(tmp_path):
    text = tmp_path / "libmish.so"
    text.write_text("not a library")
    found = run(["-c", "import mish; mish.version()"], MISH_LIBRARY=str(text))
    assert found.returncode == 1 and "LibraryError" in found.stderr
    code = "import mish; mish.version()"
    found = run(["-c", code], MISH_LIBRARY=sys.modules["_ctypes"].__file__)
    assert found.returncode == 1 and "LibraryError" in found.stderr


def test_library_of_another_abi(monkeypatch):
    monkeypatch.setattr(_abi, "MISH_ABI_VERSION", 77)
    with pytest.raises(mish.LibraryError, match="needs 77"):
        _library._load(_library.find())


def test_prototypes_are_those_of_the_metadata():
    import json

    metadata = json.loads((PACKAGE.parents[1] / "mish.abi.json").read_text())
    functions = {function["name"]: function for function in metadata["functions"]}
    assert set(functions) == set(_abi.PROTOTYPES)
    for name, (_, parameters) in _abi.PROTOTYPES.items():
        assert len(parameters) == len(functions[name]["parameters"])
    for constant in metadata["constants"]:
        assert getattr(_abi, constant["name"]) == constant["value"]
    import ctypes

    for struct in metadata["structs"]:
        found = getattr(_abi, struct["name"])
        assert ctypes.sizeof(found) == struct["size"]
        for field in struct["fields"]:
            assert getattr(found, field["name"]).offset == field["offset"]

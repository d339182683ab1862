"""Finding the library, importing with little, and the report."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mish
import pytest
from mish import _abi, _library

PACKAGE = Path(mish.__file__).resolve().parent
ROOT = Path(__file__).resolve().parents[2]


def run(code, cwd=None, **environment):
    """Runs code in a new interpreter with the package on its path."""
    inherited = {key: value for key, value in os.environ.items() if key != "MISH_LIBRARY"}
    return subprocess.run(
        [sys.executable, *code],
        env={**inherited, "PYTHONPATH": str(PACKAGE.parent), **environment},
        cwd=cwd,
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
    for dtype in _abi.DTYPES:
        assert re.search(rf"^{dtype.full_name} +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d$", found.stdout, re.M)


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


def checkout(root):
    """A folder that looks like the sources after a build."""
    package = root / "bindings/python/mish"
    package.mkdir(parents=True)
    for file in PACKAGE.glob("*.py"):
        (package / file.name).write_text(file.read_text())
    (root / "Cargo.toml").write_text('[package]\nname = "libmish"\n')
    (root / "target/release").mkdir(parents=True)
    shutil.copy(_library.find(), root / "target/release/libmish.so")
    for folder in (root, root / "target", root / "target/release"):
        folder.chmod(0o755)
    return package.parent


SHOW = ["-c", "import mish; mish.version(); from mish import _library; print(_library.find())"]


def test_a_checkout_finds_what_it_built(tmp_path):
    root = tmp_path / "source"
    found = run(SHOW, PYTHONPATH=str(checkout(root)))
    assert found.stdout.strip() == str(root / "target/release/libmish.so"), found.stderr


@pytest.mark.parametrize("what", (".", "target", "target/release", "target/release/libmish.so"))
def test_what_everyone_may_write_to_is_not_loaded(what, tmp_path):
    root = tmp_path / "source"
    path = checkout(root)
    (root / what).chmod(0o777)
    found = run(SHOW, PYTHONPATH=str(path))
    assert found.returncode == 1 and "everyone may write to" in found.stderr
    assert str((root / what).resolve()) in found.stderr


def test_other_folders_are_no_checkout(tmp_path):
    root = tmp_path / "source"
    path = checkout(root)
    # The package three folders below something that has a target folder, as when installed.
    installed = root / "lib/python3/site-packages"
    installed.mkdir(parents=True)
    (path / "mish").rename(installed / "mish")
    shutil.copytree(root / "target", root / "lib/target")
    found = run(SHOW, PYTHONPATH=str(installed))
    assert found.returncode == 1 and "target/release" not in found.stderr
    for place in ("MISH_LIBRARY", str(installed / "mish/libmish.so")):
        assert place in found.stderr
    # Of another project.
    path = checkout(tmp_path / "other")
    (tmp_path / "other/Cargo.toml").write_text('[package]\nname = "other"\n')
    found = run(SHOW, PYTHONPATH=str(path))
    assert found.returncode == 1 and "target/release" not in found.stderr


def test_a_name_without_a_folder(tmp_path):
    shutil.copy(_library.find(), tmp_path / "named.so")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/named.so").write_text("the loader's, not what was checked")
    found = run(
        SHOW,
        cwd=tmp_path,
        MISH_LIBRARY="named.so",
        LD_LIBRARY_PATH=str(tmp_path / "elsewhere"),
    )
    assert found.stdout.strip() == str(tmp_path / "named.so"), found.stderr


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

    metadata = json.loads((ROOT / "bindings" / "mish.abi.json").read_text())
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

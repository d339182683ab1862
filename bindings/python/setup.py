"""Puts ``libmish.so`` into the package; everything else is in pyproject.toml.

The library comes from ``MISH_LIBRARY`` if that is set, else from the repository this folder lies
in: ``cargo xtask build`` builds it, or finds it up to date.
"""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]


def library():
    named = os.environ.get("MISH_LIBRARY")
    if named:
        return Path(named)
    if not (ROOT / "Cargo.toml").is_file() or shutil.which("cargo") is None:
        raise SystemExit(
            "libmish.so: set MISH_LIBRARY to a built one, or install from the repository with "
            "Rust's cargo on the PATH"
        )
    # Where cargo builds is for it to say.
    build = ["cargo", "xtask", "build"]
    said = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    return Path(said.stdout.rpartition("built ")[2].strip())


class BuildWithLibrary(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:
            destination = Path(self.build_lib) / "mish" / "libmish.so"
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(library(), destination)


class AnyPython(bdist_wheel):
    """One wheel for every Python: the library is not an extension module."""

    def get_tag(self):
        platform = os.environ.get("MISH_WHEEL_PLATFORM") or super().get_tag()[2]
        return "py3", "none", platform


class Binary(Distribution):
    def has_ext_modules(self):
        return True


setup(distclass=Binary, cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": AnyPython})

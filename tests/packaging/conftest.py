"""The wheel, built once from a copy of the tree."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
LINKED = ("frontends", "backend_llvm", "devices")
_COPIED = ("jitemu", *LINKED, "pyproject.toml", "setup.py", "README.md", "LICENSE")
_MADE = ("__pycache__", "stencils")


def copy_tree(folder: Path) -> Path:
    """A copy of what an installation is made from, without what it makes."""
    source = folder / "source"
    source.mkdir()
    for name in _COPIED:
        if (TOP / name).is_dir():
            skip = shutil.ignore_patterns(*_MADE)
            shutil.copytree(TOP / name, source / name, symlinks=True, ignore=skip)
        else:
            shutil.copy(TOP / name, source)
    return source


def build_wheel(source: Path) -> tuple[Path, str]:
    """The wheel of a tree, and what was said meanwhile."""
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", source.parent, source]
    done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    (wheel,) = source.parent.glob("*.whl")
    return wheel, done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree's wheel, of all test processes."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "wheel"
    with (base / "wheel.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not list(folder.glob("*.whl")):
            folder.mkdir()
            build_wheel(copy_tree(folder))
    return next(folder.glob("*.whl"))


@pytest.fixture
def unpacked(wheel: Path, tmp_path: Path) -> Path:
    """An installation from the wheel: a folder for the path."""
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(folder)
    return folder

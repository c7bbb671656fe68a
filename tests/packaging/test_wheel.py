"""The wheel: all packages and data in it, and it runs by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGED = ("jitemu", "frontends", "backend_llvm", "devices", "pyproject.toml", "README.md")
DATA = (
    "jitemu/py.typed",
    "jitemu/get/hello.bin",
    "jitemu/get/init.txt",
    "jitemu/frontends/arm/stencil_profile.txt",
    "jitemu/frontends/riscv/stencil_profile.txt",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (*PACKAGED, "LICENSE"):
        if (TOP / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(TOP / name, source / name, symlinks=True, ignore=skip)
        else:
            shutil.copy(TOP / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source]
    subprocess.run(command, check=True, timeout=120)
    return next(folder.glob("*.whl"))


def test_holds_every_module_and_its_data(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    folders = {"jitemu": "jitemu"} | {n: f"jitemu/{n}" for n in PACKAGED[1:4]}
    wanted = {
        str(Path(packaged) / path.relative_to(TOP / folder))
        for folder, packaged in folders.items()
        for path in (TOP / folder).rglob("*.py")
        if not (path.is_relative_to(TOP / "jitemu") and path.resolve() != path)
    }
    assert names == wanted | set(DATA)


def test_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Unpacked: the version is the project's, a board is made, data files are found."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    version = wheel.name.split("-")[1]
    for words in (["--version"], ["user-riscv64", "-version"], ["system-riscv64", "-version"]):
        assert run("-m", "jitemu", *words) == f"jitemu version {version}\n"
    guest = run("-m", "jitemu", "get", "hello").strip()
    assert guest == str(tmp_path / "jitemu/get/hello.bin")
    run("-m", "jitemu", "system-riscv64", "-M", "virt,dumpdtb=tree", "-kernel", guest)
    assert (tmp_path / "tree").read_bytes()[:4] == bytes.fromhex("d00dfeed")
    keys = (
        "from jitemu.runtime.guests import riscv64_system; "
        "from jitemu.frontends.riscv.cpu import parse_cpu; "
        "print(len(riscv64_system(parse_cpu('rv64')).common_keys()))"
    )
    assert int(run("-c", keys)) > 1000

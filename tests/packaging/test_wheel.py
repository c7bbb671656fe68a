"""The wheel: all packages and data in it, and it runs by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from jitemu.runtime import installed
from jitemu.runtime.guests import NAMES, usual_guest
from tests.packaging.conftest import LINKED, TOP, build_wheel, copy_tree

DATA = (
    "jitemu/py.typed",
    "jitemu/get/hello.bin",
    "jitemu/get/init.txt",
    "jitemu/frontends/arm/stencil_profile.txt",
    "jitemu/frontends/riscv/stencil_profile.txt",
)


def stencils() -> set[str]:
    """The names of the sets that this tree's installation has on this machine."""
    paths = [Path(installed.path_of(usual_guest(name))) for name in NAMES]
    return {f"jitemu/{path.relative_to(installed.PACKAGE)}" for path in paths}


def test_holds_every_module_and_its_data(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    folders = {"jitemu": "jitemu"} | {n: f"jitemu/{n}" for n in LINKED}
    wanted = {
        str(Path(packaged) / path.relative_to(TOP / folder))
        for folder, packaged in folders.items()
        for path in (TOP / folder).rglob("*.py")
        if not (path.is_relative_to(TOP / "jitemu") and path.resolve() != path)
    }
    assert names == wanted | set(DATA) | stencils()


def test_runs_from_the_wheel(unpacked: Path) -> None:
    """Unpacked: the version is the project's, a board is made, data files are found."""
    environment = os.environ | {"PYTHONPATH": str(unpacked), "PYTHONSAFEPATH": "1"}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        done = subprocess.run(
            command, env=environment, cwd=unpacked, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    version = next(unpacked.glob("*.dist-info")).name.removesuffix(".dist-info").split("-")[1]
    for words in (["--version"], ["user-riscv64", "-version"], ["system-riscv64", "-version"]):
        assert run("-m", "jitemu", *words) == f"jitemu version {version}\n"
    guest = run("-m", "jitemu", "get", "hello").strip()
    assert guest == str(unpacked / "jitemu/get/hello.bin")
    run("-m", "jitemu", "system-riscv64", "-M", "virt,dumpdtb=tree", "-kernel", guest)
    assert (unpacked / "tree").read_bytes()[:4] == bytes.fromhex("d00dfeed")
    keys = (
        "from jitemu.runtime.guests import riscv64_system; "
        "from jitemu.frontends.riscv.cpu import parse_cpu; "
        "print(len(riscv64_system(parse_cpu('rv64')).common_keys()))"
    )
    assert int(run("-c", keys)) > 1000


def test_stencils_that_cannot_be_made(tmp_path: Path) -> None:
    """The wheel is there all the same, and a line says what it lacks."""
    source = copy_tree(tmp_path)
    (source / "frontends/riscv/stencil_profile.txt").write_text("no key\n")
    made, said = build_wheel(source)
    names = zipfile.ZipFile(made).namelist()
    assert "jitemu/cli/main.py" in names
    assert not [name for name in names if name.startswith("jitemu/stencils/riscv")]
    assert "no stencils, they will be made when jitemu is first used: " in said

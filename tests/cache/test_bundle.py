"""The modules of a start, kept in one file."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from jitemu import bundle, cachedir

MODULE = "jitemu.kept_in_a_bundle"
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of jitemu's that only this test has, imported; and a cache of its own."""
    import jitemu

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(jitemu, "__path__", [*jitemu.__path__, str(tmp_path)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "llvmlite"]:
        monkeypatch.delitem(sys.modules, name)
    path = tmp_path / (MODULE.rpartition(".")[2] + ".py")
    path.write_text("VALUE = 1\n")
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    assert importlib.import_module(MODULE).VALUE == 1
    return path


def kept() -> Path:
    (path,) = (Path(cachedir.folder()) / cachedir.MODULES).iterdir()
    return path


def again() -> object:
    """The module's loader, once it is imported again from what is kept."""
    del sys.modules[MODULE]
    sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != "jitemu.bundle"]
    bundle.use("user-test")
    spec = importlib.import_module(MODULE).__spec__
    assert spec is not None
    return type(spec.loader).__module__


def test_kept_and_used(source: Path) -> None:
    bundle.use("user-test")
    bundle.finish(keep=True)
    assert again() == "jitemu.bundle"
    module = sys.modules[MODULE]
    assert (module.__file__, module.VALUE) == (str(source), 1)
    before = kept().stat().st_mtime_ns
    bundle.finish(keep=True)  # what was used is not made again
    assert kept().stat().st_mtime_ns == before


@pytest.mark.usefixtures("source")
def test_another_start_has_another() -> None:
    bundle.use("user-other")
    bundle.finish(keep=True)
    assert again() != "jitemu.bundle"


def test_changed_source(source: Path) -> None:
    bundle.use("user-test")
    bundle.finish(keep=True)
    source.write_text("VALUE = 22\n")
    assert again() != "jitemu.bundle"
    assert sys.modules[MODULE].VALUE == 22


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("at", [0, 40, -1])
def test_damaged(at: int) -> None:
    bundle.use("user-test")
    bundle.finish(keep=True)
    data = bytearray(kept().read_bytes())
    data[at] ^= 0xFF
    kept().write_bytes(data)
    assert again() != "jitemu.bundle"
    kept().write_bytes(data[: len(data) // 2])
    assert again() != "jitemu.bundle"


@pytest.mark.usefixtures("source")
def test_folder_of_others() -> None:
    bundle.use("user-test")
    bundle.finish(keep=True)
    kept().parent.chmod(0o770)
    assert again() != "jitemu.bundle"


@pytest.mark.usefixtures("source")
def test_not_after_code_was_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", sys)
    bundle.use("user-test")
    bundle.finish(keep=True)
    assert not Path(cachedir.folder()).exists()


@pytest.mark.usefixtures("source")
def test_what_others_need_stays() -> None:
    """Starts that import different modules share a bundle, which has those of all."""
    bundle.use("user-test")
    bundle.finish(keep=True)
    module = sys.modules.pop(MODULE)
    sys.modules.pop("jitemu.light", None)
    bundle.use("user-test")
    importlib.import_module("jitemu.light")
    bundle.finish(keep=True)
    sys.modules[MODULE] = module
    assert again() == "jitemu.bundle"


def test_a_start_imports_nothing_dear() -> None:
    code = (
        "import sys; from jitemu import bundle; bundle.use('user-riscv64')\n"
        "import jitemu.user.run, jitemu.user.riscv64_cpu, jitemu.user.arm_cpu, jitemu.cli.user\n"
        "import jitemu.runtime.setup\n"
        "dear = 'typing enum re functools collections contextlib threading dataclasses ctypes'\n"
        "dear += ' bisect math resource zlib hashlib _blake2 importlib.util site llvmlite'\n"
        "print(*(name for name in dear.split() if name in sys.modules))"
    )
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {ROOT!r}); {code}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"

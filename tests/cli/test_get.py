"""jitemu get: package reading, trees, initramfs, and a whole guest out of made packages."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from jitemu.cli import get as command
from jitemu.get import apt, deb, guests, kernel_modules
from jitemu.get.apt import Progress
from jitemu.get.cpio import Cpio
from jitemu.messages import UserError

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def make_deb(folder: Path, name: str, files: dict[str, bytes | str], depends: str = "") -> Path:
    """A package; a text in ``files`` is a symbolic link's target."""
    tree = folder / f"{name}.tree"
    for path, content in files.items():
        full = tree / path
        full.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            full.symlink_to(content)
        else:
            full.write_bytes(content)
    control = f"Package: {name}\nVersion: 1\nArchitecture: riscv64\nMaintainer: nobody <n@n>\n"
    control += f"Depends: {depends}\n" if depends else ""
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(f"{control}Description: made by a test\n")
    package = folder / f"{name}.deb"
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(tree), str(package)]
    subprocess.run(build, check=True, capture_output=True)
    return package


def make_module(depends: str) -> bytes:
    """An ELF file with a .modinfo section, as far as a module is looked at."""
    info = b"license=GPL\0depends=" + depends.encode() + b"\0"
    names = b"\0.modinfo\0.shstrtab\0"
    sections = 64 + len(info) + len(names)
    header = bytearray(64)
    struct.pack_into("<Q", header, 0x28, sections)
    struct.pack_into("<HHH", header, 0x3A, 64, 3, 2)
    table = bytes(64)
    for name, offset, data in ((1, 64, info), (10, 64 + len(info), names)):
        table += struct.pack("<I20xQQ24x", name, offset, len(data))
    return bytes(header) + info + names + table


class FakeApt:
    """Packages of a folder in place of an archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def update(self, progress: Progress) -> None:
        progress(100)

    def fetch(self, packages: list[str], progress: Progress, *, closure: bool) -> list[Path]:
        progress(100)
        return [self.folder / f"{name}.deb" for name in packages]


KERNEL_IMAGE = bytes(0x30) + b"RISCV\0\0\0" + bytes(100)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel and a busybox package, which guests are then made of."""
    folder = tmp_path / "archive"
    folder.mkdir()
    make_deb(folder, "linux-image-riscv64", {}, "linux-image-9-riscv64 (= 9)")
    module = "lib/modules/9/kernel"
    files: dict[str, bytes | str] = {
        "boot/vmlinux-9": KERNEL_IMAGE,
        f"{module}/virtio_blk.ko": make_module("virtio,virtio-ring"),
        f"{module}/virtio-ring.ko.gz": gzip.compress(make_module("")),
        f"{module}/ext4.ko": make_module("jbd2"),
        f"{module}/other.ko": make_module(""),
    }
    make_deb(folder, "linux-image-9-riscv64", files)
    make_deb(folder, "busybox-static", {"usr/bin/busybox": b"BOX"})

    def fake(_state: Path, _mirror: str, _suite: str, _architecture: str) -> FakeApt:
        return FakeApt(folder)

    monkeypatch.setattr(guests, "Apt", fake)
    monkeypatch.setattr(command, "find_mirror", lambda: "mirror")
    return folder


@needs_dpkg
def test_a_whole_guest(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "cache" / "linux"
    assert command.main(["riscv64-linux", "--to", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert (target / "Image").read_bytes() == KERNEL_IMAGE
    assert os.access(target / "busybox", os.X_OK)
    assert [path.name for path in target.parent.iterdir()] == ["linux"]  # nothing left over
    entries = read_cpio(gzip.decompress((target / "initramfs.cpio.gz").read_bytes()))
    assert {"init", "dev/console", "lib/modules/virtio_ring.ko"} <= set(entries)
    assert entries["bin/sh"] == (0o120777, b"busybox")
    assert entries["lib/modules/virtio.list"][1] == b"virtio_ring\nvirtio_blk\n"
    assert "lib/modules/other.ko" not in entries

    shutil.rmtree(archive)  # made once, it needs nothing
    assert command.main(["riscv64-linux", "-to", str(target)]) == 0


@needs_dpkg
def test_a_kernel_in_several_packages(archive: Path, tmp_path: Path) -> None:
    shutil.rmtree(archive / "linux-image-riscv64.tree")
    make_deb(archive, "linux-image-riscv64", {}, "linux-base-riscv64, linux-image-10-riscv64 (= 1)")
    parts = "initramfs-tools, linux-binary-10-riscv64 (= 1), linux-modules-10-riscv64 (= 1)"
    make_deb(archive, "linux-image-10-riscv64", {}, parts)
    modules = "usr/lib/modules/10"
    make_deb(archive, "linux-binary-10-riscv64", {f"{modules}/vmlinuz": KERNEL_IMAGE + b"10"})
    files: dict[str, bytes | str] = {f"{modules}/kernel/ext4.ko": make_module("")}
    make_deb(archive, "linux-modules-10-riscv64", files)
    target = tmp_path / "linux"
    command.main(["riscv64-linux", "-to", str(target)])
    assert (target / "Image").read_bytes() == KERNEL_IMAGE + b"10"
    entries = read_cpio(gzip.decompress((target / "initramfs.cpio.gz").read_bytes()))
    assert "lib/modules/ext4.ko" in entries


@needs_dpkg
def test_a_failed_guest_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    (archive / "busybox-static.deb").write_bytes(b"!<arch>\n")
    target = tmp_path / "linux"
    with pytest.raises(UserError, match=r"dpkg-deb|whole Debian package"):
        command.main(["riscv64-linux", "-to", str(target)])
    assert not [path for path in tmp_path.iterdir() if "linux" in path.name]


@needs_dpkg
def test_another_suite_while_the_mirror_is_updated(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = ["trixie"]

    def make(_state: Path, _mirror: str, suite: str, _architecture: str) -> FakeApt:
        if suite in broken:
            raise apt.OutOfStep(f"{suite}: unexpected size")
        return FakeApt(archive)

    monkeypatch.setattr(guests, "Apt", make)
    target = tmp_path / "linux"
    command.main(["riscv64-linux", "-to", str(target)])
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "made of Debian testing" in warnings[0] and "trixie: unexpected size" in warnings[0]
    assert guests.is_complete(target)
    assert '"suite": "testing"' in (target / guests.MANIFEST).read_text()

    broken[:] = guests.SUITES
    with pytest.raises(UserError, match="trixie: unexpected size"):
        command.main(["riscv64-linux", "-refresh", "-to", str(target)])
    assert (target / "Image").read_bytes() == KERNEL_IMAGE  # the one before is still there
    assert [path.name for path in tmp_path.iterdir() if "linux" in path.name] == ["linux"]


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="needs apt")
@pytest.mark.parametrize(
    ("says", "out_of_step"),
    [
        ("Failed to fetch u  File has unexpected size (1 != 2). Mirror sync in progress?", True),
        ("Failed to fetch u  Hash Sum mismatch", True),
        ("Failed to fetch u  404  Not Found [IP: 192.0.2.1 80]", True),
        ("Failed to fetch u  Could not connect to m:80 (192.0.2.1).", False),
        ("The repository 'u x InRelease' is not signed.", False),
    ],
)
def test_what_tells_that_the_mirror_is_updated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, out_of_step: bool
) -> None:
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "E: {says}"\nexit 100\n')
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(apt, "KEYRINGS", (tmp_path / "apt-get",))
    fetcher = apt.Apt(tmp_path / "state", "http://m/debian", "trixie", "riscv64")
    with pytest.raises(UserError) as caught:
        fetcher.update(lambda _percent: None)
    assert isinstance(caught.value, apt.OutOfStep) is out_of_step
    assert says in str(caught.value)


@needs_dpkg
def test_a_folder_of_somebody_else_is_left_alone(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    with pytest.raises(UserError, match="not empty and not made by jitemu get"):
        command.main(["riscv64-linux", "-to", str(tmp_path / "mine")])


@needs_dpkg
def test_a_damaged_guest_is_made_again(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "linux"
    command.main(["riscv64-linux", "-to", str(target)])
    (target / "Image").write_bytes(b"cut")
    assert not guests.is_complete(target)
    command.main(["riscv64-linux", "-to", str(target)])
    assert (target / "Image").read_bytes() == KERNEL_IMAGE


@needs_dpkg
def test_tree_is_merged_and_has_no_absolute_links(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "bin/tool": b"tool",
        "lib/riscv64-linux-gnu/libx.so.1.0": b"lib",
        "usr/lib/libx.so": "/lib/riscv64-linux-gnu/libx.so.1.0",
        "usr/share/doc/x/readme": b"no",
        "etc/x.conf": b"x",
    }
    package = make_deb(tmp_path, "x", files)
    root = tmp_path / "root"
    deb.unpack_tree([package], root)
    assert (root / "bin").readlink() == Path("usr/bin")
    assert (root / "bin/tool").read_bytes() == b"tool"
    assert (root / "usr/lib/libx.so").readlink() == Path("riscv64-linux-gnu/libx.so.1.0")
    assert (root / "usr/lib/libx.so").read_bytes() == b"lib"
    assert not (root / "usr/share/doc/x").exists()


def test_modules_load_in_order() -> None:
    modules = {"a": make_module("b-x,c"), "b_x": make_module("c"), "c": make_module("")}
    assert kernel_modules.depends(modules["a"]) == ["b-x", "c"]
    assert kernel_modules.loading_order(modules, ["a", "built-in"]) == ["c", "b_x", "a"]


def read_cpio(data: bytes) -> dict[str, tuple[int, bytes]]:
    """name -> (mode, content), as the kernel's buffer-format page describes "newc"."""
    entries: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + i : at + i + 8], 16) for i in range(6, 110, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        if name == "TRAILER!!!":
            return entries
        at = (at + 110 + name_size + 3) & ~3
        entries[name] = (mode, data[at : at + size])
        at = (at + size + 3) & ~3


def test_cpio() -> None:
    archive = Cpio()
    archive.file("bin/deep/file", b"12345", 0o755)
    archive.symlink("link", "bin/deep/file")
    data = archive.finish()
    assert len(data) % 512 == 0
    assert read_cpio(data) == {
        "bin": (0o40755, b""),
        "bin/deep": (0o40755, b""),
        "bin/deep/file": (0o100755, b"12345"),
        "link": (0o120777, b"bin/deep/file"),
    }


def test_mirror_is_the_debian_archive_of_the_configuration() -> None:
    uris = """\
'http://a.example/debian-security/dists/x-security/InRelease' f 0
'http://b.example/node/dists/x/InRelease' f 0
'http://c.example/debian/dists/x-updates/InRelease' f 0
'http://d.example/debian/dists/x/InRelease' f 0
"""
    assert apt.choose_mirror(uris) == "http://d.example/debian"
    assert apt.choose_mirror("'http://b.example/ubuntu/dists/x/InRelease' f 0\n") is None


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr(apt.shutil, "which", nothing)
    with pytest.raises(UserError, match="apt-get is not here"):
        apt.check_tools()


@pytest.mark.skipif(
    shutil.which("apt-get") is None or not any(path.exists() for path in apt.KEYRINGS),
    reason="needs apt and Debian's keyring",
)
def test_an_unreachable_mirror_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"apt-get update .* failed: .*onnect") as caught:
        command.main(
            ["riscv64-linux", "-to", str(tmp_path / "x"), "-mirror", "http://127.0.0.1:9/debian"]
        )
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_default_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert command.default_folder("x") == Path("/cache/jitemu/guests/x")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert command.default_folder("x") == Path.home() / ".cache/jitemu/guests/x"


def test_the_embedded_guest_is_what_its_source_makes(tmp_path: Path) -> None:
    if shutil.which("riscv64-linux-gnu-gcc") is None:
        pytest.skip("needs gcc-riscv64-linux-gnu")
    source = Path(__file__).parent.parent / "guests/hello.S"
    words = "-nostdlib -static -march=rv64i -mabi=lp64 -Wl,-Ttext=0x80200000 -Wl,--build-id=none,-n"
    gcc = ["riscv64-linux-gnu-gcc", *words.split(), "-o", "hello.elf", str(source)]
    subprocess.run(gcc, cwd=tmp_path, check=True, capture_output=True)
    objcopy = ["riscv64-linux-gnu-objcopy", "-O", "binary", "hello.elf", "hello.bin"]
    subprocess.run(objcopy, cwd=tmp_path, check=True)
    shipped = Path(guests.__file__).with_name("hello.bin").read_bytes()
    assert shipped == (tmp_path / "hello.bin").read_bytes()
    assert len(shipped) < 1024

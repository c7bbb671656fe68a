"""What the monitor does to disks, logs, captures and the machine, without QEMU beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitor.talk import Emulator, Talk
from tests.monitor.test_against_qemu import guest  # noqa: F401  # pyright: ignore[reportUnusedImport]

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-io") is None or shutil.which("riscv64-linux-gnu-gcc") is None,
    reason="needs qemu-utils and riscv64-linux-gnu-gcc",
)


@pytest.fixture
def disks(tmp_path: Path) -> Path:
    """A folder with base.qcow2 and, on top of it, top.qcow2, which has 64 KiB of its own."""
    for words in (
        ["qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "1M"],
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", "top.qcow2"],
        ["qemu-io", "-c", "write -P 0xab 128k 64k", "top.qcow2"],
    ):
        subprocess.run(words, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    return tmp_path


@pytest.fixture
def machine(guest: Path, disks: Path) -> Iterator[Emulator]:  # noqa: F811
    words = ["-S", "-bios", "none", "-kernel", str(guest)]
    for name in ("top", "base2"):
        if name == "base2":
            shutil.copy(disks / "base.qcow2", disks / "base2.qcow2")
        words += ["-drive", f"file={disks}/{name}.qcow2,if=none,id={name}"]
        words += ["-device", f"virtio-blk-device,drive={name}"]
    words += ["-name", "testbed", "-chardev", f"null,id=c0,logfile={disks}/c0"]
    emulator = Emulator(disks / "m", words, False)
    yield emulator
    emulator.close()


def test_media_that_can_be_ejected(guest: Path, disks: Path) -> None:  # noqa: F811
    words = ["-S", "-bios", "none", "-kernel", str(guest)]
    words += ["-drive", f"file={disks}/loose.qcow2,if=none,id=d"]
    words += ["-blockdev", f"qcow2,node-name=n,file.driver=file,file.filename={disks}/top.qcow2"]
    words += ["-drive", f"file={disks}/plugged.qcow2,if=none,id=p"]
    words += ["-device", "virtio-blk-device,drive=p"]
    for name in ("loose", "plugged"):
        create = ["qemu-img", "create", "-q", "-f", "qcow2", f"{name}.qcow2", "1M"]
        subprocess.run(create, cwd=disks, check=True)
    commands = ["eject p", "eject -f p", "eject n", "eject virtio-blk-device", "eject d"]
    commands += ["info block d", "eject d", "eject -f d", "commit d", "block_resize d 8M"]
    commands += ["commit n", "block_resize n 8M", "info block nothing"]
    said: list[list[str]] = []
    for qemu in (True, False):
        emulator = Emulator(disks / f"m{qemu}", words, qemu)
        said.append([emulator.ask(command).lstrip("\n") for command in commands])
        # nobody has the image any more
        resized = subprocess.run(["qemu-img", "resize", "-q", "loose.qcow2", "+64k"], cwd=disks)
        emulator.close()
        assert resized.returncode == 0
    assert said[0] == said[1]


def test_disks(machine: Emulator, disks: Path) -> None:
    assert machine.ask("info block") == (
        f"top: {disks}/top.qcow2 (qcow2)\n"
        "    Attached to:      virtio-blk-device\n"
        "    Cache mode:       writeback\n"
        "\n"
        f"base2: {disks}/base2.qcow2 (qcow2)\n"
        "    Attached to:      virtio-blk-device\n"
        "    Cache mode:       writeback\n"
    )
    nothing = "rd_bytes=0 wr_bytes=0 rd_operations=0 wr_operations=0 flush_operations=0"
    assert machine.ask("info blockstats") == f"top: {nothing}\nbase2: {nothing}\n"
    assert machine.ask("block_resize base2 2") == ""
    assert machine.ask("block_resize base2 700") == ""
    assert machine.ask("block_resize base2 513b") == (
        "Error: The new size must be a multiple of 512\n"
    )
    assert machine.ask("eject top") == "Error: Device 'top' is not removable\n"
    failed = "'commit' error for 'base2': Operation not supported\n"
    assert machine.ask("commit base2") == failed
    assert machine.ask("commit nothing") == "Device 'nothing' not found\n"
    assert machine.ask("commit all") == ""
    machine.ask("quit")
    assert machine.process.wait(20) == 0
    about = ["qemu-img", "info", "base2.qcow2"]
    done = subprocess.run(about, cwd=disks, capture_output=True, text=True, check=True)
    assert "virtual size: 700 MiB" in done.stdout
    check = ["qemu-io", "-c", "read -P 0xab 128k 64k", "-c", "read -P 0 0 128k", "base.qcow2"]
    done = subprocess.run(check, cwd=disks, capture_output=True, text=True, check=True)
    assert "failed" not in done.stdout


@pytest.mark.parametrize("blockdev", [True, False])
def test_encrypted_disks(guest: Path, tmp_path: Path, blockdev: bool) -> None:  # noqa: F811
    file = tmp_path / "luks.qcow2"
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    create = ["create", "-q", "--object", "secret,id=s,data=key", "-f", "qcow2", "-o", options]
    jitemu = [sys.executable, "-m", "jitemu", "img"]
    subprocess.run([*jitemu, *create, str(file), "1M"], check=True)
    words = [
        "-S",
        "-bios",
        "none",
        "-kernel",
        str(guest),
        "-object",
        "secret,id=s,data=a2V5,format=base64",
    ]
    if blockdev:
        words += [
            "-blockdev",
            f"qcow2,node-name=d,file.driver=file,file.filename={file},encrypt.format=luks,encrypt.key-secret=s",
        ]
    else:
        words += ["-drive", f"file={file},if=none,id=d,encrypt.key-secret=s"]
    machine = Emulator(tmp_path / "m", [*words, "-device", "virtio-blk-device,drive=d"], False)
    assert f"d: {file} (qcow2)\n" in machine.ask("info block")
    machine.close()


def test_trees(machine: Emulator, disks: Path) -> None:
    tree = machine.ask("info qtree").splitlines()
    assert tree[:2] == ["bus: main-system-bus", "  type System"]
    assert "    bus: virtio-mmio-bus.7" in tree
    assert '        drive = "top"' in tree
    assert "        event_idx = true" in tree
    memory = machine.ask("info mtree").splitlines()
    assert "    0000000080000000-0000000087ffffff (prio 0, ram): ram" in memory
    assert machine.ask("info name") == "testbed\n"
    assert "c0: filename=null\n" in machine.ask("info chardev")
    assert 'name="mrom.reset"' in machine.ask("info roms")
    assert machine.ask(f'dumpdtb "{disks}/dtb"') == f"dtb dumped to {disks}/dtb\n"
    assert (disks / "dtb").read_bytes()[:4] == b"\xd0\x0d\xfe\xed"
    assert machine.ask("info irq") == ""


def test_logs(machine: Emulator, disks: Path) -> None:
    assert "cannot be changed while the machine runs" in machine.ask("log in_asm")
    assert "Log items" in machine.ask("log help")
    assert 'Try "help log"' in machine.ask("log nonsense")
    assert "No such file" in machine.ask("logfile /nowhere/x")
    assert machine.ask(f'logfile "{disks}/log"') == ""
    assert machine.ask("log mmu") == ""
    machine.ask("cont")
    time.sleep(0.5)
    assert machine.ask("log none") == ""
    text = (disks / "log").read_text()
    assert "ffffffffc" in text
    assert machine.ask("info status") == "VM status: running\n"


def test_two_users_and_line_editing(machine: Emulator) -> None:
    """One leaves, another comes; keys of the line editor; answers in the order of questions."""
    machine.talk.close()
    talk = Talk(machine.folder / "mon")
    assert "monitor - type 'help'" in talk.banner
    assert talk.ask("prnt 5\x1b[D\x1b[D\x1b[D\x1b[D\x08int\x01\x05") != ""
    assert talk.ask("print /d 6\x086*7").endswith("42\n")
    assert talk.ask("garbage\x15print 1").endswith("1\n")
    assert talk.ask("info sta\t").endswith("VM status: paused (prelaunch)\n")
    assert talk.ask("\x10\x10\x10").endswith("42\n")
    talk.peer.sendall(b"print 1\nstop\nprint 2\ninfo registers\nprint 3\n")
    seen = b""
    while seen.count(b"(qemu) ") < 5:
        seen += talk.peer.recv(65536)
    at = [seen.index(f"\r\n{text}\r\n".encode()) for text in ("1", "2", "3")]
    assert at == sorted(at)
    talk.close()
    machine.talk = Talk(machine.folder / "mon")
